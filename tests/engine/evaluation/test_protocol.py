from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import Bundle, Frame, InputError, UsageError
from gsvnet_engine.backends import CPU_BACKENDS
from gsvnet_engine.evaluation.agreement import agreement
from gsvnet_engine.evaluation.camvid import CamVid
from gsvnet_engine.evaluation.consistency import Consistency, Track
from gsvnet_engine.evaluation.networks import RuntimeOptions
from gsvnet_engine.evaluation.protocol import Evaluation, Measures, evaluate
from gsvnet_engine.labels import upsample_labels
from tests import toy_bundle
from tests.engine.evaluation import scenes
from tests.toy_bundle import Float32

FRAMES = 7
OPTIONS = RuntimeOptions(backend="onnxruntime", threads=1)
Pairs = list[tuple[scenes.Array, scenes.Array]]
Step = Callable[[Float32, Float32, Float32], Float32]


def at_grid(picture: scenes.Array) -> Float32:
    return (picture[4::8, 4::8].transpose(2, 0, 1)[None] / 255).astype(np.float32)


def warped(current: Float32, previous: Float32, scores: Float32) -> Float32:
    return (np.float32(scenes.WARP) * scores).astype(np.float32)


def predicted(pairs: Pairs, key: int, target: int, step: Step) -> scenes.Array:
    """Labels of `target` from a keyframe `key`: one step of the toy bundle at a time, nothing shared.

    11 classes of the bundle are its 4 over and over: the first of equals wins, as if there were 4 alone.
    """
    full = (pairs[key][0].transpose(2, 0, 1)[None] / 255).astype(np.float32)
    scores = toy_bundle.keyframe_scores(full, scenes.GRID)
    for t in range(key + 1, target + 1):
        scores = step(at_grid(pairs[t][0]), at_grid(pairs[t - 1][0]), scores)
    return upsample_labels(scores[0], scenes.HEIGHT, scenes.WIDTH)


def miou(found: list[tuple[scenes.Array, scenes.Array]]) -> float:
    truth, labels = (np.concatenate([pair[n].ravel() for pair in found]) for n in (0, 1))
    truth, labels = truth[truth < 11], labels[truth < 11]
    ious = [
        ((truth == c) & (labels == c)).sum() / ((truth == c) | (labels == c)).sum()
        for c in range(11)
        if (truth == c).any()
    ]
    return float(100 * np.mean(ious))


def by_numpy(pairs: Pairs, interval: int, longest: int, kind: str) -> tuple[float, float]:
    """(average, minimum) mIoU in percent, straight from the words of the protocol."""
    step = warped if kind == "warp" else toy_bundle.propagated_scores
    by_age = [
        [
            (pairs[b][1], predicted(pairs, b - i, b - i if kind == "repeat" else b, step))
            for b in range(longest - 1, len(pairs))
        ]
        for i in range(interval)
    ]
    return miou([pair for found in by_age for pair in found]), miou(by_age[-1])


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(scenes.bundle(tmp_path / "toy"))


@pytest.fixture
def data(tmp_path: Path) -> CamVid:
    return CamVid.open(scenes.write(tmp_path / "data", scenes.scene(FRAMES)), "val")


