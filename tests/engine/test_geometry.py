from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsvnet_engine.geometry import Fixed, Geometry, Scaled, ShortSide, grid_size, keyframe_size, working_size

sides = st.integers(1, 10_000)
shorts = st.integers(8, 8192)
ratios = st.tuples(st.integers(1, 100), st.integers(1, 100))
multiples = st.integers(1, 512)


def half_up(x: Fraction) -> int:
    return floor(x + Fraction(1, 2))


class TestWorkingSize:
    @given(sides, sides)
    def test_source_is_the_source(self, height: int, width: int) -> None:
        assert working_size("source", height, width) == (height, width)

    @given(shorts, sides, sides)
    def test_short_side_is_exact_and_the_long_side_rounds_half_up(
        self, s: int, height: int, width: int
    ) -> None:
        h, w = working_size(ShortSide(s), height, width)
        assert min(h, w) == s
        assert max(h, w) == half_up(Fraction(max(height, width) * s, min(height, width)))
        assert (h <= w) == (height <= width) or h == w

    @given(shorts, sides, sides)
    def test_turning_the_picture_turns_the_size(self, s: int, height: int, width: int) -> None:
        assert working_size(ShortSide(s), width, height) == working_size(ShortSide(s), height, width)[::-1]

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ((360, 480), (720, 960)),
            ((1080, 1920), (720, 1280)),
            ((1920, 1080), (1280, 720)),
            ((144, 176), (720, 880)),
        ],
    )
    def test_known_sizes(self, source: tuple[int, int], expected: tuple[int, int]) -> None:
        assert working_size(ShortSide(720), *source) == expected


class TestKeyframeSize:
    @given(ratios, multiples, sides, sides)
    def test_scales_exactly_then_takes_the_nearest_multiple(
        self, ratio: tuple[int, int], m: int, height: int, width: int
    ) -> None:
        found = keyframe_size(Scaled(ratio, m), height, width)
        for side, scaled in zip((height, width), found, strict=True):
            assert scaled == max(m, m * half_up(Fraction(*ratio) * side / m))

    @given(sides, sides)
    def test_fixed_is_fixed(self, height: int, width: int) -> None:
        assert keyframe_size(Fixed((512, 1024)), height, width) == (512, 1024)


class TestGeometry:
    @given(sides, sides)
    def test_grid_is_an_eighth_rounded_up(self, height: int, width: int) -> None:
        h, w = grid_size(height, width)
        assert 8 * (h - 1) < height <= 8 * h
        assert 8 * (w - 1) < width <= 8 * w

    def test_camvid_as_the_paper_sees_it(self) -> None:
        sizes = Geometry(working=ShortSide(720), keyframe=Scaled((1, 2), 8)).plan(360, 480)
        assert (sizes.source, sizes.working, sizes.keyframe, sizes.grid) == (
            (360, 480),
            (720, 960),
            (360, 480),
            (90, 120),
        )
