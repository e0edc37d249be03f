"""A plan, ready to run: its tensors are checked once, its addresses are set, and it is put on a stream."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.backends.base import Signature, one_line
from gsvnet_engine.backends.tensorrt.plans import logger
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError


class Engine:
    """One plan and its execution context: never on two streams at once. Shapes are those of `expected`, fixed."""

    capturable = True

    def __init__(
        self, trt: Any, plan: bytes, expected: Signature, *, where: str, compiled: bytes | None = None
    ) -> None:
        """compiled: for TensorRT-RTX, which compiles kernels as it first runs a plan: what `compiled` gave before.

        Raises BackendError for a plan that this TensorRT or GPU does not take, or with other tensors.
        """
        self._where = where
        self._log = logger(trt)
        self._config: Any = None
        self._profiler: Any = None
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise self._failure("does not take the plan")
        self._compiled = None if compiled is None else self._use_compiled(compiled)
        self._context = self._make_context()
        if self._context is None:
            raise self._failure("has no room to run the plan")
        self._constants: list[NDArray[Any]] = []  # their host memory is read at each call
        self._check_names(expected)
        self._set_inputs(trt, expected)
        self._check_outputs(trt, expected)

    def enqueue(self, stream: Stream, addresses: Mapping[str, int]) -> None:
        """Put it on the stream, reading and writing device memory at `addresses` (tensor -> address)."""
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._failure(f"does not take the address of {name}")
        if not self._context.execute_async_v3(int(stream.handle)):
            raise self._failure("failed to run it")

    def profile(self, trt: Any, report: Callable[[str, float], None]) -> None:
        """From now on `report` gets each layer's name and milliseconds as it is run; the host waits for each run."""

        class Profiler(trt.IProfiler):  # type: ignore[misc]  # the module is chosen at run time
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        self._profiler = Profiler()  # TensorRT does not keep it alive itself
        self._context.enqueue_emits_profile = True
        self._context.profiler = self._profiler

    def compiled(self) -> bytes | None:
        """What TensorRT-RTX has compiled to run it so far; None for other TensorRTs."""
        return None if self._compiled is None else bytes(self._compiled.serialize())

    def close(self) -> None:
        """Free it; its work must be done. In this order: what was made from another goes first."""
        self._context = self._profiler = self._compiled = self._config = self._engine = self._runtime = None

    def _use_compiled(self, data: bytes) -> Any:
        self._config = self._engine.create_runtime_config()
        cache = self._config.create_runtime_cache()
        if data:
            cache.deserialize(data)  # refused where it is of another version, driver or card: begin anew
        return cache if self._config.set_runtime_cache(cache) else None

    def _make_context(self) -> Any:
        if self._compiled is None:
            return self._engine.create_execution_context()
        return self._engine.create_execution_context(self._config)

    def _check_names(self, expected: Signature) -> None:
        engine = self._engine
        found = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        wanted = {*expected.inputs, *expected.constants, *expected.outputs}
        if found != wanted:
            raise BackendError(
                f"{self._where}: its plan has {', '.join(sorted(found))}, not {', '.join(sorted(wanted))}: "
                "gsvnet-engine cache clear, and run again"
            )

    def _set_inputs(self, trt: Any, expected: Signature) -> None:
        for name, shape in expected.inputs.items():
            if not self._context.set_input_shape(name, shape):
                raise self._failure(f"does not take {name} {list(shape)}")
        for name, value in expected.constants.items():
            if self._engine.get_tensor_location(name) != trt.TensorLocation.HOST:
                raise self._failure(f"wants {name} on the device")
            narrow = self._engine.get_tensor_dtype(name) == trt.DataType.INT32  # 8.6 has no int64
            constant: NDArray[Any] = np.array(value, np.int32 if narrow else np.int64)
            self._constants.append(constant)
            self._context.set_tensor_address(name, constant.ctypes.data)

    def _check_outputs(self, trt: Any, expected: Signature) -> None:
        for name, shape in expected.outputs.items():
            found = tuple(self._context.get_tensor_shape(name))
            if found != shape or self._engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise BackendError(
                    f"{self._where}: {name} comes out as {list(found)} where the manifest's classes and sizes "
                    f"make it float32 {list(shape)}: export the bundle again"
                )

    def _failure(self, what: str) -> BackendError:
        """With TensorRT's own last words; memory has run out more often than not."""
        said = one_line(Exception(self._log.errors[-1])) if self._log.errors else "it gives no reason"
        return BackendError(f"{self._where}: TensorRT {what}: {said}")
