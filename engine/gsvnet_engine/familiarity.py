"""Whether a video looks like what a bundle was trained on, told from the keyframe scores that a run has anyway.

The statistic is `mean_confidence`: the probability (softmax over the classes) of the winning class, averaged over the
cells of a keyframe's grid. Where a network meets what it has not seen, it wavers (Hendrycks and Gimpel 2017). The
median over an input's first keyframes is compared with a threshold from the bundle's manifest, which
`gsvnet-engine evaluate --familiarity` measures. It is a hint: a network may be sure and wrong.
"""

from statistics import median

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import MEAN_CONFIDENCE, Familiarity

KEYFRAMES = 10  # of an input, that decide
FEWEST = 3  # of an input that ends before


def mean_confidence(scores: NDArray[np.float32]) -> float:
    """scores [1,C,h,w] float32 logits -> the mean over the cells of the largest softmax probability, 1/C..1."""
    away = scores[0] - scores[0].max(0)
    return float((1 / np.exp(away).sum(0)).mean())


class Doubt:
    """Says once for an input, in a line, that it looks unlike what the bundle was trained on."""

    def __init__(self, bundle: str, rule: Familiarity | None) -> None:
        """rule: the manifest's; without one, or with a statistic of a later version, nothing is ever said."""
        self._bundle = bundle
        self._rule = rule if rule is not None and rule.statistic == MEAN_CONFIDENCE else None
        self._found: list[float] = []

    @property
    def is_open(self) -> bool:
        """Whether another keyframe's scores are wanted."""
        return self._rule is not None and len(self._found) < KEYFRAMES

    def see(self, scores: NDArray[np.float32]) -> str | None:
        """Take a keyframe's scores [1,C,h,w]; the warning, where this one decides so."""
        if not self.is_open:
            return None
        self._found.append(mean_confidence(scores))
        return None if self.is_open else self._verdict()

    def finish(self) -> str | None:
        """The input has ended: the warning, where it had too few keyframes to decide before, yet enough to."""
        return self._verdict() if self.is_open and len(self._found) >= FEWEST else None

    def _verdict(self) -> str | None:
        found = median(self._found)
        if self._rule is None or found >= self._rule.threshold:
            return None
        low, high = self._rule.usual
        return (
            f"this video looks unlike what {self._bundle} was trained on (mean confidence {found:.2f}, "
            f"usual {low:.2f}..{high:.2f}): expect errors"
        )
