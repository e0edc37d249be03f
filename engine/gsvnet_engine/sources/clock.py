"""Presentation times that rise, whatever the file says. Pure: no clock, no I/O."""


class Clock:
    """Turns the pts of decoded frames (integers or None) into strictly rising ones.

    step: ticks of a frame at the nominal rate, for frames without a pts. jump: a step back by more than so
    many ticks means that the stream's clock was set anew (files joined, a counter that wrapped).
    """

    def __init__(self, *, step: int, jump: int) -> None:
        self._step = max(step, 1)
        self._jump = max(jump, 1)
        self._offset = 0
        self._last: int | None = None
        self._restart: int | None = None

    def restart(self, gap: int) -> None:
        """The next pts comes of another clock, and is shown `gap` ticks after the last one."""
        self._restart = max(gap, 1)

    def next(self, pts: int | None) -> tuple[int, bool]:
        """The repaired pts, and whether the stream's clock was set back here."""
        last, reset = self._last, False
        if self._restart is not None:
            fixed = self._restart + (0 if last is None else last)
            self._offset, self._restart = fixed - (pts or 0), None
        elif pts is None:
            fixed = 0 if last is None else last + self._step
        else:
            fixed = pts + self._offset
            if last is not None and fixed <= last:
                reset = last - fixed > self._jump
                fixed = last + (self._step if reset else 1)
            if reset:
                self._offset = fixed - pts
        self._last = fixed
        return fixed, reset
