"""A folder, a pattern or a list of images as a video."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import av

from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.sources.base import ColorTags, Source, SourceError, SourceOptions
from gsvnet_engine.sources.layout import from_av

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)


class ImageSource(Source):
    """Images in the order given, `options.image_fps` a second. Unreadable ones are counted and left out."""

    def __init__(self, paths: Sequence[Path], options: SourceOptions, *, name: str, stem: str) -> None:
        super().__init__(options)
        self.name, self.stem = name, stem
        self.rate = Fraction(options.image_fps).limit_denominator(1001)
        self.time_base = 1 / self.rate
        self.frames_estimate = self._estimate(len(paths))
        skipped = ceil(options.start_s * self.rate - Fraction(1, 10**6))
        if skipped >= len(paths):
            raise InputError(
                f"{name}: starts at {options.start_s:g} s, but its {len(paths)} images last "
                f"{float(len(paths) / self.rate):g} s at {options.image_fps:g} frames/s: start earlier"
            )
        self._paths = paths[skipped:]
        self._skipped = skipped
        self._pictures = self._decoded()
        self._first = next(self._pictures, None)
        if self._first is None:
            raise InputError(f"{name}: none of its {len(paths)} images can be read: {self.errors[-1].text}")
        frame, picture = self._first
        self._check_part(frame.pts_s)
        self.width, self.height = frame.width, frame.height
        self.color = ColorTags(matrix=picture.colorspace, range=2 if frame.full_range else 1)

    def _frames(self) -> Iterator[Frame]:
        assert self._first is not None
        yield self._first[0]
        for frame, _ in self._pictures:
            yield frame

    def _decoded(self) -> Iterator[tuple[Frame, av.VideoFrame]]:
        damaged = False
        index = 0
        for number, path in enumerate(self._paths, self._skipped):
            pts_s = float(number * self.time_base)
            try:
                picture = read_image(path)
            except InputError as error:
                self.errors.append(SourceError(pts_s, str(error)))
                damaged = True
                continue
            if picture.is_corrupt:
                self.errors.append(
                    SourceError(pts_s, f"{path}: is damaged; what could be read of it is used")
                )
            frame = replace(
                from_av(picture),
                index=index,
                pts=number,
                time_base=self.time_base,
                pts_s=pts_s,
                forces_keyframe=damaged,
            )
            yield frame, picture
            damaged = picture.is_corrupt
            index += 1


def read_image(path: Path) -> av.VideoFrame:
    """The picture in an image file. Raises InputError where there is none."""
    try:
        # an open file, since FFmpeg takes a % in an image's name for a pattern
        with path.open("rb") as file, av.open(file, "r") as container:
            if container.streams.video:
                for picture in container.decode(container.streams.video[0]):
                    return picture
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{path}: cannot be read as an image: {error.strerror or error}") from error
    raise InputError(f"{path}: holds no picture")


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key by which img2 comes before img10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
