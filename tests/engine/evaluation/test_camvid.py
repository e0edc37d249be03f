from pathlib import Path

import cv2
import numpy as np
import pytest

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.camvid import CamVid, Still
from tests.engine.evaluation import scenes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return scenes.write(tmp_path, scenes.scene(3))


class TestOpen:
    def test_reads_what_was_written(self, root: Path) -> None:
        data = CamVid.open(root, "val")
        assert [still.number for still in data.stills] == [9, 11, 13]
        assert data.stills[0].sequence == "0016E5"
        for still, (picture, labels) in zip(data.stills, scenes.scene(3), strict=True):
            frame, truth = still.read(5)
            assert frame.index == 5
            assert np.array_equal(np.stack([plane.data for plane in frame.planes], 2), picture)
            assert np.array_equal(truth, labels)

    def test_parent_folder(self, tmp_path: Path) -> None:
        scenes.write(tmp_path / "camvid", scenes.scene(1))
        assert len(CamVid.open(tmp_path, "val").stills) == 1

    def test_missing_split(self, root: Path) -> None:
        with pytest.raises(InputError, match="neither test/ nor camvid/test/"):
            CamVid.open(root, "test")

    def test_no_pictures(self, tmp_path: Path) -> None:
        scenes.write(tmp_path, [])
        with pytest.raises(InputError, match="images: holds no picture"):
            CamVid.open(tmp_path, "val")

    def test_picture_without_labels(self, root: Path) -> None:
        (root / "val/labels/0016E5_00011.png").unlink()
        with pytest.raises(InputError, match=r"0016E5_00011\.webp: has no labels"):
            CamVid.open(root, "val")

    def test_labels_without_picture(self, root: Path) -> None:
        (root / "val/images/0016E5_00011.webp").unlink()
        with pytest.raises(InputError, match=r"0016E5_00011\.png: has no picture"):
            CamVid.open(root, "val")

    def test_two_pictures_of_one_name(self, root: Path) -> None:
        (root / "val/images/0016E5_00011.png").touch()
        with pytest.raises(InputError, match="has the same name"):
            CamVid.open(root, "val")


@pytest.mark.parametrize(
    ("numbers", "after"),
    [
        ((1, 3, 5, 7), None),
        ((1, 3, 5, 9), "5"),
        ((1, 7, 9), "1"),
        ((1, 3, 5, 8), None),  # no multiple
        ((1, 3, 8, 15), None),  # no run at all
        ((1,), None),
    ],
)
def test_where_a_run_lacks_frames(tmp_path: Path, numbers: tuple[int, ...], after: str | None) -> None:
    stills = tuple(
        Still(image=tmp_path / f"a_{n}.png", labels=tmp_path / "l.png", sequence="a", number=n)
        for n in numbers
    )
    gap = CamVid("val", stills).gap
    assert gap is None if after is None else gap is not None and f"after a_{after}.png" in gap


class TestRead:
    def replace(self, root: Path, labels: scenes.Array) -> CamVid:
        cv2.imwrite(str(root / "val/labels/0016E5_00009.png"), labels)
        return CamVid.open(root, "val")

    def test_another_size(self, root: Path) -> None:
        data = self.replace(root, np.zeros((8, 16), np.uint8))
        with pytest.raises(InputError, match=r"00009\.png: is 16x8 where its picture is 48x32"):
            data.stills[0].read()

    def test_unknown_value(self, root: Path) -> None:
        data = self.replace(root, np.full((scenes.HEIGHT, scenes.WIDTH), 12, np.uint8))
        with pytest.raises(InputError, match=r"00009\.png: holds the value 12; labels are 0\.\.10"):
            data.stills[0].read()

    def test_labels_of_three_channels(self, root: Path) -> None:
        data = self.replace(root, np.zeros((scenes.HEIGHT, scenes.WIDTH, 3), np.uint8))
        with pytest.raises(InputError, match="one-channel 8-bit"):
            data.stills[0].read()

    def test_no_picture(self, root: Path) -> None:
        (root / "val/images/0016E5_00009.webp").write_bytes(b"nothing")
        with pytest.raises(InputError, match=r"00009\.webp: not a picture"):
            CamVid.open(root, "val").stills[0].read()


class TestIsVideo:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["a_1", "a_3", "a_5"], True),
            (["a_8", "a_9", "a_10"], True),  # by number, not by name
            (["a_1", "a_3", "a_6"], False),
            (["a_1", "b_3", "b_5"], False),
            (["a_1"], False),
            (["a_1", "a_01"], False),
            (["a_x", "a_y"], False),
        ],
    )
    def test_is_video(self, tmp_path: Path, names: list[str], expected: bool) -> None:
        for kind, suffix in (("images", "webp"), ("labels", "png")):
            (tmp_path / "val" / kind).mkdir(parents=True)
            for name in names:
                (tmp_path / "val" / kind / f"{name}.{suffix}").touch()
        assert CamVid.open(tmp_path, "val").is_video is expected
