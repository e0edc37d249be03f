"""Cityscapes as it comes (Cordts et al. 2016), in its 19 train classes.

    leftImg8bit_sequence/{split}/{city}/{city}_{seq}_{frame}_leftImg8bit.png   snippets of 30 frames
    leftImg8bit/{split}/{city}/{city}_{seq}_{frame}_leftImg8bit.png            the labelled frames alone: stills
    gtFine/{split}/{city}/{city}_{seq}_{frame}_gtFine_labelIds.png             or _labelTrainIds.png

A snippet's labelled frame, the 20th of its 30, is the one that gtFine names. Snippets are independent of each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.dataset import Labels, read_labels, read_picture
from gsvnet_engine.frames import Frame

# labelId -> name of the 19 classes that are evaluated, in trainId order (cityscapesScripts, labels.py).
_TRAINED = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
CLASSES = tuple(_TRAINED.values())
IGNORED = 255
SEQUENCES, STILLS, TRUTH = "leftImg8bit_sequence", "leftImg8bit", "gtFine"
_BEFORE, _AFTER = 19, 10  # frames of a snippet around its labelled one
_HIGHEST_ID = 33
_TO_TRAIN_ID = np.full(256, IGNORED, np.uint8)
_TO_TRAIN_ID[list(_TRAINED)] = range(len(_TRAINED))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture and, where it is a snippet's labelled one, its labels, as files."""

    image: Path
    labels: Path | None = None

    @property
    def name(self) -> str:
        return str(self.image)

    def read(self, index: int = 0) -> tuple[Frame, Labels | None]:
        """The picture, as frame `index`, and its train ids [H,W] uint8 with 255 for what is not evaluated."""
        frame = read_picture(self.image, index)
        return frame, None if self.labels is None else train_ids(self.labels, (frame.height, frame.width))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What a file's name says: aachen_000000_000019 is frame 19 of aachen's sequence 0. Compared as text."""

    city: str
    sequence: str
    frame: str

    def before(self, distance: int) -> "_Place | None":
        number = int(self.frame) - distance
        return (
            None
            if number < 0
            else _Place(city=self.city, sequence=self.sequence, frame=f"{number:0{len(self.frame)}d}")
        )

    @property
    def stem(self) -> str:
        return f"{self.city}_{self.sequence}_{self.frame}"


@dataclass(frozen=True, kw_only=True)
class Cityscapes:
    """One split: the labelled frames in the order of their names, and the folder their pictures lie in."""

    split: str
    images: Path
    truth: Path
    is_video: bool
    targets: Sequence[tuple[_Place, Path]]
    name = "Cityscapes"
    classes = CLASSES
    gap = None

    @classmethod
    def open(cls, root: Path, split: str) -> "Cityscapes":
        """Snippets where leftImg8bit_sequence holds the split, else stills.

        Raises InputError for another layout, labels without a picture, and a picture whose snippet has no labels.
        """
        is_video = (root / SEQUENCES / split).is_dir()
        images, truth = root / (SEQUENCES if is_video else STILLS) / split, root / TRUTH / split
        for folder in (images, truth):
            if not folder.is_dir():
                raise InputError(
                    f"{folder}: no such folder; Cityscapes' root holds {SEQUENCES}/{split} or {STILLS}/{split}, "
                    f"and {TRUTH}/{split}"
                )
        targets = _targets(truth)
        if not targets:
            raise InputError(f"{truth}: holds no <city>/*_labelIds.png nor *_labelTrainIds.png")
        data = cls(split=split, images=images, truth=truth, is_video=is_video, targets=targets)
        data._check_pairs()
        return data

    @staticmethod
    def has(root: Path, split: str) -> bool:
        """Whether both the split's pictures and its labels are there."""
        pictures = any((root / folder / split).is_dir() for folder in (SEQUENCES, STILLS))
        return pictures and (root / TRUTH / split).is_dir()

    @property
    def source(self) -> str:
        return str(self.truth)

    def clips(self, longest: int, max_frames: int | None = None) -> list[list[Picture]]:
        """Of each snippet the labelled frame b and what comes before it: b - (longest - 1)..b."""
        count = None if max_frames is None else max_frames // longest
        return [self._clip(place, labels, longest) for place, labels in islice(self.targets, count)]

    def _clip(self, place: _Place, labels: Path, longest: int) -> list[Picture]:
        earlier = []
        for distance in range(longest - 1, 0, -1):
            before = place.before(distance)
            if before is None or not self._image(before).is_file():
                what = labels if before is None else self._image(before)
                raise InputError(
                    f"{what}: {'no frame is' if before is None else 'missing; it is'} {distance} before the "
                    f"labelled frame {place.frame}, and interval {longest} reads the {longest - 1} before it"
                )
            earlier.append(Picture(image=self._image(before)))
        return [*earlier, Picture(image=self._image(place), labels=labels)]

    def _image(self, place: _Place) -> Path:
        return self.images / place.city / f"{place.stem}_leftImg8bit.png"

    def _check_pairs(self) -> None:
        """Every label has its picture, and every picture a labelled frame in its snippet."""
        labelled: dict[tuple[str, str], list[int]] = {}
        for place, labels in self.targets:
            if not self._image(place).is_file():
                raise InputError(f"{labels}: has no picture; {self._image(place)} must be there")
            labelled.setdefault((place.city, place.sequence), []).append(int(place.frame))
        before, after = (_BEFORE, _AFTER) if self.is_video else (0, 0)
        for path in sorted(self.images.glob("*/*_leftImg8bit.png")):
            place = _place(path, "leftImg8bit")
            frames = labelled.get((place.city, place.sequence), ())
            if not any(b - before <= int(place.frame) <= b + after for b in frames):
                of = "of its snippet" if self.is_video else "of that name"
                raise InputError(
                    f"{path}: has no labels; {self.truth / place.city} must hold the _labelIds.png {of}"
                )


