"""The clip to measure on, scaled once to the wanted size and kept in a cache folder."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gsvnet_engine.errors import InputError, OutputError, UsageError
from gsvnet_engine.geometry import Size
from gsvnet_engine.video import SourceOptions, open_source

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
    with open_source(source, SourceOptions(max_frames=1)):
        pass  # it is a video: whatever is wrong with it is said in one line
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    height, width = size
    path = cache / f"{source.stem}_{width}x{height}_{digest[:12]}.mp4"
    if not path.exists():
        say(f"scaling {source.name} to {width}x{height}, once: {path}")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            _encode(source, part, size)
            part.rename(path)  # whole or not at all
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Clip(path=path, source=source.name, size=size, frames=_count(path))


def _encode(source: Path, target: Path, size: Size) -> None:
    import av

    with av.open(str(source)) as given, av.open(str(target), "w", format="mp4") as made:
        stream = given.streams.video[0]
        out = made.add_stream("libx264", rate=stream.average_rate or 25, options=_ENCODING)
        out.height, out.width = size
        out.pix_fmt = "yuv420p"
        for number, frame in enumerate(given.decode(stream)):
            if number == FRAMES:
                break
            picture = frame.reformat(width=size[1], height=size[0], format="yuv420p")
            picture.pts = None  # numbered by the encoder: only its speed matters here
            made.mux(out.encode(picture))
        made.mux(out.encode())


def _count(path: Path) -> int:
    import av

    with av.open(str(path)) as made:
        frames = made.streams.video[0].frames
    if frames < 1:
        raise InputError(f"{path}: holds no frames; delete it, and it is made anew")
    return frames
