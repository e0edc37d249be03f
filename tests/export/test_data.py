"""Readers of labelled data: the layouts they take, what they leave out, and one clear line for each fault."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.evaluation.cityscapes import train_ids
from gsvnet_export.data import camvid, cityscapes, clips
from gsvnet_export.data.datasets import load_labelled
from gsvnet_export.data.stills import IGNORE, class_frequencies
from tests.export.datasets import write_camvid, write_cityscapes, write_clip
from tests.media import write_audio_only


class TestCamVid:
    def test_reads_pairs_in_order(self, tmp_path: Path) -> None:
        stills = camvid.load(write_camvid(tmp_path) / "camvid", "train")
        assert stills.names == sorted(stills.names) and len(stills) == 8
        image, labels = stills[0]
        assert image.shape == (48, 64, 3) and labels.shape == (48, 64)
        assert set(np.unique(labels)) == {0, 3, 8, IGNORE}

    def test_slice_is_the_end_of_each_sequence(self) -> None:
        names = [f"{sequence}_{index:06d}" for sequence in ("a", "b") for index in range(30)]
        assert camvid.slice_of_train(names) == {"a_000028", "a_000029", "b_000028", "b_000029"}

    def test_real_slice_is_apart_from_the_run_and_the_test_split(self, data_dir: Path) -> None:
        train, val, test = (camvid.load(data_dir / "camvid", split) for split in ("train", "val", "test"))
        held_out = camvid.slice_of_train(train.names)
        assert len(train) == 367 and len(held_out) == 23 and held_out < set(train.names)
        assert not set(train.names) & (set(val.names) | set(test.names))

    def test_missing_label(self, tmp_path: Path) -> None:
        root = write_camvid(tmp_path)
        (root / "camvid/train/labels/0001TP_000002.png").unlink()
        with pytest.raises(InputError, match=r"0001TP_000002\.png: has no labels"):
            camvid.load(root / "camvid", "train")

    def test_unknown_value_and_other_size(self, tmp_path: Path) -> None:
        root = write_camvid(tmp_path)
        path = root / "camvid/train/labels/0001TP_000000.png"
        cv2.imwrite(str(path), np.full((48, 64), 12, np.uint8))
        with pytest.raises(InputError, match="holds the value 12"):
            camvid.load(root / "camvid", "train")[0]
        cv2.imwrite(str(path), np.zeros((24, 64), np.uint8))
        with pytest.raises(InputError, match="must be of one size"):
            camvid.load(root / "camvid", "train")[0]

    def test_another_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds neither train/ nor"):
            camvid.load(tmp_path, "train")


class TestCityscapes:
    def test_reads_the_official_layout(self, tmp_path: Path) -> None:
        data = load_labelled("cityscapes", write_cityscapes(tmp_path))
        assert data.classes == 19
        assert {n.split("_")[0] for n in data.train.names} == {"aachen"}
        assert {n.split("_")[0] for n in data.held_out.names} == {"zurich"}
        _, labels = data.train[0]
        assert {cityscapes.CLASSES[i] for i in np.unique(labels[labels != IGNORE])} == {"road", "sky", "car"}
        assert (labels[-3:] == IGNORE).all()

    def test_frequencies_ignore_the_unlabelled(self, tmp_path: Path) -> None:
        data = load_labelled("cityscapes", write_cityscapes(tmp_path))
        shares = class_frequencies(data.train, 19)
        assert shares.sum() == pytest.approx(1)
        assert shares[cityscapes.CLASSES.index("sky")] == pytest.approx(12 / 29)

    def test_train_ids_alone_will_do(self, tmp_path: Path) -> None:
        root = write_cityscapes(tmp_path)
        expected = cityscapes.load(root, "train")[0][1]
        for path in (root / "gtFine").rglob("*_labelIds.png"):
            ids = train_ids(path)
            path.unlink()
            cv2.imwrite(str(path).replace("_labelIds", "_labelTrainIds"), ids)
        np.testing.assert_array_equal(cityscapes.load(root, "train")[0][1], expected)

    def test_unknown_id_missing_labels_and_layout(self, tmp_path: Path) -> None:
        root = write_cityscapes(tmp_path / "a")
        path = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
        cv2.imwrite(str(path), np.full((32, 64), 34, np.uint8))
        with pytest.raises(InputError, match="holds the value 34"):
            cityscapes.load(root, "train")[0]
        path.unlink()
        with pytest.raises(InputError, match="missing"):
            cityscapes.load(root, "train")
        with pytest.raises(InputError, match="leftImg8bit/train"):
            cityscapes.load(tmp_path, "train")


class TestClips:
    def test_held_out_clips_are_never_taken(self, tmp_path: Path) -> None:
        for name in ("road", *clips.HELD_OUT):
            write_clip(tmp_path / f"{name}.mp4", frames=2)
        assert [path.stem for path in clips.training_clips(tmp_path)] == ["road"]

    def test_machine_labels_follow_the_frame_index(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "road.mp4")
        (tmp_path / "labels/road").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "labels/road/000003.png"), np.full((64, 96), 8, np.uint8))
        stills = clips.machine_labelled(tmp_path, tmp_path / "labels", short_side=32)
        image, labels = stills[0]
        assert stills.names == ["road/3"] and image.shape == (32, 48, 3) and labels.shape == (32, 48)
        assert image[16, 12].min() > 150 > image[16, 2].max()  # the square stands at 16..36 of 96 in frame 3

    def test_what_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "road.mp4")
        (tmp_path / "labels/road").mkdir(parents=True)
        for name in ("000003", "overlay"):
            cv2.imwrite(str(tmp_path / f"labels/road/{name}.png"), np.full((64, 96), 8, np.uint8))
        with pytest.raises(InputError, match=r"road/overlay\.png: is not named by a frame's index"):
            clips.machine_labelled(tmp_path, tmp_path / "labels", short_side=32)
        (tmp_path / "labels/road/overlay.png").unlink()
        (tmp_path / "road.mp4").write_bytes(b"no video")
        with pytest.raises(InputError, match=r"road\.mp4: cannot be decoded \(Invalid data"):
            clips.machine_labelled(tmp_path, tmp_path / "labels", short_side=32)
        write_audio_only(tmp_path / "road.mp4")
        with pytest.raises(InputError, match=r"road\.mp4: cannot be decoded \(it holds no video"):
            clips.machine_labelled(tmp_path, tmp_path / "labels", short_side=32)

    def test_nothing_left(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="held out always"):
            clips.training_clips(tmp_path)


def test_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="camvid and cityscapes"):
        load_labelled("kitti", tmp_path)
