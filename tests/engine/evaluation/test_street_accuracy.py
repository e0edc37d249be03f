"""The accuracy that the manifest of `street`, its card and README state is what `evaluate` measures (minutes: long)."""

import json
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine import Bundle
from gsvnet_engine.cli import main

pytestmark = pytest.mark.long

# Points of mIoU: the stated figures are rounded to 0.1, and processors differ in the last bits.
ROUNDING = 0.1


def rows(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> dict[str, Any]:
    """Rows of `evaluate street`, by interval as the manifest writes it."""
    assert main(["evaluate", "street", "--data", str(data), "--json", *arguments]) == 0
    return {str(row["interval"]): row for row in json.loads(capsys.readouterr().out)["rows"]}


def stated() -> dict[str, Any]:
    manifest = json.loads((Bundle.open("street").path / "manifest.json").read_text())
    accuracy: dict[str, Any] = manifest["accuracy"]
    return accuracy


def test_keyframe_network_on_test(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = rows(capsys, data_dir, "--split", "test")["1"]["average_miou"]
    assert measured == pytest.approx(stated()["CamVid test mIoU in percent, keyframe network"], abs=ROUNDING)


def test_intervals_on_the_run(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = rows(capsys, data_dir, "--split", "val", "--intervals", "1,2,3,4,5")
    for kind in ("average", "minimum"):
        claims = stated()["intervals"][f"{kind}_miou"]
        assert {n: row[f"{kind}_miou"] for n, row in measured.items()} == pytest.approx(claims, abs=ROUNDING)
    furthest = measured["5"]
    assert furthest["average_miou"] > furthest["warp_average_miou"] > furthest["repeat_average_miou"]
