"""A stand-in for onnxruntime-gpu: sessions of the real ONNX Runtime on the CPU, bound to the stand-in driver's memory.

A session's work reads and writes the memory that it is bound to when its turn comes on the user's stream. It has only
names and arguments that the real module has too (test_onnxruntime_gpu.py), and nothing that brings tensors to the host.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime import RunOptions, SessionOptions

from gsvnet_engine.backends.onnxruntime_gpu import PROVIDERS
from tests.cuda import standin

__all__ = [
    "IOBinding",
    "InferenceSession",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "get_available_providers",
]
__version__ = "1.31.1"

available = [PROVIDERS["tensorrt"], PROVIDERS["cuda"], "CPUExecutionProvider"]
working = list(available)  # what sessions get of it: less, where libraries are missing
sessions: "list[InferenceSession]" = []


def reset() -> None:
    available[:] = working[:] = [PROVIDERS["tensorrt"], PROVIDERS["cuda"], "CPUExecutionProvider"]
    sessions.clear()


def get_available_providers() -> list[str]:
    return available


class OrtValue:
    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> "OrtValue":
        if device_type == "cuda" and PROVIDERS["cuda"] not in working:
            raise RuntimeError("CUDA Provider not available, can't get interface for it")
        return OrtValue()


class IOBinding:
    def __init__(self, session: "InferenceSession") -> None:
        self._session = session
        self._constants: dict[str, NDArray[Any]] = {}
        self._bound: dict[tuple[str, str], tuple[Any, tuple[int, ...], int]] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: NDArray[Any]) -> None:
        self._constants[name] = arr_on_cpu

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        assert (device_type, str(device_id)) == ("cuda", self._session._device)
        self._bound["input", name] = element_type, tuple(shape), buffer_ptr

    def bind_output(
        self, name: str, device_type: str = "cpu", device_id: int = 0, element_type: Any = None,
        shape: Sequence[int] | None = None, buffer_ptr: int | None = None,
    ) -> None:  # fmt: skip
        assert (device_type, str(device_id)) == ("cuda", self._session._device)
        assert shape is not None and buffer_ptr is not None, (
            "ONNX Runtime would allocate it, and we should copy"
        )
        self._bound["output", name] = element_type, tuple(shape), buffer_ptr


class InferenceSession:
    def __init__(
        self,
        path_or_bytes: bytes,
        sess_options: SessionOptions | None = None,
        providers: Sequence[tuple[str, Mapping[str, str]]] | None = None,
        provider_options: None = None,
        **kwargs: Any,
    ) -> None:
        assert providers is not None and kwargs == {"enable_fallback": 0}
        self._providers = [name for name, _ in providers if name in working]
        self._options = dict(providers)
        own = providers[0][1]
        self._stream, self._device = int(own["user_compute_stream"]), own["device_id"]
        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._real = onnxruntime.InferenceSession(path_or_bytes, options, providers=["CPUExecutionProvider"])
        sessions.append(self)

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> Any:
        return self._real.get_inputs()

    def get_outputs(self) -> Any:
        return self._real.get_outputs()

    def io_binding(self) -> IOBinding:
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        assert run_options is not None
        assert run_options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        bound, constants = dict(iobinding._bound), dict(iobinding._constants)
        touched = [address for _, _, address in bound.values()]

        def compute() -> None:
            binding = self._real.io_binding()
            for name, array in constants.items():
                binding.bind_cpu_input(name, array)
            for (kind, name), (element_type, shape, address) in bound.items():
                bind = binding.bind_input if kind == "input" else binding.bind_output
                bind(name, "cpu", 0, element_type, shape, address)
            self._real.run_with_iobinding(binding)

        if not standin.load().enqueue(self._stream, compute, touched, once=True):
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
