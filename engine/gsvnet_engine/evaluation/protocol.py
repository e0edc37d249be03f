"""The paper's protocol, and how far a video's labels at an interval agree with those at interval 1.

For a labelled frame b and an interval l, N segments frame b-i and PF propagates to b, for i = 0..l-1. The average
mIoU is that of one confusion pooled over all i, the minimum that of i = l-1 alone. Every interval is measured on the
same frames b, those with l_max - 1 frames before them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import backends, prepare
from gsvnet_engine.backends.base import Float32, Session
from gsvnet_engine.bundle import WARP_PLAIN, Bundle
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.evaluation.camvid import CLASSES, CamVid
from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size
from gsvnet_engine.labels import upsample_labels
from gsvnet_engine.segmenter import Segmenter

_T = TypeVar("_T")
Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What runs the networks; as the Segmenter's arguments of these names."""

    backend: str = "auto"
    threads: int | None = None
    cpu_precision: str = "f32"


@dataclass(frozen=True, kw_only=True)
class Row:
    """mIoU in percent at one interval. *repeat*: the keyframe's labels unchanged; *warp*: S_t = W alone, recursively
    (None where the bundle has no warp graph). `fps`: of the networks alone, over whole intervals."""

    interval: int
    average_miou: float
    minimum_miou: float
    repeat_average_miou: float
    repeat_minimum_miou: float
    warp_average_miou: float | None
    warp_minimum_miou: float | None
    fps: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`frames`: how many labelled frames were measured. `keyframes`: the confusion at interval 1."""

    frames: int
    rows: tuple[Row, ...]
    keyframes: Confusion
    backend: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share (0..1) of a video's pixels that are labelled as at interval 1: by the engine, and by repeating the last
    keyframe's labels."""

    interval: int
    agreement: float
    repeat_agreement: float


_OPTIONS = RuntimeOptions()


def evaluate(
    bundle: Bundle,
    data: CamVid,
    intervals: Sequence[int],
    *,
    options: RuntimeOptions = _OPTIONS,
    max_frames: int | None = None,
) -> Evaluation:
    """Measure the bundle on a labelled split, of which the first `max_frames` pictures are read.

    Raises UsageError for an interval above 1 where the pictures are stills, or too few for it.
    """
    stills = data.stills[:max_frames]
    _check(bundle, data, intervals, len(stills))
    longest, networks = max(intervals), _Networks(bundle, options)
    scorers = {name: _Scorer(len(CLASSES), longest) for name in ("engine", "repeat", "warp")}
    chains: deque[_Chain] = deque(maxlen=longest)  # by age: that of this frame's own keyframe comes first
    before: tuple[Size, Float32] | None = None
    for index, still in enumerate(stills):
        frame, truth = still.read(index)
        session = networks.session(frame)
        size, current = (frame.height, frame.width), networks.current(frame)
        if longest > 1 and before is not None:
            if before[0] != size:
                raise InputError(f"{still.image}: its size is not that of the frame before it in the run")
            if len(chains) == longest:
                chains.pop()
            for chain in chains:
                networks.advance(session, chain, current, before[1])
        before = size, current
        chains.appendleft(networks.start(session, frame))
        if index >= longest - 1:
            for age, chain in enumerate(chains):
                _score(scorers, networks, age, chain, truth)
    keyframes = scorers["engine"].by_age[0]
    if not keyframes.counts.any():
        raise InputError(f"{data.stills[0].labels.parent}: not one pixel of the measured frames is labelled")
    return Evaluation(
        frames=len(stills) - longest + 1,
        rows=tuple(_row(interval, scorers, networks) for interval in intervals),
        keyframes=keyframes,
        backend=networks.backend.name,
        precision=networks.backend.precision,
    )


def agreement(
    bundle: Bundle,
    source: Iterable[Frame],
    intervals: Sequence[int],
    *,
    options: RuntimeOptions = _OPTIONS,
) -> list[Agreement]:
    """Segment a video at interval 1 and, in step with it, at each of `intervals`; no labels are needed.

    Raises InputError where the source has no frame.
    """
    reference = _segmenter(bundle, 1, options)
    compared = [_Compared(_segmenter(bundle, interval, options)) for interval in intervals if interval > 1]
    pixels = 0
    for frame in source:
        labels = reference.push(frame).labels
        pixels += labels.size
        for one in compared:
            one.push(frame, labels)
    if not pixels:
        raise InputError("the video has no frame to compare")
    shares = {one.segmenter.interval: (one.equal / pixels, one.repeat_equal / pixels) for one in compared}
    found = {interval: shares.get(interval, (1.0, 1.0)) for interval in intervals}
    return [
        Agreement(interval=interval, agreement=share, repeat_agreement=repeat)
        for interval, (share, repeat) in found.items()
    ]


@dataclass(kw_only=True)
class _Chain:
    """A keyframe and what became of it: S_t, the same by warping alone, and the keyframe's own labels."""

    scores: Float32
    warped: Float32 | None
    keyframe_labels: Labels


class _Scorer:
    """A confusion for each age i of the keyframe."""

    def __init__(self, classes: int, longest: int) -> None:
        self.by_age = [Confusion(classes) for _ in range(longest)]

    def add(self, age: int, truth: Labels, labels: Labels) -> None:
        self.by_age[age].add(truth, labels)

    def mious(self, interval: int) -> tuple[float, float]:
        """(average, minimum) in percent."""
        return Confusion.pooled(self.by_age[:interval]).miou(), self.by_age[interval - 1].miou()


