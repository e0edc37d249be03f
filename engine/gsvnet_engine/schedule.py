"""When to run the image network anew: a pure decision, no clock and no I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gsvnet_engine.errors import UsageError
from gsvnet_engine.geometry import Size


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the schedule knows of a segmented frame: its source size, its time, and how old its keyframe is.

    `age` counts frames since the keyframe; the keyframe itself has age 0.
    """

    size: Size
    pts_s: float
    age: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A keyframe every `interval` frames, and wherever propagation would have nothing sound to start from."""

    interval: int
    max_gap_s: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.interval, bool) or not isinstance(self.interval, int) or self.interval < 1:
            raise UsageError(f"interval must be a whole number of at least 1, not {self.interval!r}")

    def is_keyframe(self, last: Step | None, size: Size, pts_s: float, *, forced: bool = False) -> bool:
        """Whether the frame of `size` at `pts_s` seconds needs the image network, given the frame before it.

        True for the first frame, when asked for (`forced`), when the size changed, when time ran backwards or
        jumped by more than `max_gap_s`, and `interval` frames after the last keyframe.
        """
        if last is None or forced or size != last.size:
            return True
        elapsed_s = pts_s - last.pts_s
        return elapsed_s < 0 or elapsed_s > self.max_gap_s or last.age + 1 >= self.interval


class Timed(Protocol):
    """What the schedule reads of a frame."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def pts_s(self) -> float: ...
    @property
    def forces_keyframe(self) -> bool: ...


_T = TypeVar("_T", bound=Timed)


@dataclass(frozen=True)
class Next(Generic[_T]):
    """Not a frame to segment yet: the next keyframe, shown ahead. `token`: the very object that comes later."""

    frame: _T
    token: _T


def with_next(frames: Iterable[_T], schedule: Schedule) -> Iterator[_T | Next[_T]]:
    """The frames, and behind each keyframe the one after it as Next, as far as the schedule tells in advance.

    So frames come an interval late, and the next keyframe's network can run beside those before it. One Next at a
    time: it comes right after the keyframe before it, and before any other.
    """
    last: Step | None = None
    held: list[_T] = []  # a keyframe, and those after it
    for frame in frames:
        size = frame.height, frame.width
        if schedule.is_keyframe(last, size, frame.pts_s, forced=frame.forces_keyframe):
            if held:
                yield held[0]
                yield Next(frame, frame)
                yield from held[1:]
            held, age = [], 0
        else:
            age = 0 if last is None else last.age + 1
        held.append(frame)
        last = Step(size=size, pts_s=frame.pts_s, age=age)
    yield from held
