"""Pooled confusion and the mean intersection over union that follows from it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Confusion:
    """Counts [C,C] int64 of pixels, true class by predicted class, pooled over everything added."""

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= 256:
            raise ValueError(f"classes must be 1..256, not {classes}")
        self.classes = classes
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    @classmethod
    def pooled(cls, parts: "Iterable[Confusion]") -> "Confusion":
        """The sum of one or more, all of one number of classes. Raises ValueError for none, or for a mixture."""
        parts = list(parts)
        if len({part.classes for part in parts}) != 1:
            raise ValueError("give at least one confusion, all of one number of classes")
        total = cls(parts[0].classes)
        for part in parts:
            total.counts += part.counts
        return total

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Count one picture: truth [H,W] uint8, pixels of `classes` or more ignored; predicted [H,W] uint8."""
        if truth.shape != predicted.shape:
            raise ValueError(f"truth is {list(truth.shape)}, predicted is {list(predicted.shape)}")
        if predicted.size and predicted.max() >= self.classes:
            raise ValueError(f"predicted holds {predicted.max()}; classes go up to {self.classes - 1}")
        # A row more takes what is ignored: quicker than picking out the pixels that count.
        rows = np.minimum(truth, np.int32(self.classes))
        found = np.bincount((rows * self.classes + predicted).ravel(), minlength=self.classes**2)
        self.counts += found[: self.classes**2].reshape(self.classes, self.classes)

    def iou(self) -> NDArray[np.float64]:
        """[C] float64 in percent, intersection over union of each class; NaN for those without ground truth."""
        right, true = np.diag(self.counts), self.counts.sum(1)
        union = true + self.counts.sum(0) - right
        percent = np.full(self.classes, np.nan)
        np.divide(100.0 * right, union, out=percent, where=true > 0)
        return percent

    def miou(self) -> float:
        """Mean IoU in percent over the classes that have ground truth; NaN where none has."""
        present = self.counts.sum(1) > 0
        return float(self.iou()[present].mean()) if present.any() else float("nan")

    def agreement(self) -> float:
        """Share (0..1) of the labelled pixels whose label is the predicted one; NaN without any."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def absent(self) -> list[int]:
        """The classes without one pixel of ground truth: no part of `miou`."""
        return [int(index) for index in np.flatnonzero(self.counts.sum(1) == 0)]
