"""`bench --sizes` and `bench --first-frame`."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench import measure, sizes
from gsvnet_engine.bench.sizes import Cost, Scaling
from gsvnet_engine.cli import main
from tests import media, toy_bundle

pytestmark = pytest.mark.usefixtures("installed")


def scaling(**ms: float) -> Scaling:
    """Of sizes by name, "s1000x1000", and their milliseconds."""
    costs = []
    for name, each in ms.items():
        height, _, width = name.removeprefix("s").partition("x")
        costs.append(Cost(size=(int(height), int(width)), ms=each))
    return Scaling(
        bundle="toy", backend="openvino", precision="f32", interval=4, threads=2, costs=tuple(costs), load=(1.0, None)
    )  # fmt: skip


class TestScaling:
    def test_per_megapixel_and_spread(self) -> None:
        found = scaling(s500x1000=10, s1000x1000=22, s2000x1000=40)
        assert [cost.ms_per_megapixel for cost in found.costs] == [20, 22, 20]
        assert found.median == 20 and found.spread == pytest.approx(0.1)
        assert found.as_json()["target"] == {"at most": 0.25, "met": True}

    def test_a_size_out_of_line(self) -> None:
        found = scaling(s500x1000=10, s1000x1000=20, s2000x1000=52)
        assert found.spread == pytest.approx(0.3)
        assert "miss" in list(sizes.lines(found))[-1] and not found.as_json()["target"]["met"]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sizes, "SIZES", ((48, 64), (96, 128)))
    toy = toy_bundle.write(tmp_path / "toy", working_size={"short_side": 96})
    clip = media.write_video(tmp_path / "road.mp4", frames=10)
    return [
        "bench",
        "--quick",
        "--threads",
        "1",
        "--bundle",
        str(toy),
        "--video",
        str(clip),
        "--size",
        "64x48",
    ]


def facts(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_sizes(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*given, "--sizes", "--json"]) == 0
    found = facts(capsys)
    assert [each["size"] for each in found["sizes"]] == [[48, 64], [96, 128]]
    assert all(each["ms"] > 0 and each["ms_per_megapixel"] > 0 for each in found["sizes"])
    assert found["spread"] >= 0 and found["interval"] == 4
    assert main([*given, "--sizes"]) == 0
    out = capsys.readouterr().out
    assert "ms/megapixel" in out and "128x96" in out and "spread" in out


def test_the_process_that_is_timed_ends_with_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    begun: list[Any] = []
    start = subprocess.Popen

    class InterruptedPipe:
        def __init__(self, pipe: Any) -> None:
            self.close = pipe.close

        def readline(self) -> str:
            raise KeyboardInterrupt

    def interrupted(*arguments: Any, **more: Any) -> Any:
        assert more["start_new_session"]  # a terminal's Ctrl-C goes to all of a session's foreground
        begun.append(start(*arguments, **more))
        begun[0].stdout = InterruptedPipe(begun[0].stdout)
        return begun[0]

    monkeypatch.setattr(measure, "_FIRST_FRAME", "import time; time.sleep(2); print('segmented', flush=True)")
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure.first_frame_s(Path("a.mp4"), Path("b"), "auto", "f32", 1, GpuOptions())
    assert begun[0].returncode == -signal.SIGKILL and capfd.readouterr().err == ""


def test_first_frame(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*given, "--first-frame", "--backend", "openvino", "--json"]) == 0
    found = facts(capsys)
    assert found["compiled_s"] > 0 and found["kept_s"] > 0 and found["backend"] == "openvino"
    assert main([*given, "--first-frame", "--backend", "onnxruntime", "--json"]) == 0
    assert facts(capsys)["kept_s"] is None


def test_one_at_a_time(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*given, "--sizes", "--first-frame"]) == 2
    assert "one of them at a time" in capsys.readouterr().err
