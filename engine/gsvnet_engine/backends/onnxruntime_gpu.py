"""ONNX Runtime's CUDA and TensorRT execution providers: a second road on a GPU, for cards that TensorRT left behind.

Frames, state and labels are those of the tensorrt backend (GpuSession, Video). Only the networks differ: each is an
ONNX Runtime session whose work goes on our compute stream, and whose inputs and outputs are bound to our device memory,
so that S_t and i_{t-1} stay there. An H200 has confirmed the CUDA provider (tests/gpu), no card the TensorRT one.
"""

import ctypes
import hashlib
import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsvnet_engine import bundle as names
from gsvnet_engine.backends import FellBackError
from gsvnet_engine.backends.base import Signature, check_ports, one_line, signature, translated
from gsvnet_engine.backends.onnxruntime import FATAL_ONLY, ports
from gsvnet_engine.backends.tensorrt.cache import PlanCache, PlanKey
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.backends.tensorrt.runtime import Kernels
from gsvnet_engine.backends.tensorrt.session import GpuSession, KernelImages
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.device import Context, find
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError, BundleError, UsageError
from gsvnet_engine.geometry import Sizes

Kind = Literal["cuda", "tensorrt"]
Provider = tuple[str, dict[str, str]]  # name, options
PROVIDERS: Mapping[Kind, str] = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
MEND = "install gsvnet-engine[ort-gpu], or [ort-gpu-pascal] for GTX 10 and V100 (see docs/gpu-install.md)"
_NO_WAIT = "disable_synchronize_execution_providers"  # of a run: the stream orders what comes after it


class OnnxRuntimeGpu:
    """ONNX Runtime on one GPU. Raises BackendError, saying what is missing, where that cannot be."""

    precision = "f32"  # of float32 graphs; others bring their own
    on_device = True
    propagate_graph = names.PROPAGATE  # ONNX Runtime inlines its local functions

    def __init__(self, kind: Kind, options: GpuOptions | None = None) -> None:
        self.options, self.kind = options or GpuOptions(), kind
        self.device = find(self.options.device)
        if self.options.ahead:
            raise UsageError(f"--ahead is for the tensorrt backend, not for {self.name}")
        self._runtime = load(kind, self.device.index)
        self._kernels = KernelImages(self.device)
        self._context = Context(self.device)  # last: nothing after it can fail and leave it retained

    @property
    def name(self) -> str:
        return f"onnxruntime-{self.kind}"

    @property
    def title(self) -> str:
        """As people call it: ONNX Runtime 1.31.1 (CUDA)."""
        return f"ONNX Runtime {self._runtime.__version__} ({'CUDA' if self.kind == 'cuda' else 'TensorRT'})"

    @property
    def context(self) -> Context:
        return self._context

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> GpuSession:
        """`threads` is for CPUs."""
        with self._context.current(), Scope() as scope:
            return GpuSession(self, bundle, sizes, scope)

    def kernels(self, scope: Scope) -> Kernels:
        return self._kernels.load(scope)

    def network(
        self, bundle: Bundle, graph: str, sizes: Sizes, stream: Stream
    ) -> "tuple[Signature, BoundNetwork]":
        """The graph as a session whose work goes on `stream`."""
        expected = signature(graph, len(bundle.manifest.classes), sizes)
        data = bundle.graph(graph)
        return expected, BoundNetwork(
            self._runtime,
            data,
            expected,
            self._providers(bundle, expected, data, stream),
            where=str(bundle.path / graph),
            device=self.device.index,
        )

    def close(self) -> None:
        self._context.close()

    def _providers(self, bundle: Bundle, expected: Signature, graph: bytes, stream: Stream) -> list[Provider]:
        """In the order of preference; the CPU's is there for what computes shapes."""
        own = {"device_id": str(self.device.index), "user_compute_stream": str(int(stream.handle))}
        cuda = (PROVIDERS["cuda"], {**own, "use_tf32": "0"})
        providers: list[Provider] = [cuda, ("CPUExecutionProvider", {})]
        if self.kind == "cuda":
            return providers
        folder, precision = str(self._plans(bundle, expected, graph)), bundle.manifest.precision
        tensorrt = {
            **own,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_fp16_enable": str(int(precision == "fp16")),  # as permissions: the types lie in the graph
            "trt_int8_enable": str(int(precision == "int8")),
        }
        return [(PROVIDERS["tensorrt"], tensorrt), *providers]

    def _plans(self, bundle: Bundle, expected: Signature, graph: bytes) -> Path:
        """Where ONNX Runtime keeps its TensorRT plans of one graph: its names for them do not tell weights apart."""
        key = PlanKey(
            bundle=bundle.manifest.name,
            graph=expected.graph,
            graph_sha256=hashlib.sha256(graph).hexdigest(),
            plugin_sha256="",
            tensorrt=self.title,
            road="functions",
            capability=self.device.capability,
            gpu=self.device.name,
            precision=bundle.manifest.precision,
            shapes={**expected.inputs, **expected.constants},
        )
        cache = PlanCache(self.options.cache_folder, self.options.cache_bytes)
        if any(cache.lent(key).glob("*.engine")):
            return cache.lend(key)
        where = f"{bundle.manifest.name} {expected.graph}"
        if not self.options.build:
            raise BackendError(
                f"{self.name}: {where}: there is no plan for this GPU and size: leave out --no-build"
            )
        self.options.say(
            f"{where}: ONNX Runtime builds its TensorRT plans for {self.device.name}, which takes minutes"
        )
        return cache.lend(key)


