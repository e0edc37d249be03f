"""The TensorRT plugins without TensorRT: their decisions, their kernels as host code, the adapter where headers are."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins import on_host

PLUGIN = on_host.ROOT / "plugins" / "tensorrt"
HERE = Path(__file__).parent
CPU_LOOPS = [on_host.KERNELS / name / f"{name}.cpp" for name in ("filter", "labels", "warp")]

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not there")


def run(program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plugins_decide_and_start_what_they_should(tmp_path: Path) -> None:
    program = tmp_path / "core"
    sources = (HERE / "tensorrt_core.cpp", PLUGIN / "enqueue.cu", *CPU_LOOPS)
    on_host.compile(program, *sources, flags=("-O1", "-fsanitize=address,undefined"))
    assert run(program) == "as decided\n"


def test_adapter_against_tensorrts_headers(tmp_path: Path) -> None:
    """By hand: TENSORRT_ROOT=... pytest. Needs CUDA's headers (/usr/local/cuda, or CUDA_HOME) as well."""
    headers = Path(os.environ.get("TENSORRT_ROOT", "/nowhere")) / "include"
    if not (headers / "NvInferRuntime.h").is_file():
        pytest.skip("TENSORRT_ROOT names no folder with include/NvInferRuntime.h")
    cuda = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
    program = tmp_path / "plugin"
    flags = ("-O1", "-fsanitize=address,undefined", "-isystem", str(headers), "-isystem", str(cuda))
    on_host.compile(program, HERE / "tensorrt_plugin.cpp", PLUGIN / "enqueue.cu", flags=flags)
    assert run(program) == "as TensorRT asks\n"
