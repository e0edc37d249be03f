"""Label maps as bytes on stdout: H x W uint8 a frame, nothing else."""

from select import select
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gsvnet_engine.errors import OutputError
from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, writing

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation


_WAIT_S = 0.1  # for a pipe that is full, at a time


class Writable(Protocol):
    """A binary file that may take less than it is given, and None where it does not wait to take more."""

    def fileno(self) -> int: ...
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
                    taken = self._file.write(view)
                    if taken is None:
                        select([], [self._file], [], _WAIT_S)
                    view = view[taken or 0 :]
            except BrokenPipeError as error:
                raise OutputError("stdout: the program reading it has ended") from error

    def close(self, *, complete: bool = True) -> None:
        pass
