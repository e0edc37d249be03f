"""The paper's protocol: what a bundle's labels are worth at every distance from the keyframe.

For a labelled frame b and an interval l, N segments frame b-i and PF propagates to b, for i = 0..l-1. The average
mIoU is that of one confusion pooled over all i, the minimum that of i = l-1 alone. Every interval is measured on the
same frames b, those with l_max - 1 frames before them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gsvnet_engine.backends.base import Float32
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.evaluation.boundary import BoundaryCounts, Outline
from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_engine.evaluation.consistency import Consistency, Track
from gsvnet_engine.evaluation.dataset import Clip, Dataset, Labels
from gsvnet_engine.evaluation.networks import Chain, Networks, RuntimeOptions
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size

KINDS = ("engine", "repeat", "warp")
_OPTIONS = RuntimeOptions()


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is measured besides mIoU: boundary F-scores (boundary.py), temporal consistency (consistency.py)."""

    boundary: bool = False
    consistency: bool = False


_MEASURES = Measures()


@dataclass(frozen=True, kw_only=True)
class Row:
    """mIoU and boundary F in percent at one interval. *repeat*: the keyframe's labels unchanged; *warp*: S_t = W
    alone, recursively (None where the bundle has no warp graph, and whatever was not asked for).

    `fps`: of the networks alone, over whole intervals. Consistency: percent, of a keyframe every `interval` frames
    as in use, where frames in succession are labelled.
    """

    interval: int
    average_miou: float
    minimum_miou: float
    repeat_average_miou: float
    repeat_minimum_miou: float
    warp_average_miou: float | None
    warp_minimum_miou: float | None
    fps: float
    repeat_fps: float
    warp_fps: float | None
    average_boundary_f: float | None
    minimum_boundary_f: float | None
    repeat_average_boundary_f: float | None
    repeat_minimum_boundary_f: float | None
    warp_average_boundary_f: float | None
    warp_minimum_boundary_f: float | None
    consistency: float | None
    repeat_consistency: float | None
    truth_consistency: float | None


@dataclass(frozen=True, kw_only=True)
class Distance:
    """What was counted `distance` frames after the keyframe; boundary: of the propagated labels, None if not asked."""

    distance: int
    propagated: Confusion
    repeated: Confusion
    warped: Confusion | None
    boundary: BoundaryCounts | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`frames`: how many labelled frames were measured. `distances`: 0..l_max-1; 0 is the keyframe network alone."""

    frames: int
    rows: tuple[Row, ...]
    distances: tuple[Distance, ...]
    backend: str
    precision: str

    @property
    def keyframes(self) -> Confusion:
        return self.distances[0].propagated


def evaluate(
    bundle: Bundle,
    data: Dataset,
    intervals: Sequence[int],
    *,
    options: RuntimeOptions = _OPTIONS,
    measures: Measures = _MEASURES,
    max_frames: int | None = None,
) -> Evaluation:
    """Measure the bundle on a labelled split, of which the first `max_frames` pictures are read.

    Raises UsageError for an interval above 1 where the pictures are stills, or too few for it.
    """
    clips, longest = usable_clips(bundle, data, intervals, max_frames), max(intervals)
    with Networks(bundle, options) as networks:
        tally = _Tally(len(data.classes), intervals, networks, measures)
        for clip in clips:
            tally.start()
            for step in _steps(clip, longest, networks):
                tally.add(step)
        if not tally.scores["engine"].by_age[0].counts.any():
            raise InputError(f"{data.source}: not one pixel of the measured frames is labelled")
        return Evaluation(
            frames=tally.frames,
            rows=tuple(tally.row(interval) for interval in intervals),
            distances=tuple(tally.distance(age) for age in range(longest)),
            backend=networks.backend.name,
            precision=networks.backend.precision,
        )


def usable_clips(
    bundle: Bundle, data: Dataset, intervals: Sequence[int], max_frames: int | None
) -> Sequence[Clip]:
    """What `evaluate` goes through; it raises here, before anything is read, for what cannot be measured."""
    _check(bundle, data, intervals)
    longest = max(intervals)
    clips = data.clips(longest, max_frames)
    most = max(map(len, clips), default=min(max_frames or 0, longest - 1))
    if most < longest:
        raise UsageError(f"interval {longest} needs at least {longest} frames; here are {most}")
    return clips


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A target frame, its truth, and the chains that reach it, by age: that of its own keyframe comes first."""

    frame: Frame
    truth: Labels
    chains: Sequence[Chain]
    follows: bool  # whether the target before it is the frame before it


