"""A bounded queue between two threads."""

from collections import deque
from collections.abc import Iterator
from threading import Condition, Event
from typing import Generic, TypeVar

_T = TypeVar("_T")
_WAIT_S = 0.1  # how long a wait may keep a signal from being seen


class Channel(Generic[_T]):
    """A bounded queue between two threads that either end may close."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._items: deque[_T] = deque()
        self._changed = Condition()
        self._finished = self._abandoned = False
        self._error: BaseException | None = None

    def put(self, item: _T) -> bool:
        """Wait for a slot; False if the taker has gone."""
        with self._changed:
            self._make_room()
            if self._abandoned:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing more will be put; the taker gets what is there, then `error` if there is one."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def items(self, stop: Event | None = None) -> Iterator[_T]:
        """What is put, until it is finished or `stop` is set."""
        while stop is None or not stop.is_set():
            with self._changed:
                item = self._take()
                if item is None:
                    if not self._finished:
                        self._changed.wait(_WAIT_S)
                        continue
                    if self._error is not None:
                        raise self._error
                    return
                self._changed.notify_all()
            yield item

    def _make_room(self) -> None:
        """Wait for a slot. The lock is held."""
        while len(self._items) >= self._slots and not self._abandoned:
            self._changed.wait(_WAIT_S)

    def _take(self) -> _T | None:
        """The next item, None where there is none. The lock is held."""
        return self._items.popleft() if self._items else None
