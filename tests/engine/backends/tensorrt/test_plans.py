"""plans.build against the stand-in, and against a TensorRT 8.6 that is described by its names alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from gsvnet_engine.backends.base import Signature, signature
from gsvnet_engine.backends.tensorrt import plans
from gsvnet_engine.errors import BackendError, BundleError
from gsvnet_engine.geometry import Sizes
from tests import toy_bundle
from tests.engine.backends.tensorrt import standin_tensorrt as trt

SIZES = Sizes((32, 48), (32, 48), (16, 24), (4, 6))


def expected(graph: str) -> Signature:
    return signature(graph, toy_bundle.CLASSES, SIZES)


def test_a_graph_that_does_not_parse() -> None:
    with pytest.raises(
        BundleError, match=r"keyframe.onnx: TensorRT 11.4.0.106 cannot load it: in the stand-in's parser"
    ):
        plans.build(trt, b"\x08\x08", expected("keyframe.onnx"), where="keyframe.onnx")


def test_a_graph_of_another_contract() -> None:
    graph = toy_bundle.models()["labels.onnx"].SerializeToString()
    with pytest.raises(BundleError, match="its inputs are scores, size, not frame, grid"):
        plans.build(trt, graph, expected("keyframe.onnx"), where="keyframe.onnx")


def test_a_graph_that_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, network: Any, config: Any) -> None:
        self._logger.log(trt.ILogger.Severity.ERROR, "no kernel for this card")

    monkeypatch.setattr(trt.Builder, "build_serialized_network", refuse)
    graph = toy_bundle.models()["keyframe.onnx"].SerializeToString()
    with pytest.raises(BackendError, match=r"TensorRT 11.4.0.106 cannot build it: no kernel for this card"):
        plans.build(trt, graph, expected("keyframe.onnx"), where="keyframe.onnx")


@pytest.mark.parametrize(("precision", "flags"), [("fp32", set()), ("fp16", {"FP16"}), ("int8", {"INT8"})])
def test_eight_six(precision: str, flags: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No STRONGLY_TYPED, no progress monitor, precision as a permission; else the same calls."""
    asked = set[str]()

    class Flags:
        EXPLICIT_BATCH = 0

    class BuilderFlag:
        TF32, FP16, INT8 = trt.BuilderFlag.TF32, "FP16", "INT8"

    monkeypatch.setattr(trt.IBuilderConfig, "set_flag", lambda self, flag: asked.add(flag))
    monkeypatch.setattr(trt.Builder, "create_network", lambda self, flags: _network(flags))
    old = SimpleNamespace(
        **{name: getattr(trt, name) for name in ("ILogger", "OnnxParser", "Builder", "DataType")},
        NetworkDefinitionCreationFlag=Flags,
        BuilderFlag=BuilderFlag,
        __version__="8.6.1",
    )
    graph = toy_bundle.models()["propagate.plain.onnx"].SerializeToString()
    plan, timing = plans.build(
        old,
        graph,
        expected("propagate.plain.onnx"),
        where="propagate.plain.onnx",
        precision=precision,
        progress=lambda *_: pytest.fail("8.6 has no progress monitor"),
        timing_cache=b"of another version",
    )
    assert plan and timing == b"timings" and asked == flags


def _network(flags: int) -> trt.INetworkDefinition:
    assert flags == 1
    return trt.INetworkDefinition()
