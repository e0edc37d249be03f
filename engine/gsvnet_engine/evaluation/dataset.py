"""What every labelled data set gives the protocol: clips of consecutive pictures, some of them with ground truth.

A target is a frame b with its truth and the l_max - 1 frames before it. A run in which every frame is labelled is one
clip of many targets, a snippet with one labelled frame a clip of one, a still a clip of one picture: the protocol goes
through all of them alike, and reads each picture once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame

Labels = NDArray[np.uint8]


class Picture(Protocol):
    """A frame that can be read. `name`: its file, or the video and the frame's number, for messages."""

    @property
    def name(self) -> str: ...

    def read(self, index: int = 0) -> tuple[Frame, Labels | None]:
        """The picture, as frame `index`, and its labels [H,W] uint8: values of C or more are not judged.

        None where it has no labels. Raises InputError, naming file and rule.
        """
        ...


Clip = Sequence[Picture]  # consecutive frames; every labelled one with l_max - 1 frames before it is a target


class Dataset(Protocol):
    """A labelled split. `name`: "CamVid"; `source`: where its labels lie; `is_video`: whether intervals have a
    meaning."""

    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def is_video(self) -> bool: ...
    @property
    def gap(self) -> str | None:
        """Of stills that seem a run with frames missing: where, and how to mend it."""
        ...

    def clips(self, longest: int, max_frames: int | None = None) -> Sequence[Clip]:
        """Clips in which every target has `longest` - 1 frames before it; `max_frames` pictures in all at most.

        Raises InputError where such a frame is missing.
        """
        ...


def read_picture(path: Path, index: int = 0) -> Frame:
    """The picture as frame `index`. Raises InputError for anything else."""
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path}: not a picture that can be read; restore it from the data set")
    return Frame.from_bgr(np.asarray(picture, np.uint8), index=index)


def read_labels(path: Path, size: tuple[int, int] | None) -> Labels:
    """The values [H,W] uint8 as they are stored, of the picture's `size` (H, W) where that is given; of a PNG with a
    palette its indices.

    Raises InputError, naming file and rule.
    """
    import cv2

    labels: NDArray[Any] | None
    labels = _indices(path) if _has_palette(path) else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
        raise InputError(f"{path}: not a one-channel 8-bit PNG, as labels must be; restore it")
    if size is not None and labels.shape != size:
        raise InputError(
            f"{path}: is {shown(labels.shape)} where its picture is {shown(size)}; the two must be of one size"
        )
    return np.asarray(labels, np.uint8)


def _has_palette(path: Path) -> bool:
    """Whether it is a PNG of colour type 3, whose indices OpenCV would turn into colours."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return False
    return head.startswith(b"\x89PNG") and head[25:] == b"\x03"


def _indices(path: Path) -> Labels:
    """[H,W] uint8 of a PNG with a palette. Raises InputError."""
    from gsvnet_engine.sources.images import read_image

    picture = read_image(path)
    stored: Any = picture.planes[0]
    rows: Labels = np.frombuffer(stored, np.uint8).reshape(picture.height, -1)
    return rows[:, : picture.width].copy()


def shown(shape: tuple[int, ...]) -> str:
    """(H, W) as people write it: WxH."""
    return f"{shape[1]}x{shape[0]}"
