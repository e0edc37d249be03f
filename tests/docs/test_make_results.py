"""The page of results, from the toy bundle on tiny data: every section, resumed and measured anew."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from docs import make_results
from gsvnet_engine import Bundle
from gsvnet_engine.cli import main
from tests import media, toy_bundle
from tests.engine.evaluation import scenes

CLIPS = {*make_results.UNSEEN, *make_results.SHOWN}


class Asked:
    """Answers `ask` in this process, and remembers what it was asked."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    def __call__(self, command: Sequence[str]) -> Any:
        self.verbs.append(command[0])
        out = StringIO()
        with redirect_stdout(out):
            assert main([*command, "--json"]) == 0
        return json.loads(out.getvalue())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(make_results, "ask", asked)
    monkeypatch.setattr(make_results, "INTERVALS", "1,2")
    return asked


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The arguments; a tree of everything that the page needs."""
    data = tmp_path / "data"
    for split, seed in (("val", 1), ("test", 2)):
        scenes.write(data / "camvid", scenes.scene(5, seed=seed), split=split)
    (data / "clips").mkdir()
    for name in CLIPS:
        media.write_video(data / "clips" / f"{name}.mp4", frames=9)
    labels = data / "pseudo" / make_results.UNSEEN[0]
    labels.mkdir(parents=True)
    cv2.imwrite(str(labels / "000004.png"), np.full((48, 64), 3, np.uint8))
    bundle = scenes.bundle(tmp_path / "toy")
    return [
        *("--data", str(data), "-o", str(tmp_path / "page/results.md"), "--bundle", str(bundle)),
        *("--cache", str(tmp_path / "cache"), "--max-frames", "8", "--threads", "1"),
    ]


def test_the_page(given: list[str], asked: Asked, tmp_path: Path) -> None:
    assert make_results.main(given) == 0
    page = (tmp_path / "page/results.md").read_text()
    for part in (
        "gsvnet-engine evaluate ",
        "--data DIR --split test",
        "mIoU** in percent, 5 pictures of 480x360",
        "| propagated, average |",
        "| keyframe repeated, minimum |",
        "best constant label map",
        "| val/0016E5 (known) |",
        "medians of 3 alternating runs",
        "| BiSeNet-R18, per frame | 720x540 | 66.6 | 142 |",
    ):
        assert part in page, part
    assert str(tmp_path / "data") not in page and "nan" not in page
    for name in (make_results.CURVE, *(f"results_{clip}.jpg" for clip in make_results.SHOWN)):
        assert (tmp_path / "page" / name).is_file() and f"({name})" in page

    accuracy = json.loads((tmp_path / "cache/accuracy.measured.json").read_text())
    folder = toy_bundle.write(tmp_path / "stated", accuracy=accuracy)
    stated = Bundle.open(folder).manifest.interval_accuracy
    assert stated is not None and set(stated.average_miou) == set(stated.speed_up) == {1, 2}
    surveyed = json.loads((tmp_path / "cache/familiarity.measured.json").read_text())
    assert surveyed["familiarity"][0]["manifest"]["statistic"] == "mean_confidence"

    asked.verbs.clear()
    assert make_results.main(given) == 0  # everything is there
    assert asked.verbs == ["inspect", "doctor"]
    assert (tmp_path / "page/results.md").read_text() == page

    assert make_results.main([*given, "--only", "boundary"]) == 0  # one command gives three sections
    assert asked.verbs[2:] == ["inspect", "doctor", "evaluate"]


def test_only_one_section(given: list[str], asked: Asked, tmp_path: Path) -> None:
    assert make_results.main([*given, "--only", "keyframe"]) == 0
    assert asked.verbs == ["inspect", "doctor", "evaluate"]
    page = (tmp_path / "page/results.md").read_text()
    assert "pictures of 480x360" in page and "`python docs/make_results.py --data DIR --only speed`" in page


def test_an_unknown_section(given: list[str], asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_results.main([*given, "--only", "colour"])
    assert "--only colour: there are machine, keyframe" in capsys.readouterr().err and not asked.verbs
