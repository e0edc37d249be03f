"""build, cache, and run on a GPU, as commands."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.backend import TensorRT
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench import parts
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cli import gpu, main
from gsvnet_engine.cuda import modules
from gsvnet_engine.geometry import Sizes
from tests import media, toy_bundle
from tests.cuda import standin
from tests.engine.backends.tensorrt import standin_tensorrt
from tests.engine.evaluation import scenes

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


class TestEvaluate:
    def test_as_on_the_cpu(
        self, machine: standin.Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle = str(scenes.bundle(tmp_path / "toy"))
        data = str(scenes.write(tmp_path / "data", scenes.scene(5)))
        command = [
            "evaluate",
            bundle,
            "--data",
            data,
            "--intervals",
            "1,2",
            "--agreement",
            f"{data}/val/images",
        ]
        on_gpu = [*command, "--backend", "tensorrt,onnxruntime", "--json"]
        assert main([*on_gpu, "--no-build"]) == 6
        assert "--no-build forbids making one" in capsys.readouterr().out
        assert main(on_gpu) == 0
        captured = capsys.readouterr()
        assert "the ways of scores to the GPU and back" in captured.err
        facts = json.loads(captured.out)
        by = {(row["backend"], row["interval"]): row for row in facts["rows"]}
        for interval in (1, 2):
            gpu, cpu = by["tensorrt", interval], by["onnxruntime", interval]
            assert gpu["average_miou"] == pytest.approx(cpu["average_miou"], abs=1e-6)
            assert gpu["warp_minimum_miou"] == pytest.approx(cpu["warp_minimum_miou"], abs=1e-6)
        assert [row["agreement"] for row in facts["agreement"][:2]] == [
            row["agreement"] for row in facts["agreement"][2:]
        ]
        assert main([*command, "--backend", "tensorrt", "--no-build"]) == 0
        assert main([*command, "--backend", "tensorrt", "--gpu", "3"]) == 2


class TestBench:
    @pytest.fixture
    def given(
        self, machine: standin.Driver, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> list[str]:
        """A short clip; the first frame is timed in a process of its own, which has no stand-in."""
        from gsvnet_engine.bench import job

        def first(
            clip: Path, bundle: Path, backend: str, precision: str, threads: int, gpu: GpuOptions
        ) -> float:
            assert (precision, gpu.device, gpu.cache) == ("f32", 0, tmp_path / "cache")
            return 1.5

        monkeypatch.setattr(job, "first_frame_s", first)
        monkeypatch.setattr(job, "QUICK", replace(job.QUICK, sustained_s=0.05))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "clips"))
        clip = media.write_video(tmp_path / "road.mp4", frames=10)
        return ["bench", "--quick", "--bundle", folder, "--video", str(clip), "--size", "64x48"]

    def test_json(self, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        png = tmp_path / "speed.png"
        assert main([*given, "--backend", "tensorrt", "--json", "--png", str(png)]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (
            facts["gpu"]["device"]["name"] == "Stand-in GPU" and facts["gpu"]["runtime"] == "TensorRT 11.4.0"
        )
        assert [row["interval"] for row in facts["rows"]] == [1, 2, 3, 4, 5]
        for row in facts["rows"]:
            assert (row["backend"], row["precision"]) == ("tensorrt", "f32")
            assert row["fps"] > 0 and row["sustained_fps"] > 0 and row["device_fps"] > 0
            propagated = {"propagated frame", "propagate"} if row["interval"] > 1 else set[str]()
            stages = {"keyframe frame", "keyframe"} | propagated
            assert stages <= set(row["stages_ms"])
            assert set(row["stages_ms"]["keyframe"]) >= {"p50", "p90", "p95", "p99"}
        (copies,), (alone,) = facts["gpu"]["copies_ms"], facts["gpu"]["propagation_ms"]
        assert (copies["upload_bytes"], copies["download_bytes"]) == (48 * 64 * 3 // 2, 48 * 64)
        assert copies["upload"]["count"] == copies["download"]["count"] == alone["count"] == 10
        (latency,) = facts["gpu"]["latency_ms"]
        assert latency["keyframe"]["count"] == latency["propagate"]["count"] == 10
        assert facts["propagation"][0]["parts"].keys() >= {"flow", "warp", "features", "guide", "filter"}
        assert facts["first_frame_s"][0]["seconds"] == 1.5
        assert facts["targets"] == {}
        assert {"speed", "cost"} <= set(facts["published"]) and png.stat().st_size > 0

    def test_table(self, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*given, "--intervals", "1,4"]) == 0  # auto takes the GPU
        out = capsys.readouterr().out
        assert "Stand-in GPU, compute capability 8.6, 8 GiB, driver for CUDA 13.0; TensorRT 11.4.0" in out
        for piece in (
            "sustained",
            "copies excluded",
            "PF by part",
            "PF alone",
            "picture to labels",
            "picture up",
            "labels down",
        ):
            assert piece in out
        (line,) = [line for line in out.splitlines() if "GSVNet-SN " in line and " 4 " in line]
        assert line.split()[-2] == "142" and float(line.split()[-1]) > 0
        (other,) = [line for line in out.splitlines() if "TD-PSP50" in line]
        assert other.split()[-1] == "-"
        assert "pf_over_its_convolutions" not in out  # targets are a CPU's

    def test_no_build(self, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*given, "--backend", "tensorrt", "--no-build"]) == 6
        assert "--no-build forbids making one" in capsys.readouterr().err


class TestParts:
    @pytest.mark.parametrize("capability", [(8, 6), (6, 1)])
    def test_street(
        self,
        capability: tuple[int, int],
        machine: standin.Driver,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Both roads: PF's own operations as ONNX functions, and the plain graph."""
        version = standin_tensorrt.__version__ if capability > (7, 0) else "8.6.1"
        monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": version})
        machine.device(capability=capability)
        backend = TensorRT(GpuOptions(cache=tmp_path / "cache"))
        sizes = Sizes((96, 128), (96, 128), (96, 128), (12, 16))
        found = parts.break_down(backend, Bundle.open("street"), sizes, None, 2)
        backend.close()
        assert all(found.parts[part] > 0 for part in ("flow", "warp", "features", "guide", "filter"))
        assert 0 < found.convolutions < sum(found.parts.values()) and found.whole > 0


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

    def test_the_second_road(self, machine: standin.Driver, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor"]) == 0
        line = next(each for each in capsys.readouterr().out.splitlines() if "ONNX Runtime GPU" in each)
        assert "is built without CUDAExecutionProvider" in line
        machine.device(number=0)
        assert main(["doctor"]) == 0
        assert "ONNX Runtime GPU no GPU for it" in capsys.readouterr().out

    def _gpu(self, capsys: pytest.CaptureFixture[str]) -> str:
        assert main(["doctor"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line[3:].startswith("GPU "))


def test_progress_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    for done in range(3):
        gpu.show_progress("/bundle/keyframe.onnx", done, 2)
    written = capsys.readouterr().err
    assert "building keyframe.onnx:  50%" in written and written.endswith("\r")
