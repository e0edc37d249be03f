from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsvnet_engine import Bundle, recommend
from gsvnet_engine.bundle import Manifest
from gsvnet_engine.recommend import for_run, speed_ups
from tests import toy_bundle

MIOU = {1: 71.1, 2: 70.6, 3: 69.7, 4: 68.6}
SPEED = {2: 1.8, 3: 2.5, 4: 3.0}
mious = st.dictionaries(st.integers(2, 12), st.floats(0, 100), max_size=8)
speeds = st.dictionaries(st.integers(2, 12), st.floats(0.1, 20), max_size=8)


@given(mious, speeds, st.floats(0, 100), st.floats(0, 20))
def test_the_largest_interval_within_the_limit(
    miou: dict[int, float], speed: dict[int, float], first: float, most: float
) -> None:
    found = recommend.recommend({1: first, **miou}, speed, most_points=most)
    allowed = {n for n in miou if n in speed and first - miou[n] <= most and speed[n] > 1}
    assert found.chosen.interval == max(allowed, default=1) or (
        first - miou[found.chosen.interval] == pytest.approx(most)
    )
    assert [choice.interval for choice in found.choices] == sorted({1} | (set(miou) & set(speed)))
    assert found.choices[0].points == 0 and found.choices[0].speed_up == 1


@given(mious, speeds, st.floats(0, 100))
def test_a_higher_limit_never_recommends_less(
    miou: dict[int, float], speed: dict[int, float], first: float
) -> None:
    chosen = [
        recommend.recommend({1: first, **miou}, speed, most_points=most).chosen.interval
        for most in (0, 1, 5, 100)
    ]
    assert chosen == sorted(chosen)


@given(st.floats(0.1, 1e3), st.floats(0.01, 1e3), st.integers(1, 30))
def test_speed_lies_between_that_of_both_networks(keyframe: float, propagate: float, interval: int) -> None:
    (gained,) = speed_ups(keyframe, propagate, [interval]).values()
    assert min(1, keyframe / propagate) - 1e-9 <= gained <= max(1, keyframe / propagate) + 1e-9
    assert gained <= interval + 1e-9


def test_in_words() -> None:
    found = recommend.recommend(MIOU, SPEED, dataset="CamVid", basis="measured")
    assert found.sentence() == "l=2 costs 0.5 points and runs 1.8 times faster (on CamVid; speed measured)"
    assert found.others() == (
        "l=3 costs 1.4 points and runs 2.5 times faster; l=4 costs 2.5 points and runs 3.0 times faster"
    )
    assert recommend.recommend(MIOU, SPEED, most_points=2.5).chosen.interval == 4
    none = recommend.recommend(MIOU, SPEED, most_points=0.1, dataset="CamVid")
    assert none.sentence() == "l=1: every longer interval costs more than 0.1 points on CamVid"


@pytest.mark.parametrize(
    ("miou", "speed", "why"),
    [
        ({1: 70.0}, SPEED, "no longer interval is measured, in both mIoU and speed"),
        ({1: 70.0, 2: 69.9}, {3: 2.0}, "no longer interval is measured, in both mIoU and speed"),
        ({1: 70.0, 2: 69.9}, {2: 0.9}, "no longer interval runs faster (speed measured)"),
        ({1: 70.0, 2: 60.0}, {2: 0.9}, "no longer interval runs faster (speed measured)"),
        ({1: 70.0, 2: 60.0}, {2: 1.9}, "every longer interval costs more than 1.0 point on CamVid"),
        (
            {1: 70.0, 2: 69.9, 3: 60.0},
            {2: 1.0, 3: 1.5},
            "every longer interval that runs faster costs more than 1.0 point on CamVid",
        ),
    ],
)
def test_why_interval_1(miou: dict[int, float], speed: dict[int, float], why: str) -> None:
    assert recommend.recommend(miou, speed, dataset="CamVid").sentence() == f"l=1: {why}"


@pytest.mark.parametrize("cost", [-0.04, -0.0, 0.0, 0.04])
def test_no_minus_nothing(cost: float) -> None:
    found = recommend.recommend({1: 70.0, 2: 70.0 - cost}, SPEED)
    assert found.sentence().startswith("l=2 costs 0.0 points and")


class TestForRun:
    """The line that ends a run, for a manifest with and without what it needs."""

    def manifest(self, tmp_path: Path, **accuracy: Any) -> Manifest:
        return Bundle.open(toy_bundle.write(tmp_path / "toy", accuracy=accuracy)).manifest

    @pytest.fixture
    def stated(self, tmp_path: Path) -> Manifest:
        miou = {str(n): value for n, value in MIOU.items()}
        return self.manifest(tmp_path, intervals={"dataset": "CamVid", "average_miou": miou})

    def test_with_measured_times(self, stated: Manifest) -> None:
        assert for_run(stated, 4, (80.0, 8.0)) == [
            "at interval 4 this run's networks were 3.1 times as fast as per frame; on CamVid that costs 2.5 points",
            "recommended for a loss of 1.0 point of mIoU at most: l=2 costs 0.5 points and runs 1.8 times faster "
            "(on CamVid; speed of this run's networks)",
        ]
        assert for_run(stated, 2, (80.0, 8.0)) == [
            "at interval 2 this run's networks were 1.8 times as fast as per frame; on CamVid that costs 0.5 points"
        ]

    def test_an_interval_without_accuracy(self, stated: Manifest) -> None:
        gained, recommended = for_run(stated, 9, (80.0, 8.0))
        assert gained.endswith("5.0 times as fast as per frame") and "l=2" in recommended

    def test_without_times_the_cost_tells_the_speed(self, stated: Manifest) -> None:
        (line,) = for_run(stated, 1, None)
        assert line.endswith("runs 1.8 times faster (on CamVid; speed by multiply-accumulates)")

    def test_measured_speed_goes_before_cost(self, tmp_path: Path) -> None:
        intervals = {"dataset": "CamVid", "average_miou": {"1": 70, "3": 69.5}}
        found = recommend.of_manifest(self.manifest(tmp_path, intervals=intervals, speed_up={"3": 2.0}))
        assert found is not None and (found.chosen.interval, found.chosen.speed_up) == (3, 2.0)

    def test_nothing_known(self, tmp_path: Path) -> None:
        bare = self.manifest(tmp_path)
        assert for_run(bare, 4, None) == []
        line = "at interval 4 this run's networks were 2.0 times as fast as per frame"
        assert for_run(bare, 4, (6.0, 2.0)) == [line]


def test_without_interval_1() -> None:
    with pytest.raises(ValueError, match="interval 1"):
        recommend.recommend({2: 70.0}, SPEED)
