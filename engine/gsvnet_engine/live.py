"""Live sources: what is too old is dropped before anything is computed for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from gsvnet_engine.channel import Channel
from gsvnet_engine.errors import UsageError
from gsvnet_engine.frames import Frame

DEADLINE_S = 0.2
RECONNECT_S = 30.0
_SLOTS = 16  # frames that may wait, however young they are: memory


@dataclass(frozen=True, kw_only=True)
class RealTime:
    """Latency before completeness. deadline_s: a live source's frames that arrived longer ago are dropped."""

    deadline_s: float = DEADLINE_S

    def __post_init__(self) -> None:
        if not 0 < self.deadline_s <= 60:
            raise UsageError(f"deadline must be above 0 and at most 60 seconds, not {self.deadline_s}")

    def channel(self) -> "Newest":
        """What a live source's frames wait in."""
        return Newest(self.deadline_s)


class Newest(Channel[Frame]):
    """A queue of frames whose giver never waits: the oldest go where they are past the deadline, or too many.

    `dropped` counts them. A keyframe that a dropped frame would have forced, the next one forces.
    """

    def __init__(
        self, deadline_s: float, slots: int = _SLOTS, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__(slots)
        self.dropped = 0
        self._deadline_s, self._clock = deadline_s, clock
        self._owes_keyframe = False

    def _make_room(self) -> None:
        while len(self._items) >= self._slots:
            self._drop()

    def _take(self) -> Frame | None:
        oldest_s = self._clock() - self._deadline_s
        while self._items and (self._items[0].captured_s or oldest_s) < oldest_s:
            self._drop()
        frame = super()._take()
        if frame is not None and self._owes_keyframe:
            frame, self._owes_keyframe = replace(frame, forces_keyframe=True), False
        return frame

    def _drop(self) -> None:
        self._owes_keyframe |= self._items.popleft().forces_keyframe
        self.dropped += 1
