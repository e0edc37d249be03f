"""A real GPU. Every test here has the mark `gpu`, which a plain `pytest` leaves out: make check-gpu."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gsvnet_engine.backends import onnxruntime_gpu
from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.cuda.device import DeviceInfo, probe
from gsvnet_engine.errors import BackendError
from tests import toy_bundle
from tests.cuda import standin
from tests.gpu.kernels import Card
from tests.gpu.outside import Cupy, Kind, Outside, Torch
from tests.plugins.on_host import Host


@pytest.fixture(scope="session")
def card() -> DeviceInfo:
    """The first GPU. Skips where there is none, and where the stand-in has taken the driver's place."""
    if standin.load.cache_info().currsize:
        pytest.skip("the stand-in for the driver is loaded in this process: run these tests alone")
    try:
        return probe()[0]
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def on_card(card: DeviceInfo) -> Iterator[Card]:
    """The .cu kernels on the GPU."""
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except Exception as error:
        pytest.skip(f"NVRTC cannot be called: {error}")
    kernels = Card(card)
    yield kernels
    kernels.close()


@pytest.fixture(scope="session")
def host(card: DeviceInfo, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The same kernels on the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not there to compile the .cu kernels for the host")
    return Host(tmp_path_factory.mktemp("on_host"))


@pytest.fixture(scope="session")
def cuda_provider(card: DeviceInfo) -> None:
    """ONNX Runtime's CUDA provider."""
    try:
        onnxruntime_gpu.load("cuda", card.index)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def toy_tensorrt(card: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The toy's networks as kernels in TensorRT's place."""
    from tests.gpu import toy_tensorrt

    monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": toy_tensorrt.__version__})
    monkeypatch.setattr(generation, "load", lambda choice: toy_tensorrt)
    return toy_tensorrt


@pytest.fixture(params=["torch", "cupy"])
def outside(card: DeviceInfo, request: pytest.FixtureRequest) -> Outside:
    """Memory and streams of somebody else's."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    kinds: dict[str, type[Kind]] = {"torch": Torch, "cupy": Cupy}
    try:
        return Outside(kinds[request.param]())
    except Exception as error:
        pytest.skip(f"{request.param} has no GPU: {error}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


@pytest.fixture
def gpu(tmp_path: Path) -> GpuOptions:
    return GpuOptions(cache=tmp_path / "cache")
