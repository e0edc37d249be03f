"""Boundary F-scores against a slow reference that follows the definition word by word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine.evaluation import boundary
from gsvnet_engine.evaluation.boundary import BoundaryCounts, Outline

Labels = NDArray[np.uint8]


def edge_pixels(labels: Labels, truth: Labels, classes: int) -> dict[int, list[tuple[int, int]]]:
    """class -> boundary pixels (y, x): labelled ones with a labelled neighbour of another class."""
    height, width = labels.shape
    found: dict[int, list[tuple[int, int]]] = {c: [] for c in range(classes)}
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            if truth[y, x] < classes and any(
                0 <= b < height and 0 <= a < width and truth[b, a] < classes and labels[b, a] != labels[y, x]
                for b, a in around
            ):
                found[int(labels[y, x])].append((y, x))
    return found


def reference(pairs: list[tuple[Labels, Labels]], classes: int) -> list[float]:
    """[C] F in percent, NaN without true boundary, of (truth, predicted) pairs."""
    counts = np.zeros((4, classes))
    for truth, predicted in pairs:
        radius = boundary.tolerance(truth.shape)
        true, made = edge_pixels(truth, truth, classes), edge_pixels(predicted, truth, classes)
        for c in range(classes):
            for row, own, other in ((0, made[c], true[c]), (2, true[c], made[c])):
                counts[row, c] += len(own)
                counts[row + 1, c] += sum(
                    any((y - b) ** 2 + (x - a) ** 2 <= radius**2 for b, a in other) for y, x in own
                )
    f = []
    for predicted_count, right, true_count, found in counts.T.tolist():
        precision = right / predicted_count if predicted_count else 0.0
        recall = found / true_count if true_count else float("nan")
        f.append(200 * precision * recall / (precision + recall) if precision + recall != 0 else recall * 0)
    return f


def measured(pairs: list[tuple[Labels, Labels]], classes: int) -> BoundaryCounts:
    counts = BoundaryCounts(classes)
    for truth, predicted in pairs:
        labelled = truth < classes
        counts.add(Outline(truth, labelled, classes), Outline(predicted, labelled, classes))
    return counts


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 24), st.sampled_from([2, 5, 17, 40, 70]))
def test_is_that_of_the_definition(seed: int, height: int, width: int, classes: int) -> None:
    rng = np.random.default_rng(seed)

    def blocks(highest: int) -> Labels:
        coarse = rng.integers(0, highest, (-(-height // 5), -(-width // 5)), np.uint8)
        return coarse.repeat(5, 0).repeat(5, 1)[:height, :width]

    pairs = [(blocks(classes + 1), blocks(classes)) for _ in range(2)]
    f = measured(pairs, classes).f_scores()
    assert f == pytest.approx(reference(pairs, classes), nan_ok=True)


def test_within_the_tolerance_all_is_right() -> None:
    truth, near, far = (np.zeros((300, 400), np.uint8) for _ in range(3))  # diagonal 500: 4 pixels
    assert boundary.tolerance(truth.shape) == 4
    truth[:, 200:], near[:, 204:], far[:, 205:] = 1, 1, 1
    assert measured([(truth, near)], 2).mean() == pytest.approx(100)
    assert measured([(truth, far)], 2).mean() == 0


@pytest.mark.parametrize(
    ("shape", "pixels"), [((360, 480), 5), ((1024, 2048), 17), ((720, 960), 9), ((8, 8), 0)]
)
def test_tolerance(shape: tuple[int, int], pixels: int) -> None:
    assert boundary.tolerance(shape) == pixels  # 0.0075 of the diagonal: 4.5, 17.2, 9.0, 0.08


def test_without_any_boundary() -> None:
    flat = np.zeros((20, 20), np.uint8)
    assert measured([(flat, flat)], 3).mean() is None


def test_pooled() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 3, (9, 9), np.uint8), rng.integers(0, 3, (9, 9), np.uint8)) for _ in range(2)]
    pooled = BoundaryCounts.pooled([measured(pairs[:1], 3), measured(pairs[1:], 3)])
    assert np.array_equal(pooled.counts, measured(pairs, 3).counts)
