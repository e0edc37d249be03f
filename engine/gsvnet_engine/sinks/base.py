"""What every sink has in common, and what it is told when it opens."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EFBIG, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import ClassInfo
from gsvnet_engine.errors import OutputError, UsageError
from gsvnet_engine.telemetry import StageTimes

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation
    from gsvnet_engine.sources.base import Source


@dataclass(frozen=True, kw_only=True)
class SinkOptions:
    """How outputs are made. alpha: the classes' share of the colour. encoder: "auto" or FFmpeg's name of one.

    encoder_preset: that encoder's, None for its own default. crf: x264's, less is better.
    """

    force: bool = False
    alpha: float = 0.5
    legend: bool = True
    encoder: str = "auto"
    encoder_preset: str | None = None
    crf: int = 23

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha must be in 0..1, not {self.alpha}")
        if not 0 <= self.crf <= 51:
            raise UsageError(f"crf must be in 0..51, not {self.crf}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A second segmentation of a frame: labels [H,W] uint8, and its share of pixels equal to the first's."""

    labels: NDArray[np.uint8]
    agreement: float


def _silent(note: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class SinkContext:
    """What a sink is told. captions: for the two pictures of a comparison, if it is one. say: takes notes."""

    classes: tuple[ClassInfo, ...]
    source: "Source"
    options: SinkOptions = field(default_factory=SinkOptions)
    captions: tuple[str, str] | None = None
    times: StageTimes = field(default_factory=StageTimes)
    say: Callable[[str], None] = _silent


class Sink(ABC):
    """Takes segmentations in order. Raises OutputError; what was written before that can be read."""

    target: str

    @abstractmethod
    def write(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> None: ...

    @abstractmethod
    def close(self, *, complete: bool = True) -> None:
        """Finish the output. complete: the source was read to its end. May come twice."""


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turns an error of the system or of FFmpeg into an OutputError about `target`."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EFBIG):
            raise OutputError(
                f"{target}: the disk is full; what was written so far is kept: free some space"
            ) from error
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def check_file(path: Path, *, force: bool) -> None:
    """Refuse, before any work, a file that exists or a folder that cannot take it."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder: give a file's name, or end it with / to have PNGs in it")
    if path.exists() and not force:
        raise OutputError(f"{path}: exists already: give another name, or --force to overwrite it")
    check_folder(path.parent, path)


def check_folder(folder: Path, path: Path) -> None:
    """Refuse a target whose folder is missing or not writable."""
    import os

    if not folder.is_dir():
        raise OutputError(f"{path}: its folder {folder} does not exist: create it first")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.is_file() and not os.access(path, os.W_OK)):
        raise OutputError(f"{path}: no permission to write there: choose another place with -o")
