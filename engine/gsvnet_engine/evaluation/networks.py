"""A bundle's networks, with the time they take: what the protocol runs, one step at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Self, TypeVar, cast

from gsvnet_engine import backends, prepare
from gsvnet_engine.backends.base import DeviceSession, Float32, Session
from gsvnet_engine.bundle import WARP_PLAIN, Bundle
from gsvnet_engine.evaluation.dataset import Labels
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size
from gsvnet_engine.labels import upsample_labels
from gsvnet_engine.segmenter import Segmenter

if TYPE_CHECKING:
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What runs the networks; as the Segmenter's arguments of these names."""

    backend: str = "auto"
    threads: int | None = None
    cpu_precision: str = "f32"
    gpu: "GpuOptions | None" = None

    def segmenter(self, bundle: Bundle, interval: int) -> Segmenter:
        return Segmenter(
            bundle,
            interval=interval,
            backend=self.backend,
            threads=self.threads,
            cpu_precision=self.cpu_precision,
            gpu=self.gpu,
        )


@dataclass(kw_only=True)
class Chain:
    """A keyframe and what became of it: S_t, the same by warping alone, and the keyframe's own labels."""

    scores: Float32
    warped: Float32 | None
    keyframe_labels: Labels


class Networks:
    """The bundle's networks with the time they take, on a GPU the ways to it and back included.

    `close` (or a `with` block) gives a GPU's memory back.
    """

    def __init__(self, bundle: Bundle, options: RuntimeOptions) -> None:
        bundle.verify()
        self.backend = backends.choose(options.backend, options.cpu_precision, options.gpu)
        self.has_warp = WARP_PLAIN in bundle.manifest.graphs
        self._bundle, self._threads = bundle, options.threads
        self._opened: tuple[tuple[Size, Size], Session] | None = None
        self._keyframe_ms: list[float] = []
        self._propagate_ms: list[float] = []
        self._warp_ms: list[float] = []

    def session(self, frame: Frame) -> Session:
        """The networks for the frame's size; the last one is kept."""
        sizes = self._bundle.plan(frame.height, frame.width)
        key = sizes.keyframe, sizes.grid
        if self._opened is None or self._opened[0] != key:
            self._let_go()
            self._opened = key, self.backend.open(self._bundle, sizes, self._threads)
        return self._opened[1]

    def close(self) -> None:
        self._let_go()
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _let_go(self) -> None:
        if self._opened is not None and self.backend.on_device:
            cast(DeviceSession, self._opened[1]).close()
        self._opened = None

    def current(self, frame: Frame) -> Float32:
        grid = self._bundle.plan(frame.height, frame.width).grid
        return prepare.current(frame, grid, threads=self._threads)

    def keyframe(self, frame: Frame) -> Float32:
        """N(I_t): scores [1,C,h,w]."""
        size = self._bundle.plan(frame.height, frame.width).keyframe
        picture = prepare.keyframe(frame, size, threads=self._threads)
        session = self.session(frame)
        return _timed(self._keyframe_ms, lambda: session.keyframe(picture))

    def start(self, frame: Frame) -> Chain:
        scores = self.keyframe(frame)
        labels = self.labels(scores, (frame.height, frame.width))
        return Chain(scores=scores, warped=scores if self.has_warp else None, keyframe_labels=labels)

    def advance(self, session: Session, chain: Chain, current: Float32, previous: Float32) -> None:
        before, warped = chain.scores, chain.warped
        chain.scores = _timed(self._propagate_ms, lambda: session.propagate(current, previous, before))
        if warped is not None:
            chain.warped = _timed(self._warp_ms, lambda: session.warp(current, previous, warped))[0]

    def labels(self, scores: Float32, size: Size) -> Labels:
        return upsample_labels(scores[0], *size, threads=self._threads)

    def fps(self, interval: int) -> float:
        """Frames per second over whole intervals, by the median times of both networks."""
        return self._fps(interval, self._propagate_ms)

    def repeat_fps(self, interval: int) -> float:
        """The same where the frames between keyframes cost nothing."""
        return self._fps(interval, [0.0])

    def warp_fps(self, interval: int) -> float:
        """The same where they cost the warp graph, which holds the plain operations."""
        return self._fps(interval, self._warp_ms)

    def _fps(self, interval: int, between_ms: list[float]) -> float:
        rest = (interval - 1) * _typical(between_ms) if interval > 1 else 0.0
        return 1e3 * interval / (_typical(self._keyframe_ms) + rest)


def _timed(times_ms: list[float], call: Callable[[], _T]) -> _T:
    start = perf_counter()
    result = call()
    times_ms.append((perf_counter() - start) * 1e3)
    return result


def _typical(times_ms: list[float]) -> float:
    """The median, without the first call, in which a runtime still allocates."""
    return median(islice(times_ms, 1, None) if len(times_ms) > 1 else times_ms)
