"""What several networks share: normalisation, convolution units, resizing and pooling that export for any size."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normalise(nn.Module):
    """[N,C,H,W] float32 in 0..1 -> (x - mean) / std, channel order kept. Part of the network, hence of its graph."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, frame: Tensor) -> Tensor:
        return (frame - self.mean) / self.std


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvOfTwo(nn.Conv2d):
    """A convolution of two inputs, [N,a,h,w] and [N,b,h,w], as of their concatenation, which is not made: to bring both
    to one layout for it can take a runtime longer than the convolution itself. `first`: a."""

    def __init__(self, *given: Any, first: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self.first = first

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # type: ignore[override]
        of_first, of_second = self.weight[:, : self.first], self.weight[:, self.first :]
        one, other = (first, of_first, self.bias), (second, of_second, None)
        found: Tensor = self._conv_forward(*one) + self._conv_forward(*other)
        return found


class ConvBNReLU(nn.Sequential):
    """k x k convolution, batch norm, ReLU (LeakyReLU with `slope`); [N,i,h,w] -> [N,o,ceil(h/s),ceil(w/s)].

    convolution: nn.Conv2d, or a form of it that takes other inputs.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        slope: float = 0.0,
        convolution: Callable[..., nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__(
            convolution(
                inputs,
                outputs,
                kernel,
                stride,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                bias=False,
            ),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(slope) if slope else nn.ReLU(),
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        convolution, norm, activation = self
        x: Tensor = activation(norm(convolution(*inputs)))
        return x


class BNReLUConv(nn.Sequential):
    """Batch norm, ReLU, k x k convolution: the unit of SwiftNet's decoder."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias),
        )


def resize(x: Tensor, like: Tensor) -> Tensor:
    """[N,C,a,b] -> [N,C,h,w], bilinear with half-pixel centres, to the size of `like` [N,*,h,w]."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def _averaging_rows(bins: Tensor, length: Tensor, like: Tensor) -> Tensor:
    """[bins, length]: row i averages samples floor(i*length/bins) .. ceil((i+1)*length/bins): adaptive pooling."""
    i = torch.arange(bins)[:, None]  # type: ignore[call-overload]
    j = torch.arange(length)[None]  # type: ignore[call-overload]
    first = torch.div(i * length, bins, rounding_mode="trunc")
    end = torch.div((i + 1) * length + bins - 1, bins, rounding_mode="trunc")
    inside: Tensor = ((j >= first) & (j < end)).to(like)
    return inside / inside.sum(1, keepdim=True)


def pool_to_rows(x: Tensor, rows: int) -> Tensor:
    """[N,C,h,w] -> [N,C,r,c]: average pooling to r = min(rows, h) rows, c = (2*r*w + h) // (2*h) columns in proportion.

    Two weighted sums whose weights are built from the shape inside the graph, with integer arithmetic only: adaptive
    pooling exports for one size alone, and TensorRT cannot round a shape tensor. Sums and not matrix products, which
    TensorRT-RTX does not have in float32 for Turing; on these small maps they cost nothing.
    """
    h, w = _length(x, 2), _length(x, 3)
    r = torch.minimum(torch.tensor(rows), h)
    c = torch.clamp(torch.div(2 * r * w + h, 2 * h, rounding_mode="trunc"), min=1)
    c = torch.minimum(c, w)
    pooled = (x[:, :, None] * _averaging_rows(r, h, x)[:, :, None]).sum(3)  # [N,C,r,w]
    return (pooled[:, :, :, None] * _averaging_rows(c, w, x)).sum(4)


def _length(x: Tensor, dimension: int) -> Tensor:
    """The length of one dimension as an int64 scalar tensor, symbolic while a graph is traced."""
    length = x.shape[dimension]
    return length if isinstance(length, Tensor) else torch.tensor(length)


def load_matching(
    module: nn.Module, state: dict[str, Tensor], source: str, optional: Sequence[str] = ()
) -> list[str]:
    """Load `state`, which must fit `module` in names and shapes, or raise ValueError naming what does not fit.

    Entries that begin with one of `optional` may be missing or of another shape: they keep their values and are
    returned.
    Normalisation and batch counters may be missing: not every file has them.
    """
    own, given = module.state_dict(), dict(state)
    wrong = [name for name in own.keys() & given.keys() if own[name].shape != given[name].shape]
    missing = [
        name
        for name in own.keys() - given.keys()
        if "normalise." not in name and not name.endswith("num_batches_tracked")
    ]
    left = sorted(name for name in (*wrong, *missing) if name.startswith(tuple(optional)))
    faults = {
        "missing": sorted(set(missing) - set(left)),
        "unknown": sorted(given.keys() - own.keys()),
        "of another shape": sorted(set(wrong) - set(left)),
    }
    parts = [
        f"{what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)})"
        for what, names in faults.items()
        if names
    ]
    if parts:
        raise ValueError(f"{source} does not fit {type(module).__name__}: {'; '.join(parts)}")
    module.load_state_dict({name: value for name, value in given.items() if name not in left}, strict=False)
    return left
