"""What this machine is: processor, cores, and the versions of what runs on it."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Distributions whose versions matter in a report of a fault, or beside a measurement.
PACKAGES = (
    "numpy",
    "av",
    "typer",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt-rtx",
    "cuda-bindings",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-nvrtc-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-cu12",
    "torch",
    "onnx",
    "safetensors",
    "matplotlib",
)
_CPU_FEATURES = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
)
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def cpu() -> dict[str, Any]:
    """{"model", "features"} of the processor, as far as the system says."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {"model": platform.processor() or platform.machine(), "features": []}
    fields = dict(_field(line) for line in text.splitlines() if ":" in line)
    present = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name", platform.machine()),
        "features": [feature for feature in _CPU_FEATURES if feature in present],
    }


@cache
def computes_bf16() -> bool:
    """Whether the processor has bf16 instructions. Libraries take bf16 without them too, much slower than float32."""
    return not _BF16.isdisjoint(cpu()["features"])


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Processes that wanted a processor, on average of the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def packages() -> dict[str, str | None]:
    """PACKAGES with their versions; None: not installed."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _field(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()
