"""Segmentation warp in NumPy, float32: what warp.cpp and warp.cu must equal to the bit, for finite scores."""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def segmentation_warp(scores: Float32, flow: Float32) -> tuple[Float32, Float32]:
    """(scores [N,C,h,w], flow [N,2,h,w] in cells, x then y; float32) -> warped [N,C,h,w], edges [N,1,h,w] float32.

    warped: scores at (x + flow_x, y + flow_y), bilinear, the border replicated; NaN flow counts as 0, 1e4 is the most.
    The blend: h0*(w0*a + w1*b) + h1*(w0*c + w1*d). edges: sigmoid of the Laplacian of argmax(warped), ties to the
    lowest.
    """
    rows, columns = scores.shape[2:]
    warped = np.empty_like(scores)
    for item, (planes, (flow_x, flow_y)) in enumerate(zip(scores, flow, strict=True)):
        left, right, w1 = _between(np.arange(columns, dtype=np.float32), flow_x, columns)
        top, bottom, h1 = _between(np.arange(rows, dtype=np.float32)[:, None], flow_y, rows)
        w0, h0 = np.float32(1) - w1, np.float32(1) - h1
        upper = w0 * planes[:, top, left] + w1 * planes[:, top, right]
        lower = w0 * planes[:, bottom, left] + w1 * planes[:, bottom, right]
        warped[item] = h0 * upper + h1 * lower
    return warped, edges(warped.argmax(1))


def edges(index: NDArray[np.integer]) -> Float32:
    """Classes [N,h,w] -> [N,1,h,w] float32: sigmoid of 8 times the centre less its neighbours; border replicated."""
    bordered = np.pad(index.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = index.shape[1:]
    window = [bordered[:, dy : dy + rows, dx : dx + columns] for dy in range(3) for dx in range(3)]
    return sigmoid(9 * window[4] - np.sum(window, 0))[:, None]


def sigmoid(steps: NDArray[np.integer]) -> Float32:
    """Of whole numbers, within 1e-6: exp(-n) as the product of exp(-1), exp(-2), exp(-4) ... in float32."""
    size = np.minimum(np.abs(steps), 127)
    e = np.ones(steps.shape, np.float32)
    for bit in range(7):
        e *= np.where(size >> bit & 1, np.exp(-(2.0**bit)), 1).astype(np.float32)
    result: Float32 = np.where(steps < 0, e, np.float32(1)) / (np.float32(1) + e)
    return result


def _between(
    positions: Float32, flow: Float32, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
    """The two cells that each position + flow lies between, and the weight of the second."""
    known = np.where(np.isnan(flow), np.float32(0), flow).clip(-1e4, 1e4)
    at = (positions + known).clip(0, cells - 1)
    first = at.astype(np.intp)
    return first, np.minimum(first + 1, cells - 1), at - first.astype(np.float32)
