"""SwiftNet, single scale (Oršić et al., CVPR 2019): a trunk, spatial pyramid pooling, three light upsampling units."""

import torch
from torch import Tensor, nn

from gsvnet_export.networks.layers import BNReLUConv, pool_to_rows, resize


class SpatialPyramidPooling(nn.Module):
    """[N,i,h,w] -> [N,128,h,w]: averages over grids of 8, 4, 2 rows beside the map itself (paper section 3.4)."""

    rows = (8, 4, 2)

    def __init__(self, inputs: int, width: int = 128, level_width: int = 42) -> None:
        super().__init__()
        self.bottleneck = BNReLUConv(inputs, width, 1)
        self.levels = nn.ModuleList(BNReLUConv(width, level_width, 1) for _ in self.rows)
        self.fuse = BNReLUConv(width + len(self.rows) * level_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bottleneck(x)
        levels = [x]
        for rows, level in zip(self.rows, self.levels, strict=True):
            levels.append(resize(level(pool_to_rows(x, rows)), x))
        fused: Tensor = self.fuse(torch.cat(levels, 1))
        return fused


class UpsamplingUnit(nn.Module):
    """(deep [N,128,a,b], skip [N,s,h,w]) -> [N,128,h,w]: add the 1x1-projected skip, blend with 3x3 (section 3.3)."""

    def __init__(self, skip: int, width: int = 128) -> None:
        super().__init__()
        self.bottleneck = BNReLUConv(skip, width, 1)
        self.blend = BNReLUConv(width, width, 3)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        skip = self.bottleneck(skip)
        blended: Tensor = self.blend(resize(deep, skip) + skip)
        return blended


class SwiftNet(nn.Module):
    """RGB [N,3,H,W] float32 in 0..1 -> raw class scores [N,C,ceil(H/4),ceil(W/4)]."""

    def __init__(self, trunk: nn.Module, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.spp = SpatialPyramidPooling(channels[3])
        self.upsample = nn.ModuleList(UpsamplingUnit(skip) for skip in reversed(channels[:3]))
        self.head = BNReLUConv(128, classes, 1, bias=True)

    def forward(self, frame: Tensor) -> Tensor:
        *skips, x = self.trunk(frame)
        x = self.spp(x)
        for unit, skip in zip(self.upsample, reversed(skips), strict=True):
            x = unit(x, skip)
        scores: Tensor = self.head(x)
        return scores
