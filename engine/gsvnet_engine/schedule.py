"""When to run the image network anew: a pure decision, no clock and no I/O."""

from dataclasses import dataclass

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
