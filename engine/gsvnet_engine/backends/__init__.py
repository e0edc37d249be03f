"""The runtimes that can execute a bundle. None is imported before it is chosen."""

import warnings
from typing import TYPE_CHECKING

from gsvnet_engine.errors import BackendError, UsageError

if TYPE_CHECKING:
    from gsvnet_engine.backends.base import Backend
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

CPU_BACKENDS = ("openvino", "onnxruntime")
GPU_BACKENDS = ("tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt")
BACKENDS = (*GPU_BACKENDS, *CPU_BACKENDS)
_AUTO_GPU = ("tensorrt", "onnxruntime-cuda")  # in the order in which "auto" tries them, before CPU_BACKENDS
CPU_PRECISIONS = ("f32", "bf16")
MEND = "install gsvnet-engine[cpu] (see README, Install)"


class NotInstalledError(BackendError):
    """The runtime's package is not there at all."""


class FellBackError(BackendError):
    """A runtime that is made for this GPU would compute on the CPU instead."""


def choose(name: str = "auto", cpu_precision: str = "f32", gpu: "GpuOptions | None" = None) -> "Backend":
    """The backend of that name, or the first that this machine has, GPUs before CPUs. `gpu`: for GPU_BACKENDS.

    Raises BackendError, saying what to install, where there is none.
    """
    if cpu_precision not in CPU_PRECISIONS:
        raise UsageError(f"cpu precision must be one of {', '.join(CPU_PRECISIONS)}, not {cpu_precision!r}")
    if name in BACKENDS:
        return open_backend(name, cpu_precision, gpu)
    if name != "auto":
        raise UsageError(f"backend must be one of auto, {', '.join(BACKENDS)}, not {name!r}")
    if cpu_precision == "f32":
        for candidate in _AUTO_GPU:
            try:
                return open_backend(candidate, cpu_precision, gpu)
            except FellBackError as error:
                _tell(f"{error}; the CPU computes", gpu)
            except BackendError:
                continue  # no GPU, or nothing that serves it: `doctor` says why
    reasons = []
    for candidate in CPU_BACKENDS:
        try:
            return open_backend(candidate, cpu_precision)
        except BackendError as error:
            reasons.append(error)
    if all(isinstance(reason, NotInstalledError) for reason in reasons):
        raise BackendError(f"no inference runtime is installed: {MEND}")
    raise BackendError("; ".join(str(reason) for reason in reasons))


def _tell(line: str, gpu: "GpuOptions | None") -> None:
    """To whoever takes notes; a warning where nobody does."""
    if gpu is None:
        warnings.warn(line, RuntimeWarning, stacklevel=4)
    else:
        gpu.say(line)


def open_backend(name: str, cpu_precision: str, gpu: "GpuOptions | None" = None) -> "Backend":
    """One of BACKENDS.

    Raises BackendError where it is missing, broken or cannot compute in that precision.
    """
    if name in GPU_BACKENDS:
        return _open_on_gpu(name, cpu_precision, gpu)
    try:
        if name == "openvino":
            from gsvnet_engine.backends.openvino import OpenVino

            return OpenVino(cpu_precision)
        if cpu_precision != "f32":
            raise BackendError(
                f"onnxruntime: computes in f32 only; use the openvino backend for {cpu_precision}"
            )
        from gsvnet_engine.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime()
    except ModuleNotFoundError as error:
        if error.name != name:
            raise BackendError(f"{name}: needs {error.name}, which is missing: {MEND}") from error
        raise NotInstalledError(f"{name}: is not installed: {MEND}") from error
    except ImportError as error:
        raise BackendError(f"{name}: is installed but does not load: {error}") from error


def _open_on_gpu(name: str, cpu_precision: str, gpu: "GpuOptions | None") -> "Backend":
    if cpu_precision != "f32":
        raise BackendError(
            f"{name}: computes in the bundle's own precision; use the openvino backend for {cpu_precision}"
        )
    if name == "tensorrt":
        from gsvnet_engine.backends.tensorrt.backend import TensorRT

        return TensorRT(gpu)
    from gsvnet_engine.backends.onnxruntime_gpu import OnnxRuntimeGpu

    return OnnxRuntimeGpu("cuda" if name == "onnxruntime-cuda" else "tensorrt", gpu)
