"""Device memory, pinned host memory, and views of device memory that somebody else owns."""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.cuda.driver import call, release
from gsvnet_engine.cuda.streams import Stream


class DeviceBuffer:
    """`size` bytes on the device, at `address`. `name` says in errors what it is for."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self._pointer: Any = call("cuMemAlloc", max(size, 1), doing=f"{size / 2**20:.1f} MiB for {name}")
        self.address = int(self._pointer)

    def upload(self, source: "PinnedBuffer", size: int, stream: Stream) -> None:
        """Copy the first `size` bytes from pinned memory, in the stream's order."""
        _fits(size, self.size, source.size)
        call("cuMemcpyHtoDAsync", self._pointer, source.address, size, stream.handle)

    def download(self, target: "PinnedBuffer", size: int, stream: Stream) -> None:
        """Copy the first `size` bytes to pinned memory, in the stream's order."""
        _fits(size, self.size, target.size)
        call("cuMemcpyDtoHAsync", target.address, self._pointer, size, stream.handle)

    def copy_from(self, source: "DeviceBuffer", stream: Stream) -> None:
        """Copy another buffer of the same size, in the stream's order."""
        if source.size != self.size:
            raise ValueError(f"copies {source.size} bytes into {self.size}")
        call("cuMemcpyDtoDAsync", self._pointer, source._pointer, self.size, stream.handle)

    def clear(self, stream: Stream) -> None:
        """Fill it with zeros, in the stream's order."""
        call("cuMemsetD8Async", self._pointer, 0, self.size, stream.handle)

    def copy_to(self, address: int, stream: Stream) -> None:
        """Copy it to device memory that somebody else owns, in the stream's order."""
        call("cuMemcpyDtoDAsync", address, self._pointer, self.size, stream.handle)

    def close(self) -> None:
        if self._pointer is not None:
            release("cuMemFree", self._pointer)
            self._pointer, self.address = None, 0


class PinnedBuffer:
    """`size` bytes of host memory that the device copies from and to by itself; `bytes` is uint8 [size] over it."""

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        doing = f"{size / 2**20:.1f} MiB of pinned host memory for {name}"
        self.address: int = int(call("cuMemHostAlloc", max(size, 1), 0, doing=doing))
        view: Any = (ctypes.c_uint8 * size).from_address(self.address)
        self.bytes: NDArray[np.uint8] = np.frombuffer(view, np.uint8)

    def close(self) -> None:
        if self.address:
            self.bytes = np.empty(0, np.uint8)
            release("cuMemFreeHost", self.address)
            self.address = 0


@dataclass(frozen=True, kw_only=True)
class DeviceArray:
    """Device memory that somebody else owns: shape, strides in bytes, dtype as numpy's. `owner` keeps it alive.

    stream: the handle of the stream whose work must come first; None: it is ready now.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any
    stream: int | None = None


def _fits(size: int, *limits: int) -> None:
    if not 0 <= size <= min(limits):
        raise ValueError(f"a copy of {size} bytes between buffers of {' and '.join(map(str, limits))}")
