"""Labelled stills: pictures with a class id at every pixel, whatever data set they come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IGNORE = 255  # in every label map below, whatever the data set's own number for "unlabelled" is

Image = NDArray[np.uint8]  # [H,W,3] RGB
Labels = NDArray[np.uint8]  # [H,W]


@dataclass(frozen=True)
class Still:
    """One labelled picture, read when asked for. `name` is for messages. `files`: where it is read from."""

    name: str
    read: Callable[[], tuple[Image, Labels]]
    files: tuple[Path, ...] = ()


class Stills:
    """A list of stills; `keep` holds them in memory once read (CamVid: 230 MB; not for Cityscapes)."""

    def __init__(self, items: Sequence[Still], *, keep: bool) -> None:
        self.items = list(items)
        self._kept: dict[int, tuple[Image, Labels]] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Image, Labels]:
        if self._kept is None:
            return self.items[index].read()
        if index not in self._kept:
            self._kept[index] = self.items[index].read()
        return self._kept[index]

    def versions(self) -> list[str]:
        """Names, and of each file its size and when it was last changed: another text once something is edited."""
        return [f"{still.name} {[version(path) for path in still.files]}" for still in self.items]

    def split(self, held_out: Callable[[str], bool]) -> tuple["Stills", "Stills"]:
        """(the rest, those whose name `held_out` accepts)."""
        keep = self._kept is not None
        return (
            Stills([s for s in self.items if not held_out(s.name)], keep=keep),
            Stills([s for s in self.items if held_out(s.name)], keep=keep),
        )

    @cached_property
    def names(self) -> list[str]:
        return [still.name for still in self.items]

    @cached_property
    def shares_by_drive(self) -> NDArray[np.float64]:
        """[n], summing to one: by these every drive (a name up to its first _) is drawn as often as any other."""
        drives = [name.split("_")[0] for name in self.names]
        shares: NDArray[np.float64] = np.array([1 / drives.count(drive) for drive in drives])
        shares /= shares.sum()
        return shares


def version(path: Path) -> tuple[int, int]:
    """(bytes, nanoseconds at which it was last changed)."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def class_frequencies(stills: Stills, classes: int) -> NDArray[np.float64]:
    """[C] share of each class among the labelled pixels."""
    counts = np.zeros(256, np.int64)
    for index in range(len(stills)):
        counts += np.bincount(stills[index][1].ravel(), minlength=256)
    shares: NDArray[np.float64] = counts[:classes] / max(1, counts[:classes].sum())
    return shares
