"""A machine with a GPU and TensorRT, both stand-ins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.cuda import modules
from tests import toy_bundle
from tests.cuda import standin
from tests.engine.backends.tensorrt import standin_tensorrt


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[standin.Driver]:
    """The stand-ins in place; nothing is asked of what a test leaves behind. Afterwards there is no GPU, as before."""
    driver = standin.load()
    driver.reset()
    monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": standin_tensorrt.__version__})
    monkeypatch.setattr(generation, "load", lambda choice: standin_tensorrt)
    # Kernels are compiled into the stand-in: an image is the operation's name.
    monkeypatch.setattr(modules, "compile_source", lambda source, architecture: source.stem.encode() + b"\0")
    yield driver
    driver.reset()
    driver.device(number=0)


@pytest.fixture
def driver(machine: standin.Driver) -> Iterator[standin.Driver]:
    """The same; nothing may be left over, used after it was freed, or swallowed."""
    yield machine
    assert machine.errors == []
    assert machine.violations == ""
    assert machine.alive == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


@pytest.fixture
def gpu(tmp_path: Path) -> GpuOptions:
    return GpuOptions(cache=tmp_path / "cache")
