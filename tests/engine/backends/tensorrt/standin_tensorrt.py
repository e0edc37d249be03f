"""A stand-in for the tensorrt module: it runs the same ONNX through ONNX Runtime, on the stand-in driver's memory.

It has only names and arguments that the real tensorrt_rtx wheel has too (test_standin.py). A step reads its inputs and
writes its outputs when its turn comes on the stream, not when it is called; and an execution context has scratch memory
that two streams may not use at once. A plan is a line of JSON and the model, which libgsvnet's stand-in runs too
(tests/engine/capi/standin_plans.h).
"""

import ctypes
import json
from collections.abc import Sequence
from enum import Enum, IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tests.cuda import standin

__version__ = "11.4.0.106"
Shape = Sequence[int]


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    INT64 = 8


class TensorLocation(Enum):
    DEVICE = 0
    HOST = 1


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    TF32 = 7


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class ITensor:
    def __init__(self, info: onnx.ValueInfoProto) -> None:
        kind = info.type.tensor_type
        types: dict[int, DataType] = {
            int(onnx.TensorProto.FLOAT): DataType.FLOAT,
            int(onnx.TensorProto.INT64): DataType.INT64,
        }
        self.name = str(info.name)
        self.dtype = types.get(kind.elem_type, DataType.HALF)
        self.shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim)


class INetworkDefinition:
    def __init__(self) -> None:
        self._model = b""
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def desc(self) -> str:
        return self._text


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, list[ParserError]()

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            graph = onnx.load_from_string(model).graph
            if not graph.node:
                raise ValueError("no nodes")
        except Exception as error:
            self._errors.append(ParserError(f"in the stand-in's parser: {error}"))
            return False
        self._network._model = model
        self._network._inputs = [ITensor(info) for info in graph.input]
        self._network._outputs = [ITensor(info) for info in graph.output]
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._values: dict[str, tuple[int, ...]] = {}

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        assert tuple(min) == tuple(opt) == tuple(max)
        self._shapes[input] = tuple(opt)

    def set_shape_input(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        assert tuple(min) == tuple(opt) == tuple(max)
        self._values[input] = tuple(opt)


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialize(self) -> bytes:
        return self._data


class IBuilderConfig:
    def __init__(self) -> None:
        self.progress_monitor: IProgressMonitor | None = None
        self._profiles: list[IOptimizationProfile] = []
        self._flags = {BuilderFlag.TF32}
        self._timing = ITimingCache(b"")

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._data not in (b"", b"timings"):
            return False
        self._timing = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return ITimingCache(b"timings")


class Builder:
    """Counts what it has built in `built`."""

    built = 0

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        Builder.built += 1
        assert BuilderFlag.TF32 not in config._flags
        (profile,) = config._profiles
        if {tensor.name for tensor in network._inputs} != {*profile._shapes, *profile._values}:
            self._logger.log(ILogger.Severity.ERROR, "an input without a shape")
            return None
        if monitor := config.progress_monitor:
            monitor.phase_start("Building Engine", None, 2)
            monitor.phase_start("Timing", "Building Engine", 1)
            for step in range(2):
                monitor.step_complete("Building Engine", step)
            monitor.phase_finish("Timing")
            monitor.phase_finish("Building Engine")
        return _plan(network._model, profile._shapes, profile._values)


class ICudaEngine:
    def __init__(self, logger: ILogger, model: bytes, shapes: Any, values: Any) -> None:
        self._logger, self._model, self._shapes, self._values = logger, model, shapes, values
        graph = onnx.load_from_string(model).graph
        self._tensors: dict[str, ITensor] = {
            info.name: ITensor(info) for info in (*graph.input, *graph.output)
        }
        self._outputs = [info.name for info in graph.output]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if name in self._values else TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensors[name].dtype

    def create_runtime_config(self) -> "IRuntimeConfig":
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config: "IRuntimeConfig | None" = None) -> "IExecutionContext":
        return IExecutionContext(self, runtime_config)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            header, _, model = serialized_engine.partition(b"\n")
            shapes, values = (
                {name: tuple(sides) for name, sides in json.loads(header)[part].items()}
                for part in ("shapes", "values")
            )
        except Exception:
            self._logger.log(ILogger.Severity.ERROR, "the plan was made by another version")
            return None
        return ICudaEngine(self._logger, model, shapes, values)


