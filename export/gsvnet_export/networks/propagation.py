"""PF, the propagation network (GSVNet, section 3): flow, warp, intra features, edges, guide, guided filter.

One step turns (i_t, i_{t-1}, S_{t-1}) into S_t. i: RGB at 1/8 size, [N,3,h,w] float32 in 0..1. S: raw class scores
[N,C,h,w] float32. Every part holds for any h, w >= 1.
"""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsvnet_export.networks import operations
from gsvnet_export.networks.layers import ConvBNReLU, ConvOfTwo, Normalise, resize


@dataclass(frozen=True, kw_only=True)
class PropagationConfig:
    """Which PF. The defaults are the paper's; window, intra and learned_kernels serve its ablations (Tables 4 to 7);
    refined, residual, flow_refinements, sharpened, cubic and gated are ours."""

    classes: int
    window: int = 3  # 3: the nine offsets of a 3x3 window; 5: 17 of the 25 of a 5x5 window
    intra: bool = True  # without: the guide sees the edges alone and has no weight for f
    learned_kernels: bool = False  # learned instead of ideal-delay kernels
    refined: bool = False  # the guide, which sees further than φ, adds a correction to f
    residual: bool = False  # the guide sees what the flow does not explain: |i_t - warped i_{t-1}|
    flow_refinements: int = 0  # stages that correct the flow by matching the pictures, the last one finest
    sharpened: bool = False  # a correction of S_t, which sees W beside the pictures: what warping blurred
    cubic: bool = False  # the filter makes cubic samples of W's bilinear ones, as far as the guide says
    gated: bool = False  # the filter's weights are corrected by what they weigh: W and f

    def __post_init__(self) -> None:
        if self.refined and not self.intra:
            raise ValueError("refined corrects the intra features: it needs intra")
        if self.gated and not (self.intra and self.residual):
            raise ValueError(
                "gated weighs by the intra features and what the guide sees: it needs intra and residual"
            )
        if self.cubic and self.learned_kernels:
            raise ValueError("cubic adds to the weights of ideal-delay kernels: it needs learned_kernels off")


class FlowNetwork(nn.Module):
    """O: (i_t, i_{t-1}) -> m [N,2,h,w], backward motion from t to t-1 in 1/8-size pixels, channel 0 is x, 1 is y.

    Two stride-2 convolutions, then a hierarchical feature fusion block: dilations 1, 2, 4, 8 summed cumulatively.
    """

    dilations = (1, 2, 4, 8)

    def __init__(self, refinements: int = 0) -> None:
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
        self.refine = nn.ModuleList(FlowRefinement(last=n == refinements - 1) for n in range(refinements))

    def forward(self, current: Tensor, previous: Tensor) -> Tensor:
        flow = self._first(current, previous)
        for stage in self.refine:
            warped = operations.segmentation_warp(previous, flow)[0]
            flow = flow + stage(current, warped, flow)
        return flow

    def _first(self, current: Tensor, previous: Tensor) -> Tensor:
        x = self.down2(self.down1(self.normalise(torch.cat([current, previous], 1))))
        sums = [self.dilated[0](x)]
        for dilated in self.dilated[1:]:
            sums.append(sums[-1] + dilated(x))
        return resize(self.head(self.fuse(torch.cat(sums, 1)) + x), current)


_SEEN = 11  # channels that a refinement sees: two pictures, their difference, a flow