class TestEvaluate:
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    def test_is_that_of_numpy(self, bundle: Bundle, data: CamVid, backend: str) -> None:
        found = evaluate(bundle, data, [1, 3, 4], options=RuntimeOptions(backend=backend, threads=1))
        pairs = scenes.scene(FRAMES)
        assert found.backend == backend
        assert found.frames == FRAMES - 3
        assert [row.interval for row in found.rows] == [1, 3, 4]
        for row in found.rows:
            for kind, measured in {
                "engine": (row.average_miou, row.minimum_miou),
                "repeat": (row.repeat_average_miou, row.repeat_minimum_miou),
                "warp": (row.warp_average_miou, row.warp_minimum_miou),
            }.items():
                # A pixel or two may fall to the other of two nearly equal classes.
                assert measured == pytest.approx(by_numpy(pairs, row.interval, 4, kind), abs=0.1)
        assert found.keyframes.absent() == [scenes.ABSENT]

    def test_at_interval_1_all_three_are_one(self, bundle: Bundle, data: CamVid) -> None:
        row = evaluate(bundle, data, [1, 2], options=OPTIONS).rows[0]
        values = {row.average_miou, row.minimum_miou, row.repeat_average_miou, row.repeat_minimum_miou}
        assert values == {row.warp_average_miou} == {row.warp_minimum_miou}

    def test_the_same_frames_whatever_else_is_measured(self, bundle: Bundle, data: CamVid) -> None:
        def mious(found: Evaluation) -> list[tuple[float, float]]:
            return [(row.average_miou, row.minimum_miou) for row in found.rows]

        both = mious(evaluate(bundle, data, [1, 2, 3], options=OPTIONS))
        assert mious(evaluate(bundle, data, [3], options=OPTIONS)) == both[2:]
        assert mious(evaluate(bundle, data, [1, 3], options=OPTIONS)) == both[::2]

    def test_consistency_is_that_of_a_segmenter_in_use(self, bundle: Bundle, data: CamVid) -> None:
        """Keyframes fall every `interval` frames, the first on the first frame that is measured."""
        measures = Measures(consistency=True)
        found = evaluate(bundle, data, [1, 3], options=OPTIONS, measures=measures)
        pairs = scenes.scene(FRAMES)[2:]
        frames = [Frame.from_rgb(picture, index=t, pts_s=t / 25) for t, (picture, _) in enumerate(pairs)]
        in_use = agreement(bundle, frames, [1, 3], options=OPTIONS, consistency=True)
        for row, expected in zip(found.rows, in_use, strict=True):
            assert row.consistency == expected.consistency
            assert row.repeat_consistency == expected.repeat_consistency
        truth, track = Consistency(len(data.classes)), Track()
        for frame, (_, labels) in zip(frames, pairs, strict=True):
            truth.add(labels, track.step(frame))
        assert found.rows[0].truth_consistency == truth.percent()

    def test_frames_per_second(self, bundle: Bundle, data: CamVid) -> None:
        assert all(row.fps > 0 for row in evaluate(bundle, data, [1, 5], options=OPTIONS).rows)

    def test_max_frames(self, bundle: Bundle, data: CamVid) -> None:
        found = evaluate(bundle, data, [2], options=OPTIONS, max_frames=3)
        assert found.frames == 2
        expected = by_numpy(scenes.scene(FRAMES)[:3], 2, 2, "engine")
        assert (found.rows[0].average_miou, found.rows[0].minimum_miou) == pytest.approx(expected, abs=0.1)

    def test_bundle_without_warp(self, tmp_path: Path, data: CamVid) -> None:
        bundle = Bundle.open(scenes.bundle(tmp_path / "bare", warp=False))
        row = evaluate(bundle, data, [2], options=OPTIONS).rows[0]
        assert row.warp_average_miou is None and row.warp_minimum_miou is None

    def test_stills_have_interval_1_alone(self, bundle: Bundle, tmp_path: Path) -> None:
        root = scenes.write(tmp_path / "stills", scenes.scene(2), split="test")
        for kind, suffix in (("images", "webp"), ("labels", "png")):
            for path in (root / "test" / kind).glob("*_00009.*"):
                path.rename(path.with_name(f"0001TP_00009.{suffix}"))
        stills = CamVid.open(root, "test")
        found = evaluate(bundle, stills, [1], options=OPTIONS)
        assert found.frames == 2
        expected = by_numpy(scenes.scene(2), 1, 1, "engine")
        assert found.rows[0].average_miou == pytest.approx(expected[0], abs=0.1)
        with pytest.raises(UsageError, match="split test holds stills"):
            evaluate(bundle, stills, [1, 2], options=OPTIONS)

    def test_another_size_in_a_run(self, bundle: Bundle, tmp_path: Path) -> None:
        pairs = scenes.scene(3)
        pairs[2] = pairs[2][0][:16], pairs[2][1][:16]
        data = CamVid.open(scenes.write(tmp_path / "odd", pairs), "val")
        with pytest.raises(InputError, match=r"00013\.webp: its size is not that"):
            evaluate(bundle, data, [2], options=OPTIONS)
        assert evaluate(bundle, data, [1], options=OPTIONS).frames == 3

    def test_what_cannot_be_measured(self, bundle: Bundle, data: CamVid, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"interval 8 needs at least 8 frames; here are 7"):
            evaluate(bundle, data, [8], options=OPTIONS)
        with pytest.raises(UsageError, match="at least 1"):
            evaluate(bundle, data, [0, 1], options=OPTIONS)
        with pytest.raises(UsageError, match="bundle toy has the classes Road, Sky, Car, Tree"):
            evaluate(Bundle.open(toy_bundle.write(tmp_path / "four")), data, [1], options=OPTIONS)

    def test_nothing_labelled(self, bundle: Bundle, tmp_path: Path) -> None:
        pairs = [(picture, np.full_like(labels, 11)) for picture, labels in scenes.scene(2)]
        data = CamVid.open(scenes.write(tmp_path / "blank", pairs), "val")
        with pytest.raises(InputError, match="not one pixel"):
            evaluate(bundle, data, [1], options=OPTIONS)


class TestAgreement:
    def test_is_that_of_numpy(self, bundle: Bundle) -> None:
        pairs = scenes.scene(FRAMES)
        frames = [Frame.from_rgb(picture, index=t, pts_s=t / 25) for t, (picture, _) in enumerate(pairs)]
        found = agreement(bundle, iter(frames), [1, 3], options=OPTIONS)
        step = toy_bundle.propagated_scores
        truth = [predicted(pairs, t, t, step) for t in range(FRAMES)]
        keys = [t - t % 3 for t in range(FRAMES)]
        propagated = [predicted(pairs, key, t, step) == truth[t] for t, key in enumerate(keys)]
        repeated = [truth[key] == truth[t] for t, key in enumerate(keys)]
        assert [row.interval for row in found] == [1, 3]
        assert (found[0].agreement, found[0].repeat_agreement) == (1, 1)
        assert found[1].agreement == pytest.approx(np.mean(propagated), abs=1e-3)
        assert found[1].repeat_agreement == pytest.approx(np.mean(repeated), abs=1e-3)

    def test_no_frame(self, bundle: Bundle) -> None:
        with pytest.raises(InputError, match="no frame"):
            agreement(bundle, [], [2], options=OPTIONS)
