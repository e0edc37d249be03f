"""Graphs in float16: which tensors are, which never, and that the float32 outside is not rounded on its way."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gsvnet_engine.bundle import GRAPHS, KEYFRAME, Bundle
from gsvnet_engine.errors import BundleError
from gsvnet_export import half

HALVED = [name for name in GRAPHS if not name.startswith("labels")]
FLOW_HEADS = ("flow/head/", "flow/refine.0/head/", "flow/refine.1/head/")


def types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor in the graph."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        t.name: t.data_type for t in inferred.initializer
    }


@pytest.fixture(scope="module", params=HALVED)
def halved(request: pytest.FixtureRequest) -> tuple[ModelProto, ModelProto]:
    """A graph of `street`, and the same in float16."""
    model = onnx.load_from_string(Bundle.open("street").graph(request.param))
    return model, half.to_half(model)


def test_trained_convolutions_and_no_others(halved: tuple[ModelProto, ModelProto]) -> None:
    model, result = halved
    trained = {t.name for t in model.graph.initializer}
    expected = {
        node.name: node.input[1] in trained and not node.name.startswith(FLOW_HEADS)
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    found = types(result)
    convolutions = [node for node in result.graph.node if node.op_type == "Conv"]
    assert {n.name: found[n.output[0]] == TensorProto.FLOAT16 for n in convolutions} == expected
    for node in convolutions:
        assert len({found[name] for name in (*node.input, *node.output)}) == 1


def test_what_stays_float32(halved: tuple[ModelProto, ModelProto]) -> None:
    """Inputs and outputs, and all that samples, compares or filters."""
    model, result = halved
    assert (result.graph.input, result.graph.output) == (model.graph.input, model.graph.output)
    assert result.functions == model.functions
    found = types(result)
    exact = {"SegmentationWarp", "GuidedFilter", "GridSample", "Softmax", "ArgMax", "ReduceSum"}
    for node in result.graph.node:
        if node.op_type in exact:
            assert TensorProto.FLOAT16 not in {found.get(name) for name in (*node.input, *node.output)}
        if node.name == "Add":  # φ and its correction, which the filter takes into S_t
            assert {found[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT}


def test_nothing_else_is_rounded(halved: tuple[ModelProto, ModelProto]) -> None:
    """Only a float16 convolution narrows a float32 tensor, and weights take half the bytes."""
    model, result = halved
    by_output = {output: node for node in result.graph.node for output in node.output}
    narrowed = [
        node
        for node in result.graph.node
        if any(
            name in by_output
            and by_output[name].op_type == "Cast"
            and helper.get_node_attr_value(by_output[name], "to") == TensorProto.FLOAT16
            for name in node.input
        )
    ]
    assert narrowed and {node.op_type for node in narrowed} == {"Conv"}
    assert result.ByteSize() < 0.6 * model.ByteSize()
    assert half.to_half(model).SerializeToString() == result.SerializeToString()


def test_scores_are_near() -> None:
    bundle = Bundle.open("street")
    model = onnx.load_from_string(bundle.graph(KEYFRAME))
    rng = np.random.default_rng(0)
    feed = {"frame": rng.random((1, 3, 64, 96), np.float32), "grid": np.array([11, 16])}
    expected, stored, dropped = (
        run(graph, feed, exact=exact)
        for graph, exact in (
            (model, False),
            (half.rounding(half.to_half(model)), True),
            (half.to_half(model), False),
        )
    )
    spread = np.ptp(expected)
    assert np.abs(stored - expected).max() < 0.01 * spread
    assert (
        np.abs(stored - dropped).max() > 0
    )  # activations are rounded too, where ONNX Runtime alone would not


def run(model: ModelProto, feed: dict[str, NDArray[Any]], *, exact: bool) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    if exact:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    output: NDArray[Any] = session.run(None, feed)[0]
    return output


def one_convolution(weight: float) -> ModelProto:
    """x -> weight * x -> ReLU -> y, in float32."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "part/Conv"),
        helper.make_node("Relu", ["a"], ["b"], "part/Relu"),
        helper.make_node("Identity", ["b"], ["y"], "part/Identity"),
    ]
    shape = [1, 1, 1, 2]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.full((1, 1, 1, 1), weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_rounding_stores_what_float16_would() -> None:
    x = np.array([[[[1.2345678, 1e3]]]], np.float32)
    got = run(half.rounding(half.to_half(one_convolution(1e3))), {"x": x}, exact=True)
    with np.errstate(over="ignore"):
        wanted = (np.float32(1e3) * x.astype(np.float16).astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(got, wanted.astype(np.float32))
    assert np.isinf(got[0, 0, 0, 1])


def test_a_weight_too_large_is_refused() -> None:
    with pytest.raises(BundleError, match="w holds values that float16 cannot"):
        half.to_half(one_convolution(1e5))
