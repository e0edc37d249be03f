"""Ownership: what is kept in a scope is closed with it, the last first."""

from contextlib import ExitStack
from typing import Protocol, Self, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


_R = TypeVar("_R", bound=Closable)


class Scope:
    """Closes what it keeps: when it is closed, or when its `with` block fails (and only then: `with` builds)."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def keep(self, resource: _R) -> _R:
        self._stack.callback(resource.close)
        return resource

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.close()
