"""build, cache, and run on a GPU, as commands."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.cli import gpu, main
from gsvnet_engine.cuda import modules
from tests import media, toy_bundle
from tests.cuda import standin
from tests.engine.backends.tensorrt import standin_tensorrt

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[standin.Driver]:
    driver = standin.load()
    driver.reset()
    monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": standin_tensorrt.__version__})
    monkeypatch.setattr(generation, "load", lambda choice: standin_tensorrt)
    monkeypatch.setattr(modules, "compile_source", lambda source, architecture: source.stem.encode() + b"\0")
    monkeypatch.setenv("GSVNET_PLAN_CACHE", str(tmp_path / "cache"))
    yield driver
    assert (driver.errors, driver.violations, driver.alive) == ([], "", "")
    driver.device(number=0)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(toy_bundle.write(tmp_path / "toy"))


class TestBuild:
    def test_then_run_without_building(
        self, machine: standin.Driver, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        video = media.write_video(tmp_path / "a.mp4", height=48, width=64)
        command = ["run", str(video), "--bundle", folder, "-o", str(tmp_path / "a.jsonl"), "-q", "--force"]
        refused = main([*command, "--backend", "tensorrt", "--no-build"])
        assert refused == 6 and "--no-build forbids making one" in capsys.readouterr().err
        height, width = 48, 64
        assert main(["build", folder, "--size", f"{width}x{height}", "--size", "128x96", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert len(facts["plans"]) == 4 and facts["tensorrt"] == "TensorRT 11.4.0"
        assert main([*command, "--no-build", "--ahead", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["backend"] == "tensorrt" and report["frames"] == 12
        assert {"keyframe", "propagate", "adopt"} <= set(report["stages_ms"])

    def test_usage(self, machine: standin.Driver, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["build", folder, "--size", "720p"]) == 2
        assert "--size must be WIDTHxHEIGHT" in capsys.readouterr().err
        assert main(["build", folder, "--size", "64x48", "--plugin", "no/such.so"]) == 2
        assert main(["build", folder, "--size", "64x48", "--gpu", "2"]) == 2
        assert "GPU 2 is not there" in capsys.readouterr().err

    def test_without_a_gpu(self, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
        if os.path.exists("/proc/driver/nvidia/version"):  # noqa: PTH110
            pytest.skip("this machine has a GPU")
        assert main(["build", folder, "--size", "64x48"]) == 6
        assert "no NVIDIA GPU" in capsys.readouterr().err


def test_cache(
    machine: standin.Driver, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", folder, "--size", "64x48"]) == 0
    paths = capsys.readouterr().out.split()
    assert len(paths) == 2 and all(Path(path).is_file() for path in paths)
    assert main(["cache", "ls"]) == 0
    text = capsys.readouterr().out
    assert (
        "toy-keyframe-24x32" in text
        and "TensorRT 11.4.0, Stand-in GPU, fp32" in text
        and "2 plans and 0 compiled" in text
    )
    assert main(["cache", "ls", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["plans"]) == 2
    assert main(["cache", "clear"]) == 0
    assert "2 plans and 0 compiled networks removed" in capsys.readouterr().out
    assert main(["cache", "ls"]) == 0
    assert "0 plans" in capsys.readouterr().out


class TestDoctor:
    def test_names_the_road(self, machine: standin.Driver, capsys: pytest.CaptureFixture[str]) -> None:
        machine.device(capability=(6, 1), name="GeForce GTX 1080 Ti")
        assert "this card needs TensorRT 8.6" in self._gpu(capsys)
        machine.device(capability=(8, 6), name="GeForce RTX 3090")
        found = self._gpu(capsys)
        assert "GeForce RTX 3090 (compute capability 8.6, 8 GiB, driver for CUDA 13.0)" in found
        assert "TensorRT 11.4.0, road functions: the plugin library is not there" in found

    def _gpu(self, capsys: pytest.CaptureFixture[str]) -> str:
        assert main(["doctor"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if " GPU " in line)


def test_progress_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(3):
        gpu.show_progress("/bundle/keyframe.onnx", done, 2)
    written = capsys.readouterr().err
    assert "building keyframe.onnx:  50%" in written and written.endswith("\r")
