"""Every .cu on the card, against the same source on the CPU (g++) and the NumPy references: equal to the bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine import kernels, prepare
from gsvnet_engine.frames import Frame
from plugins.kernels.filter.reference import guided_filter
from plugins.kernels.labels.reference import label_upsample
from plugins.kernels.warp.reference import segmentation_warp
from tests.gpu.kernels import Card
from tests.plugins.on_host import Host
from tests.plugins.test_frame import frame
from tests.plugins.test_operations import random_flow, random_scores

pytestmark = pytest.mark.gpu

classes = st.sampled_from([1, 2, 3, 5, 11, 19, 256])
sides = st.sampled_from([*range(1, 10), 17, 31, 32, 33, 45, 65])
seeds = st.integers(0, 2**32)
halves = st.booleans()
many = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def equal(got: NDArray[Any], expected: NDArray[Any]) -> None:
    """To the bit, signs of zeros too; NaN is NaN."""
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    if got.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(got) & (got == 0), np.signbit(expected) & (expected == 0))


def narrowed(half: bool, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    with np.errstate(over="ignore"):
        return [a.astype(np.float16) if half else a for a in arrays]


@many
@given(st.integers(1, 3), classes, sides, sides, halves, seeds)
def test_warp_and_edges(
    on_card: Card, host: Host, n: int, count: int, rows: int, columns: int, half: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, flow = narrowed(
        half, random_scores(rng, n, count, rows, columns), random_flow(rng, n, rows, columns)
    )
    found = on_card.warp(scores, flow)
    for got, expected in zip(found, host.warp(scores, flow), strict=True):
        equal(got, expected)
    if not half:
        for got, expected in zip(found, segmentation_warp(scores, flow), strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("flow_of", [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e4, 9999.5, -0.0, 1e-40])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_warp_by_a_flow_that_leads_nowhere(on_card: Card, host: Host, flow_of: float, half: bool) -> None:
    scores = random_scores(np.random.default_rng(1), 1, 19, 33, 65)
    scores, flow = narrowed(half, scores, np.full((1, 2, 33, 65), flow_of, np.float32))
    for got, expected in zip(on_card.warp(scores, flow), host.warp(scores, flow), strict=True):
        equal(got, expected)


@many
@given(st.integers(1, 3), classes, sides, sides, st.sampled_from([9, 17]), halves, seeds)
def test_filter(
    on_card: Card, host: Host, n: int, count: int, rows: int, columns: int, neighbours: int, half: bool, seed: int
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    warped, intra = (random_scores(rng, n, count, rows, columns) for _ in range(2))
    weights = rng.random((n, neighbours + 1, rows, columns), np.float32)
    warped, intra, weights = narrowed(half, warped, intra, weights)
    got = on_card.filter(warped, intra, weights)
    equal(got, host.filter(warped, intra, weights))
    if not half:
        np.testing.assert_array_equal(got, guided_filter(warped, intra, weights))


@many
@given(st.integers(1, 3), classes, sides, sides, st.integers(1, 130), st.integers(1, 130), halves, seeds)
def test_labels(
    on_card: Card, host: Host, n: int, count: int, rows: int, columns: int, height: int, width: int, half: bool,
    seed: int,
) -> None:  # fmt: skip
    (scores,) = narrowed(half, random_scores(np.random.default_rng(seed), n, count, rows, columns))
    got = on_card.labels(scores, height, width)
    equal(got, host.labels(scores, height, width))
    for item, labels in zip(scores, got, strict=True):
        np.testing.assert_array_equal(labels, label_upsample(item.astype(np.float32), height, width))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_labels_of_scores_that_are_not_finite(on_card: Card, odd: float) -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(1, 5, 12, 9)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = odd
    assert on_card.labels(scores, 50, 41).max() < 5


def test_maps_as_large_as_in_use(on_card: Card, host: Host) -> None:
    rng = np.random.default_rng(3)
    scores, flow = random_scores(rng, 1, 19, 128, 256), random_flow(rng, 1, 128, 256)
    warped, edges = on_card.warp(scores, flow)
    for got, expected in zip((warped, edges), kernels.segmentation_warp(scores, flow), strict=True):
        np.testing.assert_array_equal(got, expected)
    weights = rng.random((1, 18, 128, 256), np.float32)
    np.testing.assert_array_equal(
        on_card.filter(warped, scores, weights), kernels.guided_filter(warped, scores, weights)
    )
    np.testing.assert_array_equal(
        on_card.labels(scores, 1024, 2048)[0], kernels.label_upsample(scores[0], 1024, 2048)
    )


def test_every_float16_is_read_and_written_as_numpy_does(on_card: Card) -> None:
    finite = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = finite[np.isfinite(finite)]
    scores = np.ascontiguousarray(np.resize(finite, (1, 1, 256, 248)))
    equal(on_card.warp(scores, np.zeros((1, 2, 256, 248), np.float16))[0], scores)
    rng = np.random.default_rng(5)
    low, high = (rng.choice(finite[np.abs(finite) < 3e4], (1, 1, 64, 99)) for _ in range(2))
    weights = np.zeros((1, 10, 64, 99), np.float16)
    weights[:, 4], weights[:, 9] = rng.choice([0.5, 1, 2, 2.0**-12], (2, 64, 99))
    with np.errstate(over="ignore"):
        wide = weights[:, 4:5].astype(np.float32) * low + weights[:, 9:].astype(np.float32) * high
        expected = wide.astype(np.float16)
    np.testing.assert_array_equal(on_card.filter(low, high, weights), expected)


LAYOUTS = ["planar 8", "planar 10", "NV12", "P010", "grey", "rgb"]


def prepared(on_card: Card, item: Frame, height: int, width: int) -> None:
    """The frame at 1/8 and at other sizes, as the CPU prepares it."""
    eighth = (-(-height // 8), -(-width // 8))
    equal(on_card.prepare(item, eighth, "area"), prepare.current(item, eighth, threads=1))
    for size in ((height * 3 // 4 or 1, width * 3 // 4 or 1), (33, 70)):
        equal(on_card.prepare(item, size, "bilinear"), prepare.keyframe(item, size, threads=1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(48, 64), (45, 61), (9, 8), (1, 1), (2, 130), (720, 1280)])
def test_frames(on_card: Card, layout: str, shape: tuple[int, int]) -> None:
    prepared(on_card, frame(layout, *shape, np.random.default_rng(shape[0])), *shape)


@many
@given(st.sampled_from(LAYOUTS), st.integers(1, 90), st.integers(1, 90), seeds)
def test_frames_of_any_size(on_card: Card, layout: str, height: int, width: int, seed: int) -> None:
    prepared(on_card, frame(layout, height, width, np.random.default_rng(seed)), height, width)
