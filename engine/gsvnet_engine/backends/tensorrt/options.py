"""What a user may choose about the GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_CACHE_BYTES = 2 << 30


def quiet(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, kw_only=True)
class GpuOptions:
    """Options of the backends on a GPU; `ahead` and `plugin` are for tensorrt alone.

    device: the GPU's number. build: make a plan that is missing, or refuse. ahead: compute the next keyframe ahead, on
    a stream of its own; on the CPU, in a thread of its own. cache: folder of the plans (None: ~/.cache/gsvnet-engine).
    cache_bytes: how large it may grow. plugin: the TensorRT plugin library, where there is one. say: takes one-line
    notes. progress: takes (what, done, of) while a plan is built.
    """

    device: int = 0
    build: bool = True
    ahead: bool = False
    cache: Path | None = None
    cache_bytes: int = DEFAULT_CACHE_BYTES
    plugin: Path | None = None
    say: Callable[[str], None] = quiet
    progress: Callable[[str, int, int], None] | None = None

    @property
    def cache_folder(self) -> Path:
        return self.cache or Path("~/.cache/gsvnet-engine").expanduser()
