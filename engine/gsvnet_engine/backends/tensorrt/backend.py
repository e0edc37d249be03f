"""The backend: finds the GPU and a TensorRT that serves it, makes plans ready, opens videos."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gsvnet_engine import bundle as names
from gsvnet_engine import kernels as native
from gsvnet_engine.backends.base import Float32, Signature, signature
from gsvnet_engine.backends.tensorrt import generation, plans
from gsvnet_engine.backends.tensorrt.cache import PlanCache, PlanKey
from gsvnet_engine.backends.tensorrt.engine import Engine
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.backends.tensorrt.order import Edge, settle
from gsvnet_engine.backends.tensorrt.runtime import Kernels, Video
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda import modules
from gsvnet_engine.cuda.device import Context, DeviceInfo, probe
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.errors import BackendError, OutputError, UsageError
from gsvnet_engine.geometry import Sizes

_loaded: set[Path] = set()  # plugin libraries: once a process


class TensorRT:
    """TensorRT on one GPU. Raises BackendError, saying what is missing, where that cannot be."""

    name = "tensorrt"
    precision = "f32"  # of float32 graphs; others bring their own
    on_device = True

    def __init__(self, options: GpuOptions | None = None) -> None:
        self.options = options or GpuOptions()
        self.device, self.choice = examine(self.options)
        self._trt = generation.load(self.choice)
        self._cache = PlanCache(self.options.cache_folder, self.options.cache_bytes)
        plugin = plugin_library(self.options)
        if self.choice.road == "plugin" and plugin is not None and plugin not in _loaded:
            self._trt.get_plugin_registry().load_library(str(plugin))
            _loaded.add(plugin)
        self._context = Context(self.device)  # last: nothing after it can fail and leave it retained

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> "TensorRTSession":
        """`threads` is for CPUs. Builds plans that are missing, and says so."""
        with self._context.current(), Scope() as scope:
            return TensorRTSession(self, bundle, sizes, scope)

    def build(self, bundle: Bundle, sizes: Sizes) -> list[PlanKey]:
        """Make every plan that a video of this size needs, unless it is there; their keys."""
        with self._context.current():
            graphs = names.KEYFRAME, self.choice.propagate_graph
            return [self._plan(bundle, self._signature(bundle, graph, sizes))[0] for graph in graphs]

    def engine(self, bundle: Bundle, graph: str, sizes: Sizes) -> tuple[Signature, Engine]:
        """The graph, ready to run. A plan that TensorRT does not take any more is built anew."""
        expected = self._signature(bundle, graph, sizes)
        where = str(bundle.path / graph)
        key, plan, cached = self._plan(bundle, expected)
        try:
            return expected, Engine(self._trt, plan, expected, where=where)
        except BackendError as error:
            if not cached:
                raise
            self.options.say(f"{error}; building its plan anew")
        self._cache.remove(key.stem)
        _, plan, _ = self._plan(bundle, expected)
        return expected, Engine(self._trt, plan, expected, where=where)

    def kernels(self, scope: Scope) -> Kernels:
        """The kernels that prepare frames and make labels, loaded."""
        prepare, labels = (
            scope.keep(modules.Module(self._image(operation), operation)) for operation in ("frame", "labels")
        )
        return Kernels(prepare=prepare.kernel("gsvnet_prepare"), labels=labels.kernel("gsvnet_labels"))

    @property
    def context(self) -> Context:
        return self._context

    def close(self) -> None:
        self._context.close()

    @cached_property
    def _images(self) -> dict[str, bytes]:
        return {}

    def _image(self, operation: str) -> bytes:
        if operation not in self._images:
            source = native.gpu_source(operation)
            self._images[operation] = modules.compile_source(source, self.device.architecture)
        return self._images[operation]

    def _signature(self, bundle: Bundle, graph: str, sizes: Sizes) -> Signature:
        return signature(graph, len(bundle.manifest.classes), sizes)

    def _plan(self, bundle: Bundle, expected: Signature) -> tuple[PlanKey, bytes, bool]:
        """(key, plan, whether it lay in the cache)."""
        graph = bundle.graph(expected.graph)
        key = self._key(bundle, expected, graph)
        plan = self._cache.get(key)
        if plan is not None:
            return key, plan, True
        where = f"{bundle.manifest.name} {expected.graph}"
        stale = self._cache.why_stale(key)
        if not self.options.build:
            why = f"the plan is stale ({stale})" if stale else "there is no plan for this GPU and size"
            raise BackendError(
                f"tensorrt: {where}: {why}, and --no-build forbids making one: run "
                f"gsvnet-engine build {bundle.path} --size WxH, or leave out --no-build"
            )
        reason = f" (the one there is stale: {stale})" if stale else ""
        self.options.say(
            f"building a plan of {where} for {self.device.name} with {self.choice.title}{reason}"
        )
        plan = self._build(bundle, expected, graph)
        try:
            self._cache.put(key, plan)
        except OutputError as error:
            self.options.say(f"{error}; it will be built again next time")
        return key, plan, False

    def _build(self, bundle: Bundle, expected: Signature, graph: bytes) -> bytes:
        title, capability = self.choice.title, self.device.capability
        plan, timing = plans.build(
            self._trt,
            graph,
            expected,
            where=str(bundle.path / expected.graph),
            precision=bundle.manifest.precision,
            progress=self.options.progress,
            timing_cache=None if self.choice.is_rtx else self._cache.timing(title, capability),
        )
        if timing is not None:
            self._cache.put_timing(title, capability, timing)
        return plan

    def _key(self, bundle: Bundle, expected: Signature, graph: bytes) -> PlanKey:
        plugin = plugin_library(self.options) if self.choice.road == "plugin" else None
        return PlanKey(
            bundle=bundle.manifest.name,
            graph=expected.graph,
            graph_sha256=hashlib.sha256(graph).hexdigest(),
            plugin_sha256="" if plugin is None else hashlib.sha256(plugin.read_bytes()).hexdigest(),
            tensorrt=self.choice.title,
            road=self.choice.road,
            capability=self.device.capability,
            gpu=self.device.name,
            precision=bundle.manifest.precision,
            shapes={**expected.inputs, **expected.constants},
        )


def examine(options: GpuOptions) -> tuple[DeviceInfo, generation.Choice]:
    """The GPU and the TensorRT that would be used. Raises BackendError, saying what is missing; loads no TensorRT."""
    devices = probe()
    if not 0 <= options.device < len(devices):
        shown = ", ".join(f"{device.index} ({device.name})" for device in devices)
        raise UsageError(f"GPU {options.device} is not there; there is {shown}")
    device = devices[options.device]
    plugin = plugin_library(options) is not None
    return device, generation.choose(device.capability, generation.installed(), plugin=plugin)


def plugin_library(options: GpuOptions) -> Path | None:
    """The one asked for, or the one that this build brings."""
    return options.plugin or native.tensorrt_plugins()


class TensorRTSession:
    """A bundle's networks for one set of sizes: as a Session, array by array, for evaluation; `video` for the rest."""

    def __init__(self, backend: TensorRT, bundle: Bundle, sizes: Sizes, scope: Scope) -> None:
        self._backend, self._bundle, self._sizes = backend, bundle, sizes
        self._scope = scope
        self._engines: dict[str, tuple[Signature, Engine]] = {}
        networks = self._engine(names.KEYFRAME), self._engine(backend.choice.propagate_graph)
        self.video = scope.keep(
            Video(
                backend.context,
                (networks[0][1], networks[1][1]),
                backend.kernels(scope),
                sizes,
                len(bundle.manifest.classes),
                ahead=backend.options.ahead,
                say=backend.options.say,
            )
        )

    def keyframe(self, frame: Float32) -> Float32:
        return self._run(names.KEYFRAME, frame=frame)[0]

    def propagate(self, current: Float32, previous: Float32, scores: Float32) -> Float32:
        graph = self._backend.choice.propagate_graph
        return self._run(graph, current=current, previous=previous, scores=scores)[0]

    def warp(self, current: Float32, previous: Float32, scores: Float32) -> tuple[Float32, Float32]:
        warped, flow = self._run(names.WARP_PLAIN, current=current, previous=previous, scores=scores)
        return warped, flow

    def close(self) -> None:
        with self._backend.context.quietly_current():
            self._scope.close()

    def _engine(self, graph: str) -> tuple[Signature, Engine]:
        if graph not in self._engines:
            expected, engine = self._backend.engine(self._bundle, graph, self._sizes)
            self._engines[graph] = expected, self._scope.keep(engine)
        return self._engines[graph]

    def _run(self, graph: str, **inputs: Float32) -> list[Float32]:
        """One graph from arrays to arrays, waiting for it."""
        self.video.settle()  # an engine runs on one stream at a time
        with self._backend.context.current(), _on_device(self.video.stream.settle) as tensors:
            expected, engine = self._engine(graph)
            for name, shape in expected.inputs.items():
                array = np.ascontiguousarray(inputs[name], np.float32)
                if array.shape != shape:
                    raise ValueError(f"{name} must be {list(shape)}, not {list(array.shape)}")
                tensors.put(name, array, self.video.stream)
            for name, shape in expected.outputs.items():
                tensors.room(name, shape)
            engine.enqueue(self.video.stream, tensors.addresses())
            for name in expected.outputs:
                tensors.fetch(name, self.video.stream)
            settle(Edge.ARRAYS_AFTER_RUN, self.video.stream)
            return [tensors.array(name, shape) for name, shape in expected.outputs.items()]


