"""Cityscapes for training: the stills of `leftImg8bit/<split>/<city>/`, with the engine's reading of their labels."""

from functools import partial
from pathlib import Path

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.cityscapes import CLASSES, train_ids
from gsvnet_export.data.camvid import read_image
from gsvnet_export.data.stills import Image, Labels, Still, Stills

__all__ = ["CLASSES", "COLORS", "load"]

# Cityscapes' own colours, in the order of the train ids (cityscapesScripts, labels.py).
COLORS = (
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
)


def _read(image: Path, labels: Path) -> tuple[Image, Labels]:
    picture = read_image(image)
    return picture, train_ids(labels, (picture.shape[0], picture.shape[1]))


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
        truth = folder / "gtFine" / split / image.parent.name
        kinds = [truth / f"{stem}_gtFine_{kind}.png" for kind in ("labelIds", "labelTrainIds")]
        labels = next((path for path in kinds if path.is_file()), None)
        if labels is None:
            raise InputError(f"{kinds[0]}: missing; every picture needs its labels, or its {kinds[1].name}")
        items.append(Still(stem, partial(_read, image, labels)))
    return Stills(items, keep=False)