def _steps(clip: Clip, longest: int, networks: Networks) -> Iterator[_Step]:
    """The targets of a clip. Every frame is read, and starts a chain, once; each chain lives `longest` frames."""
    chains: deque[Chain] = deque(maxlen=longest)
    before: tuple[Size, Float32] | None = None
    follows = False
    for index, picture in enumerate(clip):
        frame, truth = picture.read(index)
        session = networks.session(frame)
        size, current = (frame.height, frame.width), networks.current(frame)
        if longest > 1 and before is not None:
            if before[0] != size:
                raise InputError(f"{picture.name}: its size is not that of the frame before it in the run")
            if len(chains) == longest:
                chains.pop()
            for chain in chains:
                networks.advance(session, chain, current, before[1])
        before = size, current
        chains.appendleft(networks.start(frame))
        is_target = truth is not None and len(chains) == longest
        if truth is not None and is_target:
            yield _Step(frame=frame, truth=truth, chains=tuple(chains), follows=follows)
        follows = is_target


class _Scores:
    """A confusion, and where asked for boundary counts, for each age i of the keyframe."""

    def __init__(self, classes: int, longest: int, *, boundary: bool) -> None:
        self.by_age = [Confusion(classes) for _ in range(longest)]
        self.boundary = [BoundaryCounts(classes) for _ in range(longest)] if boundary else None

    def add(self, age: int, truth: Labels, labels: Labels, outlines: "_Outlines | None") -> None:
        self.by_age[age].add(truth, labels)
        if self.boundary is not None and outlines is not None:
            self.boundary[age].add(outlines.truth, outlines.of(labels))

    def mious(self, interval: int) -> tuple[float, float]:
        """(average, minimum) in percent."""
        return Confusion.pooled(self.by_age[:interval]).miou(), self.by_age[interval - 1].miou()

    def boundary_fs(self, interval: int) -> tuple[float | None, float | None]:
        """(average, minimum) in percent."""
        if self.boundary is None:
            return None, None
        pooled = BoundaryCounts.pooled(self.boundary[:interval])
        return pooled.mean(), self.boundary[interval - 1].mean()


class _Outlines:
    """Boundaries of one target: those of the truth, and those of labels, each made once."""

    def __init__(self, truth: Labels, classes: int) -> None:
        self._labelled, self._classes = truth < classes, classes
        self.truth = Outline(truth, self._labelled, classes)
        self._made: dict[int, Outline] = {}

    def of(self, labels: Labels) -> Outline:
        """At age 0 all kinds of labels are one array."""
        if id(labels) not in self._made:
            self._made[id(labels)] = Outline(labels, self._labelled, self._classes)
        return self._made[id(labels)]


