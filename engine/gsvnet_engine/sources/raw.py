"""Raw frames on a pipe: no header, so the caller says what they are."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from io import UnsupportedOperation
from math import ceil
from select import select
from typing import Protocol

import numpy as np

from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.sources.base import (
    STOP_SEEN_S,
    ColorTags,
    RawFormat,
    Source,
    SourceError,
    SourceOptions,
)
from gsvnet_engine.sources.layout import LAYOUTS, frame_of, raw_sizes


class Readable(Protocol):
    """A binary file that may return less than it is asked for, and None where it does not wait for more."""

    def fileno(self) -> int: ...
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class RawSource(Source):
    """Frames of `options.raw` from a binary file, until it ends."""

    name = "-"
    stem = "stdin"

    def __init__(self, file: Readable, options: SourceOptions) -> None:
        super().__init__(options)
        raw = _checked(options.raw)
        self._file, self._descriptor = file, _descriptor(file)
        self._layout = LAYOUTS[raw.pixel_format]
        self._sizes = raw_sizes(self._layout, raw.height, raw.width)
        self.width, self.height = raw.width, raw.height
        self.rate = raw.rate
        self.time_base = 1 / raw.rate
        self.color = ColorTags(range=2 if self._layout.full_range else 0)
        self.frames_estimate = self._estimate(None)
        self._skipped = ceil(options.start_s * self.rate - Fraction(1, 10**6))
        self._first = self._first_of_part()
        self._check_part(self._first.pts_s)

    def _first_of_part(self) -> Frame:
        frame = self._read(0)
        if frame is None:
            raise InputError("-: nothing came on stdin: pipe raw frames into this command")
        for number in range(1, self._skipped + 1):
            frame = self._read(number)
            if frame is None:
                raise InputError(
                    f"-: starts at {self.options.start_s:g} s, but its {number} frames last "
                    f"{float(number * self.time_base):g} s at {float(self.rate):g} frames/s: start earlier"
                )
        return frame

    def _frames(self) -> Iterator[Frame]:
        frame: Frame | None = self._first
        while frame is not None:
            yield frame
            frame = self._read(self._skipped + frame.index + 1)

    def _read(self, number: int) -> Frame | None:
        """Picture `number` of the stream, which comes next, or None at the end."""
        dtype = np.dtype(self._layout.dtype)
        counts = [rows * samples for rows, samples in self._sizes]
        data = np.empty(sum(counts), dtype)
        filled = self._fill(data.view(np.uint8).data)
        pts_s = float(number * self.time_base)
        if filled < data.nbytes:
            if filled and not self._given_up:
                text = f"the last frame is {filled} of {data.nbytes} bytes long: are size and format right?"
                if number == 0:
                    raise InputError(f"-: {text}")
                self.errors.append(SourceError(pts_s, text))
            return None
        buffers = [
            part.reshape(size)
            for part, size in zip(np.split(data, np.cumsum(counts)[:-1]), self._sizes, strict=True)
        ]
        frame = frame_of(self._layout, buffers, self.height, self.width)
        return replace(frame, index=number - self._skipped, pts=number, time_base=self.time_base, pts_s=pts_s)

    def _fill(self, view: memoryview) -> int:
        """Bytes read; less than asked for at the end, or where nobody waits any more."""
        filled = 0
        while filled < len(view) and self._has_something():
            count = self._file.readinto(view[filled:])
            if count == 0:
                break
            filled += count or 0
        return filled

    def _has_something(self) -> bool:
        """Wait for bytes, or the end; False: nobody waits any more. A read would not see that while it waits."""
        while not self._given_up:
            if self._descriptor is None or select([self._descriptor], [], [], STOP_SEEN_S)[0]:
                return True
        return False


def _descriptor(file: Readable) -> int | None:
    """What can be waited for with select, None where nothing can."""
    try:
        return None if sys.platform == "win32" else file.fileno()
    except UnsupportedOperation:  # bytes in memory
        return None


def _checked(raw: RawFormat | None) -> RawFormat:
    if raw is None:
        raise UsageError(
            "raw frames on stdin say nothing of themselves: give their size as --raw-size WIDTHxHEIGHT"
        )
    if raw.pixel_format not in LAYOUTS:
        raise UsageError(f"raw-format must be one of {', '.join(sorted(LAYOUTS))}, not {raw.pixel_format!r}")
    if not (0 < raw.width <= 16384 and 0 < raw.height <= 16384):
        raise UsageError(f"raw-size must be 1x1 to 16384x16384, not {raw.width}x{raw.height}")
    if raw.pixel_format in ("yuyv422", "uyvy422") and raw.width % 2:
        raise UsageError(f"raw-format {raw.pixel_format} needs an even width, not {raw.width}")
    if not 0 < raw.rate <= 1000:
        raise UsageError(f"raw-fps must be above 0 and at most 1000, not {float(raw.rate)}")
    return raw
