"""PF, the propagation network (GSVNet, section 3): flow, warp, intra features, edges, guide, guided filter.

One step turns (i_t, i_{t-1}, S_{t-1}) into S_t. i: RGB at 1/8 size, [N,3,h,w] float32 in 0..1. S: raw class scores
[N,C,h,w] float32. Every part holds for any h, w >= 1.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsvnet_export.networks import operations
from gsvnet_export.networks.layers import ConvBNReLU, Normalise, resize


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """Which PF. The defaults are the paper's; the rest serves its ablations (Tables 4 to 7)."""

    classes: int
    window: int = 3  # 3: the nine offsets of a 3x3 window; 5: 17 of the 25 of a 5x5 window
    intra: bool = True  # without: the guide sees the edges alone and has no weight for f
    learned_kernels: bool = False  # learned instead of ideal-delay kernels


class FlowNetwork(nn.Module):
    """O: (i_t, i_{t-1}) -> m [N,2,h,w], backward motion from t to t-1 in 1/8-size pixels, channel 0 is x, 1 is y.

    Two stride-2 convolutions, then a hierarchical feature fusion block: dilations 1, 2, 4, 8 summed cumulatively.
    """

    dilations = (1, 2, 4, 8)

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise([0.5] * 6, [0.25] * 6)
        self.down1 = ConvBNReLU(6, 32, stride=2, slope=0.1)
        self.down2 = ConvBNReLU(32, 64, stride=2, slope=0.1)
        self.dilated = nn.ModuleList(ConvBNReLU(64, 64, dilation=d, slope=0.1) for d in self.dilations)
        self.fuse = ConvBNReLU(256, 64, kernel=1, slope=0.1)
        self.head = nn.Conv2d(64, 2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)  # start near "nothing moves"
        with torch.no_grad():
            self.head.bias.zero_()  # type: ignore[union-attr]

    def forward(self, current: Tensor, previous: Tensor) -> Tensor:
        x = self.down2(self.down1(self.normalise(torch.cat([current, previous], 1))))
        sums = [self.dilated[0](x)]
        for dilated in self.dilated[1:]:
            sums.append(sums[-1] + dilated(x))
        return resize(self.head(self.fuse(torch.cat(sums, 1)) + x), current)


class SegmentationWarp(nn.Module):
    """(S_{t-1} [N,C,h,w], m [N,2,h,w]) -> W [N,C,h,w], E [N,1,h,w]: see operations.segmentation_warp."""

    def forward(self, scores: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        return operations.segmentation_warp(scores, flow)


class IntraFeatures(nn.Module):
    """φ: i_t -> f [N,C,h,w], a crude segmentation of the current frame alone."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.normalise = Normalise([0.5] * 3, [0.25] * 3)
        self.layers = nn.Sequential(
            ConvBNReLU(3, 32), ConvBNReLU(32, 32), nn.Conv2d(32, classes, 3, padding=1)
        )

    def forward(self, current: Tensor) -> Tensor:
        f: Tensor = self.layers(self.normalise(current))
        return f


class Guide(nn.Module):
    """G: (f [N,C,h,w] or nothing, E [N,1,h,w]) -> Γ [N,weights,h,w], >= 0 and summing to one at every pixel."""

    def __init__(self, inputs: int, weights: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(inputs, 32)
        self.down1 = ConvBNReLU(32, 64, stride=2)
        self.down2 = ConvBNReLU(64, 128, stride=2)
        self.up1 = ConvBNReLU(128, 64)
        self.up2 = ConvBNReLU(64, 32)
        self.head = nn.Conv2d(32, weights, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        stem = self.stem(features)
        middle = self.down1(stem)
        x = self.up1(resize(self.down2(middle), middle))
        x = self.up2(resize(x, stem)) + stem
        return F.softmax(self.head(x), 1)


class GuidedFilter(nn.Module):
    """(W, f, Γ) -> S_t [N,C,h,w]: a weighted sum of W's neighbours and of f, the same weights for every class."""

    def __init__(self, window: int, learned: bool) -> None:
        super().__init__()
        self.offsets = operations.OFFSETS[window]
        self.kernels = nn.Parameter(operations.delay_kernels(window)) if learned else None

    def forward(self, warped: Tensor, intra: Tensor | None, weights: Tensor) -> Tensor:
        if self.kernels is not None:
            return operations.delay_convolution_filter(warped, intra, weights, self.kernels)
        if intra is None:  # the same filter, its last weight 0
            intra, weights = warped, F.pad(weights, (0, 0, 0, 0, 0, 1))
        return operations.guided_filter(warped, intra, weights)


class Propagation(nn.Module):
    """PF: (i_t, i_{t-1} [N,3,h,w], S_{t-1} [N,C,h,w]) -> S_t [N,C,h,w]."""

    def __init__(self, config: PropagationConfig) -> None:
        super().__init__()
        self.config = config
        kernels = len(operations.OFFSETS[config.window])
        self.flow = FlowNetwork()
        self.warp = SegmentationWarp()
        self.intra = IntraFeatures(config.classes) if config.intra else None
        self.guide = Guide(config.classes * config.intra + 1, kernels + config.intra)
        self.filter = GuidedFilter(config.window, config.learned_kernels)

    def forward(self, current: Tensor, previous: Tensor, scores: Tensor) -> Tensor:
        flow = self.flow(current, previous)
        warped, edges = self.warp(scores, flow)
        intra = self.intra(current) if self.intra is not None else None
        weights = self.guide(edges if intra is None else torch.cat([intra, edges], 1))
        propagated: Tensor = self.filter(warped, intra, weights)
        return propagated

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON values; `Propagation(PropagationConfig(**d))` builds the same network."""
        return asdict(self.config)
