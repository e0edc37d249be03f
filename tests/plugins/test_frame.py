"""Resampling against the float64 reference, and the reference against torch and plain block means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsvnet_engine import kernels
from gsvnet_engine.frames import Plane
from plugins.kernels.frame import reference


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["area", "bilinear"]),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from(["bytes", "words", "strided", "shifted", "flipped"]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_kernel_equals_the_reference(
    filter: kernels.Filter, shape: tuple[int, int], size: tuple[int, int], layout: str, half: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, 256 if layout != "words" else 1024, shape)
    extent = (shape[0] - 0.5 * half, shape[1] - 0.5 * half)
    words = layout in ("words", "shifted")
    plane = Plane(samples.astype(np.uint16)) if words else Plane(samples.astype(np.uint8))
    if layout == "strided":
        wide = np.zeros((shape[0], shape[1], 3), np.uint8)
        wide[..., 1] = samples
        plane = Plane(wide[..., 1])
    if layout == "shifted":
        plane = Plane((samples << 6).astype(np.uint16), shift=6)
    if layout == "flipped":
        plane = Plane(
            np.ascontiguousarray(samples[::-1, ::-1]).astype(np.uint8)[::-1, ::-1]
        )  # strides below 0
    out = np.full(size, np.nan, np.float32)
    kernels.resample(plane, extent, filter, out, threads=2)
    expected = reference.resample(samples, extent, size, filter)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("filter", ["area", "bilinear"])
def test_samples_beyond_the_extent_do_not_count(filter: kernels.Filter) -> None:
    samples = np.random.default_rng(2).integers(0, 256, (5, 7), dtype=np.uint8)
    padded = np.full((9, 12), 255, np.uint8)
    padded[:5, :7] = samples
    out, expected = np.empty((2, 6, 9), np.float32)
    kernels.resample(Plane(padded), (4.5, 6.5), filter, out)
    kernels.resample(Plane(samples), (4.5, 6.5), filter, expected)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(
        out, reference.resample(padded, (4.5, 6.5), (6, 9), filter), rtol=1e-5, atol=1e-3
    )


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    plane = Plane(np.random.default_rng(3).integers(0, 256, (45, 61), dtype=np.uint8))
    alone, together = np.empty((2, 31, 40), np.float32)
    kernels.resample(plane, (45.0, 61.0), "bilinear", alone, threads=1)
    kernels.resample(plane, (45.0, 61.0), "bilinear", together, threads=5)
    np.testing.assert_array_equal(alone, together)


def test_reference_area_is_the_mean_of_blocks() -> None:
    samples = np.random.default_rng(0).integers(0, 256, (24, 40))
    got = reference.resample(samples, (24.0, 40.0), (3, 5), "area")
    np.testing.assert_allclose(got, samples.reshape(3, 8, 5, 8).mean((1, 3)))


@pytest.mark.parametrize("size", [(13, 29), (37, 61), (70, 90), (1, 1)])
def test_reference_bilinear_is_torchs_antialiased(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    samples = np.random.default_rng(1).integers(0, 256, (37, 61))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(samples)[None, None].double(), size=size, mode="bilinear", antialias=True
    )[0, 0]
    got = reference.resample(samples, (37.0, 61.0), size, "bilinear")
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("extent", [(0.0, 4.0), (5.0, 4.0), (4.0, float("nan"))])
def test_extents_that_make_no_sense_are_refused(extent: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="cannot cover"):
        kernels.resample(Plane(np.zeros((4, 4), np.uint8)), extent, "area", np.empty((2, 2), np.float32))


def test_arrays_of_another_kind_are_refused() -> None:
    plane, out = Plane(np.zeros((4, 4), np.uint8)), np.empty((2, 2), np.float32)
    with pytest.raises(ValueError, match="a plane must be"):
        kernels.resample(Plane(np.zeros((4, 4), np.int64)), (4, 4), "area", out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out must be"):
        kernels.resample(plane, (4, 4), "area", np.empty((2, 4), np.float32)[:, ::2])
    with pytest.raises(ValueError, match="planes must be"):
        kernels.convert(np.empty((2, 4, 4), np.float32), np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
