"""What `bench` measures instead of its tables: --sizes, --first-frame. Not a verb itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsvnet_engine.geometry import Size

if TYPE_CHECKING:
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

_INTERVAL = 4
_RUNS = {"full": 5, "quick": 1}


@dataclass(frozen=True, kw_only=True)
class Given:
    """The options that both share."""

    bundle: str
    clip: Path
    cache: Path
    backend: str
    threads: int
    gpu: "GpuOptions"
    quick: bool


def sizes(given: Given, say: Callable[[str], None]) -> tuple[str, dict[str, Any]]:
    """The cost of several sizes, as text and as JSON values."""
    from gsvnet_engine.bench import sizes
    from gsvnet_engine.bundle import Bundle

    found = sizes.measure(
        Bundle.open(given.bundle),
        given.clip,
        given.cache,
        sizes=sizes.SIZES,
        backend=given.backend,
        precision="f32",
        interval=_INTERVAL,
        threads=given.threads,
        gpu=given.gpu,
        effort=sizes.QUICK if given.quick else sizes.FULL,
        say=say,
    )
    return "\n".join(sizes.lines(found)), found.as_json()


def first_frame(given: Given, size: Size, say: Callable[[str], None]) -> tuple[str, dict[str, Any]]:
    """How soon a process has labels, as text and as JSON values."""
    from gsvnet_engine import machine
    from gsvnet_engine.bench import first_frame
    from gsvnet_engine.bench.clip import scaled
    from gsvnet_engine.bundle import Bundle

    clip = scaled(given.clip, size, given.cache, say)
    runs = _RUNS["quick" if given.quick else "full"]
    bundle, load = Bundle.open(given.bundle), machine.load()
    found = first_frame.measure(clip.path, bundle, given.backend, "f32", given.threads, given.gpu, runs)
    return "\n".join(first_frame.lines(found, load)), {**found.as_json(), "load_before": load}
