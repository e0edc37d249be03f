"""How far a bundle follows the network it was made for, and how much sooner it is done: without a single label.

The original network, run as its author runs it, labels every frame: its own scores, as fine as they come, brought to
the source's size. Beside it, at each distance from a keyframe: PF, the same PF's flow and warp alone, and the
keyframe's labels repeated.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gsvnet_engine import prepare
from gsvnet_engine.backends.base import Float32
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.dataset import Labels
from gsvnet_engine.evaluation.networks import Chain, Networks, RuntimeOptions
from gsvnet_engine.frames import Frame

INTERVALS = (1, 2, 3, 4, 5)
_MOST_FRAMES = 300
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
        """As a bundle's manifest states it: what does not depend on the machine, and is no mIoU."""
        stated: dict[str, Any] = {"held-out frames": self.frames}
        for row in self.rows:
            shares = (row.agreement, row.repeat_agreement, row.warp_agreement)
            names = ("propagated", "keyframe repeated", "warp only")
            stated[f"interval {row.interval}"] = {n: round(s, 2) for n, s in zip(names, shares, strict=True)}
        return {"percent of pixels labelled as by the keyframe network itself": stated}


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


def measure(
    bundle: Bundle, segments: Iterable[Iterable[Frame]], original: Original, backend: str = "auto"
) -> Report:
    """Measure on segments of consecutive frames.

    At every interval the same frames count: those with four frames before them in their segment.
    """
    with Networks(bundle, RuntimeOptions(backend=backend)) as networks:
        tallies = {name: _Tally() for name in ("engine", "repeat", "warp")}
        frames = sum(_measure_segment(bundle, networks, segment, original, tallies) for segment in segments)
        if not frames:
            raise InputError(
                f"the held-out video has fewer than {max(INTERVALS)} frames: hold out a longer one"
            )
        keyframe_ms = 1e3 / networks.fps(1)
        return Report(
            frames=frames,
            rows=tuple(_row(interval, networks, tallies) for interval in INTERVALS),
            keyframe_ms=keyframe_ms,
            propagate_ms=2e3 / networks.fps(2) - keyframe_ms,
            backend=networks.backend.name,
        )


def _measure_segment(
    bundle: Bundle,
    networks: Networks,
    segment: Iterable[Frame],
    original: Original,
    tallies: dict[str, _Tally],
) -> int:
    """How many frames were measured."""
    chains: deque[Chain] = deque(maxlen=max(INTERVALS))  # by age: this frame's own keyframe comes first
    previous: Float32 | None = None
    measured = 0
    for frame in segment:
        session, current = networks.session(frame), networks.current(frame)
        if len(chains) == max(INTERVALS):
            chains.pop()
        for chain in chains:
            assert previous is not None
            networks.advance(session, chain, current, previous)
        chains.appendleft(networks.start(frame))
        previous = current
        if len(chains) == max(INTERVALS):
            measured += 1
            size = (frame.height, frame.width)
            picture = prepare.keyframe(frame, bundle.plan(*size).keyframe)
            truth = networks.labels(original(picture), size)
            for age, chain in enumerate(chains):
                assert chain.warped is not None
                tallies["repeat"].add(age, truth, chain.keyframe_labels)
                tallies["engine"].add(age, truth, networks.labels(chain.scores, size))
                tallies["warp"].add(age, truth, networks.labels(chain.warped, size))
    return measured


def _row(interval: int, networks: Networks, tallies: dict[str, _Tally]) -> Row:
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
        speedup=networks.fps(interval) / networks.fps(1) if interval > 1 else 1.0,
    )


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
