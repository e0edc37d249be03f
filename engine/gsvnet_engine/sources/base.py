"""What every source of frames has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from types import TracebackType
from typing import Self

from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import Frame

_CLOSE_WAIT_S = 0.5
STOP_SEEN_S = 0.1  # how long `stop` may go unseen in a wait
_LONGEST_S = 1e9  # thirty years; in ticks of any time base it fits 64 bits
_TOLERANCE_S = 1e-6  # of floating seconds: 0.1 + 0.2 is a little more than 0.3


@dataclass(frozen=True, kw_only=True)
class RawFormat:
    """Frames without a container, one after another: `width` x `height` pixels in FFmpeg's `pixel_format`."""

    width: int
    height: int
    pixel_format: str = "yuv420p"
    rate: Fraction = Fraction(25)


def _silent(note: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which part of a source to read, and what it cannot say of itself.

    start_s, duration_s: seconds, counted from the first frame. image_fps: frames/s of a folder of images.
    raw: what comes on stdin. timeout_s: seconds that a URL may stay silent. hwaccel: "cuda" to decode on GPU number
    `device` where that can be. keep_on_device: its pictures then stay there, for the tensorrt backend alone.
    reconnect_s: seconds that a lost live source is tried again for; 0: not at all. low_delay: no picture waits for
    another to be decoded beside it. say: takes notes of what happens to a live source. stop: set from elsewhere, it
    ends waits as `Source.cancel` does, while the source is being opened too.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    max_frames: int | None = None
    image_fps: float = 10.0
    raw: RawFormat | None = None
    timeout_s: float = 10.0
    hwaccel: str | None = None
    device: int = 0
    keep_on_device: bool = False
    reconnect_s: float = 0.0
    low_delay: bool = False
    say: Callable[[str], None] = _silent
    stop: Event | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s <= _LONGEST_S:
            raise UsageError(f"start must be 0 to {_LONGEST_S:g} seconds, not {self.start_s:g}")
        if self.duration_s is not None and not 0 < self.duration_s <= _LONGEST_S:
            raise UsageError(
                f"duration must be more than 0 and at most {_LONGEST_S:g} seconds, not {self.duration_s:g}"
            )
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"max-frames must be at least 1, not {self.max_frames}")
        if not 0.001 <= self.image_fps <= 1000:
            raise UsageError(f"image-fps must be in 0.001..1000, not {self.image_fps}")
        if not 0 <= self.reconnect_s < float("inf"):
            raise UsageError(f"reconnect must be 0 or more seconds, not {self.reconnect_s}")
        if self.hwaccel not in (None, "cuda"):
            raise UsageError(f"hwaccel must be cuda, or left out, not {self.hwaccel!r}")


@dataclass(frozen=True)
class SourceError:
    """A part of the input that could not be read, and where (seconds, None where unknown)."""

    pts_s: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """A sound track that a sink may copy: stream `stream_index` of the file `path`."""

    path: Path
    stream_index: int


@dataclass(frozen=True, kw_only=True)
class ColorTags:
    """Colour as the stream declares it, by ISO/IEC 23091-2, where 2 is unspecified.

    range: 0 unspecified, 1 limited, 2 full.
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    range: int = 0


class Source(ABC):
    """Frames in the order of their presentation; iterate once, close afterwards (ValueError from there on).

    width, height: pixels after rotation, of the first frame. frames_estimate: None where nobody knows.
    origin: the pts that counts as second 0. errors grows while reading. complete: the end was reached.
    cancelled: nobody waits for it any more; `cancel` sets it.
    """

    name: str
    stem: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    origin: int = 0
    frames_estimate: int | None = None
    live: bool = False
    audio: AudioTrack | None = None
    pixel_aspect: Fraction | None = None
    color: ColorTags = ColorTags()

    def __init__(self, options: SourceOptions) -> None:
        self.options = options
        self.errors: list[SourceError] = []
        self.complete = False
        self.cancelled = Event()
        self._busy = Lock()
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        options, end_s = self.options, self._end_s
        frames = self._frames()
        for count in range(1, (options.max_frames or 2**62) + 1):
            with self._busy:
                if self._closed:  # FFmpeg would read freed memory
                    raise ValueError(f"{self.name}: the source is closed; open it again")
                frame = next(frames, None)
            if frame is None:
                self.complete = True
                return
            if frame.pts_s >= end_s:
                return
            yield frame if frame.captured_s is not None else replace(frame, captured_s=monotonic())
            if count == options.max_frames:
                return

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Frames from `options.start_s` on, numbered from 0."""

    @property
    def _end_s(self) -> float:
        """Where the part that is asked for ends: frames before it belong to it."""
        start_s, duration_s = self.options.start_s, self.options.duration_s
        return float("inf") if duration_s is None else start_s + duration_s - _TOLERANCE_S

    def _check_part(self, first_s: float) -> None:
        """InputError where the first frame at or after `options.start_s`, at `first_s`, is past the part's end."""
        if first_s >= self._end_s:
            options = self.options
            raise InputError(
                f"{self.name}: no frame lies in the {options.duration_s:g} s from {options.start_s:g} s on, the next "
                f"one is at {first_s:.3f} s: give a longer duration"
            )

    def _cancelled_within(self, wait_s: float) -> bool:
        """Wait for so long: whether nobody waits for the source any more, which ends it early."""
        until_s = monotonic() + wait_s
        while not self._given_up:
            left_s = until_s - monotonic()
            if left_s <= 0:
                return False
            self.cancelled.wait(min(left_s, STOP_SEEN_S))
        return True

    @property
    def _given_up(self) -> bool:
        """Whether nobody waits for the source any more."""
        stop = self.options.stop
        return self.cancelled.is_set() or (stop is not None and stop.is_set())

    def cancel(self) -> None:
        """Give up whatever it waits for, as far as that can be given up; from any thread."""
        self.cancelled.set()

    def close(self) -> None:
        """Let go of the file, unless a thread still waits in it for a silent camera: that would crash."""
        self.cancel()
        if self._busy.acquire(timeout=_CLOSE_WAIT_S):
            try:
                self._closed = True
                self._close()
            finally:
                self._busy.release()

    def _close(self) -> None:  # noqa: B027 (most sources hold nothing)
        """Free what is held; may come twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _estimate(self, total: float | None) -> int | None:
        """Frames to expect within the limits asked, from those in the whole source."""
        limits = [self.options.max_frames]
        if self.options.duration_s is not None:
            limits.append(round(self.options.duration_s * self.rate))
        if total is not None:
            limits.append(max(round(total - self.options.start_s * self.rate), 1))
        return min((limit for limit in limits if limit is not None), default=None)
