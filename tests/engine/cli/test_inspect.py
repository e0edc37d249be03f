import json
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine.cli import inspect, main
from gsvnet_engine.cli.sizes import parse_size
from gsvnet_engine.errors import UsageError
from tests import toy_bundle

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["inspect", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


class TestInspect:
    def test_json(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        facts = inspected(capsys, str(folder))
        assert facts["name"] == "toy"
        assert facts["classes"][2] == {"name": "Car", "color": [0, 0, 142]}
        assert facts["sizes"] == {
            "source": [64, 96],
            "working": [64, 96],
            "keyframe": [32, 48],
            "grid": [8, 12],
        }
        assert facts["license"] == "CC0-1.0"
        assert facts["license_meaning"] == "free for any use, without conditions"
        assert facts["cost"]["parameters"] == {"keyframe": 16, "propagate": 24}
        mean = facts["cost"]["macs"]["mean"]
        assert mean == {str(n): round((18432 + (n - 1) * 2304) / n) for n in (1, 2, 3, 4, 5)}
        assert set(facts["graphs"]) == set(toy_bundle.models())

    def test_another_size(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        facts = inspected(capsys, str(folder), "--size", "192x128")
        assert facts["sizes"]["grid"] == [16, 24]
        assert facts["cost"]["macs"]["keyframe"] == 4 * 18432
        assert facts["cost"]["counted_at"] == [64, 96]

    def test_text(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", str(folder), "--size", "192x128"]) == 0
        text = capsys.readouterr().out
        for part in (
            "CC0-1.0: free for any use",
            "keyframe 96x64",
            "#800080",
            "test_miou: 12.5",
            "scaled by area",
        ):
            assert part.replace("#800080", "#804080") in text

    def test_without_cost_and_accuracy(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = toy_bundle.write(tmp_path, accuracy={}, trained_on=[])
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["cost"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert inspected(capsys, str(folder))["cost"] is None
        assert main(["inspect", str(folder)]) == 0
        assert capsys.readouterr().out.count("not stated") == 3

    def test_what_it_recommends_and_knows(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        miou = {"1": 70, "2": 69.5, "3": 60}
        accuracy = {"intervals": {"dataset": "CamVid", "average_miou": miou}}
        familiarity = {"statistic": "mean_confidence", "threshold": 0.86, "usual": [0.9, 0.95]}
        folder = toy_bundle.write(tmp_path, accuracy=accuracy, familiarity=familiarity)
        facts = inspected(capsys, str(folder))
        assert facts["recommendation"]["interval"] == 2
        assert facts["recommendation"]["choices"][2]["points"] == 10
        assert facts["familiarity"]["threshold"] == 0.86
        assert main(["inspect", str(folder)]) == 0
        text = capsys.readouterr().out
        assert (
            "for a loss of 1.0 point of mIoU at most: l=2 costs 0.5 points and runs 1.8 times faster" in text
        )
        assert "l=3 costs 10.0 points" in text
        assert "mean_confidence usually 0.90..0.95; run warns below 0.86" in text

    def test_free_text_cannot_steer_the_terminal(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = toy_bundle.write(tmp_path, accuracy={"\x1b[2J": ["\x07"]})
        assert main(["inspect", str(folder)]) == 0
        assert "\x1b" not in capsys.readouterr().out

    def test_a_damaged_bundle(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "labels.onnx").write_bytes(b"damaged")
        assert main(["inspect", str(folder)]) == 4
        error = capsys.readouterr().err
        assert error.startswith(f"error: {folder / 'labels.onnx'}: ") and error.count("\n") == 1

    @pytest.mark.parametrize("size", ["720", "0x10", "-1x4", "axb", "1280x720x3"])
    def test_size_must_be_two_sides(self, size: str) -> None:
        with pytest.raises(UsageError, match="--size must be WIDTHxHEIGHT"):
            parse_size(size)

    def test_every_licence_has_a_meaning(self) -> None:
        assert "not for commercial use" in inspect.license_meaning("CC-BY-NC-4.0")
        assert "see the licence" in inspect.license_meaning("LicenseRef-Own")