class FlowRefinement(nn.Module):
    """(i_t, i_{t-1} warped by m [N,3,h,w], m [N,2,h,w]) -> a correction of m [N,2,h,w], in cells.

    The flow network works at a quarter of the grid and compares nothing explicitly, so near things and their outlines
    keep an error of cells. Seeing i_{t-1} where m puts it leaves only that to be found (as in SpyNet, Ranjan and Black
    2017), and matching says where (a cost volume, as in PWC-Net, Sun et al. 2018): up to 6 cells away on pictures of
    half the grid's size, in the last stage one cell away on the grid itself.
    """

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.halved = not last
        self.match = Match(radius=1 if last else 3)
        self.enter = ConvBNReLU(
            _SEEN + self.match.offsets,
            32,
            stride=2 if last else 1,
            slope=0.1,
            convolution=partial(ConvOfTwo, first=_SEEN),
        )
        self.body = nn.ModuleList(ConvBNReLU(32, 32, dilation=d, slope=0.1) for d in (1, 2, 4))
        self.head = nn.Conv2d(32, 2, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # starts as no correction
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # After the concatenation, not before it: that TensorRT-RTX 1.7 cannot compile, behind a second warp.
        self.scale: Tensor
        self.shift: Tensor
        for name, values in (("scale", [4.0] * 9 + [0.25] * 2), ("shift", [2.0] * 6 + [0.0] * 5)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, current: Tensor, warped: Tensor, flow: Tensor) -> Tensor:
        now, before, motion = (half(x) if self.halved else x for x in (current, warped, flow))
        seen = torch.cat([now, before, now - before, motion], 1) * self.scale - self.shift
        x = self.enter(seen, self.match(now, before) * 4)
        for unit in self.body:
            x = x + unit(x)
        return resize(self.head(x), current)


class Match(nn.Module):
    """Pictures (now, before [N,3,h,w]) -> [N,(2 radius + 1)^2,h,w]: the probability of each offset of a square, by how
    well a 3x3 neighbourhood of `before` at that offset explains `now`. Rows first; the middle one is no motion."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius, side = radius, 2 * radius + 1
        self.offsets = side * side
        identity = torch.eye(self.offsets)
        # Convolutions all the way, [N,3 colours x offsets,h,w]: a fifth dimension costs runtimes a change of layout.
        self.shifts: Tensor
        self.copies: Tensor
        self.mean: Tensor
        self.all: Tensor
        for name, kernels in (
            ("shifts", identity.view(self.offsets, 1, side, side).repeat(3, 1, 1, 1)),
            ("copies", torch.ones(3 * self.offsets, 1, 1, 1)),
            ("mean", (identity / 3).repeat(1, 3)[:, :, None, None]),
            ("all", torch.ones(self.offsets, self.offsets, 1, 1)),
        ):
            self.register_buffer(name, kernels, persistent=False)
        self.sharpness = nn.Parameter(torch.tensor(30.0))

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        with torch.autocast(now.device.type, enabled=False):
            padded = F.pad(before.float(), (self.radius,) * 4, mode="replicate")
            shifted = F.conv2d(padded, self.shifts, groups=3)
            apart = (shifted - F.conv2d(now.float(), self.copies, groups=3)).abs()
            cost = F.conv2d(apart, self.mean)
            cost = F.avg_pool2d(F.pad(cost, (1,) * 4, mode="replicate"), 3, 1)
            likeness = (-self.sharpness * cost).exp()  # a softmax; cost <= 1, so that nothing underflows
            return likeness / F.conv2d(likeness, self.all)


def half(x: Tensor) -> Tensor:
    """[N,C,h,w] -> [N,C,ceil(h/2),ceil(w/2)], means of 2x2; the last row and column count twice where sizes are odd."""
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


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
    """G: features (f [N,C,h,w] or nothing, E [N,1,h,w]) -> Γ [N,weights,h,w], >= 0 and summing to one at every pixel.

    Ours: `pictures`, i_t and the warped i_{t-1} [N,3,h,w], show it what the flow does not explain; with `correction`
    channels it also corrects f, with `gated` (the classes) Γ by W, `warped` [N,C,h,w], and that f; with `gains` it says
    how far the filter makes cubic samples.

    Tried: W as one more feature. The training loss fell by 8 %, but because the corrected f came to repeat what was
    carried: cars that had left stayed (IoU of cars 71.7 instead of 77.1 four frames on, in mid-training). Hence Gate,
    which corrects the weights alone. And f as one more input of Sharpen: no lower loss in 100 steps.
    """

    def __init__(
        self, inputs: int, weights: int, correction: int = 0, *, gains: bool = False, gated: int = 0
    ) -> None:
        super().__init__()
        self.stem = ConvBNReLU(inputs, 32)
        self.down1 = ConvBNReLU(32, 64, stride=2)
        self.down2 = ConvBNReLU(64, 128, stride=2)
        self.up1 = ConvBNReLU(128, 64)
        self.up2 = ConvBNReLU(64, 32)
        self.head = nn.Conv2d(32, weights, 3, padding=1)
        self.correction = nn.Conv2d(32, correction, 3, padding=1) if correction else None
        self.gains = nn.Conv2d(32, 2, 3, padding=1) if gains else None
        if self.gains is not None:
            nn.init.zeros_(self.gains.weight)  # starts as the usual bicubic
            nn.init.zeros_(self.gains.bias)  # type: ignore[arg-type]
        self.gate = Gate(gated, weights) if gated else None

    def forward(
        self,
        features: list[Tensor],
        pictures: tuple[Tensor, Tensor] | None = None,
        warped: Tensor | None = None,
    ) -> "Guidance":
        intra = features[0]
        if pictures is not None:
            features = [*features, (pictures[0] - pictures[1]).abs() * 4]  # some 0..1
        x = torch.cat(features, 1)
        stem = self.stem(x)
        middle = self.down1(stem)
        x = self.up1(resize(self.down2(middle), middle))
        x = self.up2(resize(x, stem)) + stem
        logits = self.head(x)
        if self.correction is not None:
            intra = intra + self.correction(x)
        if self.gate is not None and pictures is not None and warped is not None:
            logits = logits + self.gate(warped, intra, *pictures)
        return Guidance(F.softmax(logits, 1), intra, None if self.gains is None else self.gains(x) + 1.5)


class Guidance(NamedTuple):
    """Γ [N,weights,h,w], the first of the features, corrected, and gains of operations.cubic_weights [N,2,h,w]."""

    weights: Tensor
    intra: Tensor
    gains: Tensor | None


class Gate(nn.Module):
    """(W, corrected f [N,C,h,w], i_t, warped i_{t-1} [N,3,h,w]) -> a correction of Γ's logits [N,weights,h,w].

    The guide does not see W: where f says road and the pictures differ, it cannot know whether W still says car there
    (a car that has left: f is right) or pole (too thin for f: W is).
    """

    def __init__(self, classes: int, weights: int) -> None:
        super().__init__()
        self.body = ConvBNReLU(2 * classes + 3, 32)
        self.head = nn.Conv2d(32, weights, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # starts as no correction
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, warped: Tensor, intra: Tensor, current: Tensor, before: Tensor) -> Tensor:
        seen = [warped, intra, (current - before).abs() * 4]
        correction: Tensor = self.head(self.body(torch.cat(seen, 1)))
        return correction


class Sharpen(nn.Module):
    """(W [N,C,h,w], i_t, warped i_{t-1} [N,3,h,w]) -> a correction of S_t [N,C,h,w].

    A bilinear sample between cells blurs, and a filter whose weights are >= 0 and sum to one blurs further, a little at
    each step. By where the picture has its outlines the scores find theirs again.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvBNReLU(classes + 6, 32), ConvBNReLU(32, 32))
        self.head = nn.Conv2d(32, classes, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # starts as no correction
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, warped: Tensor, current: Tensor, before: Tensor) -> Tensor:
        seen = [warped, current * 4 - 2, (current - before).abs() * 4]  # pictures in some -2..2
        correction: Tensor = self.head(self.body(torch.cat(seen, 1)))
        return correction


