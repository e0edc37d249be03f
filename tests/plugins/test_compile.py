"""Every .cu compiles for every GPU that is served, without spills: by nvcc, and by NVRTC for what nvcc 13 dropped."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from docs import make_gpu_tables
from gsvnet_engine import kernels
from tests.plugins import on_host

SOURCES = [kernels.gpu_source(name) for name in ("filter", "frame", "labels", "warp")]
NVCC = shutil.which("nvcc")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_is_installed_is_what_lies_here(source: Path) -> None:
    for name in (source.name, "core.h"):
        here = on_host.KERNELS / source.stem / name
        assert (source.parent / name).read_text() == here.read_text()


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
    used = make_gpu_tables.compile_for_pascal(library, source)
    assert {kernel for kernel, _ in used} == set(make_gpu_tables.kernels_of(source))
    assert all(use.spilled_bytes == 0 for use in used.values())
