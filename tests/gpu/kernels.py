"""The .cu kernels on the card: on_host.Host's names, its launches compiled by NVRTC and run there."""

import ctypes
from contextlib import closing
from typing import Any

import numpy as np

from gsvnet_engine import kernels as native
from gsvnet_engine.backends.tensorrt.picture import Layout, Preparer
from gsvnet_engine.cuda import modules
from gsvnet_engine.cuda.device import Context, DeviceInfo
from gsvnet_engine.cuda.driver import call
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size
from tests.plugins.on_host import Host, _box

Float32 = np.ndarray[Any, np.dtype[np.float32]]
OPERATIONS = ("filter", "frame", "labels", "warp")
_GUARD, _MARK = 256, 0xA5  # bytes after each array, which no kernel may touch


class Card(Host):
    """Arrays go to the device and come back at each launch; what lies behind them must be as before."""

    def __init__(self, info: DeviceInfo) -> None:
        self._scope = Scope()
        self.context = self._scope.keep(Context(info))
        with self.context.current():
            self._stream = self._scope.keep(Stream())
            self._modules = {
                operation: self._scope.keep(
                    modules.Module(
                        modules.compile_source(native.gpu_source(operation), info.architecture), operation
                    )
                )
                for operation in OPERATIONS
            }

    def kernel(self, name: str) -> modules.Kernel:
        operation = name.removeprefix("gsvnet_").partition("_")[0]
        operation = {"edges": "warp", "prepare": "frame"}.get(operation, operation)
        return self._modules[operation].kernel(name)

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Any) -> None:
        with self.context.current(), closing(Scope()) as scope:
            lent = [_Lent(scope, each, self._stream) for each in arguments if isinstance(each, np.ndarray)]
            taken = iter(lent)
            boxed = [
                ctypes.c_void_p(next(taken).device.address) if isinstance(each, np.ndarray) else _box(each)
                for each in arguments
            ]
            self._run(self.kernel(kernel), threads, boxed)
            for each in lent:
                each.fetch(self._stream)
            self._stream.settle()
            for each in lent:
                each.give_back(kernel)

    def prepare(self, item: Frame, size: Size, filter: native.Filter) -> Float32:
        """A frame through the engine's own Preparer: RGB float32 [1,3,h,w]."""
        layout = Layout.of(item)
        with self.context.current(), closing(Scope()) as scope:
            pinned = scope.keep(PinnedBuffer(layout.size, "a picture"))
            device = scope.keep(DeviceBuffer(layout.size, "a picture"))
            rgb: Float32 = np.full((1, 3, *size), np.nan, np.float32)
            out = _Lent(scope, rgb, self._stream)
            preparer = scope.keep(Preparer(self.kernel("gsvnet_prepare")))
            layout.pack(item, pinned.bytes)
            device.upload(pinned, layout.size, self._stream)
            planes = layout.planes(item, device.address)
            preparer.prepare(self._stream, item, planes, filter, size, out.device)
            out.fetch(self._stream)
            self._stream.settle()
            out.give_back("gsvnet_prepare")
            return rgb

    def close(self) -> None:
        with self.context.quietly_current():
            self._scope.close()

    def _run(self, kernel: modules.Kernel, threads: tuple[int, int, int], boxed: list[Any]) -> None:
        width, height, depth = threads
        if depth == 1:
            kernel.launch(self._stream, width, height, *boxed)
            return
        columns, rows = modules.BLOCK
        pointers = (ctypes.c_void_p * len(boxed))(*(ctypes.addressof(each) for each in boxed))
        call(
            "cuLaunchKernel", kernel._handle, -(-width // columns), -(-height // rows), depth, columns, rows, 1,
            0, self._stream.handle, ctypes.addressof(pointers), 0,
        )  # fmt: skip


class _Lent:
    """An array of the host on the device, guarded."""

    def __init__(self, scope: Scope, array: Any, stream: Stream) -> None:
        assert array.flags.c_contiguous
        self._array, size = array, array.nbytes
        self._pinned = scope.keep(PinnedBuffer(size + _GUARD, "an array"))
        self.device = scope.keep(DeviceBuffer(size + _GUARD, "an array"))
        self._pinned.bytes[:size] = array.reshape(-1).view(np.uint8)
        self._pinned.bytes[size:] = _MARK
        self.device.upload(self._pinned, size + _GUARD, stream)

    def fetch(self, stream: Stream) -> None:
        self.device.download(self._pinned, self._pinned.size, stream)

    def give_back(self, kernel: str) -> None:
        size = self._array.nbytes
        assert (self._pinned.bytes[size:] == _MARK).all(), f"{kernel} wrote beyond an array's end"
        self._array[...] = self._pinned.bytes[:size].view(self._array.dtype).reshape(self._array.shape)