class _Tally:
    """Everything that is counted over the targets of a data set."""

    def __init__(
        self, classes: int, intervals: Sequence[int], networks: Networks, measures: Measures
    ) -> None:
        self.frames = 0
        self._classes, self._networks, self._measures = classes, networks, measures
        longest = max(intervals)
        self.scores = {kind: _Scores(classes, longest, boundary=measures.boundary) for kind in KINDS}
        self._steady = {(kind, n): Consistency() for kind in ("engine", "repeat") for n in intervals}
        self._truth_steady = Consistency(classes)
        self._track, self._position = Track(), 0

    def start(self) -> None:
        """A new clip."""
        self._track, self._position = Track(), 0

    def add(self, step: _Step) -> None:
        self.frames += 1
        outlines = _Outlines(step.truth, self._classes) if self._measures.boundary else None
        labels = [self._labels(age, chain, step.truth.shape) for age, chain in enumerate(step.chains)]
        for age, by_kind in enumerate(labels):
            for kind, found in by_kind.items():
                self.scores[kind].add(age, step.truth, found, outlines)
        if self._measures.consistency:
            self._follow(step, labels)

    def _labels(self, age: int, chain: Chain, size: tuple[int, ...]) -> dict[str, Labels]:
        """What a keyframe that is `age` frames old says, by kind; at age 0 all three are the keyframe itself."""
        repeated = chain.keyframe_labels
        found = {"engine": chain.scores, "warp": chain.warped}
        shape = size[0], size[1]
        return {"repeat": repeated} | {
            kind: self._networks.labels(scores, shape) if age else repeated
            for kind, scores in found.items()
            if scores is not None
        }

    def _follow(self, step: _Step, labels: Sequence[dict[str, Labels]]) -> None:
        """Consistency with the frame before, of each interval with its keyframes as they fall in use."""
        if not step.follows:
            self.start()
        motion = self._track.step(step.frame)
        for (kind, interval), steady in self._steady.items():
            steady.add(labels[self._position % interval][kind], motion)
        self._truth_steady.add(step.truth, motion)
        self._position += 1

    def distance(self, age: int) -> Distance:
        counted = {kind: self.scores[kind].by_age[age] for kind in KINDS}
        boundary = self.scores["engine"].boundary
        return Distance(
            distance=age,
            propagated=counted["engine"],
            repeated=counted["repeat"],
            warped=counted["warp"] if self._networks.has_warp else None,
            boundary=None if boundary is None else boundary[age],
        )

    def row(self, interval: int) -> Row:
        networks, scores = self._networks, self.scores
        nothing = None, None
        warp = scores["warp"].mious(interval) if networks.has_warp else nothing
        average, minimum = scores["engine"].mious(interval)
        repeat_average, repeat_minimum = scores["repeat"].mious(interval)
        boundary = {kind: scores[kind].boundary_fs(interval) for kind in KINDS}
        warp_boundary = boundary["warp"] if networks.has_warp else nothing
        return Row(
            interval=interval,
            average_miou=average,
            minimum_miou=minimum,
            repeat_average_miou=repeat_average,
            repeat_minimum_miou=repeat_minimum,
            warp_average_miou=warp[0],
            warp_minimum_miou=warp[1],
            fps=networks.fps(interval),
            repeat_fps=networks.repeat_fps(interval),
            warp_fps=networks.warp_fps(interval) if networks.has_warp else None,
            average_boundary_f=boundary["engine"][0],
            minimum_boundary_f=boundary["engine"][1],
            repeat_average_boundary_f=boundary["repeat"][0],
            repeat_minimum_boundary_f=boundary["repeat"][1],
            warp_average_boundary_f=warp_boundary[0],
            warp_minimum_boundary_f=warp_boundary[1],
            consistency=self._steady["engine", interval].percent(),
            repeat_consistency=self._steady["repeat", interval].percent(),
            truth_consistency=self._truth_steady.percent(),
        )


def _check(bundle: Bundle, data: Dataset, intervals: Sequence[int]) -> None:
    names = tuple(info.name for info in bundle.manifest.classes)
    if names != data.classes:
        raise UsageError(
            f"bundle {bundle.manifest.name} has the classes {', '.join(names)}; {data.name}'s ground truth has "
            f"{', '.join(data.classes)}: give a bundle with these, in this order"
        )
    if not intervals or min(intervals) < 1:
        raise UsageError(f"intervals must be whole numbers of at least 1, not {list(intervals)}")
    if max(intervals) > 1 and not data.is_video:
        raise UsageError(
            f"split {data.split} holds stills, not consecutive video: only interval 1 can be measured there, "
            f"not {max(intervals)}" + ("" if data.gap is None else f" ({data.gap})")
        )
