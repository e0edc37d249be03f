"""CamVid in SegNet's 11 classes: `{split}/images/*.webp|png` and `{split}/labels/*.png` (0..10; 11: unlabelled)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.dataset import Labels, read_labels, read_picture
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

    @property
    def name(self) -> str:
        return str(self.image)

    def read(self, index: int = 0) -> tuple[Frame, Labels]:
        """The picture, as frame `index`, and its labels [H,W] uint8. Raises InputError, naming file and rule."""
        frame = read_picture(self.image, index)
        labels = read_labels(self.labels, (frame.height, frame.width))
        if labels.max() > UNLABELLED:
            raise InputError(
                f"{self.labels}: holds the value {labels.max()}; labels are 0..{UNLABELLED - 1} and "
                f"{UNLABELLED} (unlabelled)"
            )
        return frame, labels


@dataclass(frozen=True)
class CamVid:
    """One split, in the order of its sequences and frame numbers."""

    split: str
    stills: Sequence[Still]
    name = "CamVid"
    classes = CLASSES

    @classmethod
    def open(cls, root: Path, split: str) -> "CamVid":
        """The split of the folder that holds {split}, or that holds camvid/ with it.

        Raises InputError for another layout, or a picture without labels, or labels without a picture.
        """
        folder = next((f for f in (root / split, root / "camvid" / split) if f.is_dir()), None)
        if folder is None:
            raise InputError(
                f"{root}: holds neither {split}/ nor camvid/{split}/; give CamVid's folder, or Cityscapes' "
                "(leftImg8bit_sequence/ or leftImg8bit/, and gtFine/)"
            )
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
    def source(self) -> str:
        return str(self.stills[0].labels.parent)

    def clips(self, longest: int, max_frames: int | None = None) -> list[Sequence[Still]]:
        """A run is one clip, stills are one each."""
        stills = self.stills[:max_frames]
        return [stills] if self.is_video else [[still] for still in stills]

    @property
    def is_video(self) -> bool:
        """Whether the pictures are consecutive video: one sequence, frame numbers at one constant step."""
        steps = self._steps()
        return len(set(steps)) == 1 and steps[0] > 0

    @property
    def gap(self) -> str | None:
        """Where a run, most of whose steps are the smallest, makes a larger one; None where this is no such run."""
        steps = self._steps()
        least = min(steps, default=0)
        if least < 1 or 2 * steps.count(least) < len(steps) or any(step % least for step in steps):
            return None
        for step, (before, after) in zip(steps, pairwise(self.stills), strict=True):
            if step > least:
                return (
                    f"{after.image} is the picture after {before.image.name}, {step} numbers on where others are "
                    f"{least}: restore what is missing between them"
                )
        return None

    def _steps(self) -> list[int]:
        """From each picture's number to the next one's; empty where they are not of one sequence, and numbered."""
        numbers = [still.number for still in self.stills if still.number is not None]
        if len({still.sequence for still in self.stills}) != 1 or len(numbers) < len(self.stills):
            return []
        return [b - a for a, b in pairwise(numbers)]


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
