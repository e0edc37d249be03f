"""Every shipped graph, and a fresh SwiftNet's, built by TensorRT-RTX on the CPU for four generations of cards; the
same in float16 and int8."""

import re
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gsvnet_engine.bench.parts import NAMES, part_of
from gsvnet_engine.bundle import GRAPHS, PROPAGATE, PROPAGATE_PLAIN, Bundle
from gsvnet_export import half, quantise
from tests import toy_bundle
from tests.engine.backends.tensorrt import rtx

# What the graphs are made of; anything else has crept in and wants a look: it may be slow, or on the host.
EXPECTED_TYPES = {
    "ACTIVATION", "CAST", "CONCATENATION", "CONSTANT", "CONVOLUTION", "ELEMENTWISE", "FILL", "GATHER", "GRID_SAMPLE",
    "IDENTITY", "POOLING", "REDUCE", "RESIZE", "SCALE", "SELECT", "SHAPE", "SHUFFLE", "SLICE",
    "SOFTMAX", "SQUEEZE", "TOPK", "UNARY", "UNSQUEEZE",
}  # fmt: skip
QDQ = {"QUANTIZE", "DEQUANTIZE"}
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


def check(results: list[dict[str, Any]], further: Set[str] = frozenset()) -> None:
    """Each was built, of layers of EXPECTED_TYPES and `further` ones alone."""
    for result in results:
        what = f"{result['graph']} for {result['target']}"
        expected = EXPECTED_TYPES | further
        unexpected = {kind: names for kind, names in result["layers"].items() if kind not in expected}
        assert not unexpected, f"{what}: unexpected layers: {unexpected}"
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
    assert by_type["CONVOLUTION"] == {"flow", "warp", "features", "guide", "filter"}
    assert by_type["GRID_SAMPLE"] == {"warp"} and by_type["TOPK"] == {"warp"}
    for kind in ("ACTIVATION", "POOLING", "RESIZE", "SOFTMAX"):
        assert "other" not in by_type[kind], kind
    assert {part_of(name) for name, _ in layers} == set(NAMES)
    unnamed = [
        name for name, _ in layers if part_of(name) == "other" and "ONNXTRT_" not in name and "/" in name
    ]
    assert unnamed == []


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_small_bundle_of_another_precision(tmp_path: Path, precision: str) -> None:
    folder = toy_bundle.lower(toy_bundle.write(tmp_path), precision)
    results = built(folder, ["keyframe.onnx", "propagate.onnx", "propagate.plain.onnx"], toy_bundle.CLASSES)
    check(results, QDQ if precision == "int8" else set())
    quantised = [result for result in results if set(result["layers"]) >= QDQ]
    assert len(quantised) == (len(rtx.TARGETS) if precision == "int8" else 0)
    assert all(bool(result["float_convolutions"]) == (precision == "int8") for result in results)


@pytest.mark.long
def test_street_in_fp16(tmp_path: Path) -> None:
    """Every graph; of its convolutions, those alone in float32 that give the flow or are no trained ones."""
    bundle = Bundle.open("street")
    for name in GRAPHS:
        model = onnx.load_from_string(bundle.graph(name))
        lowered = model if name.startswith("labels") else half.to_half(model)
        (tmp_path / name).write_bytes(lowered.SerializeToString())
    results = built(tmp_path, list(GRAPHS), len(bundle.manifest.classes))
    check(results)
    exempt = re.compile(r"flow/(.*/)?(head|match)/|warp/")
    for result in results:
        wide = [name for name in result["float_convolutions"] if not exempt.match(name)]
        assert not wide, f"{result['graph']}: convolutions in float32: {', '.join(wide)}"


@pytest.mark.long
@pytest.mark.parametrize("left", [[], ["trunk/stem/stem.0/Conv", "head/head.2/Conv"]])
def test_street_in_int8(tmp_path: Path, left: list[str]) -> None:
    """PF is float32's own, built above; what it is calibrated on changes scales alone, no type."""
    bundle = Bundle.open("street")
    model = onnx.load_from_string(bundle.graph("keyframe.onnx"))
    frames = np.random.default_rng(0).random((2, 1, 3, 96, 128), np.float32)
    seen = quantise.observe(model, [{"frame": frame, "grid": np.array([16, 22])} for frame in frames])
    quantised = quantise.quantise(model, seen, left=left)
    (tmp_path / "keyframe.onnx").write_bytes(quantised.SerializeToString())
    check(built(tmp_path, ["keyframe.onnx"], len(bundle.manifest.classes)), QDQ)
