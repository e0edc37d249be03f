"""The main loop, and the two threads around it.

decode ──(2 slots)──▶ segmenter ──(2 slots)──▶ sinks
"""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread, current_thread, main_thread
from time import monotonic, perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from gsvnet_engine.channel import Channel
from gsvnet_engine.frames import Frame
from gsvnet_engine.live import Newest, RealTime
from gsvnet_engine.sinks.base import Comparison, Sink
from gsvnet_engine.sources.base import Source
from gsvnet_engine.telemetry import Samples, StageTimes

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation

_T = TypeVar("_T")
Watch = Callable[["Segmentation", Comparison | None, int], bool]
SLOTS = 2
_JOIN_S = 1.0


class Pusher(Protocol):
    """What segments: a Segmenter, or something that stands in for it."""

    def push(self, frame: Frame) -> "Segmentation": ...


@dataclass(kw_only=True)
class Tally:
    """What a run over one source came to. dropped: frames that were too old to be segmented.

    agreements: the share of equal pixels of each frame compared. latency_ms: from a frame's arrival to its labels.
    """

    frames: int = 0
    keyframes: int = 0
    dropped: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    agreements: Samples = field(default_factory=Samples)
    latency_ms: Samples = field(default_factory=Samples)

    @property
    def agreement(self) -> float | None:
        return self.agreements.mean if self.agreements.count else None


def run_video(
    source: Iterable[Frame],
    segmenter: Pusher,
    sinks: Sequence[Sink],
    *,
    compare: Pusher | None = None,
    watch: Watch | None = None,
    times: StageTimes | None = None,
    stop: Event | None = None,
    realtime: RealTime | None = None,
) -> Tally:
    """Segment every frame of `source` into every sink; with `realtime`, of a live source those that are not too old.

    `watch` sees each result and how many there are; where it says False, the run ends. The sinks are closed
    however it ends, so that what was written can be used.
    """
    times, stop, tally = times or StageTimes(), stop or Event(), Tally()
    started = perf_counter()
    decoded, live = times.each("decode", source), getattr(source, "live", False)
    channel: Channel[Frame] = realtime.channel() if realtime and live else Channel(SLOTS)
    ahead = partial(background, stop=stop, cancel=source.cancel if isinstance(source, Source) else None)
    segmented = _segmented(segmenter, decoded, ahead, channel, look_ahead=not (live or realtime))
    with Writer(sinks) as writer, closing(segmented) as segmentations:
        for segmentation in segmentations:  # keyframes, or propagated; then labels
            _count(tally, segmentation, times)
            comparison = None if compare is None else _compare(segmentation, compare, times)
            writer.write(segmentation, comparison)
            if comparison is not None:
                tally.agreements.add(comparison.agreement)
            if watch is not None and not watch(segmentation, comparison, tally.frames):
                break
        else:
            writer.complete = getattr(source, "complete", False) and not stop.is_set()
    tally.seconds = perf_counter() - started
    tally.interrupted = stop.is_set()
    tally.dropped = channel.dropped if isinstance(channel, Newest) else 0
    return tally


def _segmented(
    segmenter: Pusher,
    decoded: Iterable[Frame],
    ahead: Callable[..., Generator[Any, None, None]],
    channel: Channel[Frame],
    *,
    look_ahead: bool,
) -> "Generator[Segmentation, None, None]":
    """Decode in a thread of its own, segment here. A Segmenter looks ahead as far as its backend gains by it, but not
    on a live source, where each result is wanted as soon as it is there."""
    from gsvnet_engine.segmenter import Segmenter

    if not look_ahead or not isinstance(segmenter, Segmenter):
        with closing(ahead(decoded, channel)) as frames:
            for frame in frames:
                yield segmenter.push(frame)
        return
    # `segment` is closed first: a decode thread that waits for the GPU to take a frame is then told that it will not.
    with (
        closing(ahead(segmenter.feed(decoded))) as fed,
        closing(segmenter.segment(fed)) as segmentations,
    ):
        yield from segmentations


def _compare(segmentation: "Segmentation", other: Pusher, times: StageTimes) -> Comparison:
    with times.timed("compare"):
        labels = other.push(segmentation.frame).labels
    return Comparison(labels=labels, agreement=float(np.mean(labels == segmentation.labels)))


def _count(tally: Tally, segmentation: "Segmentation", times: StageTimes) -> None:
    captured_s = segmentation.frame.captured_s
    if captured_s is not None:
        tally.latency_ms.add((monotonic() - captured_s) * 1e3)
    times.add_all(segmentation.stages_ms)
    tally.frames += 1
    tally.keyframes += segmentation.is_keyframe


def background(
    iterable: Iterable[_T],
    channel: Channel[_T] | None = None,
    *,
    stop: Event | None = None,
    cancel: Callable[[], None] | None = None,
) -> Generator[_T, None, None]:
    """Iterate in a thread of its own, as far ahead as `channel` takes (None: SLOTS items). What it raises is raised
    here.

    Closing the generator, or setting `stop`, ends the thread after the item it is at; `cancel` tells that item not to
    wait any longer.
    """
    channel = Channel(SLOTS) if channel is None else channel

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
        if cancel is not None:
            cancel()
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
