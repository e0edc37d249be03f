"""OpenVINO on the CPU: each graph compiled for its exact sizes, in a precision that is always stated.

OpenVINO does not know ONNX local functions. With the extension of plugins/openvino it knows the operations themselves,
and runs propagate.onnx on our kernels; without, the plain graph on its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from gsvnet_engine import bundle as names
from gsvnet_engine import kernels, machine
from gsvnet_engine.backends.base import (
    Float32,
    GraphSession,
    Layer,
    Port,
    Runner,
    Session,
    Signature,
    check_ports,
    one_line,
    signature,
    translated,
)
from gsvnet_engine.backends.model_cache import ModelCache, ModelKey
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError, BundleError
from gsvnet_engine.geometry import Sizes

if TYPE_CHECKING:
    import openvino

_TYPES = {"f32": "float32", "i64": "int64"}


class OpenVino:
    """Runs propagate.onnx with the extension, propagate.plain.onnx without it.

    `precision`: "f32", or "bf16" where the processor has it. Left alone, OpenVINO would choose bf16 by itself.
    `extension` False: as where it does not load. `no_extension`: why it is not used; None where it is. `models`: where
    compiled networks are kept for later processes.
    """

    name = "openvino"
    on_device = False

    def __init__(self, precision: str = "f32", *, extension: bool = True) -> None:
        import openvino

        self.precision = precision
        self._openvino = openvino
        self._core = _core()
        self.models: ModelCache | None = None
        self.no_extension = why_no_extension() if extension else "not wanted"
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("openvino: this processor has no bf16 arithmetic; use --cpu-precision f32")

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> GraphSession:
        def load(expected: Signature) -> Runner:
            return self.load(bundle, expected, threads)

        return GraphSession(load, bundle, sizes, self._propagate_graph(bundle, sizes, threads))

    def open_lanes(self, bundle: Bundle, sizes: Sizes, lanes: int, threads: int | None) -> list[Session]:
        compiled: dict[str, openvino.CompiledModel] = {}

        def load(expected: Signature) -> Runner:
            if expected.graph not in compiled:
                compiled[expected.graph] = self._compile(bundle, expected, threads, streams=lanes)
            return self._runner(bundle, expected, compiled[expected.graph])

        propagate = self._propagate_graph(bundle, sizes, threads, lanes)
        return [GraphSession(load, bundle, sizes, propagate) for _ in range(lanes)]

    def _propagate_graph(self, bundle: Bundle, sizes: Sizes, threads: int | None, streams: int = 1) -> str:
        """As `propagate_graph`, without reading it where it has been compiled before."""
        expected = signature(names.PROPAGATE, len(bundle.manifest.classes), sizes)
        if self.models is not None and self._key(bundle, expected, threads, streams) in self.models:
            return names.PROPAGATE
        return self.propagate_graph(bundle)

    def propagate_graph(self, bundle: Bundle) -> str:
        """The graph of PF to run: PROPAGATE where the extension knows its operations, else PROPAGATE_PLAIN."""
        if self.no_extension is None and self._knows(bundle.graph(names.PROPAGATE)):
            return names.PROPAGATE
        return names.PROPAGATE_PLAIN

    def _knows(self, graph: bytes) -> bool:
        try:
            self._core.read_model(graph)
        except Exception:  # whatever else is wrong with the bundle, the plain graph will say
            return False
        return True

    def close(self) -> None:
        """Nothing is held."""

    def profile(
        self, bundle: Bundle, sizes: Sizes, threads: int | None, inputs: Mapping[str, Float32], runs: int
    ) -> list[Layer]:
        expected = signature(self.propagate_graph(bundle), len(bundle.manifest.classes), sizes)
        request = self._compile(bundle, expected, threads, profiled=True).create_infer_request()
        found: list[Layer] = []
        for _ in range(runs):
            request.infer(dict(inputs))
            found += [
                Layer(layer.node_name, layer.node_type, layer.real_time.total_seconds() * 1e3)
                for layer in request.profiling_info
            ]
        return found

    def load(self, bundle: Bundle, expected: Signature, threads: int | None) -> Runner:
        """One graph, compiled."""
        return self._runner(bundle, expected, self._compile(bundle, expected, threads))

    def _runner(self, bundle: Bundle, expected: Signature, compiled: "openvino.CompiledModel") -> Runner:
        where = str(bundle.path / expected.graph)
        request = compiled.create_infer_request()
        outputs = list(expected.outputs)

        def run(inputs: dict[str, Float32]) -> Sequence[Float32]:
            # share_outputs stays off: S_t is fed back as the next input; that run must not overwrite it.
            with translated(BackendError, f"{where}: openvino failed"):
                results = request.infer(inputs, share_inputs=True, share_outputs=False)
                return [results[name] for name in outputs]

        return run

    def _compile(
        self,
        bundle: Bundle,
        expected: Signature,
        threads: int | None,
        *,
        streams: int = 1,
        profiled: bool = False,
    ) -> "openvino.CompiledModel":
        """threads: of each stream; with several streams, one where it is None."""
        where = str(bundle.path / expected.graph)
        data = bundle.graph(expected.graph)
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "PERF_COUNT": "YES" if profiled else "NO",
        }
        if not _int8_is_exact():
            settings["LP_TRANSFORMS_MODE"] = False
        if threads is not None or streams > 1:
            settings["INFERENCE_NUM_THREADS"] = (threads or 1) * streams
        if streams > 1:
            settings["NUM_STREAMS"] = streams
        if self.models is None or profiled:
            return self._made(data, where, expected, settings)
        key = self._key(bundle, expected, threads, streams)
        model = self._kept(self.models, key, settings)
        if model is None:
            model = self._made(data, where, expected, settings)
            self.models.put(key, model.export_model().getvalue())
        return model

    def _made(
        self, data: bytes, where: str, expected: Signature, settings: dict[str, str | int]
    ) -> "openvino.CompiledModel":
        with translated(BundleError, f"{where}: openvino cannot load it"):
            model = self._core.read_model(data)
            check_ports(where, _ports(model.inputs), _ports(model.outputs), expected)
            self._fix(model, expected)
            check_ports(where, _ports(model.inputs), _ports(model.outputs), _without_constants(expected))
            return self._core.compile_model(model, "CPU", settings)

    def _kept(
        self, models: ModelCache, key: ModelKey, settings: dict[str, str | int]
    ) -> "openvino.CompiledModel | None":
        blob = models.get(key)
        if blob is None:
            return None
        try:
            return self._core.import_model(BytesIO(blob), "CPU", settings)
        except RuntimeError:  # OpenVINO's only one
            models.reject(key)
            return None

    def _key(self, bundle: Bundle, expected: Signature, threads: int | None, streams: int) -> ModelKey:
        processor = machine.cpu()
        library = kernels.openvino_extension(_version()) if self.no_extension is None else None
        return ModelKey(
            bundle=bundle.manifest.name,
            graph=expected.graph,
            graph_sha256=hashlib.sha256(bundle.graph(expected.graph)).hexdigest(),
            extension_sha256="" if library is None else hashlib.sha256(library.read_bytes()).hexdigest(),
            runtime=f"OpenVINO {self._openvino.__version__}",
            processor=" ".join([processor["model"], *processor["features"]]),
            precision=self.precision,
            int8=_int8_is_exact(),
            threads=threads,
            streams=streams,
            shapes={**expected.inputs, **expected.constants},
        )

    def _fix(self, model: "openvino.Model", expected: Signature) -> None:
        """Make constant inputs part of the model, and give the others their sizes: no shape is dynamic."""
        for name, value in expected.constants.items():
            parameter = model.input(name).get_node()
            constant = self._openvino.opset13.constant(np.array(value, np.int64))
            parameter.output(0).replace(constant.output(0))
            model.remove_parameter(parameter)
        model.reshape({name: list(shape) for name, shape in expected.inputs.items()})


@cache
def _core() -> "openvino.Core":
    """The one Core of this process, which is never freed.

    Where the processor has AMX, OpenVINO's CPU plugin gives its thread a signal stack, and frees that with the last
    Core; the next Ctrl-C would then run on freed memory and end the process (2026.4.1).
    """
    import openvino

    return openvino.Core()


def _int8_is_exact() -> bool:
    """Whether 8-bit products add up without loss. AVX2 alone sums pairs in 16 bits, which overflow: of a toy network's
    labels 55 % came out otherwise than in float32. There what is quantised is computed in float32."""
    features = machine.cpu()["features"]
    return "avx2" not in features or "avx512_vnni" in features or "avx_vnni" in features


@cache
def why_no_extension() -> str | None:
    """None where the extension is loaded; else why not, in one line.

    It links one exact version of OpenVINO, which its file's name gives: another is never tried.
    """
    version = _version()
    library = kernels.openvino_extension(version)
    if library is None:
        return f"this installation was not built with OpenVINO {version}"
    try:
        _core().add_extension(str(library))
    except Exception as problem:
        return one_line(problem)
    return None


def _version() -> str:
    import openvino

    return str(openvino.__version__).partition("-")[0]


def _without_constants(expected: Signature) -> Signature:
    return Signature(expected.graph, expected.inputs, expected.outputs)


def _ports(ports: "Sequence[openvino.Output]") -> list[Port]:
    return [_port(port) for port in ports]


def _port(port: "openvino.Output") -> Port:
    name = port.get_any_name() if port.get_names() else "(unnamed)"
    type_name = port.get_element_type().get_type_name()
    shape = port.get_partial_shape()
    sides = (
        [None if side.is_dynamic else side.get_length() for side in shape] if shape.rank.is_static else None
    )
    return Port(name, sides, _TYPES.get(type_name, type_name))
