"""The clip to measure on, scaled once to the wanted size and kept in a cache folder."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gsvnet_engine.errors import InputError, OutputError, UsageError
from gsvnet_engine.geometry import Size
from gsvnet_engine.video import Source, SourceOptions, open_source
from gsvnet_engine.whole_file import write_whole

FRAMES = 40  # of the source that are kept: a run reads no more
_ENCODING = {"crf": "18", "preset": "veryfast"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file of `size` (H, W), made of `source`."""

    path: Path
    source: str
    size: Size
    frames: int

    def check(self, interval: int) -> None:
        """UsageError where the clip has no whole interval of so many frames."""
        if interval > self.frames:
            raise UsageError(
                f"{self.source}: {self.frames} frames of it are measured on: no interval may be longer, not {interval}"
            )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": self.path.name}


def scaled(source: Path, size: Size, cache: Path, say: Callable[[str], None]) -> Clip:
    """The first FRAMES frames of `source` as H.264 of `size`, its aspect not kept.

    Raises InputError where it is no video, OutputError where the cache folder takes nothing.
    """
    with open_source(source, SourceOptions(max_frames=FRAMES)) as frames:
        if not source.exists():
            raise InputError(f"{source}: is no file and no folder of images: give one of them")
        height, width = size
        path = cache / f"{source.stem}_{width}x{height}_{_digest(source)[:12]}.mp4"
        if not path.exists():
            say(f"scaling {source.name} to {width}x{height}, once: {path}")
            data = _encoded(frames, size)
            try:
                write_whole(path, data)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Clip(path=path, source=source.name, size=size, frames=_count(path))


def _digest(source: Path) -> str:
    """Of what the file holds, or of a folder's names, sizes and times."""
    if source.is_dir():
        found = sorted((path.name, path.lstat()) for path in source.iterdir())
        return hashlib.sha256(
            "".join(f"{name} {s.st_size} {s.st_mtime_ns}\n" for name, s in found).encode()
        ).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _encoded(frames: Source, size: Size) -> bytes:
    """The frames as an mp4 of `size` (H, W), both even."""
    import av
    import cv2

    from gsvnet_engine.overlay import planes_420

    file, (height, width) = BytesIO(), size
    with av.open(file, "w", format="mp4") as made:
        out = made.add_stream("libx264", rate=frames.rate.limit_denominator(100000), options=_ENCODING)
        out.height, out.width = size
        out.pix_fmt = "yuv420p"
        out.codec_context.color_range = frames.color.range
        for frame in frames:
            shapes = (width, height), (width // 2, height // 2), (width // 2, height // 2)
            planes = [
                cv2.resize(plane, shape, interpolation=cv2.INTER_AREA)
                for plane, shape in zip(planes_420(frame), shapes, strict=True)
            ]
            stacked = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width)
            made.mux(out.encode(av.VideoFrame.from_ndarray(stacked, format="yuv420p")))
        made.mux(out.encode())
    return file.getvalue()


def _count(path: Path) -> int:
    import av

    with av.open(str(path)) as made:
        frames = made.streams.video[0].frames
    if frames < 1:
        raise InputError(f"{path}: holds no frames; delete it, and it is made anew")
    return frames
