"""CamVid in SegNet's 11 classes: `{split}/images/*.webp|png` and `{split}/labels/*.png` (0..10; 11: unlabelled)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame

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
UNLABELLED = 11
_SUFFIXES = (".png", ".webp")


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture and its labels, as files. `sequence` and `number`: of 0016E5_07959, 0016E5 and 7959."""

    image: Path
    labels: Path
    sequence: str
    number: int | None

    def read(self, index: int = 0) -> tuple[Frame, NDArray[np.uint8]]:
        """The picture, as frame `index`, and its labels [H,W] uint8. Raises InputError, naming file and rule."""
        import cv2

        picture = cv2.imread(str(self.image), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{self.image}: not a picture that can be read; restore it from the data set")
        labels = cv2.imread(str(self.labels), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.dtype != np.uint8:
            raise InputError(f"{self.labels}: not a one-channel 8-bit PNG, as labels must be; restore it")
        if labels.shape != picture.shape[:2]:
            raise InputError(
                f"{self.labels}: is {_shown(labels.shape)} where its picture is {_shown(picture.shape)}; "
                "the two must be of one size"
            )
        if labels.max() > UNLABELLED:
            raise InputError(
                f"{self.labels}: holds the value {labels.max()}; labels are 0..{UNLABELLED - 1} and "
                f"{UNLABELLED} (unlabelled)"
            )
        return Frame.from_bgr(np.asarray(picture, np.uint8), index=index), np.asarray(labels, np.uint8)


@dataclass(frozen=True)
class CamVid:
    """One split, in the order of its sequences and frame numbers."""

    split: str
    stills: Sequence[Still]

    @classmethod
    def open(cls, root: Path, split: str) -> "CamVid":
        """The split of the folder that holds {split}, or that holds camvid/ with it.

        Raises InputError for another layout, or a picture without labels, or labels without a picture.
        """
        folder = next((f for f in (root / split, root / "camvid" / split) if f.is_dir()), None)
        if folder is None:
            raise InputError(f"{root}: holds neither {split}/ nor camvid/{split}/; give CamVid's folder")
        images, labels = _files(folder / "images", _SUFFIXES), _files(folder / "labels", (".png",))
        if not images:
            raise InputError(f"{folder / 'images'}: holds no picture ({', '.join(_SUFFIXES)})")
        for stem, path in images.items():
            if stem not in labels:
                raise InputError(
                    f"{path}: has no labels; {folder / 'labels' / stem}.png must stand beside it"
                )
        for stem, path in labels.items():
            if stem not in images:
                raise InputError(f"{path}: has no picture; images/ needs a {stem}.webp or {stem}.png")
        stills = [_still(images[stem], labels[stem]) for stem in images]
        stills.sort(key=lambda still: (still.sequence, still.number or 0, still.image.name))
        return cls(split, tuple(stills))

    @property
    def is_run(self) -> bool:
        """Whether the pictures are consecutive video: one sequence, frame numbers at one constant step."""
        numbers = [still.number for still in self.stills]
        if len({still.sequence for still in self.stills}) != 1 or len(numbers) < 2:
            return False
        steps = {None if a is None or b is None else b - a for a, b in pairwise(numbers)}
        return len(steps) == 1 and steps.isdisjoint({None, 0})


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The folder's files of these kinds by stem; InputError where two share one."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a split has images/ and labels/")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        if path.stem in found:
            raise InputError(f"{path}: {found[path.stem].name} has the same name; keep one of them")
        found[path.stem] = path
    return found


def _still(image: Path, labels: Path) -> Still:
    sequence, _, number = image.stem.rpartition("_")
    is_number = number.isascii() and number.isdigit()
    return Still(image=image, labels=labels, sequence=sequence, number=int(number) if is_number else None)


def _shown(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
