"""Temporal consistency on a street whose motion, occlusion and labels are exact."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Frame
from gsvnet_engine.evaluation.consistency import Consistency, Motion, Track, luma_of, motion_between
from gsvnet_engine.frames import Plane
from samples.street_scene import Rendered, StreetScene

Labels = NDArray[np.uint8]
FLICKER = 0.1  # share of the pixels


@pytest.fixture(scope="module")
def street() -> list[Rendered]:
    scene = StreetScene(180, 320, 3, 25)
    return [scene.render(t) for t in range(4)]


def exact(rendered: Rendered) -> Motion:
    """The motion since the frame before as the scene knows it."""
    height, width = rendered.labels.shape
    y, x = np.mgrid[:height, :width]
    columns = np.clip(np.rint(x + rendered.flow[0]), 0, width - 1).astype(np.int32)
    rows = np.clip(np.rint(y + rendered.flow[1]), 0, height - 1).astype(np.int32)
    return Motion(rows, columns, ~rendered.occluded)


def percent(labels: list[Labels], motions: list[Motion | None], classes: int | None = None) -> float:
    found = Consistency(classes)
    for picture, motion in zip(labels, motions, strict=True):
        found.add(picture, motion)
    answer = found.percent()
    assert answer is not None
    return answer


def tracked(street: list[Rendered]) -> list[Motion | None]:
    track = Track()
    return [track.step(Frame.from_rgb(rendered.image)) for rendered in street]


def flickering(labels: list[Labels]) -> list[Labels]:
    """A tenth of the pixels of each frame say something new."""
    rng = np.random.default_rng(5)
    return [
        np.where(rng.random(picture.shape) < FLICKER, np.uint8(20 + t), picture).astype(np.uint8)
        for t, picture in enumerate(labels)
    ]


class TestOnAStreet:
    def test_true_labels_are_steady_along_the_true_motion(self, street: list[Rendered]) -> None:
        motions = [None, *map(exact, street[1:])]
        labels = [rendered.labels for rendered in street]
        assert percent(labels, motions) > 98.5  # positions are rounded to whole pixels
        luma = luma_of(Frame.from_rgb(street[0].image))
        still: list[Motion | None] = [None, *[motion_between(luma, luma)] * 3]
        assert percent(labels, still) < percent(labels, motions) - 1

    def test_and_along_that_of_dis(self, street: list[Rendered]) -> None:
        motions = tracked(street)
        assert motions[0] is None
        assert all(motion is not None and motion.valid.mean() > 0.9 for motion in motions[1:])
        assert percent([rendered.labels for rendered in street], motions) > 97

    def test_flicker_shows_in_full(self, street: list[Rendered]) -> None:
        motions = tracked(street)
        labels = [rendered.labels for rendered in street]
        expected = percent(labels, motions) * (1 - FLICKER) ** 2
        assert percent(flickering(labels), motions) == pytest.approx(expected, abs=0.5)

    def test_unlabelled_pixels_count_in_neither(self, street: list[Rendered]) -> None:
        motions = tracked(street)
        labels = [rendered.labels for rendered in street]
        assert percent(flickering(labels), motions, classes=11) == pytest.approx(
            percent(labels, motions), abs=0.5
        )


class TestTrack:
    def test_starts_anew_after_a_cut_and_another_size(self, street: list[Rendered]) -> None:
        frames = [Frame.from_rgb(rendered.image) for rendered in street]
        track = Track()
        assert track.step(frames[0]) is None
        assert track.step(frames[1]) is not None
        assert track.step(replace(frames[2], forces_keyframe=True)) is None
        assert track.step(frames[3]) is not None
        assert track.step(Frame.from_rgb(street[0].image[:100])) is None
        tiny = Track()
        assert [tiny.step(Frame.from_rgb(street[0].image[:8, :8])) for _ in range(2)] == [None, None]

    def test_luma(self) -> None:
        deep = np.full((4, 6), 512, np.uint16)
        frame = Frame(planes=(Plane(deep),), kind="gray", height=4, width=6, depth=10)
        assert luma_of(frame).tolist() == [[128] * 6] * 4
        white = Frame.from_rgb(np.full((4, 6, 3), 255, np.uint8))
        assert luma_of(white).tolist() == [[255] * 6] * 4


def test_a_shift_is_found() -> None:
    rng = np.random.default_rng(1)
    wide = np.kron(rng.integers(0, 256, (16, 20)), np.ones((6, 6))).astype(np.uint8)
    motion = motion_between(wide[:, :110], wide[:, 4:114])
    x = np.arange(110)
    inside = motion.valid[20:-20, 20:-20]
    assert inside.mean() > 0.9
    assert np.median((motion.columns - x)[20:-20, 20:-20][inside]) == 4


def test_what_was_hidden_before_is_left_out() -> None:
    """A textured square goes 10 pixels to the right over a textured ground, and bares a strip of it."""
    rng = np.random.default_rng(3)
    ground, square = (
        cv2.GaussianBlur(rng.integers(0, 256, (120, 160), np.uint8), (0, 0), 1.5) for _ in range(2)
    )
    pictures = []
    for left in (50, 60):
        picture = ground.copy()
        picture[40:90, left : left + 50] = square[:50, :50]
        pictures.append(picture.astype(np.uint8))
    motion = motion_between(pictures[0], pictures[1])
    assert motion.valid[45:85, 51:59].mean() < 0.4
    assert motion.valid[45:85, 65:105].mean() > 0.9


def test_a_labelling_without_a_frame_before() -> None:
    found = Consistency()
    found.add(np.zeros((4, 4), np.uint8), None)
    assert found.percent() is None
