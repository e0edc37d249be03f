"""Video in, labels out: the image network on keyframes, propagation between them.

for segmentation in Segmenter("street").stream("road.mp4", interval=4):
    show(segmentation.labels)
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import backends, prepare
from gsvnet_engine.backends.base import Float32, Session
from gsvnet_engine.bundle import Bundle, ClassInfo
from gsvnet_engine.errors import UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size, Sizes
from gsvnet_engine.labels import upsample_labels
from gsvnet_engine.schedule import Schedule, Step

_SESSIONS_KEPT = 3  # sizes whose compiled networks stay in memory when a stream changes its size


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """labels [H,W] uint8, the class index of every pixel of the source's picture.

    `stages_ms`: milliseconds of "prepare", "keyframe" or "propagate", and "labels".
    """

    labels: NDArray[np.uint8]
    is_keyframe: bool
    frame: Frame
    classes: tuple[ClassInfo, ...] = field(repr=False)
    stages_ms: dict[str, float]

    @property
    def index(self) -> int:
        """The frame's number in its source, from 0."""
        return self.frame.index

    @property
    def pts_s(self) -> float:
        """The frame's presentation time in seconds."""
        return self.frame.pts_s

    def class_shares(self) -> NDArray[np.float64]:
        """[C] float64: the share of the picture that each class covers; they sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        return counts / self.labels.size

    def __repr__(self) -> str:
        height, width = self.labels.shape
        kind = "keyframe" if self.is_keyframe else "propagated"
        return (
            f"Segmentation(index={self.index}, pts_s={self.pts_s:.3f}, labels={height}x{width} uint8, {kind})"
        )


@dataclass(frozen=True, kw_only=True)
class _Last:
    """What propagation starts from: i_{t-1} [1,3,h,w], S_{t-1} [1,C,h,w], and which frame left them."""

    current: Float32
    scores: Float32
    step: Step


class Segmenter:
    """Runs one bundle over one video at a time, frame by frame. Not for several threads at once.

    bundle: a shipped name, a folder, or an open Bundle. interval: a keyframe every so many frames (None:
    the bundle's own). backend: "auto", "openvino" or "onnxruntime". threads: for the networks and the
    kernels (None: their own choice). cpu_precision: "f32" or "bf16" (OpenVINO on processors that have
    it).
    """

    def __init__(
        self,
        bundle: str | Path | Bundle = "street",
        *,
        interval: int | None = None,
        backend: str = "auto",
        threads: int | None = None,
        cpu_precision: str = "f32",
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self.bundle = Bundle.open(bundle)
        self.bundle.verify()
        self._own_schedule = Schedule(
            interval=self.bundle.manifest.interval if interval is None else interval
        )
        self._schedule = self._own_schedule
        self._backend = backends.choose(backend, cpu_precision)
        self._threads = threads
        self._sessions: OrderedDict[tuple[Size, Size], Session] = OrderedDict()
        self._last: _Last | None = None
        self._keyframe_requested = False
        self._pushed = 0

    @property
    def interval(self) -> int:
        """A keyframe every so many frames."""
        return self._schedule.interval

    @property
    def backend(self) -> str:
        """The name of the runtime in use."""
        return self._backend.name

    @property
    def precision(self) -> str:
        """What float graphs are computed in."""
        return self._backend.precision

    @property
    def scores(self) -> Float32 | None:
        """S_t of the last frame, [1,C,h,w] float32 logits, read-only; None before the first.

        For evaluation.
        """
        return None if self._last is None else self._last.scores

    def push(self, frame: Frame | NDArray[np.uint8]) -> Segmentation:
        """Segment the next frame: a Frame, or RGB [H,W,3] uint8.

        A frame that raises leaves the state as it was before it.
        """
        frame = self._as_frame(frame)
        sizes = self.bundle.plan(frame.height, frame.width)
        session = self._session(sizes)
        last, stages_ms = self._last, dict[str, float]()

        with _timed(stages_ms, "prepare"):
            current = prepare.current(frame, sizes.grid, threads=self._threads)
        if last is None or self._is_keyframe(frame, last.step):
            age = 0
            with _timed(stages_ms, "prepare"):
                picture = prepare.keyframe(frame, sizes.keyframe, threads=self._threads)
            with _timed(stages_ms, "keyframe"):
                scores = session.keyframe(picture)
        else:
            age = last.step.age + 1
            with _timed(stages_ms, "propagate"):
                scores = session.propagate(current, last.current, last.scores)
        with _timed(stages_ms, "labels"):
            labels = upsample_labels(scores[0], frame.height, frame.width, threads=self._threads)

        scores.flags.writeable = False  # `scores` hands it out, and the next frame builds on it
        step = Step(size=sizes.source, pts_s=frame.pts_s, age=age)
        self._last = _Last(current=current, scores=scores, step=step)
        self._keyframe_requested = False
        self._pushed += 1
        classes = self.bundle.manifest.classes
        return Segmentation(
            labels=labels, is_keyframe=age == 0, frame=frame, classes=classes, stages_ms=stages_ms
        )

    def stream(
        self,
        source: str | Path | int | Iterable[Frame],
        *,
        interval: int | None = None,
        start_s: float = 0.0,
        duration_s: float | None = None,
        max_frames: int | None = None,
    ) -> Iterator[Segmentation]:
        """Segment a source from its start: a file, folder, glob, camera number, URL, or iterable of Frames.

        Decoding runs in a thread of its own. `interval` holds for this stream. `start_s`, `duration_s`
        (seconds of the source) and `max_frames` choose a part of it; they are for sources that this opens.
        """
        from gsvnet_engine.pipeline import background
        from gsvnet_engine.video import SourceOptions, open_source

        options = SourceOptions(start_s=start_s, duration_s=duration_s, max_frames=max_frames)
        self.reset()
        if interval is not None:
            self._schedule = Schedule(interval=interval)
        with ExitStack() as stack:
            if isinstance(source, str | Path | int):
                source = stack.enter_context(open_source(source, options))
            elif options != SourceOptions():
                raise UsageError("start_s, duration_s and max_frames are for sources that stream() opens")
            for frame in stack.enter_context(closing(background(source))):
                yield self.push(frame)

    def warm(self, height: int, width: int) -> None:
        """Make the networks ready for pictures of this size now (a second or two), not at the first `push`."""
        self._session(self.bundle.plan(height, width))

    def reset(self) -> None:
        """Forget the video so far: the next frame is a keyframe, counting and the interval start anew."""
        self._last = None
        self._schedule = self._own_schedule
        self._keyframe_requested = False
        self._pushed = 0

    def request_keyframe(self) -> None:
        """Make the next frame a keyframe."""
        self._keyframe_requested = True

    def keyframe_scores(self, frame: Frame | NDArray[np.uint8]) -> Float32:
        """N(I_t): scores [1,C,h,w] of one frame by the image network alone.

        For evaluation; the state stays as it is.
        """
        frame = self._as_frame(frame)
        sizes = self.bundle.plan(frame.height, frame.width)
        return self._session(sizes).keyframe(prepare.keyframe(frame, sizes.keyframe))

    def propagate_scores(
        self, current: Frame | NDArray[np.uint8], previous: Frame | NDArray[np.uint8], scores: Float32
    ) -> Float32:
        """PF(i_t, i_{t-1}, S_{t-1}) -> S_t, both [1,C,h,w]. For evaluation; the state stays as it is."""
        session, i_t, i_before = self._pair(current, previous)
        return session.propagate(i_t, i_before, scores)

    def warp_scores(
        self, current: Frame | NDArray[np.uint8], previous: Frame | NDArray[np.uint8], scores: Float32
    ) -> tuple[Float32, Float32]:
        """The flow and warp of PF alone: warped [1,C,h,w], flow [1,2,h,w] in cells. For evaluation."""
        session, i_t, i_before = self._pair(current, previous)
        return session.warp(i_t, i_before, scores)

    def _pair(
        self, current: Frame | NDArray[np.uint8], previous: Frame | NDArray[np.uint8]
    ) -> tuple[Session, Float32, Float32]:
        current, previous = self._as_frame(current), self._as_frame(previous)
        sizes = self.bundle.plan(current.height, current.width)
        return (
            self._session(sizes),
            prepare.current(current, sizes.grid),
            prepare.current(previous, sizes.grid),
        )

    def _is_keyframe(self, frame: Frame, last: Step) -> bool:
        forced = self._keyframe_requested or frame.forces_keyframe
        return self._schedule.is_keyframe(last, (frame.height, frame.width), frame.pts_s, forced=forced)

    def _session(self, sizes: Sizes) -> Session:
        """The networks for these sizes, made on first need; a few are kept, as streams switch to and fro."""
        key = sizes.keyframe, sizes.grid
        if key not in self._sessions:
            self._sessions[key] = self._backend.open(self.bundle, sizes, self._threads)
            if len(self._sessions) > _SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def _as_frame(self, frame: Frame | NDArray[np.uint8]) -> Frame:
        return frame if isinstance(frame, Frame) else Frame.from_rgb(frame, index=self._pushed)


@contextmanager
def _timed(stages_ms: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    stages_ms[stage] = stages_ms.get(stage, 0.0) + (perf_counter() - start) * 1e3
