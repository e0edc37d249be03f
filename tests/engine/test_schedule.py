from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsvnet_engine.errors import UsageError
from gsvnet_engine.schedule import Schedule, Step

SIZE = (36, 48)


def keyframes(schedule: Schedule, times_s: list[float], forced: frozenset[int] = frozenset()) -> list[int]:
    """Which of the frames at `times_s` are keyframes."""
    found, last, age = [], None, 0
    for number, pts_s in enumerate(times_s):
        if schedule.is_keyframe(last, SIZE, pts_s, forced=number in forced):
            found.append(number)
            age = 0
        else:
            age += 1
        last = Step(size=SIZE, pts_s=pts_s, age=age)
    return found


class TestSchedule:
    @given(st.integers(1, 12), st.integers(0, 60), st.floats(0, 0.5))
    def test_steady_video_has_one_every_interval(self, interval: int, count: int, step_s: float) -> None:
        times_s = [number * step_s / 2 for number in range(count)]
        assert keyframes(Schedule(interval=interval), times_s) == list(range(0, count, interval))

    @given(
        st.integers(1, 9),
        st.lists(st.floats(0, 100), max_size=40),
        st.frozensets(st.integers(0, 40)),
    )
    def test_never_older_than_the_interval_and_always_where_it_must(
        self, interval: int, times_s: list[float], forced: frozenset[int]
    ) -> None:
        found = keyframes(Schedule(interval=interval), times_s, forced)
        assert found[:1] == [0][: len(times_s)]
        for number in range(1, len(times_s)):
            elapsed_s = times_s[number] - times_s[number - 1]
            since = number - max(n for n in found if n < number)
            due = number in forced or elapsed_s < 0 or elapsed_s > 0.5 or since == interval
            assert (number in found) == due

    def test_counting_starts_anew_at_an_unplanned_keyframe(self) -> None:
        assert keyframes(Schedule(interval=4), [0.0] * 10, frozenset({2})) == [0, 2, 6]

    def test_a_new_size_needs_one(self) -> None:
        last = Step(size=SIZE, pts_s=0.0, age=0)
        assert Schedule(interval=9).is_keyframe(last, SIZE[::-1], 0.0)
        assert not Schedule(interval=9).is_keyframe(last, SIZE, 0.0)

    def test_unknown_times_are_no_gap(self) -> None:
        assert keyframes(Schedule(interval=3), [nan] * 5) == [0, 3]

    @pytest.mark.parametrize("interval", [0, -1, True, 2.0, "4"])
    def test_interval_must_be_a_positive_whole_number(self, interval: object) -> None:
        with pytest.raises(UsageError, match="interval must be a whole number of at least 1"):
            Schedule(interval=interval)  # type: ignore[arg-type]
