"""TensorRT's place on a real GPU, where it is not installed: the toy bundle's networks as kernels (toy.cu).

Everything but running is standin_tensorrt's. A step copies its inputs to scratch memory of its context, waits a little
there, and computes from that: work that comes too early, or on two streams at once, shows in what comes out.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gsvnet_engine.cuda import modules
from gsvnet_engine.cuda.device import find
from gsvnet_engine.cuda.memory import DeviceBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Stream
from tests import toy_bundle
from tests.engine.backends.tensorrt import standin_tensorrt
from tests.engine.backends.tensorrt.standin_tensorrt import (
    Builder,
    BuilderFlag,
    DataType,
    ILogger,
    IProfiler,
    IProgressMonitor,
    NetworkDefinitionCreationFlag,
    OnnxParser,
    TensorLocation,
)

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "ILogger",
    "IProfiler",
    "IProgressMonitor",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "Runtime",
    "TensorLocation",
]
__version__ = standin_tensorrt.__version__
WAIT_TICKS = 200_000  # of the card's clock, some 0.1 ms
pointer = ctypes.c_void_p


class Weights(ctypes.Structure):
    """Weights of toy.cu."""

    _fields_ = (
        ("key", ctypes.c_float * 12),
        ("bias", ctypes.c_float * 4),
        ("current", ctypes.c_float * 12),
        ("previous", ctypes.c_float * 12),
    )


@cache
def _image() -> bytes:
    return modules.compile_source(Path(__file__).with_name("toy.cu"), find(0).architecture)


def _weights() -> Weights:
    weights = Weights()
    weights.key[:] = toy_bundle._KEY.ravel().tolist()
    weights.bias[:] = toy_bundle._BIAS.tolist()
    weights.current[:] = toy_bundle._CURRENT.ravel().tolist()
    weights.previous[:] = toy_bundle._PREVIOUS.ravel().tolist()
    return weights


class Runtime(standin_tensorrt.Runtime):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        found = super().deserialize_cuda_engine(serialized_engine)
        if found is None:
            return None
        return ICudaEngine(found._logger, found._model, found._shapes, found._values)


class ICudaEngine(standin_tensorrt.ICudaEngine):
    def create_execution_context(self, runtime_config: Any = None) -> "IExecutionContext":
        return IExecutionContext(self)


class IExecutionContext(standin_tensorrt.IExecutionContext):
    """As TensorRT's: made, run and let go with the engine's context current."""

    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__(engine)
        self._sizes = {name: int(np.prod(shape)) for name, shape in engine._shapes.items()}
        self._weights = _weights()
        with Scope() as scope:
            self._owned = scope
            module = scope.keep(modules.Module(_image(), "toy.cu"))
            self._kernels = {
                name: module.kernel(f"toy_{name}")
                for name in ("copy", "wait", "keyframe", "propagate", "warp")
            }
            self._inputs = {
                name: scope.keep(DeviceBuffer(4 * size, name)) for name, size in self._sizes.items()
            }

    def __del__(self) -> None:
        if owned := self.__dict__.get("_owned"):
            owned.close()

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != set(self._engine._tensors):
            return False
        stream = Stream(external=stream_handle)
        out = {name: pointer(address) for name, address in self._addresses.items()}
        given = {name: pointer(buffer.address) for name, buffer in self._inputs.items()}
        for name, size in self._sizes.items():
            self._launch("copy", stream, size, 1, out[name], given[name], size)
        self._launch("wait", stream, 1, 1, WAIT_TICKS)
        if "frame" in given:
            height, width = self._engine._shapes["frame"][2:]
            rows, columns = self._engine._values["grid"]
            sides = height, width, out["scores"], rows, columns
            self._launch("keyframe", stream, columns, rows, given["frame"], *sides, self._weights)
            return True
        rows, columns = self._engine._shapes["scores"][2:]
        read = given["current"], given["previous"], given["scores"]
        if "flow" in out:
            self._launch("warp", stream, columns, rows, *read, out["warped"], out["flow"], rows, columns)
        else:
            wrote = out["propagated"]
            self._launch("propagate", stream, columns, rows, *read, wrote, rows, columns, self._weights)
        return True

    def _launch(self, name: str, stream: Stream, width: int, height: int, *arguments: Any) -> None:
        boxed = (_boxed(argument) for argument in arguments)
        self._kernels[name].launch(stream, width, height, *boxed)


def _boxed(argument: Any) -> modules.Argument:
    boxed: modules.Argument = ctypes.c_int(argument) if isinstance(argument, int) else argument
    return boxed
