"""Video in, labels out: the image network on keyframes, propagation between them.

for segmentation in Segmenter("street").stream("road.mp4", interval=4):
    show(segmentation.labels)
"""

from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import backends, host, prepare
from gsvnet_engine.backends.base import DeviceSession, Float32, KeepsModels, OpensLanes, Session
from gsvnet_engine.bundle import Bundle, ClassInfo
from gsvnet_engine.errors import UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size, Sizes
from gsvnet_engine.schedule import Next, Schedule, Step, with_next

if TYPE_CHECKING:
    from gsvnet_engine.backends.model_cache import ModelCache
    from gsvnet_engine.backends.tensorrt.options import GpuOptions
    from gsvnet_engine.backends.tensorrt.runtime import Pending, Video

_SESSIONS_KEPT = 3  # sizes whose compiled networks stay in memory when a stream changes its size
_MOST_UNDER_WAY = 64  # frames that lanes hold together: memory


def most_lanes(interval: int) -> int:
    """How many intervals of so many frames may be worked on side by side; one at least."""
    return max(1, _MOST_UNDER_WAY // interval - 1)


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """labels [H,W] uint8, the class index of every pixel of the source's picture.

    `stages_ms`: milliseconds of "prepare", "keyframe" or "propagate", and "labels", and of the wait for a keyframe
    computed ahead ("adopt"); on a GPU, of the whole step there ("keyframe", "propagate" or "adopt").
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
class _Submitted:
    """A frame that a GPU is at."""

    frame: Frame
    pending: "Pending"
    is_keyframe: bool


class Segmenter:
    """Runs one bundle over one video at a time, frame by frame. Not for several threads at once.

    bundle: a shipped name, a folder, or an open Bundle. interval: a keyframe every so many frames (None:
    the bundle's own). backend: "auto" or one of backends.BACKENDS. threads: for the networks and the
    kernels (None: their own choice). cpu_precision: "f32" or "bf16" (OpenVINO on processors that have
    it). gpu: options of the backends on a GPU, and `ahead` for all. models: where a backend that can keeps its
    compiled networks. lanes: intervals that `segment` and `stream` work on side by side on the CPU, each with
    `threads` threads; they hold lanes + 1 intervals of frames.

    On a GPU, `close` (or a `with` block) gives its memory back.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle = "street",
        *,
        interval: int | None = None,
        backend: str = "auto",
        threads: int | None = None,
        cpu_precision: str = "f32",
        gpu: "GpuOptions | None" = None,
        models: "ModelCache | None" = None,
        lanes: int = 1,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        if lanes < 1:
            raise UsageError(f"lanes must be at least 1, not {lanes}")
        self.bundle = Bundle.open(bundle)
        self.bundle.verify()
        self._own_schedule = Schedule(
            interval=self.bundle.manifest.interval if interval is None else interval
        )
        self._schedule = self._own_schedule
        self._backend = backends.choose(backend, cpu_precision, gpu)
        if isinstance(self._backend, KeepsModels):
            self._backend.models = models
        self._threads = threads
        self._looks_ahead = gpu is not None and gpu.ahead
        if lanes > 1 and (self._looks_ahead or not isinstance(self._backend, OpensLanes)):
            raise UsageError(
                f"intervals run side by side on the CPU, without ahead: not with {self.backend}"
                f"{' and ahead' if self._looks_ahead else ''}"
            )
        self._lanes = lanes
        if lanes > 1:
            self._window()
        self._sessions: OrderedDict[tuple[Size, ...], list[Session]] = OrderedDict()
        self._last: Step | None = None
        self._state: host.State | None = None  # of the last frame, on the host
        self._ahead: tuple[Frame, Future[host.Keyed]] | None = None  # a keyframe to come, on the host
        self._video: Video | None = None  # that the last frame was given to, on a GPU
        self._flying: deque[_Submitted] = deque()
        self._keyframe_requested = False
        self._pushed = 0

    @property
    def interval(self) -> int:
        """A keyframe every so many frames."""
        return self._schedule.interval

    @property
    def lanes(self) -> int:
        """How many intervals `segment` and `stream` work on side by side."""
        return self._lanes

    @property
    def backend(self) -> str:
        """The name of the runtime in use."""
        return self._backend.name

    @property
    def precision(self) -> str:
        """What float graphs are computed in; on a GPU, the bundle's own precision ("f32", "f16" or "int8")."""
        if self._backend.on_device:
            return self.bundle.manifest.precision.replace("fp", "f")
        return self._backend.precision

    @property
    def scores(self) -> Float32 | None:
        """S_t of the last frame, [1,C,h,w] float32 logits, read-only; None before the first.

        For evaluation; on a GPU it is brought from there at each call.
        """
        if self._video is not None and self._last is not None:
            return self._video.scores(back=len(self._flying))
        return None if self._state is None else self._state.scores

    def push(self, frame: Frame | NDArray[np.uint8] | Any) -> Segmentation:
        """Segment the next frame: a Frame, RGB [H,W,3] uint8, or the same on a GPU (CUDA array or DLPack).

        A frame that raises leaves the state as it was before it.
        """
        frame = self._as_frame(frame)
        sizes = self.bundle.plan(frame.height, frame.width)
        if self._backend.on_device:
            return self._collect(self._submit(frame, sizes))
        return self._segment_on_host(frame, sizes)

    def push_into(self, frame: Any, labels: Any, *, stream: int | None = None) -> bool:
        """Segment the next frame, labels staying on the GPU: whether it is a keyframe. For the backends on a GPU.

        frame: as for `push`. labels: uint8 [H,W] on the GPU, packed, to be filled. stream: the handle of the caller's
        CUDA stream, which wrote the frame and will read the labels; nothing waits on the host.
        """
        from gsvnet_engine.cuda.external import device_array

        if not self._backend.on_device:
            raise UsageError(f"labels stay on a GPU with a backend there alone, not with {self.backend}")
        frame = self._as_frame(frame)
        out = device_array(labels)
        if stream is not None:
            frame = replace(frame, device_stream=stream) if frame.device_planes else frame
            out = replace(out, stream=stream)
        sizes = self.bundle.plan(frame.height, frame.width)
        return self._submit(frame, sizes, out=out).is_keyframe

    def segment(self, frames: Iterable[Frame | Next[Frame]]) -> Generator[Segmentation, None, None]:
        """`push` for each frame. On a GPU the next frame is given to it before the labels of this one are waited for;
        with several lanes, labels are those of `push`, and the next intervals are under way.

        frames: what `feed` makes of a source, or any frames.
        """
        if self._backend.on_device:
            yield from self._segment_on_device(frames)
        elif self._lanes > 1:
            yield from self._segment_side_by_side(cast(Iterable[Frame], frames))
        else:
            with ThreadPoolExecutor(1, "gsvnet-ahead") as beside:
                for frame in frames:
                    if isinstance(frame, Next):
                        sizes = self.bundle.plan(frame.frame.height, frame.frame.width)
                        given = self._session(sizes), frame.frame, sizes, self._threads
                        self._ahead = frame.token, beside.submit(host.keyframe, *given)
                    else:
                        yield self.push(frame)

    def feed(self, frames: Iterable[Frame]) -> Iterator[Frame | Next[Frame]]:
        """The frames for `segment`, to be iterated in the decode thread: on a GPU each is sent there on the way."""
        if not self._backend.on_device:
            yield from with_next(frames, self._schedule) if self._looks_ahead else frames
            return
        shown: Frame | None = None
        for frame in with_next(frames, self._schedule) if self._looks_ahead else frames:
            if isinstance(frame, Next):
                shown = frame.token
                yield Next(self._stage(frame.frame), shown)
            else:
                yield frame if frame is shown else self._stage(frame)

    def stream(
        self,
        source: str | Path | int | Iterable[Frame],
        *,
        interval: int | None = None,
        start_s: float = 0.0,
        duration_s: float | None = None,
        max_frames: int | None = None,
        deadline_s: float | None = None,
        reconnect_s: float = 0.0,
    ) -> Iterator[Segmentation]:
        """Segment a source from its start: a file, folder, glob, camera number, URL, or iterable of Frames.

        Decoding runs in a thread of its own. `interval` holds for this stream. `start_s`, `duration_s`
        (seconds of the source) and `max_frames` choose a part of it; `reconnect_s`: for so many seconds a live
        source that breaks off is opened anew. These are for sources that this opens. `deadline_s`: frames of a
        live source that arrived more seconds ago are dropped before anything is computed for them.
        """
        from gsvnet_engine.live import RealTime
        from gsvnet_engine.pipeline import background
        from gsvnet_engine.video import SourceOptions, open_source

        options = SourceOptions(
            start_s=start_s, duration_s=duration_s, max_frames=max_frames, reconnect_s=reconnect_s
        )
        realtime = None if deadline_s is None else RealTime(deadline_s=deadline_s)
        self.reset()
        if interval is not None:
            self._schedule = Schedule(interval=interval)
        with ExitStack() as stack:
            if isinstance(source, str | Path | int):
                options = replace(options, low_delay=realtime is not None)
                source = stack.enter_context(open_source(source, options))
            elif options != SourceOptions():
                raise UsageError(
                    "start_s, duration_s, max_frames and reconnect_s are for sources that stream() opens"
                )
            if getattr(source, "live", False):  # each result as soon as it is there
                channel = realtime.channel() if realtime else None
                yield from map(self.push, stack.enter_context(closing(background(source, channel))))
            else:
                frames = stack.enter_context(closing(background(self.feed(source))))
                yield from stack.enter_context(closing(self.segment(frames)))

    def warm(self, height: int, width: int) -> None:
        """Make the networks ready for pictures of this size now, not at the first `push`: a second or two, on a GPU
        minutes where a plan is built."""
        self._session(self.bundle.plan(height, width))

    def reset(self) -> None:
        """Forget the video so far: the next frame is a keyframe, counting and the interval start anew."""
        self._last = self._state = self._ahead = None
        self._schedule = self._own_schedule
        self._keyframe_requested = False
        self._pushed = 0
        for session in self._device_sessions():
            session.video.let_go()
            session.video.resume()

    def close(self) -> None:
        """Give a GPU's memory back. The segmenter is of no use afterwards."""
        self._last = self._state = self._video = None
        for session in self._device_sessions():
            session.close()
        self._sessions.clear()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def _segment_on_host(self, frame: Frame, sizes: Sizes) -> Segmentation:
        self._check_on_host(frame)
        age = self._age(frame)
        token, ahead = self._ahead or (None, None)
        done = host.step(
            self._session(sizes),
            frame,
            sizes,
            self._threads,
            before=self._state if age else None,
            ahead=ahead if token is frame else None,
        )
        self._state = done.state
        if token is frame:
            self._ahead = None
        self._advance(frame, age)
        return self._segmentation(frame, done.labels, age == 0, done.stages_ms)

    def _segment_side_by_side(self, frames: Iterable[Frame]) -> Generator[Segmentation, None, None]:
        """Each interval in the lane after the last one's: intervals start from nothing but their own keyframes."""
        states = [self._state, *[None] * (self._lanes - 1)]
        lane = 0

        def work(
            lane: int, session: Session, frame: Frame, sizes: Sizes, age: int
        ) -> tuple[Frame, int, host.Done]:
            done = host.step(session, frame, sizes, self._threads, before=states[lane] if age else None)
            states[lane] = done.state
            return frame, age, done

        with closing(host.Lanes[tuple[Frame, int, host.Done]](self._lanes, self._window())) as lanes:
            try:
                for frame in frames:
                    self._check_on_host(frame)
                    sizes = self.bundle.plan(frame.height, frame.width)
                    age = self._age(frame)
                    lane = lane if age else (lane + 1) % self._lanes
                    self._advance(frame, age)
                    given = partial(work, lane, self._opened(sizes)[lane], frame, sizes, age)
                    yield from map(self._taken, lanes.give(lane, given))
                yield from map(self._taken, lanes.rest())
            except BaseException:
                self._last = self._state = None  # of the frame after the last one taken: it may be lost
                raise

    def _check_on_host(self, frame: Frame) -> None:
        if frame.device_planes:
            raise UsageError(f"this frame lies on a GPU: the {self.backend} backend cannot read it there")

    def _window(self) -> int:
        window = (self._lanes + 1) * self.interval
        if window > _MOST_UNDER_WAY:
            raise UsageError(
                f"{self._lanes} intervals of {self.interval} frames side by side take {window} frames in memory, more "
                f"than {_MOST_UNDER_WAY}: choose at most {most_lanes(self.interval)} (--threads), or an interval of at "
                f"most {_MOST_UNDER_WAY // (self._lanes + 1)}"
            )
        return window

    def _taken(self, result: tuple[Frame, int, host.Done]) -> Segmentation:
        frame, age, done = result
        self._state = done.state
        return self._segmentation(frame, done.labels, age == 0, done.stages_ms)

    def _segment_on_device(
        self, frames: Iterable[Frame | Next[Frame]]
    ) -> Generator[Segmentation, None, None]:
        try:
            for frame in frames:
                if isinstance(frame, Next):
                    self._show_ahead(frame)
                    continue
                self._flying.append(self._submit(frame, self.bundle.plan(frame.height, frame.width)))
                if len(self._flying) > 1:
                    yield self._collect(self._flying.popleft())
            while self._flying:
                yield self._collect(self._flying.popleft())
        finally:
            self._flying.clear()
            self._let_go()

    def _submit(self, frame: Frame, sizes: Sizes, out: Any = None) -> _Submitted:
        """Give the frame to the GPU, without waiting for it."""
        video = cast(DeviceSession, self._session(sizes)).video
        age = self._age(frame)
        pending = video.submit(frame, keyframe=age == 0, token=frame, out=out)
        self._video = video
        self._advance(frame, age)
        return _Submitted(frame=frame, pending=pending, is_keyframe=age == 0)

    def _collect(self, submitted: _Submitted) -> Segmentation:
        pending = submitted.pending
        labels = pending.labels()
        stages_ms = {pending.stage: pending.step_ms}
        return self._segmentation(submitted.frame, labels, submitted.is_keyframe, stages_ms)

    def _segmentation(
        self, frame: Frame, labels: NDArray[np.uint8], is_keyframe: bool, stages_ms: dict[str, float]
    ) -> Segmentation:
        return Segmentation(
            labels=labels,
            is_keyframe=is_keyframe,
            frame=frame if frame.staged is None else replace(frame, staged=None),
            classes=self.bundle.manifest.classes,
            stages_ms=stages_ms,
        )

    def _age(self, frame: Frame) -> int:
        """Frames since the keyframe; 0: the frame is one."""
        forced = self._keyframe_requested or frame.forces_keyframe
        size = frame.height, frame.width
        if self._last is None or self._schedule.is_keyframe(self._last, size, frame.pts_s, forced=forced):
            return 0
        return self._last.age + 1

    def _advance(self, frame: Frame, age: int) -> None:
        self._last = Step(size=(frame.height, frame.width), pts_s=frame.pts_s, age=age)
        self._keyframe_requested = False
        self._pushed += 1

    def _show_ahead(self, following: Next[Frame]) -> None:
        frame = following.frame
        session = self._session(self.bundle.plan(frame.height, frame.width))
        cast(DeviceSession, session).video.compute_ahead(frame, following.token)

    def _stage(self, frame: Frame) -> Frame:
        """The frame, on its way to the GPU where that can be: its networks are ready, and somebody waits for it."""
        opened = self._sessions.get(self._key(self.bundle.plan(frame.height, frame.width)))
        if opened is None:  # made, and kept in order, by the other thread alone
            return frame
        return replace(frame, staged=cast(DeviceSession, opened[0]).video.stage(frame))

    def _let_go(self) -> None:
        for session in self._device_sessions():
            session.video.let_go()

    def _device_sessions(self) -> list[DeviceSession]:
        opened = list(self._sessions.values()) if self._backend.on_device else []
        return [cast(DeviceSession, session) for sessions in opened for session in sessions]

    def _session(self, sizes: Sizes) -> Session:
        return self._opened(sizes)[0]

    def _opened(self, sizes: Sizes) -> list[Session]:
        """The networks for these sizes, of each lane; made on first need, a few kept, as streams switch to and fro."""
        key = self._key(sizes)
        if key not in self._sessions:
            if isinstance(self._backend, OpensLanes) and self._lanes > 1:
                opened = self._backend.open_lanes(self.bundle, sizes, self._lanes, self._threads)
            else:
                opened = [self._backend.open(self.bundle, sizes, self._threads)]
            self._sessions[key] = opened
            if len(self._sessions) > _SESSIONS_KEPT:
                _, oldest = self._sessions.popitem(last=False)
                if self._backend.on_device:
                    cast(DeviceSession, oldest[0]).close()
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def _key(self, sizes: Sizes) -> tuple[Size, ...]:
        """What a session is made for: on a GPU it makes the labels too."""
        networks = sizes.keyframe, sizes.grid
        return (*networks, sizes.source) if self._backend.on_device else networks

    def _as_frame(self, frame: Frame | NDArray[np.uint8] | Any) -> Frame:
        if isinstance(frame, Frame):
            return frame
        if not isinstance(frame, np.ndarray) and self._backend.on_device:
            return Frame.from_device(frame, index=self._pushed)
        return Frame.from_rgb(frame, index=self._pushed)
