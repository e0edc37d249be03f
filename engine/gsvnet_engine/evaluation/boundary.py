"""Boundary F-score: how near predicted outlines run to the true ones (Csurka et al. 2013, Perazzi et al. 2016).

A pixel is on the boundary of its class where one of its four neighbours has another class; a pixel or neighbour that
is unlabelled in the ground truth makes none, in either labelling. Of class c, a predicted boundary pixel is right where
a true one of c lies within the tolerance, 0.0075 of the picture's diagonal rounded to whole pixels (Euclidean), and a
true one is found where a predicted one of c does. Precision P and recall R come from counts pooled over all pictures;
F = 2 P R / (P + R), 0 where both are 0, in percent; the score is the mean of F over the classes whose ground truth has
a boundary.

All classes are handled at once: one bit a class and pixel, dilated by a disc.
"""

from collections.abc import Iterable
from math import hypot, isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.evaluation.dataset import Labels

TOLERANCE = 0.0075
_BITS = 64
Bits = NDArray[np.unsignedinteger[Any]]


class Outline:
    """The boundary of one labelling: its pixels, their classes, and which classes come near each pixel."""

    def __init__(self, labels: Labels, labelled: NDArray[np.bool_], classes: int) -> None:
        """labels [H,W] uint8; labelled [H,W] bool: where there is ground truth."""
        edge = boundary(labels, labelled)
        self.at = np.flatnonzero(edge)
        self.classes = labels.ravel()[self.at]
        self._count = classes
        self._near = [
            _dilated(_bits(labels, edge, first, min(classes - first, _BITS)), tolerance(labels.shape)).ravel()
            for first in range(0, classes, _BITS)
        ]

    def totals(self) -> NDArray[np.int64]:
        """[C] boundary pixels of each class."""
        return np.bincount(self.classes, minlength=self._count).astype(np.int64)

    def near(self, other: "Outline") -> NDArray[np.int64]:
        """[C] how many of this outline's pixels have one of the same class of the other within the tolerance."""
        found = np.zeros(self._count, np.int64)
        for part, near in enumerate(other._near):
            own = self.classes // _BITS == part
            classes = self.classes[own]
            hit = (near[self.at[own]] >> (classes % _BITS).astype(near.dtype)) & near.dtype.type(1)
            found += np.bincount(classes[hit.astype(bool)], minlength=self._count)
        return found


class BoundaryCounts:
    """Counts [4,C] int64, pooled: predicted pixels, those that are right, true pixels, those that are found."""

    def __init__(self, classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((4, classes), np.int64)

    @classmethod
    def pooled(cls, parts: "Iterable[BoundaryCounts]") -> "BoundaryCounts":
        parts = list(parts)
        total = cls(parts[0].counts.shape[1])
        for part in parts:
            total.counts += part.counts
        return total

    def add(self, truth: Outline, predicted: Outline) -> None:
        self.counts += [predicted.totals(), predicted.near(truth), truth.totals(), truth.near(predicted)]

    def f_scores(self) -> NDArray[np.float64]:
        """[C] float64 in percent; NaN for classes without a true boundary."""
        predicted, right, true, found = self.counts
        precision = np.divide(right, predicted, out=np.zeros(len(right)), where=predicted > 0)
        recall = np.divide(found, true, out=np.full(len(right), np.nan), where=true > 0)
        both = precision + recall
        f: NDArray[np.float64] = np.where(np.isnan(recall), np.nan, 0.0)
        np.divide(200 * precision * recall, both, out=f, where=both > 0)
        return f

    def mean(self) -> float | None:
        """Mean F in percent over the classes that have a true boundary; None where none has."""
        f = self.f_scores()
        known = f[~np.isnan(f)]
        return float(known.mean()) if known.size else None


def tolerance(shape: tuple[int, ...]) -> int:
    """Pixels, of a picture [H,W]."""
    return int(TOLERANCE * hypot(shape[0], shape[1]) + 0.5)


def boundary(labels: Labels, labelled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H,W] bool: the labelled pixels with a labelled neighbour (of four) of another class."""
    edge = np.zeros(labels.shape, bool)
    across = (labels[:, 1:] != labels[:, :-1]) & labelled[:, 1:] & labelled[:, :-1]
    down = (labels[1:] != labels[:-1]) & labelled[1:] & labelled[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def _bits(labels: Labels, edge: NDArray[np.bool_], first: int, count: int) -> Bits:
    """[H,W]: bit c - first is set where an edge pixel has class c, of `count` classes from `first` on."""
    kind = np.dtype(np.uint16 if count <= 16 else np.uint32 if count <= 32 else np.uint64)
    table: Bits = np.zeros(257, kind)
    table[first : first + count] = np.left_shift(np.ones(count, kind), np.arange(count, dtype=kind))
    found: Bits = table[np.where(edge, labels, np.int16(256))]
    return found


def _dilated(bits: Bits, radius: int) -> Bits:
    """[H,W]: the union of the bits within a Euclidean distance of `radius` pixels."""
    height, width = bits.shape
    result, wide, reach = bits.copy(), bits.copy(), 0
    for dy in range(radius, -1, -1):  # from the disc's tips to its widest row
        half = isqrt(radius * radius - dy * dy)
        for dx in range(reach + 1, min(half, width - 1) + 1):
            wide[:, dx:] |= bits[:, : width - dx]
            wide[:, : width - dx] |= bits[:, dx:]
        reach = half
        if dy < height:
            result[dy:] |= wide[: height - dy]
            result[: height - dy] |= wide[dy:]
    return result
