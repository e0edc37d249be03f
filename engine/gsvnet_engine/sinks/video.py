"""The overlay video: the source's own times, colours and sound, with the classes painted over it."""

from collections.abc import Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext

from gsvnet_engine.channel import Channel
from gsvnet_engine.errors import OutputError
from gsvnet_engine.frames import Frame, Matrix
from gsvnet_engine.overlay import Bytes, Painter, Planes, recolored
from gsvnet_engine.sinks import encoder
from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, check_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gsvnet_engine.segmenter import Segmentation
    from gsvnet_engine.sources.base import AudioTrack, ColorTags

# A file cut off at any moment plays up to its last fragment; a finished one is an ordinary mp4.
_MP4_OPTIONS = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_AAC = ("aac", "aac_fixed")
_LOOKED_AT = 1000  # packets, for the first one of the sound
_SLOTS = 2  # painted pictures that wait to be encoded
_MPEG4_FINEST = 65535  # ticks a second
_LARGEST_TIMESCALE = 2**31 - 1
_KEYFRAME_EVERY_S = 5
_MATRIX_TAGS = {"bt601": 6, "bt709": 1, "bt2020": 9}


class OverlayVideo(Sink):
    """H.264 (mpeg4 without libx264) in mp4, mov or mkv; odd sides get their last row or column twice.

    Painted in the caller's thread, encoded in one of its own.
    """

    def __init__(self, path: Path, context: SinkContext) -> None:
        self.target = str(path)
        self._path, self._context = path, context
        options, source = context.options, context.source
        check_file(path, force=options.force)
        self._painter = Painter(context.classes, alpha=options.alpha, legend=options.legend)
        self._size = source.height, source.width
        self._panes = 1 if context.captions is None else 2
        self._format = _FORMATS[path.suffix.lower()]
        self._frames = 0
        self._said_size = False
        self._colors: tuple[Matrix, bool] | None = None  # of the first frame
        self._shift: int | None = None  # the pts of the source that is time 0 of the output
        self._end_s = Fraction(0)
        self._audio: AudioCopy | None = None
        self._painted: Channel[tuple[av.VideoFrame, Frame]] = Channel(_SLOTS)
        self._error: BaseException | None = None
        self._encoder = encoder.choose(options.encoder, options.crf, options.encoder_preset)
        self._before = _state(path)
        with self._writing():
            self._container: Any = av.open(
                f"file:{path}", "w", format=self._format, options=self._container_options()
            )
            try:
                self._stream = self._add_video()
                if source.audio is not None:
                    self._audio = self._add_audio(source.audio)
                self._container.start_encoding()
            except BaseException:
                self._abandon()
                raise
        self._thread = Thread(target=self._encode_all, name="gsvnet-encode", daemon=True)
        self._thread.start()

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        with self._context.times.timed("overlay"):
            picture = self._paint(segmentation, comparison)
        if not self._painted.put((picture, segmentation.frame)):
            self._raise_what_failed()

    def _encode_all(self) -> None:
        try:
            for picture, frame in self._painted.items():
                with self._context.times.timed("encode"), self._writing():
                    self._encode(picture, frame)
        except BaseException as error:
            self._error = error
            self._painted.abandon()

    def _encode(self, picture: av.VideoFrame, frame: Frame) -> None:
        self._stamp(picture, frame)
        self._container.mux(self._stream.encode(picture))
        self._frames += 1
        self._copy_sound(self._end_s)

    def _raise_what_failed(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self, *, complete: bool = True) -> None:
        if self._container is None:
            return
        self._painted.finish()
        self._thread.join()
        container, self._container = self._container, None
        try:
            self._finish(container, complete)
        finally:
            self._raise_what_failed()

    def _finish(self, container: Any, complete: bool) -> None:
        try:
            with self._writing():
                container.mux(self._stream.encode(None))
                self._copy_sound(None if complete else self._end_s)
        finally:
            if self._audio is not None:
                self._audio.close()
            with self._writing():
                container.close()
        if not self._frames:
            self._path.unlink(missing_ok=True)

    def _paint(self, segmentation: "Segmentation", comparison: Comparison | None) -> av.VideoFrame:
        frame, (height, width) = self._as_tagged(segmentation.frame), self._size
        picture = av.VideoFrame(self._stream.width, self._stream.height, "yuv420p")
        whole = tuple(_rows(plane) for plane in picture.planes)
        maps = [segmentation.labels] if comparison is None else [segmentation.labels, comparison.labels]
        pane = even(width)
        for i, (labels, caption) in enumerate(zip(maps, self._captions(comparison), strict=True)):
            y, u, v = (
                p[:, i * pane // half : (i + 1) * pane // half]
                for p, half in zip(whole, (1, 2, 2), strict=True)
            )
            if (frame.height, frame.width) == (height, width):
                self._painter.paint(frame, labels, (y[:height, :width], u, v), caption=caption)
            else:
                self._paint_scaled(frame, labels, (y[:height, :width], u, v), caption)
            y[:, width:] = y[:, width - 1 : width]
            y[height:] = y[height - 1 : height]
        return picture

    def _as_tagged(self, frame: Frame) -> Frame:
        """In the colours of the first frame, which the stream is tagged by: images of a folder may differ."""
        if self._colors is None:
            self._colors = frame.matrix, frame.full_range
        return recolored(frame, *self._colors)

    def _paint_scaled(self, frame: Frame, labels: Bytes, out: Planes, caption: str) -> None:
        """A picture of another size than the first: painted in its own, then brought to the first one's."""
        if not self._said_size:
            self._said_size = True
            height, width = self._size
            self._context.say(
                f"{self.target}: the picture becomes {frame.width}x{frame.height} at {frame.pts_s:.2f} s; "
                f"the overlay stays {width}x{height}"
            )
        half = -(-frame.height // 2), -(-frame.width // 2)
        own = (
            np.empty((frame.height, frame.width), np.uint8),
            np.empty(half, np.uint8),
            np.empty(half, np.uint8),
        )
        self._painter.paint(frame, labels, own, caption=caption)
        for plane, target in zip(own, out, strict=True):
            cv2.resize(plane, target.shape[::-1], dst=target, interpolation=cv2.INTER_LINEAR)

    def _captions(self, comparison: Comparison | None) -> Sequence[str]:
        if comparison is None or self._context.captions is None:
            return ("",)
        left, right = self._context.captions
        return left, f"{right}   agreement {comparison.agreement:.1%}"

    def _stamp(self, picture: av.VideoFrame, frame: Frame) -> None:
        """The source's time and colour, on the picture to be encoded."""
        source = self._context.source
        pts = frame.pts if frame.pts is not None else round(Fraction(frame.pts_s) / source.time_base)
        if self._shift is None:
            self._shift = source.origin if source.options.start_s == 0 and not source.live else pts
            if self._audio is not None:
                self._audio.start(self._shift * source.time_base)
        self._end_s = (pts - self._shift) * source.time_base + 1 / source.rate
        picture.time_base = self._stream.codec_context.time_base
        picture.pts = round((pts - self._shift) * source.time_base / picture.time_base)
        picture.colorspace, picture.color_range = self._tags.matrix, self._tags.range

    def _container_options(self) -> dict[str, str]:
        if self._format == "matroska":
            return {}
        ticks = self._context.source.time_base.denominator
        return {
            **_MP4_OPTIONS,
            **({"video_track_timescale": str(ticks)} if ticks <= _LARGEST_TIMESCALE else {}),
        }

    def _add_video(self) -> Any:
        context, source = self._context, self._context.source
        time_base = source.time_base
        if self._encoder.name == "mpeg4" and time_base.denominator > _MPEG4_FINEST:
            time_base = Fraction(1, 60000)
        stream: Any = self._container.add_stream(
            self._encoder.name,
            rate=source.rate.limit_denominator(100000),
            options=self._encoder.options(context.options.crf, self._preset()),
        )
        stream.height, stream.width = even(source.height), even(source.width) * self._panes
        stream.pix_fmt = self._encoder.pixel_format
        stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = max(round(_KEYFRAME_EVERY_S * source.rate), 1)
        self._tags = _output_tags(source.color, source.height)
        stream.codec_context.colorspace = self._tags.matrix
        stream.codec_context.color_range = self._tags.range
        stream.codec_context.color_primaries = self._tags.primaries
        stream.codec_context.color_trc = self._tags.transfer
        if source.pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = source.pixel_aspect
        return stream

    def _preset(self) -> str | None:
        """The one that is wanted, unless "auto" had to take an encoder that knows none."""
        options = self._context.options
        fell_back = options.encoder == encoder.AUTO and self._encoder.preset is None
        return None if fell_back else options.encoder_preset

    def _add_audio(self, track: "AudioTrack") -> "AudioCopy | None":
        if not track.path.is_file():
            self._context.say(
                f"{self.target}: {track.path} is no file, so its sound cannot be read beside it; the overlay is silent"
            )
            return None
        copy = AudioCopy(track)
        if not copy.fits(self._format, self._container_options()):
            copy.close()
            self._context.say(
                f"{self.target}: {self._format} cannot hold {copy.codec} sound; the overlay is silent"
            )
            return None
        copy.add_to(self._container)
        return copy

    def _copy_sound(self, end_s: Fraction | None) -> None:
        """Up to `end_s`; sound that the output does not take ends there, not the run."""
        if self._audio is None:
            return
        try:
            self._audio.copy_until(end_s)
        except av.FFmpegError as error:
            if isinstance(error, OSError) and not isinstance(error, PermissionError):
                raise  # the disk
            self._context.say(
                f"{self.target}: its sound ends at {float(self._end_s):.2f} s, where {self._format} takes no more "
                f"{self._audio.codec}: {error.strerror or error}"
            )
            self._audio.close()
            self._audio = None

    def _abandon(self) -> None:
        """Opening failed: leave nothing behind but a file that was there before and has not been touched."""
        if self._audio is not None:
            self._audio.close()
        with suppress(Exception):
            self._container.close()
        if _state(self._path) != self._before:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> "Iterator[None]":
        with writing(self.target):
            try:
                yield
            except av.FFmpegError as error:
                if isinstance(error, OSError):
                    raise
                raise OutputError(f"{self.target}: cannot be encoded: {error.strerror or error}") from error


class AudioCopy:
    """Copies the packets of a file's sound track as they are, in step with the pictures."""

    def __init__(self, track: "AudioTrack") -> None:
        self._path = track.path
        self._container = av.open(f"file:{track.path}", metadata_errors="replace")
        self._stream: Any = self._container.streams[track.stream_index]
        self.codec: str = self._stream.codec_context.name if self._stream.codec_context else "unknown"
        self._packets: Iterator[Any] = iter(())
        self._held: Any = None  # the next packet, read too early
        self._last_dts: int | None = None
        self._filter = self._new_filter()

    def fits(self, container_format: str, options: dict[str, str]) -> bool:
        """Whether such a container takes this sound: tried on its first packet, since tables of codecs do not tell
        all."""
        if self._stream.codec_context is None:
            return False
        try:
            with (
                av.open(f"file:{self._path}", metadata_errors="replace") as source,
                av.open(BytesIO(), "w", format=container_format, options=options) as trial,
            ):
                copy = trial.add_stream_from_template(self._stream)
                trial.start_encoding()
                for packet in self._first_of(source):
                    packet.stream = copy
                    trial.mux_one(packet)
        except (av.FFmpegError, ValueError):
            return False
        return True

    def _first_of(self, source: "av.container.InputContainer") -> "list[Any]":
        """The first packet of the track in the head of `source`, as it is to be written; none where there is none."""
        track = source.streams[self._stream.index]
        for packet in islice(source.demux(), _LOOKED_AT):
            if packet.stream.index == track.index and packet.size and packet.dts is not None:
                adts = self._new_filter()
                return [packet] if adts is None else adts.filter(packet)
        return []

    def _new_filter(self) -> "BitStreamFilterContext | None":
        """For AAC whose packets carry the head of their own, as in MPEG-TS: mp4 wants it once, before them."""
        context = self._stream.codec_context
        if context is None or context.name not in _AAC or context.extradata:
            return None
        return BitStreamFilterContext("aac_adtstoasc", self._stream)

    def add_to(self, output: Any) -> None:
        self._output = output
        self._copy = output.add_stream_from_template(self._stream)

    def start(self, at_s: Fraction) -> None:
        """Sound from `at_s` on, on the source's clock; it becomes time 0."""
        self._shift = round(at_s / self._stream.time_base)
        if at_s > 1:
            with suppress(av.FFmpegError):
                self._container.seek(self._shift, stream=self._stream)
        self._packets = self._demuxed()

    def copy_until(self, end_s: Fraction | None) -> None:
        """Copy what starts before `end_s` of the output (None: all), or up to where the track is damaged."""
        while (packet := self._next()) is not None:
            if end_s is not None and packet.pts * self._stream.time_base >= end_s:
                self._held = packet
                return
            packet.stream = self._copy
            self._output.mux_one(packet)

    def close(self) -> None:
        self._packets, self._held = iter(()), None
        self._container.close()

    def _next(self) -> Any:
        held, self._held = self._held, None
        return next(self._packets, None) if held is None else held

    def _demuxed(self) -> "Iterator[Any]":
        """Packets with times on the output's clock that rise."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.dts is None or packet.pts is None or packet.pts < self._shift:
                    continue
                packet.pts -= self._shift
                packet.dts -= self._shift
                if self._last_dts is not None and packet.dts <= self._last_dts:
                    continue
                self._last_dts = packet.dts
                yield from self._filtered(packet)
        except av.FFmpegError:
            return

    def _filtered(self, packet: Any) -> "list[Any]":
        if self._filter is None:
            return [packet]
        try:
            return self._filter.filter(packet)
        except av.FFmpegError:
            return []  # a damaged head


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes once somebody writes to it; None where it is no file."""
    if not path.is_file():
        return None
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns


def even(side: int) -> int:
    return side + side % 2


def _rows(plane: Any) -> Bytes:
    """[rows, columns] of a new picture's plane, to be written to; the padding of the rows is left out."""
    samples = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return samples[:, : plane.width]


def _output_tags(tags: "ColorTags", height: int) -> "ColorTags":
    """The source's tags; RGB pictures are written as YUV of the matrix that players expect at that height."""
    from gsvnet_engine.sources.base import ColorTags
    from gsvnet_engine.sources.layout import untagged_matrix

    if tags.matrix == 0:  # RGB
        return ColorTags(matrix=_MATRIX_TAGS[untagged_matrix(height)], range=2)
    return tags
