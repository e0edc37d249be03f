"""Kernels compiled by the real NVRTC, where it is installed; what is said where it is not."""

from pathlib import Path

import pytest

from gsvnet_engine import kernels
from gsvnet_engine.cuda.modules import compile_source
from gsvnet_engine.errors import BackendError


@pytest.fixture
def nvrtc() -> None:
    module = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    try:
        module.nvrtcVersion()
    except Exception:
        pytest.skip("nvidia-cuda-nvrtc is not installed")


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["sm_75", "sm_86", "sm_89", "sm_120"])
@pytest.mark.parametrize("operation", ["frame", "labels"])
def test_machine_code_for_a_card(operation: str, architecture: str, nvrtc: None) -> None:
    image = compile_source(kernels.gpu_source(operation), architecture)
    assert image.startswith(b"\x7fELF") and b"gsvnet_" in image


@pytest.mark.long
def test_the_compilers_first_error(tmp_path: Path, nvrtc: None) -> None:
    source = tmp_path / "bad.cu"
    source.write_text("__global__ void f() { nonsense; }")
    with pytest.raises(BackendError, match=r"bad.cu does not compile for sm_86: .*identifier \"nonsense\""):
        compile_source(source, "sm_86")
    with pytest.raises(BackendError, match=r"for sm_20: .*; an older card needs nvidia-cuda-nvrtc-cu12"):
        compile_source(source, "sm_20")


def test_without_nvrtc(monkeypatch: pytest.MonkeyPatch) -> None:
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")

    def missing(*_: object) -> None:
        raise RuntimeError('Failure finding "libnvrtc.so"')

    monkeypatch.setattr(nvrtc, "nvrtcCreateProgram", missing)
    with pytest.raises(
        BackendError, match=r"kernels cannot be compiled \(Failure finding .*\); install gsvnet-engine\[gpu\]"
    ):
        compile_source(kernels.gpu_source("labels"), "sm_86")
