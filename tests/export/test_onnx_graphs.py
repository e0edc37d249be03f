"""The exported graphs: deterministic, free of traces of the machine, equal to torch, their operators standard."""

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto

from gsvnet_engine.errors import BundleError
from gsvnet_export import onnx_graphs, verify
from gsvnet_export.networks import Propagation, build_keyframe
from gsvnet_export.networks.propagation import PropagationConfig
from gsvnet_export.training.propagation import PRESETS, network_config

CLASSES = 4
OURS = network_config(PRESETS["best"], CLASSES)


@pytest.fixture(scope="module")
def networks() -> tuple[torch.nn.Module, Propagation]:
    torch.manual_seed(3)
    keyframe = build_keyframe("swiftnet", "efficientnet_lite0", CLASSES).eval()
    propagation = Propagation(PropagationConfig(classes=CLASSES)).eval()
    with torch.no_grad():  # a flow of a few cells and confident scores, as trained networks have
        assert propagation.flow.head.bias is not None
        propagation.flow.head.bias.copy_(torch.tensor([1.3, -0.4]))
        keyframe.head[2].weight.mul_(20)  # type: ignore[index,union-attr]
    return keyframe, propagation


@pytest.fixture(scope="module")
def graphs(networks: tuple[torch.nn.Module, Propagation]) -> dict[str, ModelProto]:
    return onnx_graphs.build_graphs(*networks, CLASSES)


def test_contract_of_names_and_shapes(graphs: dict[str, ModelProto]) -> None:
    signatures = {
        name: ([i.name for i in m.graph.input], [o.name for o in m.graph.output])
        for name, m in graphs.items()
    }
    step = (["current", "previous", "scores"], ["propagated"])
    labels = (["scores", "size"], ["labels"])
    assert signatures == {
        "keyframe.onnx": (["frame", "grid"], ["scores"]),
        "propagate.onnx": step,
        "propagate.plain.onnx": step,
        "labels.onnx": labels,
        "labels.plain.onnx": labels,
        "warp.plain.onnx": (["current", "previous", "scores"], ["warped", "flow"]),
    }
    for model in graphs.values():
        assert {i.domain: i.version for i in model.opset_import}[""] == 17


def test_plain_graphs_have_standard_operators_alone(graphs: dict[str, ModelProto]) -> None:
    for name, model in graphs.items():
        custom = {node.op_type for node in model.graph.node if node.domain}
        if "plain" in name or name == "keyframe.onnx":
            assert not custom and not model.functions
        else:
            assert custom == {function.name for function in model.functions}


def test_nodes_can_be_summed_by_part(
    networks: tuple[torch.nn.Module, Propagation], graphs: dict[str, ModelProto]
) -> None:
    ours = Propagation(OURS)
    _check_parts(graphs)
    _check_parts(onnx_graphs.build_graphs(networks[0], ours, CLASSES))


def _check_parts(graphs: dict[str, ModelProto]) -> None:
    parts = ("flow/", "warp/", "intra/", "guide/", "filter/")
    heavy = {"Conv", "GridSample", "Resize", "SegmentationWarp", "GuidedFilter", "Softmax", "Slice", "Mul"}
    for name in ("propagate.onnx", "propagate.plain.onnx"):
        nodes = [node for node in graphs[name].graph.node if node.op_type in heavy]
        assert all(node.name.startswith(parts) for node in nodes)
        assert {node.name.split("/")[0] + "/" for node in nodes} == set(parts)


def test_same_networks_same_bytes_without_paths(
    networks: tuple[torch.nn.Module, Propagation], graphs: dict[str, ModelProto]
) -> None:
    again = onnx_graphs.build_graphs(*networks, CLASSES)
    for name, model in graphs.items():
        data = model.SerializeToString()
        assert data == again[name].SerializeToString()
        assert b".py" not in data and b"/lib/" not in data


def test_verification_passes_within_its_bounds(
    networks: tuple[torch.nn.Module, Propagation], graphs: dict[str, ModelProto]
) -> None:
    measured = verify.verify(graphs, *networks, frame_sizes=((96, 128), (72, 104)))
    assert measured.flow <= 1e-3 and measured.labels_different <= 5e-4


@pytest.mark.parametrize(
    ("graph", "weight", "quantity"),
    [
        ("propagate.onnx", "guide/head/Conv.bias", "step_scores"),
        ("propagate.plain.onnx", "intra/layers/layers.2/Conv.bias", "step_scores"),
        ("warp.plain.onnx", "flow/head/Conv.bias", "flow"),
        ("keyframe.onnx", "head/head.2/Conv.bias", "keyframe_scores"),
    ],
)
def test_verification_catches_a_changed_weight(
    networks: tuple[torch.nn.Module, Propagation],
    graphs: dict[str, ModelProto],
    graph: str,
    weight: str,
    quantity: str,
) -> None:
    changed = ModelProto()
    changed.CopyFrom(graphs[graph])
    tensor = next(t for t in changed.graph.initializer if t.name == weight)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] += 0.5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, weight))
    with pytest.raises(BundleError, match=quantity):
        verify.verify(graphs | {graph: changed}, *networks, frame_sizes=((72, 104),))


def test_verification_catches_a_score_that_is_no_number() -> None:
    expected = torch.zeros(1, 3, 40, 40)
    expected[:, 0] = 1
    scores = expected.clone()
    scores[0, 1, 20, 20] = torch.nan
    unexcused, _ = verify._compare_step(scores, expected, expected)
    assert verify.Measured().worst(verify.Measured(step_scores=unexcused)).step_scores == float("inf")


@pytest.mark.parametrize(
    "variant",
    [
        {"window": 5},
        {"intra": False},
        {"learned_kernels": True},
        {"refined": True},
        {"residual": True},
        {"flow_refinements": 2},
        {"sharpened": True},
        {"cubic": True, "window": 5},
        {"gated": True, "residual": True, "window": 5},
    ],
)
def test_ablation_variants_export(variant: dict[str, int]) -> None:
    propagation = Propagation(PropagationConfig(classes=3, **variant)).eval()  # type: ignore[arg-type]
    keyframe = build_keyframe("bisenet", "efficientnet_lite0", 3).eval()
    graphs = onnx_graphs.build_graphs(keyframe, propagation, 3)
    verify.verify(graphs, keyframe, propagation, frame_sizes=((64, 96),))


@pytest.mark.parametrize("graph", ["propagate.onnx", "propagate.plain.onnx"])
@pytest.mark.parametrize("size", [(1, 1), (9, 5), (45, 33)])
def test_awkward_grids_in_onnx_runtime(
    networks: tuple[torch.nn.Module, Propagation],
    graphs: dict[str, ModelProto],
    graph: str,
    size: tuple[int, int],
) -> None:
    pictures, scores = torch.rand(2, 1, 3, *size), torch.randn(1, CLASSES, *size) * 5
    (got,) = verify.Sessions({graph: graphs[graph]}).run(graph, pictures[0], pictures[1], scores)
    with torch.inference_mode():
        expected = networks[1](pictures[0], pictures[1], scores)
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-3)
