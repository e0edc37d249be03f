"""A folder of 8-bit PNGs whose pixels are class indices and whose palette shows them in colour."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import ClassInfo
from gsvnet_engine.errors import OutputError
from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, check_folder, writing

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation

_COMPRESSION = 3  # label maps are flat: higher levels cost much and gain little


class PaletteFolder(Sink):
    """`<folder>/<frame index>.png`, one a frame."""

    def __init__(self, folder: Path, context: SinkContext) -> None:
        self.target = f"{folder}/"
        self._folder = folder
        self._palette = palette(context.classes)
        self._times = context.times
        check_png_folder(folder, force=context.options.force)
        with writing(folder):
            folder.mkdir(exist_ok=True)

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        path = self._folder / f"{segmentation.index:06d}.png"
        with self._times.timed("write"), writing(path):
            data = encode_png(segmentation.labels, self._palette)
            try:
                path.write_bytes(data)
            except OSError:
                path.unlink(missing_ok=True)  # half a PNG is of no use
                raise

    def close(self, *, complete: bool = True) -> None:
        pass


def check_png_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that cannot be made or written, or that holds numbered PNGs already."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, not a folder: give another name")
    check_folder(folder if folder.is_dir() else folder.parent, folder)
    if folder.is_dir() and not force and any(path.stem.isdigit() for path in folder.glob("*.png")):
        raise OutputError(
            f"{folder}/: holds numbered PNGs already: give another folder, or --force to overwrite them"
        )


def palette(classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """[C,3] uint8 RGB."""
    return np.array([c.color for c in classes], np.uint8).reshape(-1, 3)


def encode_png(labels: NDArray[np.uint8], colors: NDArray[np.uint8]) -> bytes:
    """labels [H,W] uint8 below len(colors) -> the bytes of an indexed PNG (colour type 3, 8 bits)."""
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = labels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"PLTE", colors.tobytes()),
            (b"IDAT", zlib.compress(rows.data, _COMPRESSION)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
