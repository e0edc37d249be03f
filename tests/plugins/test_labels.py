"""The label kernel equals its NumPy reference to the bit, and torch wherever two scores are not a rounding apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine import kernels
from plugins.kernels.labels.reference import label_upsample

Scores = NDArray[np.float32]


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    """Scores of every temper: random, tied, tied but for a rounding, in blobs, of any magnitude."""
    classes = draw(st.sampled_from([1, 2, 3, 11, 19, 256]))
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.normal(size=(classes, rows, columns))
    temper = draw(st.sampled_from(["random", "tied", "nearly tied", "blobs"]))
    if temper != "random":
        values = np.round(values)
    if temper == "nearly tied":
        values = values.astype(np.float32) * (1 + rng.choice([-1, 0, 1], values.shape) * 2.0**-23)
    if temper == "blobs":
        values = np.repeat(np.repeat(values[:, :3, :3], 3, 1), 3, 2)[:, :rows, :columns]
    return np.ascontiguousarray(values * draw(st.sampled_from([1e-30, 1.0, 1e30])), np.float32)


@settings(deadline=None, max_examples=300)
@given(scores(), st.integers(1, 70), st.integers(1, 70), st.integers(1, 3))
def test_equal_to_the_reference_to_the_bit(values: Scores, height: int, width: int, threads: int) -> None:
    got = kernels.label_upsample(values, height, width, threads=threads)
    np.testing.assert_array_equal(got, label_upsample(values, height, width))


def test_large_map_in_blobs_as_networks_make_them() -> None:
    rng = np.random.default_rng(0)
    classes = np.kron(rng.integers(0, 19, (8, 16)), np.ones((8, 8), int))
    values = rng.normal(size=(19, 64, 128)).astype(np.float32)
    values[classes, np.arange(64)[:, None], np.arange(128)] += 10
    np.testing.assert_array_equal(
        kernels.label_upsample(values, 511, 1030), label_upsample(values, 511, 1030)
    )


def test_torch_agrees_where_scores_are_apart() -> None:
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).normal(size=(11, 45, 60)).astype(np.float32)
    full = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size=(360, 480), mode="bilinear")[
        0
    ]
    best = full.topk(2, dim=0).values
    apart = (best[0] - best[1] >= 1e-5).numpy()
    labels = kernels.label_upsample(values, 360, 480)
    assert apart.mean() > 0.99
    np.testing.assert_array_equal(labels[apart], full.argmax(0).numpy()[apart])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_give_some_class(odd: float) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(5, 12, 9)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = odd
    assert kernels.label_upsample(values, 50, 41).max() < 5
    assert kernels.label_upsample(np.full((5, 3, 3), odd, np.float32), 20, 20).max() < 5


def test_strided_scores_are_taken() -> None:
    values = np.random.default_rng(3).normal(size=(4, 6, 10)).astype(np.float32)
    np.testing.assert_array_equal(
        kernels.label_upsample(values[:, :, ::2], 20, 20), label_upsample(values[:, :, ::2], 20, 20)
    )


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3)),
        np.zeros((2, 3, 3)),
        np.zeros((257, 1, 1), np.float32),
        np.zeros((2, 0, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(values: Scores) -> None:
    with pytest.raises(ValueError, match="scores must be float32"):
        kernels.label_upsample(values, 4, 4)
    with pytest.raises(ValueError, match="at least one pixel"):
        kernels.label_upsample(np.zeros((2, 2, 2), np.float32), 0, 4)
