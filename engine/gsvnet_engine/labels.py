"""Scores to labels: what every segmented frame ends with."""

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import kernels


def upsample_labels(
    scores: NDArray[np.float32], height: int, width: int, *, threads: int | None = None
) -> NDArray[np.uint8]:
    """scores [C,h,w] float32 -> labels [height,width] uint8, at ratio height/h and width/w with half-pixel centres.

    Each pixel gets the class whose bilinearly interpolated score is largest (ties: the lowest); full-size scores are
    never made. Raises ValueError for arrays of another kind.
    """
    return kernels.label_upsample(scores, height, width, threads=threads)
