import math

import numpy as np
import pytest

from gsvnet_engine.evaluation.confusion import Confusion

CLASSES = 5


def brute_force(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[int, float]:
    """IoU in percent of each class with ground truth, by sets of pixels."""
    found = {}
    for c in range(classes):
        counted = [(t[t < classes], p[t < classes]) for t, p in pairs]
        both = sum(int(((t == c) & (p == c)).sum()) for t, p in counted)
        either = sum(int(((t == c) | (p == c)).sum()) for t, p in counted)
        if any((t == c).any() for t, _ in counted):
            found[c] = 100 * both / either
    return found


@pytest.fixture
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    truths = rng.choice(np.array([0, 1, 3, 4, 5, 11, 255], np.uint8), (3, 9, 7))  # class 2 has no truth
    return [(truth, rng.integers(0, CLASSES, truth.shape, np.uint8)) for truth in truths]


class TestConfusion:
    def test_iou_is_that_of_brute_force(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
        confusion = Confusion(CLASSES)
        for truth, predicted in pairs:
            confusion.add(truth, predicted)
        expected = brute_force(pairs, CLASSES)
        assert set(expected) == {0, 1, 3, 4}
        for c, iou in enumerate(confusion.iou()):
            assert math.isnan(iou) if c not in expected else iou == pytest.approx(expected[c])
        assert confusion.absent() == [2]
        assert confusion.miou() == pytest.approx(sum(expected.values()) / 4)

    def test_pooled_is_the_sum(self, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
        parts, whole = [Confusion(CLASSES) for _ in pairs], Confusion(CLASSES)
        for part, pair in zip(parts, pairs, strict=True):
            part.add(*pair)
            whole.add(*pair)
        assert np.array_equal(Confusion.pooled(parts).counts, whole.counts)
        with pytest.raises(ValueError, match="at least one"):
            Confusion.pooled([])

    def test_all_ignored(self) -> None:
        confusion = Confusion(2)
        confusion.add(np.full((2, 2), 2, np.uint8), np.zeros((2, 2), np.uint8))
        assert math.isnan(confusion.miou()) and confusion.absent() == [0, 1]

    def test_256_classes(self) -> None:
        labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        confusion = Confusion(256)
        confusion.add(labels, labels)
        assert confusion.miou() == 100

    def test_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match=r"\[2, 2\]"):
            Confusion(2).add(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
        with pytest.raises(ValueError, match="predicted holds 2"):
            Confusion(2).add(np.zeros((2, 2), np.uint8), np.full((2, 2), 2, np.uint8))
        with pytest.raises(ValueError, match="classes must be"):
            Confusion(0)
