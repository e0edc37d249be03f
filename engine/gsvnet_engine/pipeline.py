"""The main loop, and the two threads around it.

decode ──(2 slots)──▶ segmenter ──(2 slots)──▶ sinks
"""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Thread, current_thread, main_thread
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from gsvnet_engine.frames import Frame
from gsvnet_engine.sinks.base import Comparison, Sink
from gsvnet_engine.telemetry import StageTimes

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation

_T = TypeVar("_T")
Watch = Callable[["Segmentation", Comparison | None, int], bool]
SLOTS = 2
_WAIT_S = 0.1  # how long a wait may keep a signal from being seen
_JOIN_S = 1.0


class Pusher(Protocol):
    """What segments: a Segmenter, or something that stands in for it."""

    def push(self, frame: Frame) -> "Segmentation": ...


@dataclass(kw_only=True)
class Tally:
    """What a run over one source came to. agreements: the share of equal pixels of each frame compared."""

    frames: int = 0
    keyframes: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    agreements: list[float] = field(default_factory=list)

    @property
    def agreement(self) -> float | None:
        return float(np.mean(self.agreements)) if self.agreements else None


def run_video(
    source: Iterable[Frame],
    segmenter: Pusher,
    sinks: Sequence[Sink],
    *,
    compare: Pusher | None = None,
    watch: Watch | None = None,
    times: StageTimes | None = None,
    stop: Event | None = None,
) -> Tally:
    """Segment every frame of `source` into every sink.

    `watch` sees each result and how many there are; where it says False, the run ends. The sinks are closed
    however it ends, so that what was written can be used.
    """
    times, stop, tally = times or StageTimes(), stop or Event(), Tally()
    started = perf_counter()
    decoded, live = times.each("decode", source), getattr(source, "live", False)
    with Writer(sinks) as writer, closing(_segmented(segmenter, decoded, stop, live=live)) as segmentations:
        for segmentation in segmentations:  # keyframes, or propagated; then labels
            comparison = None if compare is None else _compare(segmentation, compare, times)
            writer.write(segmentation, comparison)
            _count(tally, segmentation, comparison, times)
            if watch is not None and not watch(segmentation, comparison, tally.frames):
                break
        else:
            writer.complete = getattr(source, "complete", False) and not stop.is_set()
    tally.seconds = perf_counter() - started
    tally.interrupted = stop.is_set()
    return tally


def _segmented(
    segmenter: Pusher, decoded: Iterable[Frame], stop: Event, *, live: bool
) -> "Generator[Segmentation, None, None]":
    """Decode in a thread of its own, segment here. A Segmenter looks ahead as far as its backend gains by it, but not
    on a live source, where each result is wanted as soon as it is there."""
    from gsvnet_engine.segmenter import Segmenter

    if live or not isinstance(segmenter, Segmenter):
        with closing(background(decoded, stop=stop)) as frames:
            for frame in frames:
                yield segmenter.push(frame)
        return
    # `segment` is closed first: a decode thread that waits for the GPU to take a frame is then told that it will not.
    with (
        closing(background(segmenter.feed(decoded), stop=stop)) as fed,
        closing(segmenter.segment(fed)) as segmentations,
    ):
        yield from segmentations


def _compare(segmentation: "Segmentation", other: Pusher, times: StageTimes) -> Comparison:
    with times.timed("compare"):
        labels = other.push(segmentation.frame).labels
    return Comparison(labels=labels, agreement=float(np.mean(labels == segmentation.labels)))


def _count(
    tally: Tally, segmentation: "Segmentation", comparison: Comparison | None, times: StageTimes
) -> None:
    times.add_all(segmentation.stages_ms)
    tally.frames += 1
    tally.keyframes += segmentation.is_keyframe
    if comparison is not None:
        tally.agreements.append(comparison.agreement)


def background(
    iterable: Iterable[_T], slots: int = SLOTS, *, stop: Event | None = None
) -> Generator[_T, None, None]:
    """Iterate in a thread of its own, `slots` items ahead. What it raises is raised here.

    Closing the generator, or setting `stop`, ends the thread after the item it is at.
    """
    channel: Channel[_T] = Channel(slots)

    def fill() -> None:
        iterator = iter(iterable)
        try:
            for item in iterator:
                if not channel.put(item):
                    break
            channel.finish()
        except BaseException as error:
            channel.finish(error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = Thread(target=fill, name="gsvnet-decode", daemon=True)
    thread.start()
    try:
        yield from channel.items(stop)
    finally:
        channel.abandon()
        thread.join(
            _JOIN_S
        )  # a silent camera may hold it longer; it is a daemon, and ends by its own timeout


class Writer:
    """Feeds sinks from a thread of its own. The first sink that fails stops all; every one is closed."""

    def __init__(self, sinks: Sequence[Sink], slots: int = SLOTS) -> None:
        self._sinks = list(sinks)
        self._channel: Channel[tuple[Segmentation, Comparison | None]] = Channel(slots)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._drain, name="gsvnet-sinks", daemon=True)
        self.complete = False  # the source was read to its end

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        """Hand on; waits while the slots are full. Raises what a sink raised, if one did."""
        if not self._channel.put((segmentation, comparison)) and self._error is not None:
            raise self._error

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._channel.finish()
        self._thread.join()
        for sink in self._sinks:
            try:
                sink.close(complete=self.complete)
            except BaseException as failure:
                self._error = self._error or failure
        if error is None and self._error is not None:
            raise self._error

    def _drain(self) -> None:
        try:
            for segmentation, comparison in self._channel.items():
                for sink in self._sinks:
                    sink.write(segmentation, comparison)
        except BaseException as error:
            self._error = error
            self._channel.abandon()


class Channel(Generic[_T]):
    """A bounded queue between two threads that either end may close."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._items: deque[_T] = deque()
        self._changed = Condition()
        self._finished = self._abandoned = False
        self._error: BaseException | None = None

    def put(self, item: _T) -> bool:
        """Wait for a slot; False if the taker has gone."""
        with self._changed:
            while len(self._items) >= self._slots and not self._abandoned:
                self._changed.wait(_WAIT_S)
            if self._abandoned:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """Nothing more will be put; the taker gets what is there, then `error` if there is one."""
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def items(self, stop: Event | None = None) -> Iterator[_T]:
        """What is put, until it is finished or `stop` is set."""
        while stop is None or not stop.is_set():
            with self._changed:
                if not self._items and not self._finished:
                    self._changed.wait(_WAIT_S)
                    continue
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


@contextmanager
def interruptible() -> Iterator[Event]:
    """An event that Ctrl-C or SIGTERM sets, so that the work ends in order; a second one tears it apart."""
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
