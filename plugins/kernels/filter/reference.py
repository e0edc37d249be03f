"""The guided filter in NumPy, float32: the definition that filter.cpp and filter.cu must equal to the bit."""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# (dy, dx): the 3x3 window; then the eight at distance 2 on axes and diagonals.
_NINE = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_EIGHT = [(dy, dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2) if (dy, dx) != (0, 0)]
OFFSETS = {9: _NINE, 17: _NINE + _EIGHT}


def guided_filter(warped: Float32, intra: Float32, weights: Float32) -> Float32:
    """(warped, intra [N,C,h,w], weights [N,D+1,h,w] float32; D 9 or 17) -> [N,C,h,w] float32.

    sum over d of weights_d * warped at neighbour d (the border replicated), in that order, + weights_D * intra.
    """
    rows, columns = warped.shape[2:]
    total = np.zeros_like(warped)
    for d, (dy, dx) in enumerate(OFFSETS[weights.shape[1] - 1]):
        y = (np.arange(rows) + dy).clip(0, rows - 1)
        x = (np.arange(columns) + dx).clip(0, columns - 1)
        term = weights[:, d : d + 1] * warped[:, :, y[:, None], x]
        total = total + term if d else term
    result: Float32 = total + weights[:, -1:] * intra
    return result
