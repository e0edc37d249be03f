"""The accuracy-throughput curve (the paper's Fig. 3): average mIoU over frames/s, a point for each interval."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsvnet_engine.errors import BackendError, OutputError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES, _DPI = (8.0, 5.0), 140
_DASHED = (("repeat", (0, (1.5, 1.5)), "keyframe repeated"), ("warp", (0, (5, 2)), "warp only"))


def check(path: Path, *, force: bool) -> None:
    """Refuse, before anything is measured, what is bound to fail.

    Raises BackendError without matplotlib, UsageError for a name that is no PNG, OutputError for a place that cannot
    be written.
    """
    from gsvnet_engine.sinks.base import check_file

    if path.suffix.lower() != ".png":
        raise UsageError(f"--curve {path}: the curve is a PNG; give a name that ends in .png")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BackendError(
            "--curve: needs matplotlib, which is missing: install gsvnet-engine[export]"
        ) from error
    check_file(path, force=force)
    is_new = not path.exists()
    try:
        path.open("ab").close()  # permissions do not tell everything
        if is_new:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def draw(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Write the PNG from rows of `evaluate --json`: one line for each bundle, backend and precision."""
    try:
        figure(rows, title).savefig(path, format="png")
    except OSError as error:
        raise _unwritable(path, error) from error


def figure(rows: Sequence[dict[str, Any]], title: str) -> "Figure":
    """What `draw` writes."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
    axes = drawing.add_subplot()
    series = _series(rows)
    by_speed = sorted(series, key=lambda name: float(series[name][-1]["fps"]))
    for number, (name, own) in enumerate(series.items()):
        _plot(axes, name, own, f"C{number}", above=by_speed.index(name) % 2 == 1)
    axes.set_xlabel("networks alone, frames/s")
    axes.set_ylabel("average mIoU in percent")
    axes.set_title(title, parse_math=False)
    axes.grid(alpha=0.3)
    axes.margins(0.08)
    _add_legend(drawing)
    return drawing


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be written: {error.strerror or error}; give --curve another place")


def _add_legend(drawing: "Figure") -> None:
    """Below the curves. Names as they are: to matplotlib a first _ would hide a line, and $ be mathematics."""
    drawn = drawing.axes[0].get_lines()
    legend = drawing.legend(
        drawn,
        [str(n) for n in range(len(drawn))],
        loc="outside lower center",
        ncols=min(3, len(drawn) // 3 or 1),
        fontsize="x-small",
        columnspacing=1.0,
        handlelength=1.6,
    )
    for text, line in zip(legend.get_texts(), drawn, strict=True):
        text.set_parse_math(False)
        text.set_text(line.get_label())


def _series(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    series: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: int(row["interval"])):
        series.setdefault("{bundle}, {backend} {precision}".format(**row), []).append(row)
    return series


def _plot(axes: "Axes", name: str, rows: list[dict[str, Any]], colour: str, *, above: bool) -> None:
    fps, mious = [row["fps"] for row in rows], [row["average_miou"] for row in rows]
    axes.plot(fps, mious, color=colour, marker="o", label=name)
    for row in rows:
        axes.annotate(
            f"l={row['interval']}",
            (row["fps"], row["average_miou"]),
            xytext=(5, 5) if above else (-5, -11),  # two near lines do not cover each other's numbers
            textcoords="offset points",
            ha="left" if above else "right",
            fontsize="small",
            color=colour,
        )
    for kind, dashes, label in _DASHED:
        known = [row for row in rows if row[f"{kind}_average_miou"] is not None]
        if not known:
            continue
        axes.plot(
            [row[f"{kind}_fps"] for row in known],
            [row[f"{kind}_average_miou"] for row in known],
            color=colour,
            linestyle=dashes,
            linewidth=1,
            marker=".",
            label=f"{name}: {label}",
        )
