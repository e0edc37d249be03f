"""CamVid in SegNet's 11-class split: `{train,val,test}/images/*.webp|png`, `.../labels/*.png`, 11 = unlabelled."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gsvnet_engine.errors import InputError
from gsvnet_export.data.stills import IGNORE, Image, Labels, Still, Stills

CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
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
UNLABELLED = 11


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
    return np.where(labels == UNLABELLED, IGNORE, labels).astype(np.uint8)


def _read(image: Path, labels: Path) -> tuple[Image, Labels]:
    pair = read_image(image), read_labels(labels)
    if pair[0].shape[:2] != pair[1].shape:
        raise InputError(
            f"{labels}: {pair[1].shape} but its picture is {pair[0].shape[:2]}; they must be of one size"
        )
    return pair


def load(folder: Path, split: str) -> Stills:
    """The stills of one split, in name order. InputError when the folder is not laid out so or a label is missing."""
    images = sorted(p for p in (folder / split / "images").glob("*") if p.suffix in (".webp", ".png"))
    if not images:
        raise InputError(
            f"{folder / split / 'images'}: no .webp or .png pictures; give the folder that holds {split}/"
        )
    items = []
    for image in images:
        labels = folder / split / "labels" / f"{image.stem}.png"
        if not labels.is_file():
            raise InputError(f"{labels}: missing; every picture needs its labels")
        items.append(Still(image.stem, partial(_read, image, labels)))
    return Stills(items, keep=True)


def slice_of_train(names: list[str], part: int = 15) -> set[str]:
    """The last 1/15 of each sequence of `train`: held out, to choose checkpoints and hyper-parameters."""
    held_out: set[str] = set()
    for sequence in sorted({name.split("_")[0] for name in names}):
        members = sorted(name for name in names if name.startswith(sequence + "_"))
        held_out.update(members[len(members) - max(1, len(members) // part) :])
    return held_out