class _Networks:
    """The bundle's networks with the time they take."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        bundle.verify()
        self.backend = backends.choose(options.backend, options.cpu_precision)
        self.has_warp = WARP_PLAIN in bundle.manifest.graphs
        self._bundle, self._threads = bundle, options.threads
        self._opened: tuple[tuple[Size, Size], Session] | None = None
        self._keyframe_ms: list[float] = []
        self._propagate_ms: list[float] = []

    def session(self, frame: Frame) -> Session:
        """The networks for the frame's size; the last one is kept."""
        sizes = self._bundle.plan(frame.height, frame.width)
        key = sizes.keyframe, sizes.grid
        if self._opened is None or self._opened[0] != key:
            self._opened = key, self.backend.open(self._bundle, sizes, self._threads)
        return self._opened[1]

    def current(self, frame: Frame) -> Float32:
        grid = self._bundle.plan(frame.height, frame.width).grid
        return prepare.current(frame, grid, threads=self._threads)

    def start(self, session: Session, frame: Frame) -> _Chain:
        size = self._bundle.plan(frame.height, frame.width).keyframe
        picture = prepare.keyframe(frame, size, threads=self._threads)
        scores = _timed(self._keyframe_ms, lambda: session.keyframe(picture))
        labels = self.labels(scores, (frame.height, frame.width))
        return _Chain(scores=scores, warped=scores if self.has_warp else None, keyframe_labels=labels)

    def advance(self, session: Session, chain: _Chain, current: Float32, previous: Float32) -> None:
        before, warped = chain.scores, chain.warped
        chain.scores = _timed(self._propagate_ms, lambda: session.propagate(current, previous, before))
        if warped is not None:
            chain.warped = session.warp(current, previous, warped)[0]

    def labels(self, scores: Float32, size: Size) -> Labels:
        return upsample_labels(scores[0], *size, threads=self._threads)

    def fps(self, interval: int) -> float:
        """Frames per second over whole intervals, by the median times of both networks."""
        propagate_ms = _typical(self._propagate_ms) if interval > 1 else 0.0
        return 1e3 * interval / (_typical(self._keyframe_ms) + (interval - 1) * propagate_ms)


class _Compared:
    """A Segmenter at some interval, counted against labels at interval 1."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.equal = self.repeat_equal = 0
        self._repeated: Labels = np.empty((0, 0), np.uint8)

    def push(self, frame: Frame, reference: Labels) -> None:
        segmentation = self.segmenter.push(frame)
        if segmentation.is_keyframe:
            self._repeated = segmentation.labels
        self.equal += int(np.count_nonzero(segmentation.labels == reference))
        self.repeat_equal += int(np.count_nonzero(self._repeated == reference))


def _check(bundle: Bundle, data: CamVid, intervals: Sequence[int], frames: int) -> None:
    names = tuple(info.name for info in bundle.manifest.classes)
    if names != CLASSES:
        raise UsageError(
            f"bundle {bundle.manifest.name} has the classes {', '.join(names)}; CamVid's ground truth has "
            f"{', '.join(CLASSES)}: give a bundle with these, in this order"
        )
    if not intervals or min(intervals) < 1:
        raise UsageError(f"intervals must be whole numbers of at least 1, not {list(intervals)}")
    longest = max(intervals)
    if longest > 1 and not data.is_run:
        raise UsageError(
            f"split {data.split} holds stills, not consecutive video: only interval 1 can be measured there, "
            f"not {longest}"
        )
    if frames < longest:
        raise UsageError(f"interval {longest} needs at least {longest} frames; here are {frames}")


def _score(scorers: dict[str, _Scorer], networks: _Networks, age: int, chain: _Chain, truth: Labels) -> None:
    """Count what a keyframe that is `age` frames old says of the frame whose labels are `truth` [H,W]."""
    height, width = truth.shape

    def labels(scores: Float32) -> Labels:  # at age 0 all three are the keyframe itself
        return networks.labels(scores, (height, width)) if age else chain.keyframe_labels

    scorers["repeat"].add(age, truth, chain.keyframe_labels)
    scorers["engine"].add(age, truth, labels(chain.scores))
    if chain.warped is not None:
        scorers["warp"].add(age, truth, labels(chain.warped))


def _row(interval: int, scorers: dict[str, _Scorer], networks: _Networks) -> Row:
    average, minimum = scorers["engine"].mious(interval)
    repeat_average, repeat_minimum = scorers["repeat"].mious(interval)
    warp = scorers["warp"].mious(interval) if networks.has_warp else (None, None)
    return Row(
        interval=interval,
        average_miou=average,
        minimum_miou=minimum,
        repeat_average_miou=repeat_average,
        repeat_minimum_miou=repeat_minimum,
        warp_average_miou=warp[0],
        warp_minimum_miou=warp[1],
        fps=networks.fps(interval),
    )


def _segmenter(bundle: Bundle, interval: int, options: RuntimeOptions) -> Segmenter:
    return Segmenter(
        bundle,
        interval=interval,
        backend=options.backend,
        threads=options.threads,
        cpu_precision=options.cpu_precision,
    )


def _timed(times_ms: list[float], call: Callable[[], _T]) -> _T:
    start = perf_counter()
    result = call()
    times_ms.append((perf_counter() - start) * 1e3)
    return result


def _typical(times_ms: list[float]) -> float:
    """The median, without the first call, in which a runtime still allocates."""
    return median(islice(times_ms, 1, None) if len(times_ms) > 1 else times_ms)
