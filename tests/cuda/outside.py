"""Somebody else's memory and stream on the stand-in's device: what pycuda, CuPy or torch would bring."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.cuda.driver import call, release
from gsvnet_engine.cuda.streams import Stream
from tests.cuda import standin

UInt8 = NDArray[np.uint8]


class OutsideArray:
    """uint8 on the device, with __cuda_array_interface__; freed when it is no longer referred to."""

    def __init__(self, shape: tuple[int, ...], stream: int | None = None) -> None:
        self.shape, self.stream = shape, stream
        self._size = int(np.prod(shape))
        self._pointer = call("cuMemAlloc", self._size)
        self.address = int(self._pointer)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": self.stream,
        }

    def host(self) -> UInt8:
        """The same memory as the host sees it: only on the stand-in."""
        memory: Any = (ctypes.c_uint8 * self._size).from_address(self.address)
        return np.frombuffer(memory, np.uint8).reshape(self.shape)

    def __del__(self) -> None:
        release("cuMemFree", self._pointer)


class OutsideStream:
    """A stream of somebody else's, on which pictures are written and labels read when their turn comes."""

    def __init__(self) -> None:
        self._stream = Stream()
        self.handle = int(self._stream.handle)

    def write(self, array: OutsideArray, picture: UInt8) -> None:
        self._put(array, lambda: np.copyto(array.host(), picture))

    def read(self, array: OutsideArray, into: list[UInt8]) -> None:
        self._put(array, lambda: into.append(array.host().copy()))

    def settle(self) -> None:
        self._stream.settle()

    def close(self) -> None:
        self._stream.drain()
        self._stream.close()

    def _put(self, array: OutsideArray, work: Any) -> None:
        standin.load().enqueue(self.handle, work, [array.address], once=True)


class _DLManagedTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class DLPackArray:
    """The same memory through DLPack alone. strides: in items; None: packed. Asked: the streams it was asked for."""

    def __init__(
        self, array: OutsideArray, shape: tuple[int, ...], *, offset: int = 0,
        strides: tuple[int, ...] | None = None, takes_stream: bool = True,
    ) -> None:  # fmt: skip
        self._array, self._takes_stream = array, takes_stream
        self.asked: list[int | None] = []
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * len(shape))(*strides)
        self._tensor = _DLManagedTensor(
            data=array.address, device_type=2, ndim=len(shape), code=1, bits=8, lanes=1, byte_offset=offset,
            shape=ctypes.cast(self._shape, ctypes.POINTER(ctypes.c_int64)),
        )  # fmt: skip
        if self._strides is not None:
            self._tensor.strides = ctypes.cast(self._strides, ctypes.POINTER(ctypes.c_int64))

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        if stream is not None and not self._takes_stream:
            raise NotImplementedError("as PyAV's planes")
        self.asked.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self._tensor), b"dltensor", None)
