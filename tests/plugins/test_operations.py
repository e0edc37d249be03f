"""Warp, filter and labels: CPU loops and .cu kernels against NumPy, and those against ONNX Runtime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine import kernels
from plugins.kernels.filter.reference import OFFSETS, guided_filter
from plugins.kernels.labels.reference import label_upsample
from plugins.kernels.warp import reference
from plugins.kernels.warp.reference import segmentation_warp
from tests.plugins.on_host import Host

Float32 = NDArray[np.float32]

classes = st.sampled_from([2, 3, 11, 19, 256])
sides = st.sampled_from([*range(1, 10), 17, 33, 45])
seeds = st.integers(0, 2**32)
many = settings(deadline=None, max_examples=60)


def random_scores(rng: np.random.Generator, *shape: int) -> Float32:
    """Some of them tied, so that the rule for ties counts."""
    values = rng.normal(size=shape) * 3
    return np.asarray(np.round(values) if rng.random() < 0.3 else values, np.float32)


def random_flow(rng: np.random.Generator, n: int, rows: int, columns: int) -> Float32:
    """Small, with some cells unknown, infinite, huge, or whole numbers."""
    flow: Float32 = (rng.normal(size=(n, 2, rows, columns)) * rng.choice([0.5, 3, 100])).astype(np.float32)
    odd = rng.choice([0, 1, -2, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30], size=flow.shape)
    flow[:] = np.where(rng.random(flow.shape) < 0.2, odd, flow)
    return flow


@many
@given(st.integers(1, 3), classes, sides, sides, seeds)
def test_warp_equals_the_reference_to_the_bit(
    host: Host, n: int, count: int, rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, flow = random_scores(rng, n, count, rows, columns), random_flow(rng, n, rows, columns)
    expected = segmentation_warp(scores, flow)
    for got in (kernels.segmentation_warp(scores, flow, threads=2), host.warp(scores, flow)):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


@many
@given(st.integers(1, 3), classes, sides, sides, st.sampled_from([9, 17]), seeds)
def test_filter_equals_the_reference_to_the_bit(
    host: Host, n: int, count: int, rows: int, columns: int, neighbours: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    warped, intra = (random_scores(rng, n, count, rows, columns) for _ in range(2))
    weights = rng.random((n, neighbours + 1, rows, columns), np.float32)
    expected = guided_filter(warped, intra, weights)
    np.testing.assert_array_equal(kernels.guided_filter(warped, intra, weights, threads=2), expected)
    np.testing.assert_array_equal(host.filter(warped, intra, weights), expected)


@many
@given(st.integers(1, 3), classes, sides, sides, st.integers(1, 70), st.integers(1, 70), seeds)
def test_labels_on_the_gpu_equal_the_reference_to_the_bit(
    host: Host, n: int, count: int, rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    scores = random_scores(np.random.default_rng(seed), n, count, rows, columns)
    got = host.labels(scores, height, width)
    for item, labels in zip(scores, got, strict=True):
        np.testing.assert_array_equal(labels, label_upsample(item, height, width))


@pytest.mark.parametrize("columns", [255, 256, 257, 300])
def test_rows_longer_than_a_block(columns: int) -> None:
    rng = np.random.default_rng(columns)
    scores, intra = (random_scores(rng, 1, 5, 20, columns) for _ in range(2))
    weights = rng.random((1, 18, 20, columns), np.float32)
    np.testing.assert_array_equal(
        kernels.guided_filter(scores, intra, weights), guided_filter(scores, intra, weights)
    )


def test_zero_flow_is_the_identity(host: Host) -> None:
    scores = random_scores(np.random.default_rng(0), 2, 19, 17, 33)
    flow = np.zeros((2, 2, 17, 33), np.float32)
    for warped, _ in (kernels.segmentation_warp(scores, flow), host.warp(scores, flow)):
        np.testing.assert_array_equal(warped, scores)
    assert np.array_equal(segmentation_warp(scores, np.full_like(flow, np.nan))[0], scores)


def test_whole_flow_moves_and_replicates_the_border() -> None:
    scores = random_scores(np.random.default_rng(1), 1, 4, 6, 9)
    flow = np.zeros((1, 2, 6, 9), np.float32)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = scores[:, :, np.array([0, 0, 1, 2, 3, 4])][..., np.array([2, 3, 4, 5, 6, 7, 8, 8, 8])]
    np.testing.assert_array_equal(kernels.segmentation_warp(scores, flow)[0], moved)


def test_a_flat_map_has_edges_of_one_half() -> None:
    scores = np.zeros((1, 3, 4, 5), np.float32)
    scores[:, 2] = 1
    _, edges = kernels.segmentation_warp(scores, np.zeros((1, 2, 4, 5), np.float32))
    np.testing.assert_array_equal(edges, np.full((1, 1, 4, 5), 0.5, np.float32))


def test_sigmoid_of_whole_numbers_is_within_1e_6() -> None:
    steps = np.arange(-80, 2041)
    exact = 1 / (1 + np.exp(-steps.astype(np.float64)))
    np.testing.assert_allclose(reference.sigmoid(steps), exact, rtol=1e-6)
    assert reference.sigmoid(np.array([-2040])) < 1e-35


@pytest.mark.parametrize("neighbours", [9, 17])
def test_offsets_are_those_that_networks_learn_for(neighbours: int) -> None:
    operations = pytest.importorskip("gsvnet_export.networks.operations")
    assert tuple(OFFSETS[neighbours]) == operations.OFFSETS[3 if neighbours == 9 else 5]


# The local functions that the graphs carry, as ONNX Runtime executes them.


def run_function(name: str, window: int, outputs: int, **inputs: NDArray[Any]) -> list[Any]:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from gsvnet_export.onnx_functions import functions

    names = [f"out{i}" for i in range(outputs)]
    kinds = {key: onnx.helper.np_dtype_to_tensor_dtype(value.dtype) for key, value in inputs.items()}
    value_info = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.UINT8 if name == "LabelUpsample" else onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(name, list(inputs), names, domain="gsvnet")],
        "one",
        [value_info(key, kinds[key], list(value.shape)) for key, value in inputs.items()],
        [value_info(key, kind, None) for key in names],
    )
    model = onnx.helper.make_model(
        graph,
        functions=[f for f in functions(window) if f.name == name],
        opset_imports=[onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("gsvnet", 1)],
        ir_version=8,
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: list[Any] = session.run(None, dict(inputs))
    return result


shapes = pytest.mark.parametrize(
    "shape", [(1, 2, 1, 1), (2, 3, 7, 1), (1, 19, 9, 33), (3, 11, 17, 8), (1, 256, 5, 6)]
)


@shapes
def test_warp_is_what_onnx_runtime_does(shape: tuple[int, int, int, int]) -> None:
    """Within what GridSample loses by scaling coordinates to -1..1 and back."""
    rng = np.random.default_rng(shape[1])
    scores = rng.normal(size=shape).astype(np.float32)
    flow = random_flow(rng, shape[0], *shape[2:])
    theirs, their_edges = run_function("SegmentationWarp", 3, 2, scores=scores, flow=flow)
    warped, _ = kernels.segmentation_warp(scores, flow)
    np.testing.assert_allclose(warped, theirs, atol=1e-4)
    np.testing.assert_allclose(reference.edges(theirs.argmax(1)), their_edges, atol=1e-6)


@shapes
@pytest.mark.parametrize("neighbours", [9, 17])
def test_filter_is_what_onnx_runtime_does(shape: tuple[int, int, int, int], neighbours: int) -> None:
    rng = np.random.default_rng(shape[1])
    warped, intra = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    weights = rng.random((shape[0], neighbours + 1, *shape[2:]), np.float32)
    window = 3 if neighbours == 9 else 5
    (theirs,) = run_function("GuidedFilter", window, 1, warped=warped, intra=intra, weights=weights)
    np.testing.assert_array_equal(kernels.guided_filter(warped, intra, weights), theirs)


@shapes
def test_labels_are_what_onnx_runtime_gives(host: Host, shape: tuple[int, int, int, int]) -> None:
    """But for pixels whose two best scores are a rounding apart."""
    scores = np.random.default_rng(shape[1]).normal(size=shape).astype(np.float32)
    height, width = shape[2] * 8 - 3, shape[3] * 8 + 1
    (theirs,) = run_function("LabelUpsample", 3, 1, scores=scores, size=np.array([height, width]))
    assert (host.labels(scores, height, width) != theirs).mean() <= 1e-3


# float16, which the TensorRT plugin may be given: computed in float32, rounded when stored.


def test_float16_is_the_float32_result_rounded(host: Host) -> None:
    rng = np.random.default_rng(4)
    scores, intra = (rng.normal(size=(2, 19, 9, 17)).astype(np.float16) for _ in range(2))
    flow = random_flow(rng, 2, 9, 17).clip(-6e4, 6e4).astype(np.float16)
    weights = rng.random((2, 18, 9, 17)).astype(np.float16)
    wide = [a.astype(np.float32) for a in (scores, flow, intra, weights)]

    expected = segmentation_warp(wide[0], wide[1])[0].astype(np.float16)
    warped, edges = host.warp(scores, flow)
    np.testing.assert_array_equal(warped, expected)
    np.testing.assert_array_equal(edges, reference.edges(expected.argmax(1)).astype(np.float16))
    for d in (9, 17):
        got = host.filter(scores, intra, np.ascontiguousarray(weights[:, : d + 1]))
        np.testing.assert_array_equal(
            got, guided_filter(wide[0], wide[2], wide[3][:, : d + 1]).astype(np.float16)
        )
    np.testing.assert_array_equal(host.labels(scores, 60, 131)[1], label_upsample(wide[0][1], 60, 131))


def test_every_float16_is_read_and_written_as_numpy_does(host: Host) -> None:
    """Zero flow stores what it loads; halfway points between neighbours round to even."""
    finite = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = finite[np.isfinite(finite)]
    scores = np.ascontiguousarray(np.resize(finite, (1, 1, 256, 248)))
    got, _ = host.warp(scores, np.zeros((1, 2, 256, 248), np.float16))
    np.testing.assert_array_equal(got, scores)
    rng = np.random.default_rng(5)
    low, high = (rng.choice(finite[np.abs(finite) < 3e4], (1, 1, 64, 99)) for _ in range(2))
    weights = np.zeros((1, 10, 64, 99), np.float16)
    weights[:, 4], weights[:, 9] = rng.choice([0.5, 1, 2, 2.0**-12], (2, 64, 99))
    with np.errstate(over="ignore"):
        expected = (
            weights[:, 4:5].astype(np.float32) * low + weights[:, 9:].astype(np.float32) * high
        ).astype(np.float16)
    np.testing.assert_array_equal(host.filter(low, high, weights), expected)


# What reaches native code is checked first.


def test_arrays_of_another_kind_are_refused() -> None:
    scores, flow = np.zeros((1, 3, 4, 5), np.float32), np.zeros((1, 2, 4, 5), np.float32)
    with pytest.raises(ValueError, match=r"scores must be float32 \[any,any,any,any\]"):
        kernels.segmentation_warp(scores[0], flow)
    with pytest.raises(ValueError, match=r"flow must be float32 \[1,2,4,5\], not float32 \[1, 2, 4, 4\]"):
        kernels.segmentation_warp(scores, flow[..., :4])
    with pytest.raises(ValueError, match="at most 256 classes"):
        kernels.segmentation_warp(np.zeros((1, 257, 4, 5), np.float32), flow)
    with pytest.raises(ValueError, match="intra must be float32"):
        kernels.guided_filter(scores, scores.astype(np.float64), flow)
    with pytest.raises(ValueError, match=r"\[N,10,h,w\] or \[N,18,h,w\]"):
        kernels.guided_filter(scores, scores, flow)
    with pytest.raises(ValueError, match="cannot cover"):
        kernels.taps("area", 4, 9.0, 8)


def test_strided_arrays_are_taken() -> None:
    rng = np.random.default_rng(6)
    scores, flow = random_scores(rng, 1, 3, 6, 10), random_flow(rng, 1, 6, 10)
    expected = segmentation_warp(scores[..., ::2], flow[..., ::2])
    np.testing.assert_array_equal(kernels.segmentation_warp(scores[..., ::2], flow[..., ::2])[0], expected[0])


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(7)
    scores, flow = random_scores(rng, 2, 5, 9, 8), random_flow(rng, 2, 9, 8)
    alone, together = (kernels.segmentation_warp(scores, flow, threads=n) for n in (1, 7))
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(alone[1], together[1])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_harm_nothing(host: Host, odd: float) -> None:
    rng = np.random.default_rng(8)
    scores, flow = random_scores(rng, 1, 5, 12, 9), random_flow(rng, 1, 12, 9)
    scores[rng.random(scores.shape) < 0.2] = odd
    for got in (kernels.segmentation_warp(scores, flow), host.warp(scores, flow)):
        assert np.isfinite(got[1]).all()
    assert host.labels(scores, 50, 41).max() < 5
