"""The three operations that the graphs name (domain `gsvnet`), in plain torch: the definition that training uses.

While a graph is traced inside `named_operations()` each becomes one node; onnx_functions.py gives its body in
standard operators.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Offsets (dy, dx) of the ideal-delay kernels: a whole 3x3 window; the same nine and the eight at distance 2 (17 of 25).
_NINE = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
OFFSETS = {3: _NINE, 5: (*_NINE, *((dy, dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2) if (dy, dx) != (0, 0)))}

_LAPLACIAN = [[[[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]]]]

_named: ContextVar[bool] = ContextVar("named", default=False)


@contextmanager
def named_operations() -> Iterator[None]:
    """Within: tracing emits gsvnet::SegmentationWarp, GuidedFilter and LabelUpsample as single nodes."""
    token = _named.set(True)
    try:
        yield
    finally:
        _named.reset(token)


def segmentation_warp(scores: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """(scores [N,C,h,w], flow [N,2,h,w] in cells, x then y) -> warped [N,C,h,w], edges [N,1,h,w].

    warped: scores sampled at (x + flow_x, y + flow_y), bilinear, the border replicated. NaN flow counts as zero.
    edges: sigmoid of the 3x3 Laplacian of argmax(warped) as numbers (ties: lowest class); no gradient.
    """
    if _named.get():
        return _SegmentationWarp.apply(scores, flow)  # type: ignore[no-any-return,no-untyped-call]
    return segmentation_warp_body(scores, flow)


def segmentation_warp_body(scores: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    flow = torch.where(torch.isnan(flow), torch.zeros_like(flow), flow).float().clamp(-1e4, 1e4)
    h, w = scores.shape[2], scores.shape[3]
    x = torch.arange(w, dtype=flow.dtype, device=flow.device)[None, None] + flow[:, 0]
    y = torch.arange(h, dtype=flow.dtype, device=flow.device)[None, :, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], 3)
    warped = F.grid_sample(scores, grid, mode="bilinear", padding_mode="border", align_corners=False)
    index = warped.detach().argmax(1, keepdim=True).to(warped.dtype)
    index = F.pad(index, (1, 1, 1, 1), mode="replicate")
    laplacian = torch.tensor(
        _LAPLACIAN, dtype=index.dtype, device=index.device
    )  # new: a tracer's blocks share none
    return warped, torch.sigmoid(F.conv2d(index, laplacian))


def guided_filter(warped: Tensor, intra: Tensor, weights: Tensor) -> Tensor:
    """(warped, intra [N,C,h,w], weights [N,D+1,h,w]) -> [N,C,h,w]: neighbours of warped, and intra, weighted.

    sum_d weights_d(y,x) * warped(y+dy_d, x+dx_d) + weights_D(y,x) * intra(y,x)

    D is 9 or 17 (OFFSETS); neighbours outside are replicated. No convolution: one weighted sum a pixel (section 3.3).
    """
    if _named.get():
        return _GuidedFilter.apply(warped, intra, weights)  # type: ignore[no-any-return,no-untyped-call]
    return guided_filter_body(warped, intra, weights)


def guided_filter_body(warped: Tensor, intra: Tensor, weights: Tensor) -> Tensor:
    offsets = next(o for o in OFFSETS.values() if len(o) + 1 == int(weights.shape[1]))
    reach = max(dy for dy, _ in offsets)
    padded = F.pad(warped, (reach,) * 4, mode="replicate")

    def shifted(dy: int, dx: int) -> Tensor:
        top, left = reach + dy, reach + dx
        return padded[:, :, top : (top - 2 * reach) or None, left : (left - 2 * reach) or None]

    total = weights[:, :1] * shifted(*offsets[0])
    for d, (dy, dx) in enumerate(offsets[1:], start=1):
        total = total + weights[:, d : d + 1] * shifted(dy, dx)
    return total + weights[:, -1:] * intra


def cubic_weights(flow: Tensor, gains: Tensor) -> Tensor:
    """(flow [N,2,h,w] in cells, gains [N,2,h,w], x then y) -> what to add to the nine weights of W's neighbours,
    [N,9,h,w], summing to zero: bilinear samples become cubic ones.

    A bilinear sample at a fraction f between two cells is off by f (1 - f) / 2 of the second derivative, for which the
    second difference of W's own neighbours stands: taken off with a gain of 1 it gives Catmull and Rom's weights where
    f is a half, with 1.5 those of the usual bicubic (Keys 1981, a = -0.75).
    """
    fraction = flow - flow.floor()
    bend = gains * fraction * (1 - fraction) * 0.5
    x, y = bend[:, :1], bend[:, 1:]
    none = torch.zeros_like(x)
    return torch.cat([none, -y, none, -x, 2 * (x + y), -x, none, -y, none], 1)


def label_upsample(scores: Tensor, size: Tensor) -> Tensor:
    """(scores [N,C,h,w], size int64 [2] = H, W) -> labels uint8 [N,H,W]: bilinear, half-pixel centres, argmax."""
    if _named.get():
        return _LabelUpsample.apply(scores, size)  # type: ignore[no-any-return,no-untyped-call]
    return label_upsample_body(scores, size)


def label_upsample_body(scores: Tensor, size: Tensor) -> Tensor:
    full = F.interpolate(scores, size=(size[0], size[1]), mode="bilinear", align_corners=False)  # type: ignore[arg-type]
    return full.argmax(1).to(torch.uint8)


def delay_kernels(window: int) -> Tensor:
    """[D,1,window,window]: kernel d is one at offset d and zero elsewhere, the paper's ideal-delay kernels."""
    reach = window // 2
    kernels = torch.zeros(len(OFFSETS[window]), 1, window, window)
    for d, (dy, dx) in enumerate(OFFSETS[window]):
        kernels[d, 0, reach + dy, reach + dx] = 1.0
    return kernels


