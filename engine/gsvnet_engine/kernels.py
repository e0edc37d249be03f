"""The native kernels of plugins/kernels, called through ctypes: one library for every Python version, and no GIL held.

Arguments are checked here, so that no shape or type can reach native code that it does not expect.
"""

import ctypes
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.errors import BackendError
from gsvnet_engine.frames import Plane

_NAME = {"darwin": "libgsvnet_kernels.dylib", "win32": "gsvnet_kernels.dll"}.get(
    sys.platform, "libgsvnet_kernels.so"
)
_FILTERS = {"area": 0, "bilinear": 1}

Filter = Literal["area", "bilinear"]
Float32 = NDArray[np.float32]


class _CPlane(ctypes.Structure):
    """gsvnet_plane of gsvnet_kernels.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("bytes", ctypes.c_int32),
        ("shift", ctypes.c_int32),
        ("extent_rows", ctypes.c_double),
        ("extent_columns", ctypes.c_double),
    )


def resample(
    plane: Plane, extent: tuple[float, float], filter: Filter, out: Float32, *, threads: int | None = None
) -> None:
    """Fill `out` [h,w] float32 with the plane's samples (as numbers, not scaled), resampled.

    `extent`: how many rows and columns of samples the picture covers. "area": the mean over each output cell;
    "bilinear": a triangle filter, antialiased when shrinking. Raises ValueError for arrays of another kind.
    """
    data = plane.data
    if data.ndim != 2 or data.dtype not in (np.uint8, np.uint16) or 0 in data.shape:
        raise ValueError(
            f"a plane must be uint8 or uint16 [rows,columns], not {data.dtype} {list(data.shape)}"
        )
    if out.ndim != 2 or out.dtype != np.float32 or not out.flags.c_contiguous or 0 in out.shape:
        raise ValueError(f"out must be contiguous float32 [h,w], not {out.dtype} {list(out.shape)}")
    native = _CPlane(
        data.ctypes.data,
        *data.strides,
        *data.shape,
        data.itemsize,
        plane.shift,
        *extent,
    )
    status = library().gsvnet_resample(
        ctypes.byref(native), _FILTERS[filter], out.ctypes.data, *out.shape, threads or 0
    )
    if status:
        raise ValueError(
            f"a plane of {list(data.shape)} cannot cover {extent} samples shifted by {plane.shift}"
        )


def convert(planes: Float32, offset: Float32, matrix: Float32, *, threads: int | None = None) -> None:
    """In place: planes [3,h,w] float32 <- clip(matrix [3,3] (planes - offset [3]), 0, 1)."""
    if (
        planes.ndim != 3
        or planes.shape[0] != 3
        or planes.dtype != np.float32
        or not planes.flags.c_contiguous
    ):
        raise ValueError(
            f"planes must be contiguous float32 [3,h,w], not {planes.dtype} {list(planes.shape)}"
        )
    offset, matrix = (np.ascontiguousarray(a, np.float32) for a in (offset, matrix))
    if offset.shape != (3,) or matrix.shape != (3, 3):
        raise ValueError(
            f"offset must be [3] and matrix [3,3], not {list(offset.shape)} and {list(matrix.shape)}"
        )
    count = planes.shape[1] * planes.shape[2]
    if library().gsvnet_convert(
        planes.ctypes.data, count, offset.ctypes.data, matrix.ctypes.data, threads or 0
    ):
        raise ValueError("planes must not be empty")


def label_upsample(
    scores: Float32, height: int, width: int, *, threads: int | None = None
) -> NDArray[np.uint8]:
    """scores [C,h,w] float32 -> labels [height,width] uint8: bilinear, half-pixel centres, argmax; ties: lowest class.

    Equal to the bit to plugins/kernels/labels/reference.py for finite scores. Raises ValueError for other shapes.
    """
    if scores.ndim != 3 or scores.dtype != np.float32 or 0 in scores.shape or scores.shape[0] > 256:
        raise ValueError(
            f"scores must be float32 [C,h,w], C at most 256, not {scores.dtype} {list(scores.shape)}"
        )
    if height < 1 or width < 1:
        raise ValueError(f"labels must have at least one pixel, not {width}x{height}")
    scores = np.ascontiguousarray(scores)
    labels = np.empty((height, width), np.uint8)
    status = library().gsvnet_label_upsample(
        scores.ctypes.data, *scores.shape, labels.ctypes.data, height, width, width, threads or 0
    )
    if status:
        raise MemoryError(f"no memory to upsample labels to {width}x{height}")
    return labels


def instruction_set() -> str:
    """What the kernels run with on this processor: "avx512", "avx2" or "baseline". Raises BackendError without them."""
    name: bytes = library().gsvnet_instruction_set()
    return name.decode()


@cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises BackendError, naming the remedy, where it is missing or of another platform."""
    path = _path()
    try:
        native = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendError(
            f"{path}: the native kernels cannot be loaded ({error}); install gsvnet-engine anew"
        ) from error
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    native.gsvnet_resample.argtypes = [ctypes.POINTER(_CPlane), i32, pointer, i32, i32, i32]
    native.gsvnet_convert.argtypes = [pointer, i64, pointer, pointer, i32]
    native.gsvnet_label_upsample.argtypes = [pointer, i32, i32, i32, pointer, i32, i32, i64, i32]
    native.gsvnet_instruction_set.restype = ctypes.c_char_p
    return native


def _path() -> Path:
    """Beside this file, or where an editable install put it."""
    beside = Path(__file__).parent / "_native" / _NAME
    if beside.exists():
        return beside
    try:
        return Path(str(distribution("gsvnet-engine").locate_file(f"gsvnet_engine/_native/{_NAME}")))
    except PackageNotFoundError:
        return beside
