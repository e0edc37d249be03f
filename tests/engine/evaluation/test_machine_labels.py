import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_engine.evaluation.machine_labels import best_constant

CLASSES = 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_no_constant_map_agrees_better(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [rng.integers(0, CLASSES + 1, (4, 5), np.uint8) for _ in range(count)]
    truths[0][0, 0] = 1  # one pixel at least is labelled

    def agreement(constant: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> float:
        found = Confusion(CLASSES)
        for truth in truths:
            found.add(truth, constant)
        return found.agreement()

    best = best_constant(truths, CLASSES)
    stacked = np.stack(truths)
    for y, x in np.ndindex(4, 5):
        labels = stacked[:, y, x][stacked[:, y, x] < CLASSES]
        assert best[y, x] == (np.bincount(labels).argmax() if labels.size else 0)
    assert all(agreement(best) >= agreement(rng.integers(0, CLASSES, (4, 5), np.uint8)) for _ in range(5))


def test_agreement_is_the_share_of_labelled_pixels() -> None:
    found = Confusion(CLASSES)
    assert np.isnan(found.agreement())
    found.add(np.array([[0, 1, 2, 3]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8))
    assert found.agreement() == pytest.approx(2 / 3)
