"""A frame on the CPU: the work that it takes, and what the next one starts from."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import prepare
from gsvnet_engine.backends.base import Float32, Session
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Sizes
from gsvnet_engine.labels import upsample_labels

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class State:
    """What propagation starts from: i_{t-1} [1,3,h,w], S_{t-1} [1,C,h,w]."""

    current: Float32
    scores: Float32


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """scores [1,C,h,w] of the image network, and what they took."""

    scores: Float32
    stages_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Done:
    """labels [H,W] uint8 of a frame, what the next one starts from, and what it took."""

    labels: NDArray[np.uint8]
    state: State
    stages_ms: dict[str, float]


def keyframe(session: Session, frame: Frame, sizes: Sizes, threads: int | None) -> Keyed:
    """The image network alone."""
    stages_ms = dict[str, float]()
    with _timed(stages_ms, "prepare"):
        picture = prepare.keyframe(frame, sizes.keyframe, threads=threads)
    with _timed(stages_ms, "keyframe"):
        scores = session.keyframe(picture)
    return Keyed(scores=scores, stages_ms=stages_ms)


def step(
    session: Session,
    frame: Frame,
    sizes: Sizes,
    threads: int | None,
    *,
    before: State | None,
    ahead: "Future[Keyed] | None" = None,
) -> Done:
    """A frame to labels: propagated from the one `before` it, a keyframe where that is None.

    ahead: of a keyframe, its scores, where they are computed beside the frames before it.
    """
    stages_ms = dict[str, float]()
    with _timed(stages_ms, "prepare"):
        current = prepare.current(frame, sizes.grid, threads=threads)
    if before is not None:
        with _timed(stages_ms, "propagate"):
            scores = session.propagate(current, before.current, before.scores)
    else:
        if ahead is None:
            keyed = keyframe(session, frame, sizes, threads)
        else:
            with _timed(stages_ms, "adopt"):
                keyed = ahead.result()
        scores = keyed.scores
        for stage, ms in keyed.stages_ms.items():
            stages_ms[stage] = stages_ms.get(stage, 0.0) + ms
    with _timed(stages_ms, "labels"):
        labels = upsample_labels(scores[0], frame.height, frame.width, threads=threads)
    scores.flags.writeable = False  # it is handed out, and the next frame builds on it
    return Done(labels=labels, state=State(current=current, scores=scores), stages_ms=stages_ms)


class Lanes(Generic[_T]):
    """Work side by side: each lane does its own in order, results come in the order in which work was given.

    window: how much may be under way; `give` returns what must be waited for before there is room again.
    """

    def __init__(self, lanes: int, window: int) -> None:
        self._lanes = [ThreadPoolExecutor(1, f"gsvnet-lane-{number}") for number in range(lanes)]
        self._window = window
        self._under_way: deque[Future[_T]] = deque()

    def give(self, lane: int, work: Callable[[], _T]) -> Generator[_T, None, None]:
        """Give `work` to a lane; the results that are due."""
        self._under_way.append(self._lanes[lane].submit(work))
        while len(self._under_way) >= self._window:
            yield self._under_way.popleft().result()

    def rest(self) -> Generator[_T, None, None]:
        """The results of all that is under way."""
        while self._under_way:
            yield self._under_way.popleft().result()

    def close(self) -> None:
        """What has not begun never will."""
        for lane in self._lanes:
            lane.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.shutdown(wait=True)


@contextmanager
def _timed(stages_ms: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    stages_ms[stage] = stages_ms.get(stage, 0.0) + (perf_counter() - start) * 1e3
