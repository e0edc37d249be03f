"""How far a bundle follows the network it was made for, and how much sooner it is done: without a single label.

The original network, run as its author runs it, labels every frame: its own scores, as fine as they come, brought to
the source's size. Beside it, at each distance from a keyframe: PF, the same PF's flow and warp alone, and the
keyframe's labels repeated.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import backends, prepare
from gsvnet_engine.backends.base import Float32, Session
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size
from gsvnet_engine.labels import upsample_labels

INTERVALS = (1, 2, 3, 4, 5)
_MOST_FRAMES = 300
_T = TypeVar("_T")
Labels = NDArray[np.uint8]
Original = Callable[[Float32], Float32]  # keyframe picture [1,3,H',W'] RGB in 0..1 -> scores [1,C,a,b]


@dataclass(frozen=True, kw_only=True)
class Row:
    """At one interval, in percent of pixels labelled as the original network does: over all distances 0..interval-1
    from the keyframe, and at the largest alone (`minimum`). `speedup`: the networks' time, per-frame over this."""

    interval: int
    agreement: float
    minimum: float
    repeat_agreement: float
    repeat_minimum: float
    warp_agreement: float
    warp_minimum: float
    speedup: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """`frames`: how many were measured. Times: medians of the networks alone, in milliseconds."""

    frames: int
    rows: tuple[Row, ...]
    keyframe_ms: float
    propagate_ms: float
    backend: str

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}

    def accuracy(self) -> dict[str, Any]:
        """As a bundle's manifest states it: what does not depend on the machine."""
        stated: dict[str, Any] = {"held-out frames": self.frames}
        for row in self.rows:
            shares = (row.agreement, row.repeat_agreement, row.warp_agreement)
            names = ("propagated", "keyframe repeated", "warp only")
            stated[f"interval {row.interval}"] = {n: round(s, 2) for n, s in zip(names, shares, strict=True)}
        return {"percent of pixels labelled as by the keyframe network itself": stated}


@dataclass(kw_only=True)
class _Chain:
    scores: Float32
    warped: Float32
    keyframe_labels: Labels


class _Tally:
    """Equal pixels by age, of one way to label."""

    def __init__(self) -> None:
        self.equal, self.pixels = np.zeros(max(INTERVALS)), np.zeros(max(INTERVALS))

    def add(self, age: int, truth: Labels, labels: Labels) -> None:
        self.equal[age] += np.count_nonzero(truth == labels)
        self.pixels[age] += truth.size

    def percent(self, interval: int) -> tuple[float, float]:
        """(over all ages of the interval, at the last alone)."""
        pooled = self.equal[:interval].sum() / self.pixels[:interval].sum()
        return 100 * float(pooled), 100 * float(self.equal[interval - 1] / self.pixels[interval - 1])


class _Networks:
    """A bundle's networks for any size, timed; and the original network, which gives the truth."""

    def __init__(self, bundle: Bundle, backend: str, original: Original) -> None:
        self.bundle, self.backend, self.original = bundle, backends.choose(backend), original
        self.keyframe_ms: list[float] = []
        self.propagate_ms: list[float] = []
        self.frames_measured = 0
        self._opened: tuple[Size, Session] | None = None

    def session(self, frame: Frame) -> Session:
        """The networks for the frame's size; the last one is kept."""
        size = (frame.height, frame.width)
        if self._opened is None or self._opened[0] != size:
            self._opened = size, self.backend.open(self.bundle, self.bundle.plan(*size), None)
        return self._opened[1]


