"""Tiny videos for the edges, made when they are needed.

Frame k of a video shows an even grey-green field whose luma is `luma(k)`, with a white square in the top left
corner: which frame a decoded picture is, and which way up it lies, can be read off it.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import ClassInfo
from gsvnet_engine.frames import Frame
from gsvnet_engine.segmenter import Segmentation

CLASSES = (
    ClassInfo("Sky", (70, 130, 180)),
    ClassInfo("Road", (128, 64, 128)),
    ClassInfo("Car", (0, 0, 142)),
    ClassInfo("Tree", (107, 142, 35)),
)
RATE = Fraction(25)
TIME_BASE = Fraction(1, 12800)
STEP = 512  # ticks of TIME_BASE a frame


def luma(number: int) -> int:
    """The luma of the field of frame `number`, apart from its neighbours' by more than a codec errs."""
    return 40 + 8 * (number % 20)


def number_of(frame: Frame) -> int:
    """Which frame of a generated video (of up to 20) this is."""
    plane = frame.planes[0]
    samples = plane.data[frame.height // 2 :, frame.width // 2 :].astype(np.float64)
    mean = float((samples / (1 << plane.shift)).mean()) / (1 << (frame.depth - 8))
    return round((mean - 40) / 8)


def samples(plane: Any, dtype: Any = np.uint8) -> NDArray[Any]:
    """[rows, samples] of a plane of an av.VideoFrame, padding included; writable."""
    return np.frombuffer(plane, dtype).reshape(plane.height, -1)


def picture(number: int, height: int, width: int, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Frame `number`, `height` x `width`."""
    made = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(made.planes, (luma(number), 120, 118), strict=True):
        samples(plane)[:] = value
    samples(made.planes[0])[: height // 4, : width // 4] = 235
    return made if pixel_format == "yuv420p" else made.reformat(format=pixel_format)


def packed(made: av.VideoFrame) -> bytes:
    """The bytes of a picture without padding, as FFmpeg's rawvideo would write them: by its own encoder."""
    context: Any = av.CodecContext.create("rawvideo", "w")
    context.width, context.height, context.pix_fmt = made.width, made.height, made.format.name
    context.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in context.encode(made))


def write_video(
    path: Path,
    *,
    frames: int = 12,
    height: int = 48,
    width: int = 64,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pts: Callable[[int], int] = lambda number: number * STEP,
    time_base: Fraction = TIME_BASE,
    keyframe_every: int = 4,
    rotation: float = 0.0,
    audio: str | None = None,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    tags: dict[str, Any] | None = None,
    noise: float = 0.0,
) -> Path:
    """A video of `frames` frames. audio: a codec for a second track, noise at 48 kHz.

    noise: how strongly packets should grow, for tests that damage or cut files.
    """
    rng = np.random.default_rng(7)
    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options={"bf": "0", **(encoder or {})})
        stream.height, stream.width, stream.pix_fmt = height, width, pixel_format
        stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = keyframe_every
        stream.codec_context.thread_count = 1
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        sound: Any = None if audio is None else container.add_stream(audio, rate=48000, bit_rate=128000)
        for number in range(frames):
            made = picture(number, height, width, pixel_format)
            if noise:
                plane = samples(made.planes[0])
                plane[:] = np.clip(plane + rng.normal(0, noise, plane.shape), 16, 235).astype(np.uint8)
            made.pts, made.time_base = pts(number), time_base
            for name in ("colorspace", "color_range"):
                if tags and name in tags:
                    setattr(made, name, tags[name])
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_sound(container, sound, frames)
    return path


def repeat(path: Path, source: Path, times: int) -> Path:
    """The video of `source` so many times over, its packets copied, its times going on."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        track = given.streams.video[0]
        out = made.add_stream_from_template(track)
        packets = [(bytes(p), p.is_keyframe) for p in given.demux(track) if p.size]
        for number in range(times * len(packets)):
            data, is_keyframe = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = out, TIME_BASE, is_keyframe
            packet.pts = packet.dts = number * STEP
            packet.duration = STEP
            made.mux_one(packet)
    return path


def _write_sound(container: Any, sound: Any, frames: int) -> None:
    rng = np.random.default_rng(5)  # noise, so that no two packets are equal
    for block in range(int(frames / RATE * 48000) // 1024):
        wave = rng.uniform(-0.3, 0.3, (2, 1024)).astype(np.float32)
        layouts = {"flt": "flt", "s16": "s16"}
        name = sound.codec_context.format.name
        if name in layouts:
            packed: NDArray[Any] = wave.T.reshape(1, -1)
            if name == "s16":
                packed = (packed * 30000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(packed, format=name, layout="stereo")
        else:
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, block * 1024, Fraction(1, 48000)
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def write_audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48000)
        _write_sound(container, sound, 20)
    return path


def write_vfr(path: Path) -> tuple[Path, list[int]]:
    """A video with uneven times, and its pts."""
    times = [0, 512, 700, 1900, 1901, 4000, 4512, 9000]
    return write_video(path, frames=len(times), pts=lambda number: times[number]), times


def write_truncated(path: Path, *, keep: float = 0.6, frames: int = 16) -> Path:
    """The head of a video whose index stands in front, as when a download breaks off."""
    write_video(path, frames=frames, noise=12, options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def write_corrupt(path: Path, damaged: Sequence[int] = (6,), *, frames: int = 16) -> Path:
    """A video with garbage in place of the packets `damaged`."""
    write_video(path, frames=frames, noise=12)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in damaged:
        position, size = places[number]
        assert position is not None
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def write_size_change(
    path: Path, first: tuple[int, int] = (48, 64), second: tuple[int, int] = (96, 64)
) -> Path:
    """MPEG-TS whose picture goes from `first` (height, width) to `second` half-way, as broadcasts do."""
    parts = []
    for start, (height, width) in ((0, first), (6, second)):
        part = path.with_name(f"{path.stem}.{start}.ts")
        write_video(part, frames=6, height=height, width=width, pts=lambda n, s=start: (n + s) * STEP)  # type: ignore[misc]
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


class Striped:
    """Stands in for a Segmenter: vertical stripes of all classes, a keyframe every `interval` frames."""

    def __init__(self, interval: int = 4, shift: int = 0, fail_at: int | None = None) -> None:
        self.interval, self.shift, self.fail_at = interval, shift, fail_at
        self.seen: list[Frame] = []

    def push(self, frame: Frame) -> Segmentation:
        number = len(self.seen)
        if number == self.fail_at:
            raise RuntimeError("segmenter failed")
        self.seen.append(frame)
        columns = (np.arange(frame.width) * len(CLASSES) // frame.width + self.shift) % len(CLASSES)
        labels = np.broadcast_to(columns.astype(np.uint8), (frame.height, frame.width)).copy()
        keyframe = number % self.interval == 0
        stage = "keyframe" if keyframe else "propagate"
        return Segmentation(
            labels=labels,
            is_keyframe=keyframe,
            frame=frame,
            classes=CLASSES,
            stages_ms={"prepare": 0.1, stage: 1.0, "labels": 0.2},
        )
