"""Label maps as bytes on stdout: H x W uint8 a frame, nothing else."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from gsvnet_engine.errors import OutputError
from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, writing

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation


class Writable(Protocol):
    """A binary file that may take less than it is given."""

    def write(self, data: memoryview, /) -> int | None: ...


class RawLabels(Sink):
    """Writes to `file`, and leaves it open."""

    target = "-"

    def __init__(self, file: Writable, context: SinkContext) -> None:
        self._file = file
        self._times = context.times

    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None:
        view = np.ascontiguousarray(segmentation.labels).data.cast("B")
        with self._times.timed("write"), writing("stdout"):
            try:
                while view:
                    view = view[self._file.write(view) or 0 :]
            except BrokenPipeError as error:
                raise OutputError("stdout: the program reading it has ended") from error

    def close(self, *, complete: bool = True) -> None:
        pass
