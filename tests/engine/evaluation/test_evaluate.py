"""The evaluate verb, from arguments to exit code, on the toy bundle."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine.cli import main
from gsvnet_engine.cli.evaluate import parse_intervals
from gsvnet_engine.errors import UsageError
from tests.engine.evaluation import scenes


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(scenes.bundle(tmp_path / "toy"))


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(scenes.write(tmp_path / "data", scenes.scene(6)))


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["evaluate", *arguments, "--threads", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["evaluate", *arguments])
    return code, capsys.readouterr().err


class TestEvaluate:
    def test_json(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        facts = evaluated(capsys, bundle, "--data", root, "--intervals", "3,1", "--backend", "onnxruntime")
        assert set(facts) == {"bundle", "split", "frames", "rows", "per_class", "absent", "agreement"}
        assert (facts["bundle"], facts["split"], facts["frames"]) == ("toy", "val", 4)
        assert [row["interval"] for row in facts["rows"]] == [1, 3]
        kinds = ("average", "minimum", "repeat_average", "repeat_minimum", "warp_average", "warp_minimum")
        names = {f"{kind}_miou" for kind in kinds}
        assert set(facts["rows"][0]) == {"interval", "fps", "bundle", "backend", "precision"} | names
        assert (facts["rows"][0]["backend"], facts["rows"][0]["precision"]) == ("onnxruntime", "f32")
        assert facts["absent"] == ["Fence"] and "Fence" not in facts["per_class"]
        mean = sum(facts["per_class"].values()) / 10
        assert mean == pytest.approx(facts["rows"][0]["average_miou"])
        assert facts["agreement"] == []

    def test_text(self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        images = f"{root}/val/images"
        options = ["--intervals", "1,2", "--max-frames", "4", "--agreement", images]
        assert main(["evaluate", bundle, "--data", root, *options]) == 0
        text = capsys.readouterr().out
        for part in (
            "CamVid val, 3 labelled frames, by toy, ",
            "Bicyclist",
            "not in any mean: Fence",
            images,
        ):
            assert part in text

    def test_agreement_needs_no_data(
        self, bundle: str, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = f"{root}/val/images"
        facts = evaluated(capsys, bundle, "--agreement", images, "--intervals", "2", "--max-frames", "3")
        assert facts["rows"] == [] and facts["split"] is None
        (row,) = facts["agreement"]
        assert (row["video"], row["interval"]) == (images, 2)
        assert 0 < row["agreement"] <= 1 and 0 < row["repeat_agreement"] <= 1

    def test_stills(self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = scenes.write(tmp_path / "stills", scenes.scene(1), split="test")
        given = bundle, "--data", str(root), "--split", "test"
        assert [row["interval"] for row in evaluated(capsys, *given)["rows"]] == [1]
        code, error = failed(capsys, *given, "--intervals", "1,2")
        assert code == 2 and "holds stills" in error

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            ([], "nothing to measure"),
            (["--data", ".", "--split", "trial"], "train, val, test"),
            (["--data", ".", "--intervals", "1,,2"], "--intervals must be"),
        ],
    )
    def test_usage(
        self, bundle: str, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, error = failed(capsys, bundle, *arguments)
        assert code == 2 and part in error and error.count("\n") == 1

    def test_missing_data(self, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, error = failed(capsys, bundle, "--data", str(tmp_path))
        assert code == 3 and "neither val/ nor camvid/val/" in error


def test_intervals() -> None:
    assert parse_intervals("4, 1,2,1") == (1, 2, 4)
    for text in ("", "0", "a", "-1", "1001", "1.5", "9" * 5000):
        with pytest.raises(UsageError, match="--intervals"):
            parse_intervals(text)


def test_the_verb_imports_nothing_heavy() -> None:
    program = "import sys, gsvnet_engine.cli.evaluate; print({'numpy', 'cv2', 'av'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
