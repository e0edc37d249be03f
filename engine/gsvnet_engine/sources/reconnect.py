"""When a lost live source is tried again. Pure: the caller's clock, no I/O."""

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 8.0


class Backoff:
    """Waits that double, from a quarter of a second to eight, until a source has been lost for `limit_s` seconds."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.attempts = 0
        self._lost_s: float | None = None

    def lost(self, now_s: float) -> bool:
        """The source is gone: whether that is news, and not the end of a connection that gave no picture."""
        news = self._lost_s is None
        if news:
            self._lost_s, self.attempts = now_s, 0
        return news

    def found(self) -> None:
        """It has given a picture."""
        self._lost_s = None

    @property
    def is_lost(self) -> bool:
        return self._lost_s is not None

    def away_s(self, now_s: float) -> float:
        return 0.0 if self._lost_s is None else now_s - self._lost_s

    def wait_s(self, now_s: float) -> float | None:
        """Seconds before the next attempt; None: it has been away for too long."""
        left_s = self.limit_s - self.away_s(now_s)
        if left_s <= 0:
            return None
        self.attempts += 1
        return min(_FIRST_WAIT_S * 2.0 ** (min(self.attempts, 16) - 1), _LONGEST_WAIT_S, left_s)
