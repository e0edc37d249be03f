"""Everything that FFmpeg opens: files, network streams, webcams."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import av
import av.container
import av.logging
import av.stream
import av.video

from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.sources.base import AudioTrack, ColorTags, Source, SourceError, SourceOptions
from gsvnet_engine.sources.clock import Clock
from gsvnet_engine.sources.layout import from_av, orientation_of, pixel_aspect
from gsvnet_engine.sources.reconnect import Backoff

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

_SEEK_BACK_S = (0.0, 2.0, 10.0)  # how much earlier to try where a seek lands too late
_CLOCK_JUMP_S = 1.0
_DEMUX_TRIES = 3
_END_TOLERANCE_S = 0.5
_MOST_ERRORS = 1000  # that are kept: a live source may run for weeks
_OUTPUT_CORRUPT = (
    1 << 3
)  # AV_CODEC_FLAG_OUTPUT_CORRUPT: a damaged picture is shown and flagged, not swallowed

Opener = Callable[[], "av.container.InputContainer"]


class ContainerSource(Source):
    """The first video track of whatever `opener` opens. Damage is counted, and what decodes is delivered.

    live: None for a source that is live unless it says how long it lasts.
    """

    def __init__(
        self,
        opener: Opener,
        options: SourceOptions,
        *,
        name: str,
        stem: str,
        path: Path | None = None,
        live: bool | None = False,
    ) -> None:
        super().__init__(options)
        self.name, self.stem, self._opener = name, stem, opener
        self._backoff = Backoff(options.reconnect_s)
        self._container = opener()
        self.live = self._container.duration is None if live is None else live
        try:
            self._take_stream()
            self._describe_stream()
            self.audio = _audio_track(self._container, path)
            pictures = self._from_start()
            first = next(pictures, None)
            if first is None:
                raise InputError(self._nothing_decoded())
            self._describe_picture(first[0])
            self._check_part(self._seconds(first[1]))
        except BaseException:
            self._container.close()
            raise
        self._pictures = chain([first], pictures)

    def _take_stream(self) -> None:
        self._stream = _video_stream(self._container, self.name)
        self._stream.thread_type = "SLICE" if self.options.low_delay else "AUTO"
        self._stream.codec_context.flags |= _OUTPUT_CORRUPT
        self._stream.codec_context.copy_opaque = True

    def _describe_stream(self) -> None:
        stream = self._stream
        self.time_base = stream.time_base or Fraction(1, 90000)
        self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._step = max(round(1 / (self.rate * self.time_base)), 1)
        self._starts_known = stream.start_time is not None and not self.live
        self.origin = stream.start_time if stream.start_time is not None and not self.live else 0
        self._end = _declared_end(self._container, stream, self.origin, self.time_base)
        total = stream.frames or (None if self._end is None else (self._end - self.origin) / self._step)
        self.frames_estimate = None if self.live else self._estimate(total)
        self._reset()

    def _describe_picture(self, picture: av.VideoFrame) -> None:
        orientation = orientation_of(picture)
        self.width, self.height = picture.width, picture.height
        if orientation.transpose:
            self.width, self.height = picture.height, picture.width
        self.pixel_aspect = pixel_aspect(self._stream.codec_context.sample_aspect_ratio, orientation)
        self.color = ColorTags(
            matrix=picture.colorspace,
            primaries=picture.color_primaries,
            transfer=picture.color_trc,
            range=2 if from_av(picture).full_range else picture.color_range,
        )

    def _reset(self) -> None:
        self._clock = Clock(step=self._step, jump=round(_CLOCK_JUMP_S / self.time_base))
        self._packets_read = 0
        self._pictures_decoded = 0
        self._last_end = self.origin
        self._suspect = False  # an error since the last picture that was delivered
        self.errors.clear()

    def _frames(self) -> Iterator[Frame]:
        for index, (picture, pts, forced) in enumerate(self._pictures):
            yield replace(
                from_av(picture),
                index=index,
                pts=pts,
                time_base=self.time_base,
                pts_s=self._seconds(pts),
                forces_keyframe=forced,
                captured_s=_arrival_s(picture),
            )

    def _from_start(self) -> Iterator[tuple[av.VideoFrame, int, bool]]:
        """(picture, pts, forces a keyframe) from the first one at or after `start_s`."""
        start_s = self.options.start_s
        if start_s == 0:
            yield from self._decoded()
            return
        # where the start is not known, the first picture tells, and nothing can be sought
        pictures = self._sought(self._target()) if self._starts_known else self._decoded()
        target: int | None = None
        first = True
        for picture, pts, forced in pictures:
            target = self._target() if target is None else target
            if pts >= target:
                yield picture, pts, forced or first
                first = False
            elif self.errors:
                self.errors.clear()  # damage before the part that was asked for

    def _target(self) -> int:
        """The pts that `start_s` is, counted from the origin."""
        return self.origin + ceil(Fraction(self.options.start_s) / self.time_base - Fraction(1, 10**4))

    def _sought(self, target: int) -> Iterator[tuple[av.VideoFrame, int, bool]]:
        """Pictures from a keyframe at or before `target` (in ticks of the time base)."""
        pictures: Iterator[tuple[av.VideoFrame, int, bool]]
        for back_s in (*_SEEK_BACK_S, self.options.start_s):
            try:
                position = max(target - round(back_s / self.time_base), self.origin)
                self._container.seek(position, stream=self._stream)
            except (av.FFmpegError, OSError):
                break  # cannot be sought: read on from where it stands
            self._reset()
            self._packets_read = -(2**62)  # an unknown number were skipped
            pictures = self._decoded()
            first = next(pictures, None)
            if first is not None and first[1] <= target and not first[0].is_corrupt:  # else no keyframe
                return chain([first], pictures)
        return self._decoded()

    def _decoded(self) -> Iterator[tuple[av.VideoFrame, int, bool]]:
        yield from self._until_lost()
        while self.live and self.options.reconnect_s and self._regained():
            yield from self._until_lost()
        self._check_end()

    def _until_lost(self) -> Iterator[tuple[av.VideoFrame, int, bool]]:
        ticks = (self._stream.time_base or self.time_base) / self.time_base  # differ after a reconnection
        for packet in self._packets():
            try:
                pictures = self._stream.codec_context.decode(packet)
            except av.EOFError:
                continue
            except av.FFmpegError as error:
                self._note(f"a part could not be decoded: {_reason(error)}")
                continue
            for picture in pictures:
                self._pictures_decoded += 1
                if self._backoff.is_lost:
                    self._back()
                pts, reset = self._clock.next(None if picture.pts is None else round(picture.pts * ticks))
                if not self._starts_known:
                    self.origin, self._starts_known = pts, True
                self._last_end = pts + (picture.duration or self._step)
                forced = self._suspect or reset
                self._suspect = False
                if picture.is_corrupt:
                    self._note("a picture is damaged", at_s=self._seconds(pts))
                yield picture, pts, forced

    def _regained(self) -> bool:
        """Open a lost source again; its next picture stands as much later as it took."""
        if self._backoff.lost(monotonic()):
            self.options.say(f"{self.name}: lost; trying again for {self.options.reconnect_s:g} s")
            self._note("the connection was lost")
        self._container.close()
        while (wait_s := self._backoff.wait_s(monotonic())) is not None:
            if self._cancelled_within(wait_s):
                return False
            with suppress(InputError, av.FFmpegError, OSError):
                self._container = self._opener()
                self._take_stream()
                self._suspect = True
                self._clock.restart(round(self._backoff.away_s(monotonic()) / self.time_base))
                return True
        self._note(f"it did not come back within {self.options.reconnect_s:g} s")
        return False

    def _back(self) -> None:
        away_s, attempts = self._backoff.away_s(monotonic()), self._backoff.attempts
        self._backoff.found()
        self.options.say(f"{self.name}: back after {away_s:.1f} s, at attempt {attempts}")

    def _packets(self) -> "Iterator[av.Packet[av.VideoStream] | None]":
        """The packets of the video track, and None once after the last: the decoder still holds pictures."""
        tries = 0
        while tries < _DEMUX_TRIES:
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        if self.live:
                            packet.opaque = monotonic()
                        tries = 0
                        self._packets_read += 1
                        yield packet
                break
            except av.FFmpegError as error:
                tries += 1
                self._note(f"the stream broke off: {_reason(error)}")
                if self.live or isinstance(error, av.error.ExitError):
                    break
        yield None

    def _check_end(self) -> None:
        """Count a file that ends before it said it would, and pictures that never came."""
        if self.live:
            return
        declared = self._stream.frames
        # AVI counts repeated pictures, too, which take time but no packet
        counted = self._container.format.name != "avi" or self._missing_s(self.origin + declared * self._step)
        if 0 < self._packets_read < declared and counted:
            self._note(f"it ends early: {self._packets_read} of {declared} frames are in the file")
        elif self._end is not None and (missing_s := self._missing_s(self._end)):
            self._note(f"it ends {missing_s:.2f} s before the end that it declares")
        lost = self._packets_read - self._pictures_decoded
        if self.errors and lost > 0:
            self._note(f"{lost} of {self._packets_read} frames could not be decoded")

    def _missing_s(self, end: int) -> float:
        """Seconds between the last picture and `end`; 0 where that is hardly any."""
        missing_s = float((end - self._last_end) * self.time_base)
        return missing_s if missing_s > max(_END_TOLERANCE_S, 3 * float(self._step * self.time_base)) else 0.0

    def _note(self, text: str, *, at_s: float | None = None) -> None:
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(SourceError(self._seconds(self._last_end) if at_s is None else at_s, text))
        self._suspect = True

    def _seconds(self, pts: int) -> float:
        return float((pts - self.origin) * self.time_base)

    def _nothing_decoded(self) -> str:
        start_s = self.options.start_s
        if start_s and self._pictures_decoded:
            return (
                f"{self.name}: starts at {start_s:g} s, but it lasts {self._seconds(self._last_end):.3f} s: "
                "give an earlier start"
            )
        why = f": {self.errors[0].text}" if self.errors else ""
        return f"{self.name}: not one frame of it can be decoded{why}; is it a whole video?"

    def _close(self) -> None:
        self._container.close()


def open_container(
    target: str,
    *,
    name: str,
    container_format: str | None = None,
    options: dict[str, str] | None = None,
    timeout_s: float | None = None,
    hardware: "HWAccel | None" = None,
) -> "av.container.InputContainer":
    """What FFmpeg makes of `target`. Raises InputError in one line, with what FFmpeg logged about it.

    hardware: decodes where it can be had and knows the codec; else software does.
    """
    try:
        if hardware is not None:
            with suppress(av.error.PermissionError, av.error.ExternalError, NotImplementedError):
                return av.open(
                    target,
                    format=container_format,
                    options=options,
                    timeout=timeout_s,
                    metadata_errors="replace",
                    hwaccel=hardware,
                )
        return av.open(
            target, format=container_format, options=options, timeout=timeout_s, metadata_errors="replace"
        )
    except (av.error.ExitError, av.error.TimeoutError):
        raise InputError(f"{name}: no answer within {timeout_s:g} s: is it running, and reachable?") from None
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        again = (
            timeout_s is None and Path(target.removeprefix("file:")).is_file()
        )  # a pipe would be waited for
        why = _logged_reason(target, container_format) if again else _reason(error)
        raise InputError(f"{name}: is not a video that can be read ({why})") from error
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{name}: cannot be opened: {_reason(error)}") from error


def _arrival_s(picture: av.VideoFrame) -> float | None:
    """What was written on its packet."""
    return picture.opaque if isinstance(picture.opaque, float) else None


def _video_stream(container: "av.container.InputContainer", name: str) -> "av.VideoStream":
    covers = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & covers]
    if not streams:
        what = "holds sound but no picture" if container.streams.audio else "holds no picture"
        raise InputError(f"{name}: {what}: give a video")
    if streams[0].codec_context is None:
        raise InputError(f"{name}: its codec is not known to this FFmpeg: convert it to H.264 first")
    return streams[0]


def _audio_track(container: "av.container.InputContainer", path: Path | None) -> AudioTrack | None:
    tracks = container.streams.audio
    return AudioTrack(path=path, stream_index=tracks[0].index) if path is not None and tracks else None


def _declared_end(
    container: "av.container.InputContainer", stream: "av.VideoStream", origin: int, time_base: Fraction
) -> int | None:
    """The pts at which the video track says it ends, None where it does not say."""
    if stream.duration is not None:
        return origin + stream.duration
    tagged = stream.metadata.get("DURATION", "")  # Matroska: HH:MM:SS.nnnnnnnnn
    try:
        hours, minutes, seconds = tagged.split(":")
        return round((int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)) / time_base)
    except ValueError:
        pass
    if container.duration is not None and len(container.streams) == 1:
        return origin + round(Fraction(container.duration, 10**6) / time_base)
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "nothing came for too long"
    return getattr(error, "strerror", None) or str(error)


def _logged_reason(target: str, container_format: str | None) -> str:
    """Open once more and listen: the log says "moov atom not found" where the error says "invalid data"."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            try:
                av.open(target, format=container_format).close()
            except (av.FFmpegError, OSError) as error:
                return next((text.strip() for _, _, text in logs if text.strip()), _reason(error))
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])
    return "it changed while it was read"