class _Tensors:
    """Named tensors, each on the device and in pinned memory."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._pairs: dict[str, tuple[DeviceBuffer, PinnedBuffer]] = {}

    def room(self, name: str, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape)) * 4
        pair = self._scope.keep(DeviceBuffer(size, name)), self._scope.keep(PinnedBuffer(size, name))
        self._pairs[name] = pair

    def put(self, name: str, array: Float32, stream: Any) -> None:
        self.room(name, array.shape)
        device, pinned = self._pairs[name]
        pinned.bytes.view(np.float32)[:] = array.ravel()
        device.upload(pinned, pinned.size, stream)

    def fetch(self, name: str, stream: Any) -> None:
        device, pinned = self._pairs[name]
        device.download(pinned, pinned.size, stream)

    def array(self, name: str, shape: tuple[int, ...]) -> Float32:
        return self._pairs[name][1].bytes.view(np.float32).reshape(shape).copy()

    def addresses(self) -> dict[str, int]:
        return {name: device.address for name, (device, _) in self._pairs.items()}


@contextmanager
def _on_device(settle: Callable[[], None]) -> Iterator[_Tensors]:
    """Tensors that are freed at the end, whatever happens, after the work on them."""
    scope = Scope()
    try:
        yield _Tensors(scope)
    except BaseException:
        with suppress(BackendError):  # the first error is the one to tell
            settle()
        raise
    finally:
        scope.close()