def delay_convolution_filter(
    warped: Tensor, intra: Tensor | None, weights: Tensor, kernels: Tensor
) -> Tensor:
    """The paper's own formulation (section 3.3): convolve every class with every kernel, then weigh chunk by chunk.

    kernels: [D,1,k,k]. With the ideal-delay kernels this equals guided_filter; it is kept for learned kernels.
    """
    n, classes, h, w = warped.shape
    reach = kernels.shape[-1] // 2
    planes = F.pad(warped.reshape(n * classes, 1, h, w), (reach,) * 4, mode="replicate")
    delayed = F.conv2d(planes, kernels).reshape(n, classes, len(kernels), h, w)
    total = (delayed * weights[:, None, : len(kernels)]).sum(2)
    return total if intra is None else total + weights[:, -1:] * intra


class _SegmentationWarp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        return segmentation_warp_body(scores, flow)

    @staticmethod
    def symbolic(g: Any, scores: Any, flow: Any) -> Any:
        warped, edges = g.op("gsvnet::SegmentationWarp", scores, flow, outputs=2)
        warped.setType(scores.type())
        edges.setType(scores.type().with_sizes([None, 1, None, None]))
        return warped, edges


class _GuidedFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, warped: Tensor, intra: Tensor, weights: Tensor) -> Tensor:
        return guided_filter_body(warped, intra, weights)

    @staticmethod
    def symbolic(g: Any, warped: Any, intra: Any, weights: Any) -> Any:
        return g.op("gsvnet::GuidedFilter", warped, intra, weights).setType(warped.type())


class _LabelUpsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, size: Tensor) -> Tensor:
        return label_upsample_body(scores, size)

    @staticmethod
    def symbolic(g: Any, scores: Any, size: Any) -> Any:
        byte = scores.type().with_dtype(torch.uint8).with_sizes([None, None, None])
        return g.op("gsvnet::LabelUpsample", scores, size).setType(byte)