class BoundNetwork:
    """A graph as an ONNX Runtime session on the GPU, bound to device memory. Shapes are those of `expected`."""

    capturable = False  # ONNX Runtime allocates as it runs

    def __init__(
        self,
        runtime: Any,
        graph: bytes,
        expected: Signature,
        providers: Sequence[Provider],
        *,
        where: str,
        device: int,
    ) -> None:
        """Raises BackendError where the session does not run on the first of `providers`."""
        self._where, self._device, self._expected = where, device, expected
        wanted = providers[0][0]
        options = runtime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        with translated(BundleError, f"{where}: onnxruntime cannot load it"), redirect_stdout(io.StringIO()):
            try:
                self._session = runtime.InferenceSession(
                    graph, options, providers=providers, enable_fallback=0
                )
            except Exception:  # ONNX Runtime raises where TensorRT is missing, and falls back where CUDA is
                check_provider(runtime, [], wanted, where, blame=False)
                raise
        check_provider(runtime, self._session.get_providers(), wanted, where)
        check_ports(where, ports(self._session.get_inputs()), ports(self._session.get_outputs()), expected)
        self._run_options = runtime.RunOptions()
        self._run_options.log_severity_level = FATAL_ONLY
        self._run_options.add_run_config_entry(_NO_WAIT, "1")
        self._binding = self._session.io_binding()
        for name, value in expected.constants.items():
            self._binding.bind_cpu_input(name, np.array(value, np.int64))

    def enqueue(self, stream: Stream, addresses: Mapping[str, int]) -> None:
        """Put it on the stream that its session was made for."""
        with translated(BackendError, f"{self._where}: onnxruntime failed"):
            for name, shape in self._expected.inputs.items():
                self._binding.bind_input(name, "cuda", self._device, np.float32, shape, addresses[name])
            for name, shape in self._expected.outputs.items():
                self._binding.bind_output(name, "cuda", self._device, np.float32, shape, addresses[name])
            try:
                self._session.run_with_iobinding(self._binding, self._run_options)
            except Exception as problem:
                if "no kernel image" in str(problem):
                    raise BackendError(
                        f"{self._where}: this onnxruntime-gpu has no kernels for this card: {MEND}"
                    ) from problem
                raise

    def close(self) -> None:
        """Free it; its work must be done."""
        self._binding = self._session = self._run_options = None


def load(kind: Kind, device: int = 0) -> Any:
    """The module onnxruntime, its provider shown to work on that GPU. Raises BackendError, saying what is missing."""
    try:
        runtime = import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise BackendError(f"onnxruntime-{kind}: is not installed: {MEND}") from error
    except ImportError as error:
        raise BackendError(
            f"onnxruntime-{kind}: is installed but does not load: {one_line(error)}"
        ) from error
    if PROVIDERS[kind] not in runtime.get_available_providers():
        raise BackendError(
            f"onnxruntime-{kind}: this onnxruntime {runtime.__version__} is built without {PROVIDERS[kind]}: "
            f"pip uninstall onnxruntime onnxruntime-gpu, which exclude each other, then {MEND}"
        )
    if kind == "tensorrt":
        with suppress(Exception):  # it loads its libnvinfer, which is on no path; another may be on one
            import_module("tensorrt")
    if hasattr(runtime, "preload_dlls"):  # from 1.21 on: CUDA and cuDNN of NVIDIA's wheels
        with redirect_stdout(io.StringIO()):  # it prints what it does not find; the next line raises it
            runtime.preload_dlls()
    try:
        runtime.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", device)
    except Exception as error:
        why = missing_library(runtime, kind="cuda") or one_line(error)
        raise FellBackError(f"onnxruntime-{kind}: its CUDA provider does not load: {why}; {MEND}") from error
    return runtime


def check_provider(
    runtime: Any, found: Sequence[str], wanted: str, where: str, *, blame: bool = True
) -> None:
    """Raise FellBackError where a session fell back from the provider `wanted`; `found`: its get_providers().

    blame: also where the provider's libraries are all there.
    """
    if wanted in found:
        return
    kind: Kind = "cuda" if wanted == PROVIDERS["cuda"] else "tensorrt"
    why = missing_library(runtime, kind=kind)
    if why is None and not blame:
        return
    raise FellBackError(
        f"{where}: onnxruntime {runtime.__version__} fell back from {wanted} to {', '.join(found) or 'nothing'}: "
        f"{why or 'it gives no reason'}; {MEND}"
    )


def missing_library(runtime: Any, *, kind: Kind) -> str | None:
    """What the system's loader says of a provider's library; None: nothing is wrong there.

    Only after ONNX Runtime itself has tried: loaded before it, the library would be unusable.
    """
    library = Path(runtime.__file__).parent / "capi" / f"libonnxruntime_providers_{kind}.so"
    if not library.exists():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return one_line(error)
    return None
