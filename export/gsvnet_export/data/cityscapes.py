"""Cityscapes as it comes: `leftImg8bit/<split>/<city>/*_leftImg8bit.png`, `gtFine/.../*_gtFine_labelIds.png`."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gsvnet_engine.errors import InputError
from gsvnet_export.data.camvid import read_image
from gsvnet_export.data.stills import IGNORE, Image, Labels, Still, Stills

# (labelId, name, colour) of the 19 classes that are evaluated, in trainId order (cityscapesScripts, labels.py).
_TRAINED = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
CLASSES = tuple(name for _, name, _ in _TRAINED)
COLORS = tuple(color for _, _, color in _TRAINED)
_HIGHEST_ID = 33
_TO_TRAIN_ID = np.full(256, IGNORE, np.uint8)
_TO_TRAIN_ID[[label_id for label_id, _, _ in _TRAINED]] = range(len(_TRAINED))


def read_labels(path: Path) -> Labels:
    """[H,W] uint8 train ids, everything else as IGNORE; InputError for what is no labelIds picture."""
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2 or ids.dtype != np.uint8:
        raise InputError(f"{path}: not a one-channel 8-bit labelIds picture; restore it from gtFine")
    if ids.max() > _HIGHEST_ID:
        raise InputError(f"{path}: unknown label id {ids.max()}; Cityscapes' labelIds are 0..{_HIGHEST_ID}")
    labels: Labels = _TO_TRAIN_ID[ids]
    return labels


def _read(image: Path, labels: Path) -> tuple[Image, Labels]:
    pair = read_image(image), read_labels(labels)
    if pair[0].shape[:2] != pair[1].shape:
        raise InputError(
            f"{labels}: {pair[1].shape} but its picture is {pair[0].shape[:2]}; they must be of one size"
        )
    return pair


def load(folder: Path, split: str) -> Stills:
    """The finely labelled stills of one split, in name order, read when needed. InputError for another layout."""
    images = sorted((folder / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    if not images:
        raise InputError(
            f"{folder}: no leftImg8bit/{split}/<city>/*_leftImg8bit.png; give Cityscapes' root folder"
        )
    items = []
    for image in images:
        stem = image.name.removesuffix("_leftImg8bit.png")
        labels = folder / "gtFine" / split / image.parent.name / f"{stem}_gtFine_labelIds.png"
        if not labels.is_file():
            raise InputError(f"{labels}: missing; every picture needs its labels")
        items.append(Still(stem, partial(_read, image, labels)))
    return Stills(items, keep=False)
