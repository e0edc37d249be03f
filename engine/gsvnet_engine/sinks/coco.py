"""Masks in COCO's run-length form, in a file that is whole JSON at all times."""

import json
from contextlib import suppress
from io import FileIO
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, check_file, writing

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation

_FLUSH_EVERY_S = 1.0
_FLUSH_SHARE = (
    0.02  # of the time at most; the list of images at the file's end grows and is written anew each time
)


class CocoMasks(Sink):
    """{"info", "categories", "annotations": one a class and frame, "images": one a frame, ids from 0}.

    Annotations are appended; what follows them is short, kept in memory and rewritten about once a second, so
    that the file on the disk can be read whatever ends this process.
    """

    def __init__(self, path: Path, context: SinkContext) -> None:
        self.target = str(path)
        self._times = context.times
        self._images: list[dict[str, Any]] = []
        self._pending: list[bytes] = []
        self._annotations = 0
        check_file(path, force=context.options.force)
        head = {
            "info": {"description": context.source.name, "version": "1.0"},
            "categories": [
                {"id": i, "name": c.name, "color": c.color} for i, c in enumerate(context.classes)
            ],
        }
        self._tail = b""
        self._tail_at = 0
        with writing(path):
            self._file = FileIO(str(path), "wb")
            try:
                self._replace_tail(json.dumps(head)[:-1].encode() + b', "annotations": [')
            except OSError:
                self._file.close()
                raise

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        with self._times.timed("write"):
            height, width = segmentation.labels.shape
            image_id = segmentation.index
            image = {"id": image_id, "height": height, "width": width, "pts_s": round(segmentation.pts_s, 6)}
            self._images.append({**image, "keyframe": segmentation.is_keyframe})
            for label, counts in encode_labels(segmentation.labels).items():
                self._pending.append(self._annotation(image_id, label, counts, (height, width)))
            if perf_counter() >= self._next_flush:
                self._flush()

    def close(self, *, complete: bool = True) -> None:
        if self._file.closed:
            return
        try:
            if self._pending:
                self._flush()
        finally:
            with writing(self.target):
                self._file.close()

    def _annotation(
        self, image_id: int, label: int, counts: NDArray[np.int64], size: tuple[int, int]
    ) -> bytes:
        self._annotations += 1
        annotation = {
            "id": self._annotations,
            "image_id": image_id,
            "category_id": label,
            "segmentation": {"size": size, "counts": compress(counts)},
            "area": int(counts[1::2].sum()),
            "bbox": bounding_box(counts, size[0]),
            "iscrowd": 1,
        }
        first = self._annotations == 1
        return (b"\n" if first else b",\n") + json.dumps(annotation).encode()

    def _flush(self) -> None:
        """Put what is pending where the tail stood, then a new tail; a full disk gets the old one back."""
        addition, self._pending = b"".join(self._pending), []
        with writing(self.target):
            self._replace_tail(addition)

    def _replace_tail(self, addition: bytes) -> None:
        started = perf_counter()
        tail = b'],\n"images": ' + json.dumps(self._images).encode() + b"}\n"
        try:
            self._write_at(self._tail_at, addition + tail)
        except OSError:
            with suppress(OSError):  # the blocks are there already, unless this is no ordinary file
                self._write_at(self._tail_at, self._tail)
                self._file.truncate()
            raise
        self._tail_at += len(addition)
        self._tail = tail
        self._next_flush = perf_counter() + max(_FLUSH_EVERY_S, (perf_counter() - started) / _FLUSH_SHARE)

    def _write_at(self, position: int, data: bytes) -> None:
        self._file.seek(position)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def encode_labels(labels: NDArray[np.uint8]) -> dict[int, NDArray[np.int64]]:
    """labels [H,W] -> for every class there its run lengths, column by column, zeros first (COCO's order)."""
    flat = np.ascontiguousarray(labels.T).ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    runs = {}
    for label in np.unique(values):
        own = values == label
        borders = np.stack([starts[own], ends[own]], axis=1).ravel()
        counts = np.diff(borders, prepend=0)
        rest = flat.size - int(borders[-1])
        runs[int(label)] = np.append(counts, rest) if rest else counts
    return runs


def compress(counts: NDArray[np.int64]) -> str:
    """Run lengths [n] -> COCO's string: from the fourth on less the one two before, five bits a character."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    columns, lasting = [], np.ones(len(values), bool)
    while lasting.any():
        group = values & 31
        values = values >> 5
        more = np.where(group & 16, values != -1, values != 0)
        columns.append(np.where(lasting, group + 32 * more + 48, 0))
        lasting &= more
    grid = np.stack(columns, axis=1).ravel()
    return grid[grid > 0].astype(np.uint8).tobytes().decode("ascii")


def bounding_box(counts: NDArray[np.int64], height: int) -> list[int]:
    """[x, y, width, height] in pixels of the ones of a mask `height` rows high."""
    borders = np.cumsum(counts)
    starts, lasts = borders[0::2][: len(counts) // 2], borders[1::2] - 1
    left, right = int(starts[0]) // height, int(lasts[-1]) // height
    if np.any(
        starts // height != lasts // height
    ):  # a run that goes over the foot of a column covers a head and a foot
        top, bottom = 0, height - 1
    else:
        top, bottom = int((starts % height).min()), int((lasts % height).max())
    return [left, top, right - left + 1, bottom - top + 1]
