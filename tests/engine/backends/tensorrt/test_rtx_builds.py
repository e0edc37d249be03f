"""Every shipped graph, and a fresh SwiftNet's, built by TensorRT-RTX on the CPU for four generations of cards."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gsvnet_engine.bench.parts import NAMES, part_of
from gsvnet_engine.bundle import GRAPHS, PROPAGATE, PROPAGATE_PLAIN, Bundle
from tests.engine.backends.tensorrt import rtx

# What the graphs are made of; anything else has crept in and wants a look: it may be slow, or on the host.
EXPECTED_TYPES = {
    "ACTIVATION", "CAST", "CONCATENATION", "CONSTANT", "CONVOLUTION", "ELEMENTWISE", "FILL", "GATHER", "GRID_SAMPLE",
    "IDENTITY", "POOLING", "REDUCE", "RESIZE", "SCALE", "SELECT", "SHAPE", "SHUFFLE", "SLICE",
    "SOFTMAX", "SQUEEZE", "TOPK", "UNARY", "UNSQUEEZE",
}  # fmt: skip
SOURCE = (720, 1280)


def built(folder: Path, graphs: list[str], classes: int) -> list[dict[str, Any]]:
    jobs = [
        {"file": str(folder / graph), "graph": graph, "classes": classes, "source": SOURCE, "sizes_of": "street",
         "target": target}
        for graph in graphs
        for target in rtx.TARGETS
    ]  # fmt: skip
    results: list[dict[str, Any]] = rtx.run("build", jobs)
    return results


def check(results: list[dict[str, Any]]) -> None:
    for result in results:
        what = f"{result['graph']} for {result['target']}"
        assert not set(result["types"]) - EXPECTED_TYPES, f"{what}: unexpected layers"
        assert "error" not in result, f"{what}: {result['error']}"


def test_street() -> None:
    bundle = Bundle.open("street")
    results = built(bundle.path, list(GRAPHS), len(bundle.manifest.classes))
    assert len(results) == len(GRAPHS) * len(rtx.TARGETS)
    check(results)


def test_a_fresh_swiftnet(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from gsvnet_export import onnx_graphs
    from gsvnet_export.networks import Propagation, build_keyframe
    from gsvnet_export.networks.propagation import PropagationConfig

    torch.manual_seed(0)
    networks = (
        build_keyframe("swiftnet", "resnet18", 19).eval(),
        Propagation(PropagationConfig(classes=19)).eval(),
    )
    graphs = onnx_graphs.build_graphs(*networks, 19)
    for name, model in graphs.items():
        (tmp_path / name).write_bytes(model.SerializeToString())
    check(built(tmp_path, list(graphs), 19))


@pytest.mark.parametrize("graph", [PROPAGATE, PROPAGATE_PLAIN])
def test_layers_of_pf_bear_their_parts(graph: str) -> None:
    """What `bench` sums TensorRT's layer profile by: every layer that computes pixels tells its part by its name."""
    (layers,) = rtx.run("layers", [{"file": str(Bundle.open("street").path / graph)}])
    by_type: dict[str, set[str]] = {}
    for name, kind in layers:
        by_type.setdefault(kind, set()).add(part_of(name))
    assert by_type["CONVOLUTION"] == {"flow", "warp", "features", "guide"}
    assert by_type["GRID_SAMPLE"] == {"warp"} and by_type["TOPK"] == {"warp"}
    for kind in ("ACTIVATION", "POOLING", "REDUCE", "RESIZE", "SOFTMAX"):
        assert "other" not in by_type[kind], kind
    assert {part_of(name) for name, _ in layers} == set(NAMES)
    unnamed = [
        name for name, _ in layers if part_of(name) == "other" and "ONNXTRT_" not in name and "/" in name
    ]
    assert unnamed == []


@pytest.mark.long
def test_street_with_half_precision_convolutions(tmp_path: Path) -> None:
    """Strong typing: precision lies in the graph. What `export --precision fp16` will make differs in detail."""
    bundle = Bundle.open("street")
    graphs = ["keyframe.onnx", "propagate.onnx", "propagate.plain.onnx"]
    for name in graphs:
        model = half_convolutions(onnx.load_from_string(bundle.graph(name)))
        (tmp_path / name).write_bytes(model.SerializeToString())
    check(built(tmp_path, graphs, len(bundle.manifest.classes)))


def half_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with every convolution in float16, between casts; inputs and outputs stay float32."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for i, node in enumerate(model.graph.node):
        if node.op_type == "Conv" and node.input[1] in weights:
            for name in node.input[1:]:
                tensor = weights[name]
                if tensor.data_type == onnx.TensorProto.FLOAT:
                    array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))
            narrow, wide = f"narrow_{i}", node.output[0]
            nodes.append(
                onnx.helper.make_node("Cast", [node.input[0]], [narrow], to=onnx.TensorProto.FLOAT16)
            )
            node.input[0], node.output[0] = narrow, f"half_{i}"
            nodes.extend(
                (node, onnx.helper.make_node("Cast", [f"half_{i}"], [wide], to=onnx.TensorProto.FLOAT))
            )
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model
