"""Frames on the device: how planes lie packed in one buffer, and the kernel that turns them into what the graphs take.

The arithmetic is that of prepare.py, to the bit: same tables, same sums (plugins/kernels/frame/frame.cu).
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import kernels
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.modules import Kernel
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.frames import DevicePlane, Frame
from gsvnet_engine.geometry import Size
from gsvnet_engine.prepare import conversion

_ALIGNMENT = 256  # bytes between the starts of planes


class _Axis(ctypes.Structure):
    """gsvnet::Axis of plugins/kernels/frame/core.h."""

    _fields_ = (
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("taps", ctypes.c_int),
        ("samples", ctypes.c_int),
    )


class _SourcePlane(ctypes.Structure):
    """gsvnet::SourcePlane."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("item_stride", ctypes.c_longlong),
        ("row_stride", ctypes.c_longlong),
        ("pixel_stride", ctypes.c_longlong),
        ("rows", _Axis),
        ("columns", _Axis),
        ("bytes", ctypes.c_int),
        ("shift", ctypes.c_int),
    )


class _Preparation(ctypes.Structure):
    """gsvnet::Preparation."""

    _fields_ = (
        ("planes", _SourcePlane * 3),
        ("offset", ctypes.c_float * 3),
        ("matrix", ctypes.c_float * 9),
    )


@dataclass(frozen=True)
class Layout:
    """Where each plane of a frame starts in one buffer, packed row by row; `size` bytes in all."""

    starts: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, frame: Frame) -> "Layout":
        starts, end = [], 0
        for plane in frame.planes:
            starts.append(end)
            end += -(-plane.data.nbytes // _ALIGNMENT) * _ALIGNMENT
        return cls(tuple(starts), end)

    def pack(self, frame: Frame, into: NDArray[np.uint8]) -> None:
        """Copy the frame's planes, whatever their strides, into a buffer uint8 [size or more]."""
        for start, plane in zip(self.starts, frame.planes, strict=True):
            data = plane.data
            packed = into[start : start + data.nbytes].view(data.dtype).reshape(data.shape)
            np.copyto(packed, data)

    def planes(self, frame: Frame, address: int) -> tuple[DevicePlane, ...]:
        """The planes as they then lie on the device, the buffer being at `address`."""
        return tuple(
            DevicePlane(
                address=address + start,
                rows=plane.data.shape[0],
                columns=plane.data.shape[1],
                row_stride=plane.data.shape[1] * plane.data.itemsize,
                pixel_stride=plane.data.itemsize,
                itemsize=plane.data.itemsize,
                shift=plane.shift,
            )
            for start, plane in zip(self.starts, frame.planes, strict=True)
        )


class Preparer:
    """Planes on the device -> RGB float32 [1,3,h,w] in 0..1 on the device. Always on the same stream.

    Keeps the tables of every size that it met: they come to the device in that stream's order.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._tables: dict[tuple[kernels.Filter, int, float, int], _Table] = {}

    def prepare(
        self,
        stream: Stream,
        frame: Frame,
        planes: Sequence[DevicePlane],
        filter: kernels.Filter,
        size: Size,
        out: DeviceBuffer,
    ) -> None:
        """Fill `out` [3,h,w], in the stream's order. `planes`: the frame's, wherever they lie on the device."""
        height, width = size
        job = _Preparation()
        for channel in range(3):
            plane = planes[channel if len(planes) == 3 else 0]
            shift = frame.chroma_shift if frame.kind == "yuv" and channel else (0, 0)
            extent = frame.height / 2 ** shift[0], frame.width / 2 ** shift[1]
            job.planes[channel] = _SourcePlane(
                plane.address, 0, plane.row_stride, plane.pixel_stride,
                self._axis(filter, height, extent[0], plane.rows, stream),
                self._axis(filter, width, extent[1], plane.columns, stream),
                plane.itemsize, plane.shift,
            )  # fmt: skip
        offset, matrix = conversion(frame.kind, frame.matrix, frame.full_range, frame.depth)
        job.offset[:] = offset.tolist()
        job.matrix[:] = matrix.ravel().tolist()
        address, rows, columns = ctypes.c_void_p(out.address), ctypes.c_int(height), ctypes.c_int(width)
        self._kernel.launch(stream, width, height, job, address, rows, columns)

    def close(self) -> None:
        for table in self._tables.values():
            table.close()
        self._tables.clear()

    def _axis(
        self, filter: kernels.Filter, outputs: int, extent: float, samples: int, stream: Stream
    ) -> _Axis:
        key = filter, outputs, extent, samples
        if key not in self._tables:
            self._tables[key] = _Table(*kernels.taps(filter, outputs, extent, samples), stream)
        return self._tables[key].axis(samples)


class _Table:
    """first and weights of kernels.taps, on the device, and in the pinned memory that they are copied from."""

    def __init__(self, first: NDArray[np.int32], weights: NDArray[np.float32], stream: Stream) -> None:
        self._taps, self._split = len(weights), first.nbytes
        data = np.concatenate([first.view(np.uint8), weights.ravel().view(np.uint8)])
        with Scope() as scope:
            self._scope = scope
            self._buffer = scope.keep(DeviceBuffer(data.nbytes, "resampling tables"))
            pinned = scope.keep(PinnedBuffer(data.nbytes, "resampling tables"))
            pinned.bytes[:] = data
            self._buffer.upload(pinned, data.nbytes, stream)

    def axis(self, samples: int) -> _Axis:
        address = self._buffer.address
        return _Axis(address, address + self._split, self._taps, samples)

    def close(self) -> None:
        self._scope.close()
