"""The bench verb, from arguments to exit code, on the toy bundle and a tiny clip."""

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine.bench.ratios import TARGETS
from gsvnet_engine.cli import app, bench
from tests import media, toy_bundle

pytestmark = pytest.mark.usefixtures("installed")
Verb = Callable[..., int]


@pytest.fixture
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """The exit code of `gsvnet-engine bench` on the toy bundle and a clip of ten frames."""
    entry = EntryPoint("bench", "gsvnet_engine.cli.bench:command", app.GROUP)
    monkeypatch.setattr(app, "entry_points", lambda group: [entry])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    toy = toy_bundle.write(tmp_path / "toy")
    clip = media.write_video(tmp_path / "road.mp4", frames=10)
    given = ["bench", "--quick", "--threads", "1", "--bundle", str(toy), "--video", str(clip)]
    return lambda *arguments: app.main([*given, "--size", "96x64", *arguments])


class TestBench:
    def test_json_without_torch(
        self, verb: Verb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in sys.modules if name.startswith("gsvnet_export.bench")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "torch", None)
        assert verb("--json", "--png", "speed.png") == 0
        captured = capsys.readouterr()
        facts: dict[str, Any] = json.loads(captured.out)
        assert {"machine", "clip", "rows", "ratios"} <= set(facts)
        assert facts["clip"]["size"] == [64, 96] and facts["machine"]["threads"] == 1
        assert set(facts["ratios"]) == set(TARGETS)
        nulls = {name for name, value in facts["ratios"].items() if value is None}
        assert nulls == {"best_over_torch", "labels_over_torch"} | (
            nulls & {"best_l5_fps"}  # of a faster precision, which not every processor has
        )
        for row in facts["rows"]:
            assert set(row) >= {"bundle", "precision", "backend", "interval", "fps", "stages_ms"}
            assert row["bundle"] == "toy" and row["fps"] > 0
            assert set(row["stages_ms"]) >= {"decode", "prepare", "keyframe", "labels"}
            assert set(row["stages_ms"]["labels"]) >= {"p50", "p90", "p95", "p99"}
        assert {row["interval"] for row in facts["rows"] if row["precision"] == "f32"} == {1, 4, 8}
        assert facts["first_frame_s"][0]["seconds"] > 0
        assert captured.err.count("pip install 'gsvnet-engine[export]'") == 1
        assert Path("speed.png").stat().st_size > 0

    def test_two_bundles_of_one_name(
        self, verb: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = str(toy_bundle.write(tmp_path / "other"))
        assert verb("--bundle", other, "--backend", "onnxruntime", "--intervals", "1", "--json") == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert [row["bundle"] for row in rows] == [str(tmp_path / "toy"), other]

    def test_table(self, verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
        """torch may be here, but not the toy network's weights."""
        assert verb("--backend", "onnxruntime", "--intervals", "1,2") == 0
        out = capsys.readouterr().out
        for piece in ("frames/s", "PF by part", "first frame out", "network_l1_over_l4", "not measured"):
            assert piece in out
        assert "ratios to torch are null" in out

    @pytest.mark.parametrize(
        ("arguments", "code", "line"),
        [
            (["--video", "nowhere.mp4"], 3, "nowhere.mp4"),
            (["--bundle", "nowhere"], 4, "nowhere"),
            (["--size", "95x64"], 2, "--size must be even"),
            (["--size", "large"], 2, "--size must be WIDTHxHEIGHT"),
            (["--intervals", "0"], 2, "--intervals must be"),
            (["--backend", "tpu"], 2, "backend must be one of"),
            (["--png", "speed.jpg"], 2, "ends in .png"),
            (["--sizes", "--intervals", "1"], 2, "know no --intervals"),
            (["--intervals", "1,30"], 2, "no interval may be longer"),
            (["--checkpoint", "nowhere.safetensors"], 3, "no such checkpoint"),
        ],
    )
    def test_bad_input_is_one_line(
        self, verb: Verb, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, line: str
    ) -> None:
        assert verb(*arguments) == code
        errors = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
        assert len(errors) == 1 and line in errors[0]


class TestDefaults:
    def test_the_real_clip(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        real = tmp_path / "clips" / "udacity_solidWhiteRight.mp4"
        real.parent.mkdir()
        real.touch()
        said = list[str]()
        monkeypatch.setenv("GSVNET_DATA", str(tmp_path))
        assert bench.default_clip(said.append) == real and not said

    def test_the_rendered_clip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = list[str]()
        monkeypatch.delenv("GSVNET_DATA", raising=False)
        assert bench.default_clip(said.append).name == "street.mp4"
        assert len(said) == 1

    def test_a_missing_bundle_is_replaced_and_said(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(bench, "_ROOT", tmp_path)
        said = list[str]()
        assert bench.default_bundles(said.append) == ("street",)
        assert len(said) == 1 and "swiftnet_r18 is not here" in said[0]
        toy_bundle.write(tmp_path / "samples/bench/swiftnet_r18")
        assert bench.default_bundles(said.append) == (str(tmp_path / "samples/bench/swiftnet_r18"),)
