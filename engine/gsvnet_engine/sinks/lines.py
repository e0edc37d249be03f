"""One JSON object a frame, one line each, written out at once."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, check_file, writing

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation


class JsonLines(Sink):
    """{"index", "pts_s", "keyframe", "shares": {class: share}, "stages_ms", "agreement" where compared}."""

    def __init__(self, path: Path, context: SinkContext) -> None:
        self.target = str(path)
        self._names = [c.name for c in context.classes]
        self._times = context.times
        check_file(path, force=context.options.force)
        with writing(path):
            self._file = path.open("wb", buffering=0)

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        with self._times.timed("write"):
            shares = (round(float(share), 6) for share in segmentation.class_shares())
            record = {
                "index": segmentation.index,
                "pts_s": round(segmentation.pts_s, 6),
                "keyframe": segmentation.is_keyframe,
                "shares": dict(zip(self._names, shares, strict=True)),
                "stages_ms": {stage: round(ms, 3) for stage, ms in segmentation.stages_ms.items()},
            }
            if comparison is not None:
                record["agreement"] = round(comparison.agreement, 6)
            self._append(json.dumps(record).encode() + b"\n")

    def close(self, *, complete: bool = True) -> None:
        with writing(self.target):
            self._file.close()

    def _append(self, line: bytes) -> None:
        """The whole line or nothing of it."""
        with writing(self.target):
            start = self._file.tell() if self._file.seekable() else None
            try:
                view = memoryview(line)
                while view:
                    view = view[self._file.write(view) :]
            except OSError:
                with suppress(OSError):  # a device cannot be cut
                    if start is not None:
                        self._file.truncate(start)
                raise
