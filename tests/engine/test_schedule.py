from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsvnet_engine.errors import UsageError
from gsvnet_engine.schedule import Next, Schedule, Step, with_next

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


@dataclass(frozen=True)
class Shown:
    """As much of a frame as the schedule reads."""

    number: int
    pts_s: float
    forces_keyframe: bool
    height: int = SIZE[0]
    width: int = SIZE[1]


class TestWithNext:
    @given(
        st.integers(1, 9),
        st.lists(st.floats(0, 100), max_size=40),
        st.frozensets(st.integers(0, 40)),
    )
    def test_each_keyframe_is_shown_right_behind_the_one_before_it(
        self, interval: int, times_s: list[float], forced: frozenset[int]
    ) -> None:
        frames = [Shown(number, pts_s, number in forced) for number, pts_s in enumerate(times_s)]
        items = list(with_next(frames, Schedule(interval=interval)))
        assert [item for item in items if isinstance(item, Shown)] == frames  # every frame, in order
        due = keyframes(Schedule(interval=interval), times_s, forced)
        shown = [(i, item) for i, item in enumerate(items) if isinstance(item, Next)]
        assert [item.frame.number for _, item in shown] == due[1:]
        for before, (i, item) in zip(due, shown, strict=False):
            assert items[i - 1] == frames[before] and item.token is frames[item.frame.number]

    def test_nothing_is_held_longer_than_an_interval(self) -> None:
        read = list[int]()

        def source() -> Iterator[Shown]:
            for number in range(12):
                read.append(number)
                yield Shown(number, number / 25, False)

        for item in with_next(source(), Schedule(interval=4)):
            if isinstance(item, Shown):
                assert len(read) - item.number <= 5
