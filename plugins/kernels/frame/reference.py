"""Frame preparation in NumPy, float64: the definition that frame.cpp is tested against."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def prepare(
    planes: Sequence[NDArray[np.integer]],
    extents: list[tuple[float, float]],
    size: tuple[int, int],
    filter: str,
    offset: Array,
    matrix: Array,
) -> Array:
    """Planes of samples -> RGB [3,h,w] float64 in 0..1: resample each plane, convert, clip."""
    resampled = np.stack(
        [resample(plane, extent, size, filter) for plane, extent in zip(planes, extents, strict=True)]
    )
    converted = np.einsum("ij,jhw->ihw", matrix, resampled - offset[:, None, None])
    clipped: Array = np.clip(converted, 0, 1)
    return clipped


def resample(
    plane: NDArray[np.integer], extent: tuple[float, float], size: tuple[int, int], filter: str
) -> Array:
    """Samples [rows,columns] of which the picture covers `extent` -> float64 [h,w], by "area" or "bilinear"."""
    weigh = {"area": area_weights, "bilinear": bilinear_weights}[filter]
    plane = plane[: int(np.ceil(extent[0])), : int(np.ceil(extent[1]))]  # the rest is not of the picture
    down, across = (weigh(s, e, n) for s, e, n in zip(size, extent, plane.shape, strict=True))
    return down @ plane.astype(np.float64) @ across.T


def area_weights(outputs: int, extent: float, samples: int) -> Array:
    """[outputs, samples]: the share of output cell [i, i+1)*extent/outputs that sample [j, min(j+1, extent)) covers."""
    edges = np.arange(outputs + 1) * extent / outputs
    j = np.arange(samples)
    overlap = np.minimum(np.minimum(j + 1, extent), edges[1:, None]) - np.maximum(j, edges[:-1, None])
    return _normalised(np.maximum(overlap, 0))


def bilinear_weights(outputs: int, extent: float, samples: int) -> Array:
    """[outputs, samples]: a triangle about each output's centre, max(1, extent/outputs) wide to either side."""
    scale = extent / outputs
    centre = (np.arange(outputs)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(samples) + 0.5 - centre) / max(1.0, scale)
    return _normalised(np.maximum(1 - distance, 0))


def _normalised(weights: Array) -> Array:
    normalised: Array = weights / weights.sum(1, keepdims=True)
    return normalised
