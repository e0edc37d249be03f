"""Frames: views of what the caller holds, nothing copied, nothing guessed."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine.frames import Frame, Plane

Make = Callable[..., Frame]


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(("make", "order"), [(Frame.from_rgb, (0, 1, 2)), (Frame.from_bgr, (2, 1, 0))])
class TestFromChannels:
    def test_planes_are_red_green_blue_and_views(
        self, make: Make, order: tuple[int, int, int], picture: NDArray[np.uint8]
    ) -> None:
        frame = make(picture)
        assert (frame.kind, frame.height, frame.width) == ("rgb", 5, 7)
        assert frame.full_range and frame.depth == 8 and frame.chroma_shift == (0, 0)
        for plane, channel in zip(frame.planes, order, strict=True):
            assert np.shares_memory(plane.data, picture)
            np.testing.assert_array_equal(plane.data, picture[:, :, channel])

    def test_a_cut_or_mirrored_picture_stays_a_view(
        self, make: Make, order: tuple[int, int, int], picture: NDArray[np.uint8]
    ) -> None:
        cut = picture[1:4, ::-2]
        frame = make(cut)
        assert (frame.height, frame.width) == (3, 4)
        assert np.shares_memory(frame.planes[0].data, picture)
        np.testing.assert_array_equal(frame.planes[1].data, cut[:, :, 1])

    def test_place_in_time(self, make: Make, order: tuple[int, int, int], picture: NDArray[np.uint8]) -> None:
        frame = make(picture, index=3, pts_s=0.125)
        assert (frame.index, frame.pts_s, frame.pts, frame.time_base) == (3, 0.125, None, None)
        assert not frame.forces_keyframe

    @pytest.mark.parametrize(
        "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16), np.zeros((4, 0, 3), np.uint8)]
    )
    def test_other_arrays_are_refused(
        self, make: Make, order: tuple[int, int, int], wrong: NDArray[np.uint8]
    ) -> None:
        with pytest.raises(ValueError, match=r"must be uint8 \[H,W,3\], not uint"):
            make(wrong)


def test_repr_tells_sizes_and_not_data(picture: NDArray[np.uint8]) -> None:
    assert repr(Frame.from_rgb(picture, index=2, pts_s=1.5)) == "Frame(2, 7x5 rgb 8 bit, 1.500 s)"


def test_frames_and_planes_are_frozen(picture: NDArray[np.uint8]) -> None:
    frame = Frame.from_rgb(picture)
    with pytest.raises(FrozenInstanceError):
        frame.index = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Plane(picture[:, :, 0]).shift = 1  # type: ignore[misc]
