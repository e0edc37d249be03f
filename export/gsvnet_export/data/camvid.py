"""CamVid for training: the engine's reader, with the unlabelled marked as every data set here marks it."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation import camvid
from gsvnet_engine.evaluation.camvid import CLASSES, UNLABELLED
from gsvnet_export.data.stills import IGNORE, Image, Labels, Still, Stills

__all__ = ["CLASSES", "COLORS", "load", "read_image", "read_labels", "slice_of_train"]

# Cityscapes' colours for the same things: what people of the field read at a glance.
COLORS = (
    (70, 130, 180),
    (70, 70, 70),
    (153, 153, 153),
    (128, 64, 128),
    (244, 35, 232),
    (107, 142, 35),
    (220, 220, 0),
    (190, 153, 153),
    (0, 0, 142),
    (220, 20, 60),
    (119, 11, 32),
)


def read_image(path: Path) -> Image:
    """[H,W,3] uint8 RGB; InputError when the file is missing or no picture."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise InputError(f"{path}: not a picture that can be read; restore it from the data set")
    return np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)


def read_labels(path: Path) -> Labels:
    """[H,W] uint8 class ids, unlabelled as IGNORE; InputError for anything but ids 0..11."""
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise InputError(f"{path}: not a one-channel label picture; labels are 8-bit PNGs of class ids")
    if labels.max() > UNLABELLED:
        raise InputError(
            f"{path}: unknown label value {labels.max()}; CamVid's are 0..10 and {UNLABELLED} (unlabelled)"
        )
    return _ignoring(labels.astype(np.uint8))


def load(folder: Path, split: str) -> Stills:
    """The stills of one split, in order. InputError, naming file and rule, where the folder is not laid out so."""
    stills = camvid.CamVid.open(folder, split).stills
    return Stills(
        [Still(still.image.stem, partial(_read, still), (still.image, still.labels)) for still in stills],
        keep=True,
    )


def _read(still: camvid.Still) -> tuple[Image, Labels]:
    frame, labels = still.read()
    return np.stack([plane.data for plane in frame.planes], 2).astype(np.uint8), _ignoring(labels)


def _ignoring(labels: Labels) -> Labels:
    return np.where(labels == UNLABELLED, IGNORE, labels).astype(np.uint8)


def slice_of_train(names: list[str], part: int = 15) -> set[str]:
    """The last 1/15 of each sequence of `train`: held out, to choose checkpoints and hyper-parameters."""
    held_out: set[str] = set()
    for sequence in sorted({name.split("_")[0] for name in names}):
        members = sorted(name for name in names if name.startswith(sequence + "_"))
        held_out.update(members[len(members) - max(1, len(members) // part) :])
    return held_out