class IRuntimeCache:
    """Of TensorRT-RTX: holds what contexts have compiled as they ran; counts all of that in `compilations`."""

    compilations = 0

    def __init__(self) -> None:
        self._data = b""

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels of "):
            return False
        self._data = blob
        return True

    def serialize(self) -> bytes:
        return self._data


class IRuntimeConfig:
    def __init__(self) -> None:
        self._cache: IRuntimeCache | None = None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache | None = None) -> bool:
        self._cache = cache
        return True


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, runtime_config: IRuntimeConfig | None = None) -> None:
        self._engine = engine
        self._cache = None if runtime_config is None else runtime_config._cache
        self.profiler: IProfiler | None = None
        self.enqueue_emits_profile = True
        self._addresses: dict[str, int] = {}
        self._scratch: dict[str, NDArray[Any]] = {}
        self._running = False

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        return bool(self._engine._shapes.get(name) == tuple(shape))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        engine = self._engine
        if name in engine._shapes:
            return tuple(engine._shapes[name])
        return _output_shapes(engine._model, _frozen(engine._shapes), _frozen(engine._values))[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._tensors:
            return False
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._addresses) != set(self._engine._tensors):
            self._engine._logger.log(ILogger.Severity.ERROR, "a tensor without an address")
            return False
        if self._cache is not None and not self._cache._data:
            IRuntimeCache.compilations += 1
            self._cache._data = b"kernels of " + str(len(self._engine._model)).encode()
        addresses = dict(self._addresses)
        driver = standin.load()
        if self.profiler is not None and self.enqueue_emits_profile:
            for i, name in enumerate(_layers(self._engine._model)):
                self.profiler.report_layer_time(name, (i + 1) / 1000)
        values = self._engine._values
        touched = [address for name, address in addresses.items() if name not in values]
        return driver.enqueue(stream_handle, lambda: self._read(addresses), touched) and driver.enqueue(
            stream_handle, lambda: self._compute(addresses), touched
        )

    def _read(self, addresses: dict[str, int]) -> None:
        assert not self._running, "one execution context on two streams at once"
        self._running = True
        engine = self._engine
        for name, shape in engine._shapes.items():
            self._scratch[name] = _array(addresses[name], shape, np.float32).copy()
        for name, value in engine._values.items():
            found = _array(addresses[name], (len(value),), np.int64).copy()
            assert tuple(found) == value, f"{name} is {found}, where the plan was built for {value}"
            self._scratch[name] = found

    def _compute(self, addresses: dict[str, int]) -> None:
        self._running = False
        engine = self._engine
        results = _session(engine._model).run(engine._outputs, self._scratch)
        for name, result in zip(engine._outputs, results, strict=True):
            _array(addresses[name], result.shape, np.float32)[:] = result


def _plan(model: bytes, shapes: Any, values: Any) -> bytes:
    outputs = _output_shapes(model, _frozen(shapes), _frozen(values))
    return json.dumps({"shapes": shapes, "values": values, "outputs": outputs}).encode() + b"\n" + model


def _array(address: int, shape: Shape, dtype: Any) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory: Any = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


@lru_cache(maxsize=8)
def _layers(model: bytes) -> tuple[str, ...]:
    """As TensorRT names what it runs: the nodes, those of local functions too, every second fused with the next."""
    loaded = onnx.load_from_string(model)
    bodies = {function.name: [node.name for node in function.node] for function in loaded.functions}
    names = [name for node in loaded.graph.node for name in bodies.get(node.op_type, [node.name])]
    return tuple(" + ".join(names[i : i + 2]) for i in range(0, len(names), 2))


@lru_cache(maxsize=8)
def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _frozen(shapes: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(shapes.items())


@lru_cache(maxsize=32)
def _output_shapes(model: bytes, shapes: Any, values: Any) -> dict[str, tuple[int, ...]]:
    feed: dict[str, Any] = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    feed.update({name: np.array(value, np.int64) for name, value in values})
    session = _session(model)
    names = [output.name for output in session.get_outputs()]
    return {n: r.shape for n, r in zip(names, session.run(names, feed), strict=True)}
