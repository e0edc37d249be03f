"""Somebody else's memory and streams on a real GPU: torch's and CuPy's, as tests/cuda/outside.py has the stand-in's."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
_TICKS = 300_000  # of the card's clock, some 0.2 ms


class Kind(Protocol):
    """Whose memory and streams they are."""

    def empty(self, shape: tuple[int, ...]) -> Any: ...

    def stream(self) -> "Any": ...

    def handle(self, stream: Any) -> int: ...

    def upload(self, array: Any, picture: UInt8, stream: Any) -> Any:
        """In the stream's order, late; what must live until then."""
        ...

    def download(self, array: Any, stream: Any) -> UInt8:
        """In the stream's order: an array that is filled by then."""
        ...

    def settle(self, stream: Any) -> None: ...

    def fetch(self, array: Any) -> UInt8:
        """When all work of the device is done."""
        ...


class Torch:
    def __init__(self) -> None:
        import torch

        self.torch: Any = torch
        self.torch.cuda.init()

    def empty(self, shape: tuple[int, ...]) -> Any:
        return self.torch.empty(shape, dtype=self.torch.uint8, device="cuda")

    def stream(self) -> Any:
        return self.torch.cuda.Stream()

    def handle(self, stream: Any) -> int:
        return int(stream.cuda_stream)

    def upload(self, array: Any, picture: UInt8, stream: Any) -> Any:
        pinned = self.torch.from_numpy(np.ascontiguousarray(picture)).pin_memory()
        with self.torch.cuda.stream(stream):
            self.torch.cuda._sleep(_TICKS)
            array.copy_(pinned, non_blocking=True)
        return pinned

    def download(self, array: Any, stream: Any) -> UInt8:
        pinned = self.torch.empty(tuple(array.shape), dtype=self.torch.uint8, pin_memory=True)
        with self.torch.cuda.stream(stream):
            pinned.copy_(array, non_blocking=True)
        found: UInt8 = pinned.numpy()
        return found

    def settle(self, stream: Any) -> None:
        stream.synchronize()

    def fetch(self, array: Any) -> UInt8:
        self.torch.cuda.synchronize()
        found: UInt8 = array.cpu().numpy()
        return found


class Cupy:
    def __init__(self) -> None:
        self.cupy: Any = import_module("cupy")
        self.cupyx: Any = import_module("cupyx")

    def empty(self, shape: tuple[int, ...]) -> Any:
        return self.cupy.empty(shape, self.cupy.uint8)

    def stream(self) -> Any:
        return self.cupy.cuda.Stream(non_blocking=True)

    def handle(self, stream: Any) -> int:
        return int(stream.ptr)

    def upload(self, array: Any, picture: UInt8, stream: Any) -> Any:
        pinned = self.cupyx.empty_pinned(picture.shape, np.uint8)
        pinned[...] = picture
        array.set(pinned, stream=stream)
        return pinned

    def download(self, array: Any, stream: Any) -> UInt8:
        found: UInt8 = self.cupyx.empty_pinned(array.shape, np.uint8)
        array.get(stream=stream, out=found, blocking=False)
        return found

    def settle(self, stream: Any) -> None:
        stream.synchronize()

    def fetch(self, array: Any) -> UInt8:
        self.cupy.cuda.Device().synchronize()
        found: UInt8 = array.get()
        return found


class Outside:
    """OutsideArray and OutsideStream of tests/cuda/outside.py, of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def array(self, shape: tuple[int, ...], stream: int | None = None) -> "Array":
        return Array(self.kind, shape, stream)

    def queue(self) -> "Queue":
        return Queue(self.kind)


class Array:
    """uint8 on the device, with __cuda_array_interface__."""

    def __init__(self, kind: Kind, shape: tuple[int, ...], stream: int | None = None) -> None:
        self.kind, self.shape, self.stream = kind, shape, stream
        self.memory = kind.empty(shape)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        found: dict[str, Any] = {**self.memory.__cuda_array_interface__, "stream": self.stream, "version": 3}
        return found

    def write(self, picture: UInt8) -> None:
        """At once."""
        stream = self.kind.stream()
        kept = self.kind.upload(self.memory, picture, stream)
        self.kind.settle(stream)
        del kept

    def read(self) -> UInt8:
        """When all work is done."""
        return self.kind.fetch(self.memory)


class Queue:
    """A stream on which pictures are written and labels read when their turn comes."""

    def __init__(self, kind: Kind) -> None:
        self._kind, self._stream = kind, kind.stream()
        self.handle = kind.handle(self._stream)
        self._kept = list[Any]()

    def write(self, array: Array, picture: UInt8) -> None:
        self._kept.append(self._kind.upload(array.memory, picture, self._stream))

    def read(self, array: Array, into: list[UInt8]) -> None:
        into.append(self._kind.download(array.memory, self._stream))

    def settle(self) -> None:
        self._kind.settle(self._stream)

    def close(self) -> None:
        self.settle()


@contextmanager
def memory_at(address: int, rows: int, columns: int, strides: tuple[int, int], kind: str) -> Iterator[Any]:
    """Device memory at an address as an array of torch's. kind: as NumPy's, "|u1"."""
    import torch

    class Memory:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (rows, columns),
            "typestr": kind,
            "data": (address, False),
            "strides": strides,
            "version": 2,
        }

    yield torch.as_tensor(Memory(), device="cuda")
