"""ONNX Runtime on the CPU, float32: the reference that other backends are held against."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from gsvnet_engine import bundle as names
from gsvnet_engine.backends.base import (
    Float32,
    GraphSession,
    Layer,
    Port,
    Runner,
    Session,
    Signature,
    check_ports,
    signature,
    translated,
)
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError, BundleError
from gsvnet_engine.geometry import Sizes

if TYPE_CHECKING:
    import onnxruntime

_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}
FATAL_ONLY = 4  # severity: every failure comes back as an exception, so nothing need be printed beside it


class OnnxRuntime:
    """Runs propagate.onnx (ONNX Runtime inlines its local functions) on the CPU provider."""

    name = "onnxruntime"
    precision = "f32"
    on_device = False

    def __init__(self) -> None:
        import onnxruntime

        if "CPUExecutionProvider" not in onnxruntime.get_available_providers():
            raise BackendError("onnxruntime: this build has no CPU provider; install gsvnet-engine[cpu]")
        self._runtime = onnxruntime

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> GraphSession:
        def load(expected: Signature) -> Runner:
            return self._load(bundle, expected, threads)

        return GraphSession(load, bundle, sizes, names.PROPAGATE)

    def open_lanes(self, bundle: Bundle, sizes: Sizes, lanes: int, threads: int | None) -> list[Session]:
        session = self.open(bundle, sizes, threads)  # it may be run by several threads
        return [session] * lanes

    def profile(
        self, bundle: Bundle, sizes: Sizes, threads: int | None, inputs: Mapping[str, Float32], runs: int
    ) -> list[Layer]:
        expected = signature(names.PROPAGATE, len(bundle.manifest.classes), sizes)
        with TemporaryDirectory() as folder:
            options = self._options(threads)
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
            data = bundle.graph(expected.graph)
            session = self._runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            for _ in range(runs):
                session.run(list(expected.outputs), dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text())
        return [
            Layer(event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], event["dur"] / 1e3)
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        ]

    def close(self) -> None:
        """Nothing is held."""

    def _options(self, threads: int | None) -> "onnxruntime.SessionOptions":
        options = self._runtime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads or 0  # 0: one for each physical core
        options.inter_op_num_threads = 1
        return options

    def _load(self, bundle: Bundle, expected: Signature, threads: int | None) -> Runner:
        where = str(bundle.path / expected.graph)
        options = self._options(threads)
        data = bundle.graph(expected.graph)
        with translated(BundleError, f"{where}: onnxruntime cannot load it"):
            session = self._runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        check_ports(where, ports(session.get_inputs()), ports(session.get_outputs()), expected)
        constants = {name: np.array(value, np.int64) for name, value in expected.constants.items()}
        outputs = list(expected.outputs)

        def run(inputs: dict[str, Float32]) -> Sequence[Float32]:
            with translated(BackendError, f"{where}: onnxruntime failed"):
                results: Sequence[Float32] = session.run(outputs, {**inputs, **constants})
            return results

        return run


def ports(args: "Sequence[onnxruntime.NodeArg]") -> list[Port]:
    return [
        Port(
            arg.name,
            [side if isinstance(side, int) and side > 0 else None for side in arg.shape],
            _TYPES.get(arg.type, arg.type),
        )
        for arg in args
    ]
