from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import InputError
from gsvnet_engine.evaluation.familiarity import Material, conclude, known_material
from tests.engine.evaluation import scenes


def material(name: str, *windows: tuple[float, ...], known: bool = True) -> Material:
    return Material(name=name, is_known=known, windows=windows)


def test_the_threshold_leaves_two_percent_of_the_known_pictures_below() -> None:
    values = np.linspace(0.85, 0.95, 100)
    known = material("train", *(tuple(window) for window in values.reshape(10, 10)))
    found = conclude([known], [])
    assert np.count_nonzero(values < found.threshold) == 2
    assert list(found.usual) == pytest.approx([0.8599, 0.9399], abs=2e-4)
    assert found.false_alarms == 0  # no window's median is that low


def test_windows_are_judged_by_their_median_and_videos_by_their_first() -> None:
    known = material("val", (0.1, 0.1, 0.9), *[(0.9,) * 10] * 19)
    video = material("bikes", (0.9, 0.9, 0.3), (0.1, 0.2, 0.9), known=False)
    found = conclude([known], [video])
    assert found.false_alarms == 1 / 20
    assert video.warned(0.5) == 1 and not video.run_warns(0.5) and video.run_warns(0.95)
    assert [each.name for each in found.materials] == ["val", "bikes"]


def test_too_little_known_material() -> None:
    with pytest.raises(InputError, match="no sequence of the known material has 3 pictures"):
        conclude([material("val")], [])


class TestKnownMaterial:
    def city(self, root: Path, *, split: str, pictures: bool) -> None:
        stem = "aachen_000000_000019"
        files = [root / "gtFine" / split / f"aachen/{stem}_gtFine_labelIds.png"]
        files += [root / "leftImg8bit" / split / f"aachen/{stem}_leftImg8bit.png"] if pictures else []
        for file in files:
            file.parent.mkdir(parents=True)
            file.touch()

    def test_a_split_without_its_pictures_is_left_out(self, tmp_path: Path) -> None:
        self.city(tmp_path, split="train", pictures=False)
        with pytest.raises(InputError, match="holds none of train, val, test"):
            known_material(tmp_path)
        self.city(tmp_path, split="val", pictures=True)
        assert [name for name, _ in known_material(tmp_path)] == ["val/aachen"]

    def test_the_data_set_may_be_named(self, tmp_path: Path) -> None:
        self.city(tmp_path, split="val", pictures=True)
        scenes.write(tmp_path, scenes.scene(4))
        assert [name for name, _ in known_material(tmp_path)] == ["val/aachen"]
        (only,) = known_material(tmp_path, "camvid", 3)
        assert only[0] == "val/0016E5" and len(only[1]) == 3