def is_layout(root: Path) -> bool:
    """Whether the folder looks like Cityscapes' root."""
    return any((root / folder).is_dir() for folder in (SEQUENCES, STILLS, TRUTH))


def train_ids(path: Path, size: tuple[int, int] | None = None) -> Labels:
    """[H,W] uint8 train ids 0..18 and 255, from labelIds or labelTrainIds by the file's name.

    Raises InputError for another size than `size` (H, W), or a value that neither knows.
    """
    values = read_labels(path, size)
    if path.stem.endswith("_labelTrainIds"):
        wrong = values[(values >= len(CLASSES)) & (values != IGNORED)]
        rule = f"labelTrainIds are 0..{len(CLASSES) - 1} and {IGNORED}"
    else:
        wrong = values[values > _HIGHEST_ID]
        rule = f"labelIds are 0..{_HIGHEST_ID}"
        values = _TO_TRAIN_ID[values]
    if wrong.size:
        raise InputError(f"{path}: holds the value {wrong.max()}; Cityscapes' {rule}")
    return values


def _targets(truth: Path) -> list[tuple[_Place, Path]]:
    """Labelled frames by name; of one that has both kinds of labels, labelIds."""
    found: dict[str, tuple[_Place, Path]] = {}
    for kind in ("gtFine_labelTrainIds", "gtFine_labelIds"):
        for path in truth.glob(f"*/*_{kind}.png"):
            place = _place(path, kind)
            found[place.stem] = place, path
    return [found[stem] for stem in sorted(found)]


def _place(path: Path, kind: str) -> _Place:
    match = re.fullmatch(rf"(.+)_(\d+)_(\d+)_{kind}", path.stem, re.ASCII)
    if match is None or match[1] != path.parent.name:
        raise InputError(f"{path}: its name must be {path.parent.name}_<sequence>_<frame>_{kind}.png")
    return _Place(city=match[1], sequence=match[2], frame=match[3])
