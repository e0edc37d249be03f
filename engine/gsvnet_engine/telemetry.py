"""Where the time goes: stage times, a progress bar and a table, all on stderr."""

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from threading import Lock
from time import perf_counter
from types import TracebackType
from typing import Any, Self, TextIO, TypeVar

_T = TypeVar("_T")
_KEPT = 8192  # values of a series: percentiles of up to so many are exact, of more from a fair sample of them
STAGES = (
    "decode",
    "prepare",
    "keyframe",
    "adopt",
    "propagate",
    "labels",
    "overlay",
    "encode",
    "write",
    "compare",
)


@dataclass(frozen=True)
class StageSummary:
    """Milliseconds of one stage over `count` frames."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    count: int

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> "StageSummary":
        """ValueError where there are none."""
        ms = sorted(values_ms)
        if not ms:
            raise ValueError("a stage that never ran has no times")
        return cls(
            mean=sum(ms) / len(ms),
            p50=_quantile(ms, 0.5),
            p90=_quantile(ms, 0.9),
            p95=_quantile(ms, 0.95),
            p99=_quantile(ms, 0.99),
            count=len(ms),
        )


# The threads of a run, and the stages whose times each spends one after another.
_Threads = tuple[tuple[str, ...], ...]
_THREADS: dict[str, _Threads] = {
    "decode": (("decode",),),
    "inference": (("prepare", "keyframe", "propagate", "labels", "compare"),),
    "sink": (("overlay", "write"), ("encode",)),
}
_INFERENCE_AHEAD: _Threads = (("prepare", "propagate", "adopt", "labels", "compare"), ("keyframe",))


def busy_shares(totals_ms: Mapping[str, float], seconds: float, lanes: float = 1) -> dict[str, float]:
    """How much of a run of `seconds` its decoding, inference (in `lanes`) and sinks each were at work; waiting for a
    live source counts as decoding."""
    ahead = {"inference": _INFERENCE_AHEAD} if "adopt" in totals_ms else {}
    return {
        part: max(sum(totals_ms.get(stage, 0.0) for stage in stages) for stages in threads)
        / 1e3
        / seconds
        / (lanes if part == "inference" else 1)
        if seconds > 0
        else 0.0
        for part, threads in (_THREADS | ahead).items()
    }


def bound_by(busy: Mapping[str, float]) -> str:
    """The part that the others wait for."""
    return max(busy, key=lambda part: busy[part])


class Samples:
    """A series of numbers in bounded memory: count, total and mean exact, percentiles from at most 8192 of them."""

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self._kept = array("d")
        self._random = Random(0)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if len(self._kept) < _KEPT:
            self._kept.append(value)
        elif (place := self._random.randrange(self.count)) < _KEPT:  # each of all is kept as likely
            self._kept[place] = value

    @property
    def mean(self) -> float:
        return self.total / self.count

    def summary(self) -> StageSummary:
        """ValueError where there are none."""
        return replace(StageSummary.of(self._kept), mean=self.mean, count=self.count)


class StageTimes:
    """Milliseconds of every stage of every frame; any thread may add."""

    def __init__(self) -> None:
        self._values: dict[str, Samples] = {}
        self._lock = Lock()

    def add(self, stage: str, ms: float) -> None:
        with self._lock:
            self._values.setdefault(stage, Samples()).add(ms)

    def totals_ms(self) -> dict[str, float]:
        """By stage, all its milliseconds."""
        with self._lock:
            return {stage: samples.total for stage, samples in self._values.items()}

    def add_all(self, stages_ms: Mapping[str, float]) -> None:
        for stage, ms in stages_ms.items():
            self.add(stage, ms)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time the block; one that raises does not count."""
        start = perf_counter()
        yield
        self.add(stage, (perf_counter() - start) * 1e3)

    def each(self, stage: str, items: Iterable[_T]) -> Iterator[_T]:
        """The items, the wait for each counted as `stage`."""
        iterator = iter(items)
        while True:
            start = perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self.add(stage, (perf_counter() - start) * 1e3)
            yield item

    def summary(self) -> dict[str, StageSummary]:
        """By stage, in the order of the pipeline."""
        with self._lock:
            values = {stage: samples.summary() for stage, samples in self._values.items()}
        order = {stage: i for i, stage in enumerate(STAGES)}
        return dict(sorted(values.items(), key=lambda item: order.get(item[0], len(order))))


def _quantile(ordered: list[float], q: float) -> float:
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


class Progress:
    """A bar with frames, frames/s and time left on stderr; nothing where that is no terminal, or `quiet`."""

    def __init__(
        self, name: str, total: int | None, *, quiet: bool = False, file: TextIO | None = None
    ) -> None:
        self._file = sys.stderr if file is None else file
        self._bar: Any = None
        if quiet or not self._file.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]:.1f} frames/s"),
            TimeRemainingColumn(),
            console=Console(file=self._file),
            transient=True,
        )
        self._task = self._bar.add_task(name, total=total, fps=0.0)
        self._started = perf_counter()

    def step(self, frames: int) -> None:
        """`frames` are done by now."""
        if self._bar is not None:
            fps = frames / max(perf_counter() - self._started, 1e-9)
            self._bar.update(self._task, completed=frames, fps=fps)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def stage_table(stages: Mapping[str, StageSummary]) -> str:
    """Mean, median and 95th percentile of every stage in milliseconds, as lines of text."""
    lines = [f"{'stage':<10} {'mean ms':>9} {'p50':>8} {'p95':>8} {'frames':>8}"]
    for stage, s in stages.items():
        lines.append(f"{stage:<10} {s.mean:>9.2f} {s.p50:>8.2f} {s.p95:>8.2f} {s.count:>8}")
    return "\n".join(lines)
