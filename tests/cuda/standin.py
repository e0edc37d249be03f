"""libcuda.cpp, compiled and loaded in the place of NVIDIA's driver, and what tests say to it."""

import ctypes
import subprocess
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

import pytest

OUT_OF_MEMORY, ILLEGAL_ADDRESS = 2, 700
_Run = ctypes.CFUNCTYPE(None, ctypes.c_long)
_SOURCE = Path(__file__).with_name("libcuda.cpp")


def build(folder: Path) -> Path:
    """libcuda.so.1 in `folder`: by its name cuda-bindings takes it for the driver, since it is loaded already."""
    library = folder / "libcuda.so.1"
    command = [
        "g++",
        "-shared",
        "-fPIC",
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    subprocess.run(
        [*command, "-Wl,-soname,libcuda.so.1", str(_SOURCE), "-o", str(library), "-ldl"], check=True
    )
    return library


class Driver:
    """The stand-in's controls. One a process, as there is one libcuda."""

    def __init__(self, library: Path) -> None:
        self._native = native = ctypes.CDLL(str(library))
        for name in ("alive", "violations", "failed"):
            getattr(native, f"standin_{name}").restype = ctypes.c_char_p
        native.standin_calls.restype = ctypes.c_long
        native.standin_copied.restype = ctypes.c_size_t
        native.standin_fail.argtypes = [ctypes.c_long, ctypes.c_int]
        native.standin_capacity.argtypes = [ctypes.c_size_t]
        native.standin_hold.argtypes = [ctypes.c_void_p, ctypes.c_int]
        native.standin_enqueue.argtypes = [
            ctypes.c_void_p, _Run, ctypes.c_long, ctypes.POINTER(ctypes.c_size_t), ctypes.c_int,
        ]  # fmt: skip
        self._works: dict[int, Callable[[], None]] = {}
        self._once: set[int] = set()
        self._numbers = count()
        self._run = _Run(self._call)
        self.errors: list[BaseException] = []

    def reset(self, seed: int = 0) -> None:
        """As when the process began. `seed`: of the order in which streams take turns."""
        self._native.standin_reset(seed)
        self._works.clear()
        self.errors.clear()

    def device(
        self, *, number: int = 1, capability: tuple[int, int] = (8, 6), name: str = "Stand-in GPU"
    ) -> None:
        self._native.standin_device(number, *capability, name.encode())

    def fail(self, number: int, code: int) -> None:
        """The call after the next `number` fails with `code`; -1: none."""
        self._native.standin_fail(number, code)

    def capacity(self, size: int) -> None:
        """Bytes of device memory that there are."""
        self._native.standin_capacity(size)

    def hold(self, stream: object, held: bool = True) -> None:
        """No work of this stream runs until it is let go: as if the GPU were busy with it."""
        self._native.standin_hold(int(stream), held)  # type: ignore[call-overload]

    def run(self) -> None:
        """All work that can run now does."""
        self._native.standin_run()

    def calls(self, name: str = "") -> int:
        """How often the function was called; without a name: all of them."""
        return int(self._native.standin_calls(name.encode()))

    def priority(self, stream: int) -> int:
        """The least goes first."""
        return int(self._native.standin_priority(ctypes.c_void_p(stream)))

    def copied(self, kind: str) -> int:
        """Bytes that copies of "HtoD", "DtoH" or "DtoD" were asked for."""
        return int(self._native.standin_copied(kind.encode()))

    @property
    def alive(self) -> str:
        """What was made and not freed; "" for nothing."""
        return str(self._native.standin_alive().decode())

    @property
    def violations(self) -> str:
        return str(self._native.standin_violations().decode())

    @property
    def failed(self) -> str:
        """The function that `fail` made fail, "" as long as it has not."""
        return str(self._native.standin_failed().decode())

    def enqueue(
        self, stream: int, work: Callable[[], None], touches: list[int], *, once: bool = False
    ) -> bool:
        """Put `work` on a stream; in a capture, on its graph (not `once`: it is then forgotten when it has run).

        touches: addresses that must live when it runs. False: the device is lost.
        """
        number = next(self._numbers)
        self._works[number] = work
        if once:
            self._once.add(number)
        addresses = (ctypes.c_size_t * len(touches))(*touches)
        return not self._native.standin_enqueue(stream, self._run, number, addresses, len(touches))

    def _call(self, number: int) -> None:
        try:
            (self._works.pop if number in self._once else self._works.__getitem__)(number)()
        except BaseException as error:  # it cannot pass through the driver
            self.errors.append(error)


@cache
def load() -> Driver:
    """The driver of this process. Skips where cuda-bindings or g++ is missing."""
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    from tempfile import mkdtemp

    return Driver(build(Path(mkdtemp(prefix="gsvnet-libcuda-"))))