class GuidedFilter(nn.Module):
    """(W, f, Γ) -> S_t [N,C,h,w]: a weighted sum of W's neighbours and of f, the same weights for every class.

    Ours: with `cubic`, the flow and gains [N,2,h,w], weights that make cubic samples of W; with `sharpen` a correction
    of the sum, from W and `pictures`, i_t and the warped i_{t-1} [N,3,h,w].
    """

    def __init__(self, config: PropagationConfig) -> None:
        super().__init__()
        self.kernels = (
            nn.Parameter(operations.delay_kernels(config.window)) if config.learned_kernels else None
        )
        self.sharpen = Sharpen(config.classes) if config.sharpened else None

    def forward(
        self,
        warped: Tensor,
        intra: Tensor | None,
        weights: Tensor,
        pictures: tuple[Tensor, Tensor] | None = None,
        cubic: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        if cubic is not None:
            added = operations.cubic_weights(*cubic)
            if intra is not None:
                added = added * (1 - weights[:, -1:])  # W counts for the rest alone
            weights = torch.cat([weights[:, :9] + added, weights[:, 9:]], 1)
        scores = self._sum(warped, intra, weights)
        if self.sharpen is not None and pictures is not None:
            scores = scores + self.sharpen(warped, *pictures)
        return scores

    def _sum(self, warped: Tensor, intra: Tensor | None, weights: Tensor) -> Tensor:
        if self.kernels is not None:
            return operations.delay_convolution_filter(warped, intra, weights, self.kernels)
        if intra is None:  # the same filter, its last weight 0
            intra, weights = warped, F.pad(weights, (0, 0, 0, 0, 0, 1))
        return operations.guided_filter(warped, intra, weights)


class PropagationStep(NamedTuple):
    """S_t [N,C,h,w], the flow m [N,2,h,w] in cells, and f as the filter took it [N,C,h,w] (None without φ)."""

    scores: Tensor
    flow: Tensor
    intra: Tensor | None


class Propagation(nn.Module):
    """PF: (i_t, i_{t-1} [N,3,h,w], S_{t-1} [N,C,h,w]) -> S_t [N,C,h,w]."""

    def __init__(self, config: PropagationConfig) -> None:
        super().__init__()
        self.config = config
        kernels = len(operations.OFFSETS[config.window])
        self.flow = FlowNetwork(config.flow_refinements)
        self.warp = SegmentationWarp()
        self.intra = IntraFeatures(config.classes) if config.intra else None
        inputs = config.classes * config.intra + 1 + 3 * config.residual
        corrected = config.classes * config.refined
        gated = config.classes * config.gated
        self.guide = Guide(inputs, kernels + config.intra, corrected, gains=config.cubic, gated=gated)
        self.filter = GuidedFilter(config)

    def forward(self, current: Tensor, previous: Tensor, scores: Tensor) -> Tensor:
        return self.step(current, previous, scores).scores

    def step(self, current: Tensor, previous: Tensor, scores: Tensor) -> "PropagationStep":
        """One step with what it went through."""
        flow = self.flow(current, previous)
        warped, edges = self.warp(scores, flow)
        intra = self.intra(current) if self.intra is not None else None
        pictures = None
        if self.config.residual or self.config.sharpened:
            pictures = (current, self.warp(previous, flow)[0])
        guidance = self.guide(
            [edges] if intra is None else [intra, edges], pictures if self.config.residual else None, warped
        )
        intra = None if intra is None else guidance.intra
        cubic = None if guidance.gains is None else (flow, guidance.gains)
        return PropagationStep(self.filter(warped, intra, guidance.weights, pictures, cubic), flow, intra)

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON values; `Propagation(PropagationConfig(**d))` builds the same network."""
        return asdict(self.config)
