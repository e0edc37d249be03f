"""Published checkpoints load through their own names. The real files are not here: their names and shapes are."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gsvnet_engine.errors import InputError
from gsvnet_export.networks import build_keyframe
from gsvnet_export.networks.pretrained import initialise

State = dict[str, Tensor]


def norm(name: str, channels: int) -> State:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{p}": torch.rand(channels) for p in parts} | {
        f"{name}.num_batches_tracked": torch.tensor(7)
    }


def conv(name: str, outputs: int, inputs: int, kernel: int) -> State:
    return {f"{name}.weight": torch.randn(outputs, inputs, kernel, kernel)}


def resnet18(prefix: str = "") -> State:
    """torchvision.models.resnet18().state_dict() without fc."""
    state = conv(f"{prefix}conv1", 64, 3, 7) | norm(f"{prefix}bn1", 64)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"{prefix}layer{stage}.{block}"
            state |= conv(f"{name}.conv1", width, inputs, 3) | norm(f"{name}.bn1", width)
            state |= conv(f"{name}.conv2", width, width, 3) | norm(f"{name}.bn2", width)
            if inputs != width:
                state |= conv(f"{name}.downsample.0", width, inputs, 1) | norm(f"{name}.downsample.1", width)
            inputs = width
    return state


def bn_relu_conv(name: str, inputs: int, outputs: int, kernel: int) -> State:
    return norm(f"{name}.norm", inputs) | conv(f"{name}.conv", outputs, inputs, kernel)


def swiftnet(classes: int) -> State:
    """The authors' single-scale SwiftNet-R18."""
    state = resnet18("backbone.")
    state |= {
        "backbone.img_mean": torch.tensor([73.0, 83.0, 72.0]).view(1, 3, 1, 1),
        "backbone.img_std": torch.tensor([45.0, 46.0, 45.0]).view(1, 3, 1, 1),
    }
    state |= bn_relu_conv("backbone.spp.spp.spp_bn", 512, 128, 1)
    for level in range(3):
        state |= bn_relu_conv(f"backbone.spp.spp.spp{level}", 128, 42, 1)
    state |= bn_relu_conv("backbone.spp.spp.spp_fuse", 254, 128, 1)
    for unit, skip in enumerate((256, 128, 64)):
        state |= bn_relu_conv(f"backbone.upsample.{unit}.bottleneck", skip, 128, 1)
        state |= bn_relu_conv(f"backbone.upsample.{unit}.blend_conv", 128, 128, 3)
    return state | bn_relu_conv("logits", 128, classes, 1) | {"logits.conv.bias": torch.rand(classes)}


def conv_bn(name: str, inputs: int, outputs: int, kernel: int) -> State:
    return conv(f"{name}.conv", outputs, inputs, kernel) | norm(f"{name}.bn", outputs)


def bisenet(classes: int) -> State:
    """CoinCheung's BiSeNet v1."""
    state = resnet18("cp.resnet.")
    for name, inputs in (("arm16", 256), ("arm32", 512)):
        state |= conv_bn(f"cp.{name}.conv", inputs, 128, 3) | conv(f"cp.{name}.conv_atten", 128, 128, 1)
        state |= norm(f"cp.{name}.bn_atten", 128)
    for head in ("conv_head16", "conv_head32"):
        state |= conv_bn(f"cp.{head}", 128, 128, 3)
    state |= conv_bn("cp.conv_avg", 512, 128, 1) | conv_bn("sp.conv1", 3, 64, 7)
    state |= (
        conv_bn("sp.conv2", 64, 64, 3) | conv_bn("sp.conv3", 64, 64, 3) | conv_bn("sp.conv_out", 64, 128, 1)
    )
    state |= (
        conv_bn("ffm.convblk", 256, 256, 1) | conv("ffm.conv1", 64, 256, 1) | conv("ffm.conv2", 256, 64, 1)
    )
    for head, inputs, middle in (("conv_out", 256, 256), ("conv_out16", 128, 64), ("conv_out32", 128, 64)):
        state |= conv_bn(f"{head}.conv", inputs, middle, 3) | conv(f"{head}.conv_out", classes, middle, 1)
        state |= {f"{head}.conv_out.bias": torch.rand(classes)}
    return state


def save(folder: Path, state: object) -> Path:
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


def test_torchvision_resnet18(tmp_path: Path) -> None:
    state = resnet18()
    path = save(tmp_path, state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)})
    model = build_keyframe("swiftnet", "resnet18", 5)
    assert initialise(model, "resnet18", path) == "weights.pth: ResNet-18 trunk"
    loaded = model.trunk.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_swiftnet_whole_with_its_own_normalisation(tmp_path: Path) -> None:
    state = swiftnet(19)
    model = build_keyframe("swiftnet", "resnet18", 19)
    assert (
        initialise(model, "resnet18", save(tmp_path, {"state_dict": state})) == "weights.pth: whole network"
    )
    loaded = model.state_dict()
    assert torch.equal(
        loaded["upsample.2.blend.2.weight"], state["backbone.upsample.2.blend_conv.conv.weight"]
    )
    assert torch.equal(loaded["spp.levels.1.0.running_var"], state["backbone.spp.spp.spp1.norm.running_var"])
    torch.testing.assert_close(loaded["trunk.normalise.mean"], state["backbone.img_mean"] / 255)


def test_another_class_count_keeps_the_head_random(tmp_path: Path) -> None:
    model = build_keyframe("swiftnet", "resnet18", 11)
    told = initialise(model, "resnet18", save(tmp_path, swiftnet(19)))
    assert told == "weights.pth: whole network, without head.2.bias, head.2.weight"


def test_bisenet(tmp_path: Path) -> None:
    state = bisenet(19)
    model = build_keyframe("bisenet", "resnet18", 19)
    told = initialise(model, "resnet18", save(tmp_path, state))
    assert told.startswith(
        "weights.pth: whole network, without head."
    )  # its head is 256 wide, the paper's 64
    assert "gate" not in told
    loaded = model.state_dict()
    assert torch.equal(loaded["context.arm16.gate.1.bias"], state["cp.arm16.bn_atten.bias"])
    assert torch.equal(loaded["spatial.3.0.weight"], state["sp.conv_out.conv.weight"])
    assert torch.equal(loaded["fusion.gate.2.weight"], state["ffm.conv2.weight"])


def test_packaged_imagenet_trunk() -> None:
    model = build_keyframe("swiftnet", "efficientnet_lite0", 5)
    before = model.state_dict()["trunk.stem.0.weight"].clone()
    assert "Apache-2.0" in initialise(model, "efficientnet_lite0", None)
    assert not torch.equal(model.state_dict()["trunk.stem.0.weight"], before)


@pytest.mark.parametrize(
    "content", [{"a": torch.zeros(1)}, [1, 2], {"layer1.0.conv1.weight": torch.zeros(2)}]
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: object) -> None:
    model = build_keyframe("swiftnet", "resnet18", 5)
    with pytest.raises(InputError) as caught:
        initialise(model, "resnet18", save(tmp_path, content))
    assert "weights.pth" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    model = build_keyframe("swiftnet", "resnet18", 5)
    with pytest.raises(InputError, match="no such file"):
        initialise(model, "resnet18", tmp_path / "nothing.pth")
    for name in ("damaged.pth", "damaged.safetensors"):
        for content in (b"not a checkpoint", b"hello world", b"", b"0" * 3000):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=rf"{name}: not a file of weights"):
                initialise(model, "resnet18", tmp_path / name)
