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


def segmentation_warp(
    scores: Float32, flow: Float32, *, threads: int | None = None
) -> tuple[Float32, Float32]:
    """scores [N,C,h,w], flow [N,2,h,w] in cells, float32 -> warped [N,C,h,w], edges [N,1,h,w] float32.

    warped: scores at (x + flow_x, y + flow_y), bilinear, the border replicated; edges: sigmoid of the Laplacian of its
    best class. Equal to the bit to plugins/kernels/warp/reference.py for finite scores. Raises ValueError for other
    shapes.
    """
    _require("scores", scores, (None, None, None, None))
    n, classes, rows, columns = scores.shape
    _require("flow", flow, (n, 2, rows, columns))
    if classes > 256:
        raise ValueError(f"scores must be of at most 256 classes, not {classes}")
    scores, flow = np.ascontiguousarray(scores), np.ascontiguousarray(flow)
    warped, edges = np.empty_like(scores), np.empty((n, 1, rows, columns), np.float32)
    pointers = scores.ctypes.data, flow.ctypes.data
    if library().gsvnet_segmentation_warp(
        *pointers, *scores.shape, warped.ctypes.data, edges.ctypes.data, threads or 0
    ):
        raise MemoryError(f"no memory to warp scores of {list(scores.shape)}")
    return warped, edges


def guided_filter(
    warped: Float32, intra: Float32, weights: Float32, *, threads: int | None = None
) -> Float32:
    """warped, intra [N,C,h,w], weights [N,D+1,h,w], float32, D 9 or 17 -> [N,C,h,w] float32.

    sum over d of weights_d * warped(neighbour d, the border replicated) + weights_D * intra. Equal to the bit to
    plugins/kernels/filter/reference.py. Raises ValueError for other shapes.
    """
    _require("warped", warped, (None, None, None, None))
    n, _, rows, columns = warped.shape
    _require("intra", intra, warped.shape)
    _require("weights", weights, (n, None, rows, columns))
    if weights.shape[1] not in (10, 18):
        raise ValueError(f"weights must be [N,10,h,w] or [N,18,h,w], not {list(weights.shape)}")
    warped, intra, weights = (np.ascontiguousarray(a) for a in (warped, intra, weights))
    out = np.empty_like(warped)
    pointers = warped.ctypes.data, intra.ctypes.data, weights.ctypes.data
    if library().gsvnet_guided_filter(
        *pointers, *warped.shape, weights.shape[1] - 1, out.ctypes.data, threads or 0
    ):
        raise MemoryError(f"no memory to filter scores of {list(warped.shape)}")
    return out


def taps(filter: Filter, outputs: int, extent: float, samples: int) -> tuple[NDArray[np.int32], Float32]:
    """How `resample` weighs one axis: first [outputs] int32, weights [taps,outputs] float32, for frame.cu.

    Output i = sum over t of weights[t,i] * sample[first[i]+t]; taps that an output lacks weigh 0, and may lie beyond
    the last sample. Raises ValueError where `extent` samples cannot be covered by `samples`.
    """
    count = library().gsvnet_taps(_FILTERS[filter], outputs, extent, samples, None, None, 0)
    if count < 0:
        raise ValueError(f"{samples} samples cannot cover {extent} samples, for {outputs} outputs")
    first, weights = np.empty(outputs, np.int32), np.empty((count, outputs), np.float32)
    library().gsvnet_taps(
        _FILTERS[filter], outputs, extent, samples, first.ctypes.data, weights.ctypes.data, count
    )
    return first, weights


def _require(name: str, array: Float32, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        want in (None, size) for want, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.float32 or 0 in array.shape:
        wanted = ",".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must be float32 [{wanted}], not {array.dtype} {list(array.shape)}")


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
    native.gsvnet_segmentation_warp.argtypes = [pointer, pointer, *[i32] * 4, pointer, pointer, i32]
    native.gsvnet_guided_filter.argtypes = [*[pointer] * 3, *[i32] * 5, pointer, i32]
    native.gsvnet_taps.argtypes = [i32, i32, ctypes.c_double, i32, pointer, pointer, i32]
    native.gsvnet_instruction_set.restype = ctypes.c_char_p
    return native


def gpu_source(operation: str) -> Path:
    """The .cu file of an operation ("frame", "labels"), for NVRTC; its headers lie around it."""
    return _native(f"kernels/{operation}/{operation}.cu")


def tensorrt_plugins() -> Path | None:
    """The library of plugins/tensorrt; None where this build has none, for want of TensorRT's headers or nvcc."""
    library = _native("libgsvnet_tensorrt_plugins.so")
    return library if library.exists() else None


def _path() -> Path:
    return _native(_NAME)


def _native(name: str) -> Path:
    """Beside this file, or where an editable install put it."""
    beside = Path(__file__).parent / "_native" / name
    if beside.exists():
        return beside
    try:
        return Path(str(distribution("gsvnet-engine").locate_file(f"gsvnet_engine/_native/{name}")))
    except PackageNotFoundError:
        return beside
