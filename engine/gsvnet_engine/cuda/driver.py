"""Calls of the CUDA driver API (cuda.bindings.driver), each checked. Nothing is loaded before the first call."""

from functools import cache
from typing import Any, Final

from gsvnet_engine.errors import BackendError

OUT_OF_MEMORY: Final = 2
# After these the context is beyond use: every later call fails, freeing included.
_LOST: Final = {4, 46, 214, 215, 220, 700, 702, 709, 713, 714, 715, 716, 717, 718, 719, 721, 999}
INSTALL: Final = "install gsvnet-engine[gpu] and NVIDIA's display driver (see README, GPU)"


class DriverError(BackendError):
    """A call of the CUDA driver failed. `code` is the CUresult, or 0 where there is no driver at all."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @property
    def lost(self) -> bool:
        """Whether the device, or this process's context on it, is gone for good."""
        return self.code in _LOST


def call(name: str, *arguments: Any, doing: str = "") -> Any:
    """driver.<name>(*arguments): None, its one value, or a tuple of them. Raises DriverError, one line.

    `doing` says what for, where that helps who reads the error: "2.5 MiB for scores".
    """
    status, *values = _function(name)(*arguments)
    if int(status):
        raise DriverError(_explain(name, int(status), doing), int(status))
    return None if not values else values[0] if len(values) == 1 else tuple(values)


def release(name: str, *arguments: Any) -> None:
    """A call that frees something. Its failure is not reported: on a lost device each of them fails, after an error
    that was."""
    try:
        _function(name)(*arguments)
    except Exception:  # the driver may be gone altogether
        return


@cache
def api() -> Any:
    """The module cuda.bindings.driver. Raises ImportError where cuda-bindings is not installed."""
    from cuda.bindings import driver

    return driver


def _function(name: str) -> Any:
    function = getattr(api(), name)

    def checked(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # the library, or this function in it, is not there
            text = " ".join(str(error).split())
            raise DriverError(f"CUDA: {name} cannot be called ({text}); {INSTALL}", 0) from error

    return checked


def _explain(name: str, code: int, doing: str) -> str:
    what = f"CUDA: {name}{f' ({doing})' if doing else ''} failed: {_error_name(code)}"
    if code == OUT_OF_MEMORY:
        return (
            f"{what}: the GPU has no memory left; close other programs on it, "
            "or use a smaller working size or source"
        )
    if code in _LOST:
        return f"{what}: the GPU was lost (a fault, a reset, or a kernel stopped by a watchdog); start anew"
    return what


def _error_name(code: int) -> str:
    try:
        return str(api().CUresult(code).name)
    except ValueError:
        return f"error {code}"
