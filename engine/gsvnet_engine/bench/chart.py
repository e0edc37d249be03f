"""Frames/s of every row as a PNG; needs matplotlib."""

from pathlib import Path
from typing import Any

from gsvnet_engine.bench import paper
from gsvnet_engine.bench.job import Bench, OnGpu, rows_by_bundle
from gsvnet_engine.errors import BackendError, OutputError, UsageError
from gsvnet_engine.sinks.base import check_file

_SIZE_INCHES, _DPI = (8.0, 5.0), 140


def check(path: Path, *, force: bool) -> None:
    """Refuse before anything is measured: BackendError without matplotlib, UsageError for a name that is no PNG,
    OutputError for a file that exists."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--png {path}: give a name that ends in .png")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "--png: needs matplotlib, which is missing: install gsvnet-engine[export]"
        ) from error
    check_file(path, force=force)


def draw(path: Path, bench: Bench) -> None:
    """A line for each bundle, precision and backend, frames/s over the interval."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = drawing.add_subplot()
    for setting, by_interval in rows_by_bundle(bench.measured).items():
        intervals = sorted(by_interval)
        axes.plot(intervals, [by_interval[i].fps for i in intervals], marker="o", label=" ".join(setting))
    if bench.gpu is not None:
        _beside(axes, bench, bench.gpu)
    height, width = bench.clip.size
    axes.set(xlabel="keyframe interval", ylabel="frames/s", title=f"{bench.clip.source} at {width}x{height}")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    try:
        drawing.savefig(path, format="png")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _beside(axes: Any, bench: Bench, gpu: OnGpu) -> None:
    """On a GPU: the same from frames in memory, and what the paper publishes."""
    for setting, by_interval in rows_by_bundle(bench.measured).items():
        rates = {
            v.interval: fps
            for v, fps in gpu.sustained_fps.items()
            if (v.bundle, v.precision, v.backend) == setting
        }
        intervals = [interval for interval in sorted(by_interval) if interval in rates]
        label = f"{' '.join(setting)}, sustained"
        axes.plot(intervals, [rates[i] for i in intervals], marker="s", linestyle="--", label=label)
    published = {line.interval: line.fps for line in paper.SPEED if line.ours}
    label = f"the paper, SwiftNet-R18 on Cityscapes, {paper.GPU}"
    axes.plot(list(published), list(published.values()), marker="x", linestyle=":", color="grey", label=label)
