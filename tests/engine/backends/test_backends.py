import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gsvnet_engine import backends
from gsvnet_engine.backends.base import Backend, Session, one_line
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError, BundleError, UsageError
from gsvnet_engine.geometry import Sizes
from tests import toy_bundle

SIZES = Sizes((32, 48), (32, 48), (16, 24), (4, 6))
rng = np.random.default_rng(0)


def picture(size: tuple[int, int]) -> toy_bundle.Float32:
    return rng.random((1, 3, *size), np.float32)


def scores() -> toy_bundle.Float32:
    return rng.normal(0, 3, (1, toy_bundle.CLASSES, *SIZES.grid)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


@pytest.fixture(params=backends.CPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return backends.choose(request.param)


@pytest.fixture
def session(backend: Backend, folder: Path) -> Session:
    return backend.open(Bundle.open(folder), SIZES, 1)


class TestSession:
    def test_keyframe(self, session: Session) -> None:
        frame = picture(SIZES.keyframe)
        expected = toy_bundle.keyframe_scores(frame, SIZES.grid)
        np.testing.assert_allclose(session.keyframe(frame), expected, atol=1e-4)

    def test_propagate(self, session: Session) -> None:
        inputs = picture(SIZES.grid), picture(SIZES.grid), scores()
        expected = toy_bundle.propagated_scores(*inputs)
        np.testing.assert_allclose(session.propagate(*inputs), expected, atol=1e-4)

    def test_warp(self, session: Session) -> None:
        inputs = picture(SIZES.grid), picture(SIZES.grid), scores()
        for found, expected in zip(session.warp(*inputs), toy_bundle.warped_scores(*inputs), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_results_belong_to_the_caller(self, session: Session) -> None:
        first = session.keyframe(picture(SIZES.keyframe))
        kept = first.copy()
        fed_back = session.propagate(picture(SIZES.grid), picture(SIZES.grid), first)
        again = session.propagate(picture(SIZES.grid), picture(SIZES.grid), fed_back)
        session.keyframe(picture(SIZES.keyframe))
        np.testing.assert_array_equal(first, kept)
        assert not np.shares_memory(fed_back, again)
        assert first.dtype == np.float32 and first.flags.c_contiguous

    def test_any_layout_of_the_inputs(self, session: Session) -> None:
        frame = picture(SIZES.keyframe)
        strided = np.asfortranarray(frame)
        frozen = frame.copy()
        frozen.flags.writeable = False
        expected = session.keyframe(frame)
        np.testing.assert_array_equal(session.keyframe(strided), expected)
        np.testing.assert_array_equal(session.keyframe(frozen), expected)
        np.testing.assert_array_equal(session.keyframe(frame.astype(np.float64)), expected)

    def test_a_wrong_shape_is_refused(self, session: Session) -> None:
        with pytest.raises(ValueError, match=r"previous must be \[1, 3, 4, 6\], not \[1, 3, 6, 4\]"):
            session.propagate(picture(SIZES.grid), picture(SIZES.grid[::-1]), scores())

    def test_a_grid_of_one_cell(self, backend: Backend, folder: Path) -> None:
        sizes = Sizes((5, 5), (5, 5), (8, 8), (1, 1))
        session = backend.open(Bundle.open(folder), sizes, None)
        assert session.keyframe(picture((8, 8))).shape == (1, toy_bundle.CLASSES, 1, 1)


class TestChoose:
    def test_auto_takes_openvino_first(self) -> None:
        assert backends.choose().name == "openvino"

    def test_unknown_names_are_answered_with_the_known(self) -> None:
        with pytest.raises(
            UsageError, match=r"backend must be one of auto, tensorrt, .*, openvino, onnxruntime, not 'tpu'"
        ):
            backends.choose("tpu")
        with pytest.raises(UsageError, match="cpu precision must be one of f32, bf16, not 'f8'"):
            backends.choose("auto", "f8")

    def test_onnxruntime_has_no_bf16(self) -> None:
        with pytest.raises(BackendError, match="onnxruntime: computes in f32 only"):
            backends.choose("onnxruntime", "bf16")

    def test_precision_is_recorded(self, folder: Path) -> None:
        try:
            backend = backends.choose("openvino", "bf16")
        except BackendError as error:
            pytest.skip(str(error))
        frame = picture(SIZES.keyframe)
        found = backend.open(Bundle.open(folder), SIZES, 1).keyframe(frame)
        assert backend.precision == "bf16"
        np.testing.assert_allclose(found, toy_bundle.keyframe_scores(frame, SIZES.grid), atol=0.2)


class TestNotInstalled:
    @pytest.fixture(autouse=True)
    def forget(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """As on a machine with neither runtime: `None` in sys.modules makes an import fail."""
        for name in backends.CPU_BACKENDS:
            monkeypatch.setitem(sys.modules, name, None)
        yield

    def test_one(self) -> None:
        with pytest.raises(BackendError, match=r"openvino: is not installed: install gsvnet-engine\[cpu\]"):
            backends.choose("openvino")

    def test_all(self) -> None:
        with pytest.raises(
            BackendError, match=r"no inference runtime is installed: install gsvnet-engine\[cpu\]"
        ):
            backends.choose("auto")


def refused(folder: Path, backend: Backend, graph: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        backend.open(Bundle.open(folder), SIZES, 1).keyframe(picture(SIZES.keyframe))
    assert str(folder / graph) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestForeignGraphs:
    """Graphs whose hash is right and whose content does not fit the manifest."""

    def test_no_graph_at_all(self, folder: Path, backend: Backend) -> None:
        toy_bundle.replace_graph(folder, "keyframe.onnx", b"\x08\x08")
        refused(folder, backend, "keyframe.onnx", f"{backend.name} cannot load it")

    def test_other_inputs(self, folder: Path, backend: Backend) -> None:
        model = toy_bundle.models()["labels.onnx"]
        toy_bundle.replace_graph(folder, "keyframe.onnx", model.SerializeToString())
        refused(folder, backend, "keyframe.onnx", "its inputs are scores, size, not frame, grid")

    def test_more_classes_than_the_manifest(self, folder: Path, backend: Backend) -> None:
        for name, model in toy_bundle.models(classes=7).items():
            toy_bundle.replace_graph(folder, name, model.SerializeToString())
        refused(folder, backend, "keyframe.onnx", r"scores has shape \[.*7.*\] where .* make it \[1,4,4,6\]")

    def test_grayscale(self, folder: Path, backend: Backend) -> None:
        model = toy_bundle.models()["keyframe.onnx"]
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
        weights = model.graph.initializer[0]
        weights.CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 1, 1, 1), np.float32), "w"))
        toy_bundle.replace_graph(folder, "keyframe.onnx", model.SerializeToString())
        refused(folder, backend, "keyframe.onnx", r"frame has shape \[.*1.*\] where .* make it \[1,3,16,24\]")

    def test_half_precision_input(self, folder: Path, backend: Backend) -> None:
        model = toy_bundle.models()["keyframe.onnx"]
        cast = helper.make_node("Cast", ["frame"], ["frame32"], to=TensorProto.FLOAT)
        model.graph.node[0].input[0] = "frame32"
        model.graph.node.insert(0, cast)
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
        toy_bundle.replace_graph(folder, "keyframe.onnx", model.SerializeToString())
        refused(folder, backend, "keyframe.onnx", "frame is .*16.*, not float32")

    def test_scores_that_are_not_on_the_grid(self, folder: Path, backend: Backend) -> None:
        model = toy_bundle.models()["keyframe.onnx"]
        del model.graph.node[1:]
        model.graph.node.append(helper.make_node("Shape", ["grid"], ["unused"]))
        model.graph.node[0].output[0] = "scores"
        toy_bundle.replace_graph(folder, "keyframe.onnx", model.SerializeToString())
        refused(folder, backend, "keyframe.onnx", "scores .*manifest's classes and sizes make it")


def test_one_line_keeps_what_the_runtime_says() -> None:
    problem = RuntimeError("Exception from src/core.cpp:1:\nException from src/x.cpp:2:\nBad graph.\n\n")
    assert one_line(problem) == "Bad graph."
    assert one_line(RuntimeError()) == "RuntimeError"
    assert len(one_line(RuntimeError("x" * 1000))) == 300


def test_openvino_is_opened_once_and_kept() -> None:
    """Freed, its CPU plugin would leave a signal stack behind on which the next Ctrl-C crashes; see the backend."""
    pytest.importorskip("openvino")
    from gsvnet_engine.backends.openvino import OpenVino

    first = OpenVino()
    assert OpenVino()._core is first._core