def measure(
    bundle: Bundle, segments: Iterable[Iterable[Frame]], original: Original, backend: str = "auto"
) -> Report:
    """Measure on segments of consecutive frames.

    At every interval the same frames count: those with four frames before them in their segment.
    """
    networks = _Networks(bundle, backend, original)
    tallies = {name: _Tally() for name in ("engine", "repeat", "warp")}
    for segment in segments:
        _measure_segment(networks, segment, tallies)
    if not networks.frames_measured:
        raise InputError(f"the held-out video has fewer than {max(INTERVALS)} frames: hold out a longer one")
    keyframe_ms, propagate_ms = _typical(networks.keyframe_ms), _typical(networks.propagate_ms)

    def row(interval: int) -> Row:
        (engine, engine_min), (repeat, repeat_min), (warp, warp_min) = (
            tallies[name].percent(interval) for name in ("engine", "repeat", "warp")
        )
        return Row(
            interval=interval,
            agreement=engine,
            minimum=engine_min,
            repeat_agreement=repeat,
            repeat_minimum=repeat_min,
            warp_agreement=warp,
            warp_minimum=warp_min,
            speedup=interval * keyframe_ms / (keyframe_ms + (interval - 1) * propagate_ms),
        )

    return Report(
        frames=networks.frames_measured,
        rows=tuple(row(interval) for interval in INTERVALS),
        keyframe_ms=keyframe_ms,
        propagate_ms=propagate_ms,
        backend=networks.backend.name,
    )


def _measure_segment(networks: _Networks, segment: Iterable[Frame], tallies: dict[str, _Tally]) -> None:
    chains: deque[_Chain] = deque(maxlen=max(INTERVALS))  # by age: this frame's own keyframe comes first
    previous: Float32 | None = None
    for index, frame in enumerate(segment):
        session = networks.session(frame)
        size, sizes = (frame.height, frame.width), networks.bundle.plan(frame.height, frame.width)
        current, picture = prepare.current(frame, sizes.grid), prepare.keyframe(frame, sizes.keyframe)
        if len(chains) == max(INTERVALS):
            chains.pop()
        for chain in chains:
            assert previous is not None
            _advance(networks, session, chain, current, previous)
        scores = _timed(networks.keyframe_ms, session.keyframe, picture)
        labels = upsample_labels(scores[0], *size)
        chains.appendleft(_Chain(scores=scores, warped=scores, keyframe_labels=labels))
        previous = current
        if index >= max(INTERVALS) - 1:
            networks.frames_measured += 1
            truth = upsample_labels(networks.original(picture)[0], *size)
            for age, chain in enumerate(chains):
                tallies["repeat"].add(age, truth, chain.keyframe_labels)
                tallies["engine"].add(age, truth, upsample_labels(chain.scores[0], *size))
                tallies["warp"].add(age, truth, upsample_labels(chain.warped[0], *size))


def _advance(
    networks: _Networks, session: Session, chain: _Chain, current: Float32, previous: Float32
) -> None:
    chain.scores = _timed(networks.propagate_ms, session.propagate, current, previous, chain.scores)
    chain.warped = session.warp(current, previous, chain.warped)[0]


def _timed(times_ms: list[float], call: Callable[..., _T], *arguments: Any) -> _T:
    start = perf_counter()
    result = call(*arguments)
    times_ms.append((perf_counter() - start) * 1e3)
    return result


def _typical(times_ms: list[float]) -> float:
    """The median, without the first call, in which a runtime still allocates."""
    return median(times_ms[1:] or times_ms)


def spread_evenly(lengths: list[int], most: int = _MOST_FRAMES) -> list[int]:
    """How many frames to measure of segments of such lengths: at most `most` in all, no segment under five."""
    longest = max(INTERVALS)
    usable = [index for index, length in enumerate(lengths) if length >= longest]
    every = -(-len(usable) * longest // most) if usable else 1
    chosen = usable[::every]
    share = max(longest, most // max(1, len(chosen)))
    return [min(length, share) if index in chosen else 0 for index, length in enumerate(lengths)]


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    yield (
        f"held-out frames: {report.frames}, by {report.backend}; percent of pixels labelled as by the network itself, "
        "on average over the interval (at its last frame)"
    )
    yield "interval    propagated          keyframe repeated   warp only           speed-up of the networks"
    for row in report.rows:
        pairs = (
            (row.agreement, row.minimum),
            (row.repeat_agreement, row.repeat_minimum),
            (row.warp_agreement, row.warp_minimum),
        )
        cells = "".join(f"{average:>7.2f} ({minimum:.2f})".ljust(20) for average, minimum in pairs)
        yield f"{row.interval:>8}    {cells}{row.speedup:>5.2f}x"
    yield f"keyframe network {report.keyframe_ms:.1f} ms, PF {report.propagate_ms:.1f} ms a frame"
