"""Resampling against the float64 reference, that against torch and block means, and frame.cu against the CPU loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine import kernels, prepare
from gsvnet_engine.frames import Frame, Plane
from plugins.kernels.frame import reference
from tests.plugins.on_host import Axis, Host, Preparation, SourcePlane


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


# frame.cu


def frame(layout: str, height: int, width: int, rng: np.random.Generator) -> Frame:
    """A random 4:2:0 picture, as decoders and hardware store it; or grey, or RGB."""
    if layout == "rgb":
        return Frame.from_rgb(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    deep = layout in ("planar 10", "P010")
    kind: Any = np.uint16 if deep else np.uint8
    shift = 6 if layout == "P010" else 0
    chroma = ((height + 1) // 2, (width + 1) // 2)
    luma = (rng.integers(0, 1024 if deep else 256, (height, width)) << shift).astype(kind)
    both = (rng.integers(0, 1024 if deep else 256, (*chroma, 2)) << shift).astype(kind)
    if layout in ("planar 8", "planar 10"):
        u, v = (np.ascontiguousarray(both[..., i]) for i in range(2))
    else:  # U and V by turns
        u, v = both[..., 0], both[..., 1]
    planes = (
        (Plane(luma, shift),) if layout == "grey" else (Plane(luma, shift), Plane(u, shift), Plane(v, shift))
    )
    return Frame(
        planes=planes,
        kind="gray" if layout == "grey" else "yuv",
        height=height,
        width=width,
        chroma_shift=(1, 1),
        depth=10 if deep else 8,
    )


def prepare_on_host(
    host: Host, item: Frame, size: tuple[int, int], filter: kernels.Filter
) -> NDArray[np.float32]:
    """What frame.cu makes of a frame, RGB float32 [1,3,h,w]."""
    kept: list[Any] = []  # the tables, while the kernel reads them

    def axis(along: int, extent: float, samples: int) -> Axis:
        first, weights = kernels.taps(filter, size[along], extent, samples)
        kept.extend((first, weights))
        return Axis(first.ctypes.data, weights.ctypes.data, len(weights), samples)

    def plane(channel: int) -> SourcePlane:
        source = item.planes[channel if item.kind != "gray" else 0]
        halves = item.kind == "yuv" and channel > 0
        extents = (item.height / (2 if halves else 1), item.width / (2 if halves else 1))
        axes = (axis(i, extents[i], source.data.shape[i]) for i in range(2))
        data = source.data
        return SourcePlane(data.ctypes.data, 0, *data.strides, *axes, data.itemsize, source.shift)

    offset, matrix = prepare.conversion(item.kind, item.matrix, item.full_range, item.depth)
    task = Preparation((SourcePlane * 3)(*(plane(i) for i in range(3))), tuple(offset), tuple(matrix.flat))
    rgb = np.full((1, 3, *size), np.nan, np.float32)
    host.launch("gsvnet_prepare", (size[1], size[0], 1), task, rgb, *size)
    return rgb


@pytest.mark.parametrize("layout", ["planar 8", "planar 10", "NV12", "P010", "grey", "rgb"])
@pytest.mark.parametrize("shape", [(48, 64), (45, 61), (9, 8), (1, 1), (2, 130)])
def test_gpu_kernel_equals_the_cpu_loop_to_the_bit(host: Host, layout: str, shape: tuple[int, int]) -> None:
    item = frame(layout, *shape, np.random.default_rng(shape[0]))
    eighth = (-(-shape[0] // 8), -(-shape[1] // 8))
    np.testing.assert_array_equal(
        prepare_on_host(host, item, eighth, "area"), prepare.current(item, eighth, threads=1)
    )
    for size in ((shape[0] * 3 // 4 or 1, shape[1] * 3 // 4 or 1), (33, 70)):
        got = prepare_on_host(host, item, size, "bilinear")
        np.testing.assert_array_equal(got, prepare.keyframe(item, size, threads=1))


def test_a_batch_of_pictures_in_one_launch(host: Host) -> None:
    batch = np.random.default_rng(4).integers(0, 256, (3, 3, 24, 40), dtype=np.uint8)
    down, across = (kernels.taps("area", n // 8, float(n), n) for n in (24, 40))
    rows, columns = (
        Axis(first.ctypes.data, weights.ctypes.data, len(weights), n)
        for (first, weights), n in ((down, 24), (across, 40))
    )
    planes = [
        SourcePlane(batch[0, i].ctypes.data, batch.strides[0], 40, 1, rows, columns, 1, 0) for i in range(3)
    ]
    offset, matrix = prepare.conversion("rgb", "bt709", True, 8)
    task = Preparation((SourcePlane * 3)(*planes), tuple(offset), tuple(matrix.flat))
    rgb = np.empty((3, 3, 3, 5), np.float32)
    host.launch("gsvnet_prepare", (5, 3, 3), task, rgb, 3, 5)
    for item, got in zip(batch, rgb, strict=True):
        alone = prepare.current(Frame.from_rgb(item.transpose(1, 2, 0)), (3, 5))
        np.testing.assert_array_equal(got, alone[0])
