"""Every .cu compiles for every GPU that is served, without spills: by nvcc, and by NVRTC for what nvcc 13 dropped."""

import ctypes
import importlib.util
import shutil
from pathlib import Path

import pytest

from docs import make_gpu_tables
from tests.plugins import on_host

SOURCES = [on_host.KERNELS / name / f"{name}.cu" for name in ("filter", "frame", "labels", "warp")]
NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="nvcc is not there")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nvcc_compiles_for_every_gpu_without_spills(source: Path) -> None:
    used = make_gpu_tables.compile_kernels(NVCC or "", source)
    assert {arch for _, arch in used} == set(make_gpu_tables.ARCHITECTURES)
    assert {kernel for kernel, _ in used} <= set(make_gpu_tables.KERNELS)
    assert all(use.spilled_bytes == 0 for use in used.values())


@pytest.mark.long
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nvrtc_compiles_for_pascal(source: Path) -> None:
    """GTX 1080 Ti, sm_61: what NVRTC 12.9, the last to know it, makes of the sources that are installed."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("nvidia-cuda-nvrtc-cu12 (217 MB) is not installed")
    (library,) = (Path(spec.submodule_search_locations[0]) / "lib").glob("libnvrtc.so.12")
    cubin = _nvrtc(ctypes.CDLL(str(library)), source, "sm_61")
    assert cubin.startswith(b"\x7fELF")
    for kernel in make_gpu_tables.kernels_of(source):
        assert kernel.encode() in cubin


def _nvrtc(nvrtc: ctypes.CDLL, source: Path, architecture: str) -> bytes:
    """The cubin of a .cu."""
    options = [f"--gpu-architecture={architecture}", "-fmad=false", "--std=c++17", f"-I{source.parent}"]
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    text, name = source.read_bytes(), source.name.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None) == 0
    status = nvrtc.nvrtcCompileProgram(program, len(options), given)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()
    assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
    cubin = ctypes.create_string_buffer(size.value)
    assert nvrtc.nvrtcGetCUBIN(program, cubin) == 0
    return cubin.raw
