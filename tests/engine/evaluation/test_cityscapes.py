"""Cityscapes' official layout, on a tiny tree."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Bundle, InputError, UsageError
from gsvnet_engine.cli import main
from gsvnet_engine.evaluation.camvid import CamVid
from gsvnet_engine.evaluation.cityscapes import CLASSES, Cityscapes, train_ids
from gsvnet_engine.evaluation.layouts import open_dataset
from gsvnet_engine.evaluation.networks import RuntimeOptions
from gsvnet_engine.evaluation.protocol import Evaluation, Measures, evaluate
from tests.engine.evaluation import scenes

OPTIONS = RuntimeOptions(backend="onnxruntime", threads=1)
LABELLED, FRAMES = 5, 7  # of a snippet: numbers before and up to the labelled frame, and all
IDS = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, 0, 4, 30], np.uint8)
SNIPPETS = (("aachen", "000000"), ("aachen", "000001"), ("ulm", "000000"))
Pairs = list[tuple[scenes.Array, scenes.Array]]


def snippet(number: int) -> Pairs:
    """(RGB [H,W,3], labelIds [H,W]) of every frame of a snippet."""
    rng = np.random.default_rng(100 + number)
    pictures = [picture for picture, _ in scenes.scene(FRAMES, seed=number)]
    return [(picture, rng.choice(IDS, (scenes.HEIGHT, scenes.WIDTH))) for picture in pictures]


def write(root: Path, *, stills: bool = False) -> Path:
    for number, (city, sequence) in enumerate(SNIPPETS):
        images = root / ("leftImg8bit" if stills else "leftImg8bit_sequence") / "val" / city
        truth = root / "gtFine" / "val" / city
        for folder in (images, truth):
            folder.mkdir(parents=True, exist_ok=True)
        for frame, (picture, ids) in enumerate(snippet(number)):
            stem = f"{city}_{sequence}_{frame + 14:06d}"
            if frame == LABELLED:
                cv2.imwrite(str(truth / f"{stem}_gtFine_labelIds.png"), ids)
            if not stills or frame == LABELLED:
                cv2.imwrite(str(images / f"{stem}_leftImg8bit.png"), picture[..., ::-1])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "cityscapes")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(scenes.bundle(tmp_path / "toy", names=CLASSES))


def labels_of(root: Path, city: str = "aachen", sequence: str = "000000") -> Path:
    return root / "gtFine/val" / city / f"{city}_{sequence}_000019_gtFine_labelIds.png"


def image_of(root: Path, frame: int, folder: str = "leftImg8bit_sequence") -> Path:
    return root / folder / "val/aachen" / f"aachen_000000_{frame:06d}_leftImg8bit.png"


class TestOpen:
    def test_snippets_end_at_their_labelled_frame(self, root: Path) -> None:
        data = Cityscapes.open(root, "val")
        assert (data.name, data.is_video, len(data.classes)) == ("Cityscapes", True, 19)
        clips = data.clips(3)
        assert [[picture.image.name.split("_")[2] for picture in clip] for clip in clips] == [
            ["000017", "000018", "000019"]
        ] * len(SNIPPETS)
        assert [clip[0].image.parent.name for clip in clips] == ["aachen", "aachen", "ulm"]
        assert [picture.read()[1] is None for picture in clips[0]] == [True, True, False]

    def test_max_frames_counts_pictures(self, root: Path) -> None:
        data = Cityscapes.open(root, "val")
        assert [len(data.clips(3, count)) for count in (2, 3, 6, 100)] == [0, 1, 2, 3]

    def test_stills(self, tmp_path: Path) -> None:
        data = Cityscapes.open(write(tmp_path, stills=True), "val")
        assert not data.is_video
        assert [len(clip) for clip in data.clips(1)] == [1, 1, 1]

    def test_is_told_from_the_folder(self, root: Path, tmp_path: Path) -> None:
        assert isinstance(open_dataset(root, "val"), Cityscapes)
        camvid = scenes.write(tmp_path / "camvid", scenes.scene(1))
        assert isinstance(open_dataset(camvid, "val"), CamVid)
        with pytest.raises(InputError, match=r"leftImg8bit/val: no such folder"):
            open_dataset(camvid, "val", "cityscapes")
        with pytest.raises(InputError, match=r"neither val/ nor camvid/val/.*or Cityscapes'"):
            open_dataset(root, "val", "camvid")
        with pytest.raises(UsageError, match="--dataset must be one of auto, camvid, cityscapes"):
            open_dataset(root, "val", "kitti")

    def test_labels_without_picture(self, root: Path) -> None:
        image_of(root, 19).unlink()
        with pytest.raises(InputError, match=r"000019_gtFine_labelIds\.png: has no picture"):
            Cityscapes.open(root, "val")

    def test_a_snippet_without_labels(self, root: Path) -> None:
        labels_of(root).unlink()
        with pytest.raises(
            InputError, match=r"aachen_000000_000014_leftImg8bit\.png: has no labels.*snippet"
        ):
            Cityscapes.open(root, "val")

    def test_a_still_without_labels(self, tmp_path: Path) -> None:
        root = write(tmp_path, stills=True)
        labels_of(root).unlink()
        with pytest.raises(InputError, match=r"000019_leftImg8bit\.png: has no labels.*of that name"):
            Cityscapes.open(root, "val")

    def test_a_frame_before_is_missing(self, root: Path) -> None:
        image_of(root, 16).unlink()
        data = Cityscapes.open(root, "val")
        assert len(data.clips(3)) == 3
        with pytest.raises(
            InputError, match=r"000016_leftImg8bit\.png: missing; it is 3 before .* 000019, and interval 4"
        ):
            data.clips(4)
        with pytest.raises(InputError, match=r"labelIds\.png: no frame is 20 before"):
            data.clips(21)

    def test_no_labels_at_all(self, root: Path) -> None:
        for path in root.glob("gtFine/val/*/*"):
            path.unlink()
        with pytest.raises(InputError, match=r"gtFine/val: holds no <city>"):
            Cityscapes.open(root, "val")

    def test_a_name_of_another_form(self, root: Path) -> None:
        labels_of(root).rename(labels_of(root).with_name("ulm_000000_000019_gtFine_labelIds.png"))
        with pytest.raises(InputError, match="its name must be aachen_<sequence>_<frame>_gtFine"):
            Cityscapes.open(root, "val")


class TestLabels:
    def test_train_ids(self, root: Path) -> None:
        path = labels_of(root)
        found = train_ids(path)
        ids = snippet(0)[LABELLED][1]
        expected = [int(np.flatnonzero(value == IDS)[0]) for value in ids.ravel()]
        assert found.ravel().tolist() == [value if value < 19 else 255 for value in expected]
        other = path.with_name(path.name.replace("labelIds", "labelTrainIds"))
        cv2.imwrite(str(other), found)
        assert np.array_equal(train_ids(other), found)
        path.unlink()
        assert Cityscapes.open(root, "val").targets[0][1] == other

    @pytest.mark.parametrize(
        ("kind", "value", "rule"),
        [
            ("labelIds", 34, r"labelIds are 0\.\.33"),
            ("labelTrainIds", 19, r"labelTrainIds are 0\.\.18 and 255"),
        ],
    )
    def test_unknown_value(self, tmp_path: Path, kind: str, value: int, rule: str) -> None:
        path = tmp_path / f"a_0_0_gtFine_{kind}.png"
        cv2.imwrite(str(path), np.full((4, 4), value, np.uint8))
        with pytest.raises(InputError, match=rf"{kind}\.png: holds the value {value}; Cityscapes' {rule}"):
            train_ids(path)

    def test_another_size(self, root: Path) -> None:
        cv2.imwrite(str(labels_of(root)), np.full((8, 16), 7, np.uint8))
        clip = Cityscapes.open(root, "val").clips(1)[0]
        with pytest.raises(InputError, match=r"labelIds\.png: is 16x8 where its picture is 48x32"):
            clip[0].read()


class TestEvaluate:
    def test_snippets_are_measured_as_runs_of_their_own(self, root: Path, bundle: Bundle) -> None:
        """Against runs in memory that end at the labelled frame: no snippet reaches into another."""
        found = evaluate(bundle, Cityscapes.open(root, "val"), [1, 2, 3], options=OPTIONS)
        assert found.frames == len(SNIPPETS)
        counts = np.sum([self.single(bundle, number, [1, 2, 3]) for number in range(len(SNIPPETS))], 0)
        for distance, expected in zip(found.distances, counts, strict=True):
            assert np.array_equal(distance.propagated.counts, expected)

    def single(self, bundle: Bundle, number: int, intervals: Sequence[int]) -> NDArray[np.int64]:
        table = np.full(256, 255, np.uint8)
        table[IDS[:19]] = range(19)
        pairs = snippet(number)[LABELLED - max(intervals) + 1 : LABELLED + 1]
        data = scenes.Memory(CLASSES, [(picture, table[ids]) for picture, ids in pairs])
        found: Evaluation = evaluate(bundle, data, intervals, options=OPTIONS)
        return np.stack([distance.propagated.counts for distance in found.distances])

    def test_no_consistency_without_labels_in_succession(self, root: Path, bundle: Bundle) -> None:
        measures = Measures(consistency=True)
        found = evaluate(bundle, Cityscapes.open(root, "val"), [1, 2], options=OPTIONS, measures=measures)
        assert [row.consistency for row in found.rows] == [None, None]

    def test_stills_have_interval_1_alone(self, tmp_path: Path, bundle: Bundle) -> None:
        data = Cityscapes.open(write(tmp_path / "stills", stills=True), "val")
        assert evaluate(bundle, data, [1], options=OPTIONS).frames == 3
        with pytest.raises(UsageError, match="split val holds stills"):
            evaluate(bundle, data, [1, 2], options=OPTIONS)

    def test_classes_must_be_the_bundle_s(self, root: Path, tmp_path: Path) -> None:
        other = Bundle.open(scenes.bundle(tmp_path / "camvid"))
        with pytest.raises(UsageError, match="; Cityscapes's ground truth has road, sidewalk"):
            evaluate(other, Cityscapes.open(root, "val"), [1], options=OPTIONS)

    def test_too_few_frames(self, root: Path, bundle: Bundle) -> None:
        with pytest.raises(UsageError, match="interval 5 needs at least 5 frames; here are 3"):
            evaluate(bundle, Cityscapes.open(root, "val"), [5], options=OPTIONS, max_frames=3)


class TestVerb:
    """From arguments to exit code."""

    def test_a_table_like_camvid_s(
        self, root: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["evaluate", str(bundle.path), "--data", str(root), "--threads", "1"]
        assert main([*given, "--intervals", "1,3", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["dataset"], facts["split"], facts["frames"]) == ("Cityscapes", "val", 3)
        assert len(facts["per_class"]) + len(facts["absent"]) == 19
        assert main([*given, "--intervals", "2", "--dataset", "cityscapes"]) == 0
        assert "Cityscapes val, 3 labelled frames, by toy, " in capsys.readouterr().out

    def test_mistakes(
        self, root: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stills = write(tmp_path / "stills", stills=True)
        image_of(root, 18).unlink()
        for data, arguments, code, part in (
            (stills, ["--intervals", "1,2"], 2, "split val holds stills"),
            (root, ["--split", "test"], 3, "no such folder; Cityscapes' root holds"),
            (root, ["--intervals", "2"], 3, "000018_leftImg8bit.png: missing; it is 1 before"),
            (root, ["--dataset", "kitti"], 2, "--dataset must be one of"),
        ):
            assert main(["evaluate", str(bundle.path), "--data", str(data), *arguments]) == code
            error = capsys.readouterr().err
            assert part in error and error.count("\n") == 1
