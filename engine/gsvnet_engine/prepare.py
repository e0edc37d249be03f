"""Frame preparation: the one place that turns a frame's planes into what the graphs take, RGB float32 in 0..1.

Each plane is resampled from its stored samples straight to the target, then converted: nothing is rounded to 8 bits in
between, and no full-size RGB picture is made. The definition is plugins/kernels/frame/reference.py. Chroma counts as
sited in the middle of its pixels; a stream that sites it left is off by a quarter of a chroma sample, which at 1/8 size
nobody can see.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import kernels
from gsvnet_engine.frames import LUMA_WEIGHTS, Frame, Kind, Matrix

Float32 = NDArray[np.float32]


def current(frame: Frame, grid: tuple[int, int], *, threads: int | None = None) -> Float32:
    """i_t: the frame at `grid` (h, w), RGB float32 [1,3,h,w] in 0..1, each cell the mean of the area it covers."""
    return _prepare(frame, grid, "area", threads)


def keyframe(frame: Frame, size: tuple[int, int], *, threads: int | None = None) -> Float32:
    """The frame at `size` (H', W'), RGB float32 [1,3,H',W'] in 0..1, bilinear, antialiased when shrinking."""
    return _prepare(frame, size, "bilinear", threads)


def _prepare(frame: Frame, size: tuple[int, int], filter: kernels.Filter, threads: int | None) -> Float32:
    picture = np.empty((1, 3, *size), np.float32)
    for channel, plane in enumerate(frame.planes):
        shift = frame.chroma_shift if frame.kind == "yuv" and channel else (0, 0)
        extent = (frame.height / 2 ** shift[0], frame.width / 2 ** shift[1])
        kernels.resample(plane, extent, filter, picture[0, channel], threads=threads)
    if frame.kind == "gray":
        picture[0, 1:] = picture[0, 0]
    offset, matrix = conversion(frame.kind, frame.matrix, frame.full_range, frame.depth)
    kernels.convert(picture[0], offset, matrix, threads=threads)
    return picture


@cache
def conversion(kind: Kind, matrix: Matrix, full_range: bool, depth: int) -> tuple[Float32, Float32]:
    """(offset [3], matrix [3,3]) float32 with RGB in 0..1 = matrix (samples - offset), samples of `depth` bits."""
    step, most = 2.0 ** (depth - 8), 2.0**depth - 1
    black, luma, chroma = (0.0, most, most) if full_range else (16 * step, 219 * step, 224 * step)
    if kind != "yuv":
        return np.full(3, black, np.float32), (np.eye(3) / luma).astype(np.float32)
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    to_rgb = np.array(
        [
            [1, 0, 2 * (1 - red)],
            [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
            [1, 2 * (1 - blue), 0],
        ]
    )
    offset = np.array([black, 128 * step, 128 * step])
    return offset.astype(np.float32), (to_rgb / np.array([luma, chroma, chroma])).astype(np.float32)
