"""Label upsampling in NumPy: the definition that labels.cpp must equal to the bit, for finite scores."""

import numpy as np
from numpy.typing import NDArray


def label_upsample(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """scores [C,h,w] float32 -> labels [H,W] uint8: bilinear, half-pixel centres, argmax, ties to the lowest class.

    The blend is float32 without fused multiply-add: h0*(w0*a + w1*b) + h1*(w0*c + w1*d).
    """
    classes, rows, columns = scores.shape
    top, bottom, h0, h1 = _between(height, rows)
    left, right, w0, w1 = _between(width, columns)
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for k in range(classes):  # one class at a time: all at once would take C x H x W floats
        across = w0 * scores[k][:, left] + w1 * scores[k][:, right]
        blended = h0[:, None] * across[top] + h1[:, None] * across[bottom]
        better = blended > best
        best[better], labels[better] = blended[better], k
    return labels


def _between(
    outputs: int, cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """For each output position: the two cells that it lies between, and their weights."""
    steps = 2 * outputs  # to a cell
    at = np.maximum((2 * np.arange(outputs, dtype=np.int64) + 1) * cells - outputs, 0)
    first = at // steps
    second = np.minimum(first + 1, cells - 1)
    weight = (at % steps).astype(np.float32) / np.float32(steps)
    return first, second, np.float32(1) - weight, weight
