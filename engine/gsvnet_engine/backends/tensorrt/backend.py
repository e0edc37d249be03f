"""The backend: finds the GPU and a TensorRT that serves it, makes plans ready, opens videos."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from gsvnet_engine import bundle as names
from gsvnet_engine import kernels as native
from gsvnet_engine.backends.base import Float32, Layer, Signature, signature
from gsvnet_engine.backends.tensorrt import generation, plans
from gsvnet_engine.backends.tensorrt.cache import PlanCache, PlanKey
from gsvnet_engine.backends.tensorrt.engine import Engine
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.backends.tensorrt.runtime import Kernels
from gsvnet_engine.backends.tensorrt.session import GpuSession, KernelImages
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.device import Context, DeviceInfo, find
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError, OutputError
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
        self._kernels = KernelImages(self.device)
        self._compiling: list[tuple[PlanKey, Engine, bytes]] = []
        self._context = Context(self.device)  # last: nothing after it can fail and leave it retained

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> GpuSession:
        """`threads` is for CPUs. Builds plans that are missing, and says so."""
        with self._context.current(), Scope() as scope:
            session = GpuSession(self, bundle, sizes, scope)
            self._keep_compiled()  # by their trial runs
            return session

    def build(self, bundle: Bundle, sizes: Sizes) -> list[PlanKey]:
        """Make every plan that a video of this size needs, unless it is there; their keys."""
        with self._context.current():
            graphs = names.KEYFRAME, self.propagate_graph
            return [self._plan(bundle, self._signature(bundle, graph, sizes))[0] for graph in graphs]

    def network(self, bundle: Bundle, graph: str, sizes: Sizes, stream: Stream) -> tuple[Signature, Engine]:
        """The graph, ready to run on any stream. A plan that TensorRT does not take any more is built anew."""
        expected = self._signature(bundle, graph, sizes)
        where = str(bundle.path / graph)
        key, plan, cached = self._plan(bundle, expected)
        try:
            return expected, self._engine(key, plan, expected, where)
        except BackendError as error:
            if not cached:
                raise
            self.options.say(f"{error}; building its plan anew")
        self._cache.remove(key.stem)
        _, plan, _ = self._plan(bundle, expected)
        return expected, self._engine(key, plan, expected, where)

    def profile(
        self, bundle: Bundle, sizes: Sizes, threads: int | None, inputs: Mapping[str, Float32], runs: int
    ) -> list[Layer]:
        """In a session of its own, whose steps the host waits for."""
        layers: list[Layer] = []
        session = self.open(bundle, sizes, threads)
        try:
            engine = session.networks[self.propagate_graph]
            assert isinstance(engine, Engine)
            engine.profile(self._trt, lambda name, ms: layers.append(Layer(name, _kind(name), ms)))
            session.propagation_ms(inputs, runs)
        finally:
            session.close()
        return layers

    def kernels(self, scope: Scope) -> Kernels:
        return self._kernels.load(scope)

    @property
    def context(self) -> Context:
        return self._context

    @property
    def title(self) -> str:
        return self.choice.title

    @property
    def propagate_graph(self) -> str:
        return self.choice.propagate_graph

    def close(self) -> None:
        self._context.close()

    def _engine(self, key: PlanKey, plan: bytes, expected: Signature, where: str) -> Engine:
        compiled = self._cache.compiled(key) if self.choice.is_rtx else None
        engine = Engine(self._trt, plan, expected, where=where, compiled=compiled)
        if compiled is not None:
            self._compiling.append((key, engine, compiled))
        return engine

    def _keep_compiled(self) -> None:
        """What TensorRT-RTX has compiled while its plans first ran, for the next process."""
        for key, engine, before in self._compiling:
            now = engine.compiled()
            if now and now != before:
                self._cache.put_compiled(key, now)
        self._compiling.clear()

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
    device = find(options.device)
    plugin = plugin_library(options) is not None
    return device, generation.choose(device.capability, generation.installed(), plugin=plugin)


def plugin_library(options: GpuOptions) -> Path | None:
    """The one asked for, or the one that this build brings."""
    return options.plugin or native.tensorrt_plugins()


def _kind(layer: str) -> str:
    """Of what the layer's first node is: TensorRT tells names alone. "flow/head/Conv + flow/head/Relu" -> "Conv"."""
    return layer.partition(" ")[0].rpartition("/")[2].partition("_")[0]
