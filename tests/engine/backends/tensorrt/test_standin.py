"""The stand-in promises nothing that the real wheel does not have."""

import inspect
from enum import Enum
from typing import Any

import pytest

from tests.engine.backends.tensorrt import rtx, standin_tensorrt

# Runtime and builder of the wheel hand out bytes-like IHostMemory, whose place bytes takes here.
_OWN = {"built", "compilations"}


@pytest.fixture(scope="module")
def wheel() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = rtx.run("names")
    return found


CLASSES = [
    each for each in vars(standin_tensorrt).values()
    if isinstance(each, type) and each.__module__ == standin_tensorrt.__name__
]  # fmt: skip


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.__name__)
def test_names_and_arguments(each: type, wheel: dict[str, dict[str, list[str]]]) -> None:
    assert each.__name__ in wheel
    real = wheel[each.__name__]
    for name in {*vars(each), *_attributes(each)}:
        if name.startswith("_") or name in _OWN:
            continue
        assert name in real, f"{each.__name__}.{name} is not in the wheel"
        member: Any = vars(each).get(name)
        if inspect.isfunction(member) and real[name] and real[name] != ["self"]:
            assert list(inspect.signature(member).parameters) == real[name], f"{each.__name__}.{name}"


def _attributes(each: type) -> set[str]:
    """Public attributes that __init__ sets."""
    if issubclass(each, Enum):
        return set(each.__members__)
    code = getattr(each.__init__, "__code__", None)
    return {name for name in code.co_names if hasattr_later(each, name)} if code else set()


def hasattr_later(each: type, name: str) -> bool:
    return f"self.{name}" in inspect.getsource(each) and not hasattr(each, name)


def test_every_class_is_looked_at() -> None:
    assert {"Builder", "OnnxParser", "Runtime", "IExecutionContext", "IProgressMonitor"} <= {
        c.__name__ for c in CLASSES
    }
