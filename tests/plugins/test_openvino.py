"""The OpenVINO extension: its operations against the kernels, in every precision; used where it loads, else missed."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from gsvnet_engine import Bundle, kernels
from gsvnet_engine.backends import openvino as backend
from gsvnet_engine.cli import doctor
from gsvnet_engine.errors import BackendError
from gsvnet_engine.geometry import Sizes
from tests import toy_bundle

openvino = pytest.importorskip("openvino")

Float32 = NDArray[np.float32]
N, C, H, W = 2, 5, 33, 45
PRECISIONS = ("f32", "bf16")


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    try:
        backend.OpenVino(request.param)
    except BackendError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    assert backend.why_no_extension() is None


def run(operation: str, precision: str, outputs: int, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of one node of the domain gsvnet, as OpenVINO compiles it."""
    names = [f"out{i}" for i in range(outputs)]
    ranks = {"LabelUpsample": [(TensorProto.UINT8, 3)]}.get(operation, [(TensorProto.FLOAT, 4)] * outputs)
    graph = helper.make_graph(
        [helper.make_node(operation, list(inputs), names, operation, domain="gsvnet")],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
            for name, a in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, kind, [None] * rank)
            for name, (kind, rank) in zip(names, ranks, strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("gsvnet", 1)]
    model = backend._core().read_model(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 2}
    results = backend._core().compile_model(model, "CPU", settings).create_infer_request().infer(inputs)
    return [results[name].copy() for name in names]


def normal(*shape: int) -> Float32:
    return np.random.default_rng(sum(shape)).normal(0, 3, shape).astype(np.float32)


class TestOperations:
    """Equal to the bit to the kernels, in bf16 too: the operations are given, and give, float32."""

    def test_warp(self, precision: str) -> None:
        scores, flow = normal(N, C, H, W), normal(N, 2, H, W)
        found = run("SegmentationWarp", precision, 2, scores=scores, flow=flow)
        for got, expected in zip(found, kernels.segmentation_warp(scores, flow), strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_zero_flow_is_the_identity(self, precision: str) -> None:
        scores = normal(1, C, H, W)
        flow = np.zeros((1, 2, H, W), np.float32)
        np.testing.assert_array_equal(
            run("SegmentationWarp", precision, 2, scores=scores, flow=flow)[0], scores
        )

    @pytest.mark.parametrize("neighbours", [9, 17])
    def test_filter(self, precision: str, neighbours: int) -> None:
        warped, intra = normal(N, C, H, W), normal(N, C, H, W)[::-1].copy()
        weights = normal(N, neighbours + 1, H, W)
        (found,) = run("GuidedFilter", precision, 1, warped=warped, intra=intra, weights=weights)
        np.testing.assert_array_equal(found, kernels.guided_filter(warped, intra, weights))

    def test_labels(self, precision: str) -> None:
        scores = normal(N, C, 9, 17)
        (found,) = run("LabelUpsample", precision, 1, scores=scores, size=np.array([70, 131]))
        expected = np.stack([kernels.label_upsample(item, 70, 131) for item in scores])
        np.testing.assert_array_equal(found, expected)

    def test_large_enough_for_several_threads(self) -> None:
        scores, flow = normal(1, 19, 128, 256), normal(1, 2, 128, 256)
        found = run("SegmentationWarp", "f32", 2, scores=scores, flow=flow)[0]
        np.testing.assert_array_equal(found, kernels.segmentation_warp(scores, flow)[0])

    @pytest.mark.parametrize(
        ("operation", "inputs", "message"),
        [
            (
                "SegmentationWarp",
                {"scores": normal(1, C, 4, 6), "flow": normal(1, 2, 6, 4)},
                "differ in axis",
            ),
            ("SegmentationWarp", {"scores": normal(1, C, 4, 6), "flow": normal(1, 3, 4, 6)}, "two channels"),
            (
                "GuidedFilter",
                {"warped": normal(1, 3, 4, 6), "intra": normal(1, 3, 4, 6), "weights": normal(1, 9, 4, 6)},
                "10 or 18 channels",
            ),
        ],
    )
    def test_shapes_that_do_not_fit(self, operation: str, inputs: dict[str, Float32], message: str) -> None:
        with pytest.raises(Exception, match=message):
            run(operation, "f32", 2 if operation == "SegmentationWarp" else 1, **inputs)


SIZES = Sizes((240, 320), (240, 320), (240, 320), (30, 40))


def step(bundle: Bundle) -> dict[str, Float32]:
    rng = np.random.default_rng(0)
    current = rng.random((1, 3, *SIZES.grid), np.float32)
    scores = normal(1, len(bundle.manifest.classes), *SIZES.grid)
    return {"current": current, "previous": np.roll(current, 1, 3), "scores": scores}


def test_one_version_is_pinned_everywhere() -> None:
    """What the extension is built with is what a user is given, and what runs here."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    pinned = [*project["build-system"]["requires"], *project["project"]["optional-dependencies"]["cpu"]]
    versions = {pin.partition(";")[0].removeprefix("openvino==") for pin in pinned if "openvino" in pin}
    assert versions == {openvino.__version__.partition("-")[0]}


@pytest.fixture(scope="module")
def street() -> Bundle:
    return Bundle.open("street")


class TestUse:
    def test_the_profile_shows_the_operations_under_their_names(self, precision: str, street: Bundle) -> None:
        layers = backend.OpenVino(precision).profile(street, SIZES, 1, step(street), 1)
        kinds = {layer.name: layer.kind for layer in layers}
        assert kinds["warp/SegmentationWarp"] == "Reference" == kinds["filter/GuidedFilter"]
        assert not {"GridSample", "TopK"} & set(kinds.values())
        assert {name.partition("/")[0] for name in kinds} >= {"flow", "warp", "intra", "guide", "filter"}

    def test_without_it_the_plain_graph_runs(self, street: Bundle) -> None:
        plain = backend.OpenVino("f32", extension=False)
        assert plain.propagate_graph(street) == "propagate.plain.onnx"
        kinds = {layer.kind for layer in plain.profile(street, SIZES, 1, step(street), 1)}
        assert "GridSample" in kinds and "Reference" not in kinds
        found, expected = (
            OpenVino.open(street, SIZES, 1).propagate(**step(street))
            for OpenVino in (backend.OpenVino("f32"), plain)
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)

    def test_compiled_models_can_be_kept_on_disk(self, street: Bundle, tmp_path: Path) -> None:
        core = backend._core()
        model = core.read_model(street.graph("propagate.onnx"))
        core.compile_model(model, "CPU", {"CACHE_DIR": str(tmp_path)})
        assert list(tmp_path.glob("*.blob"))

    def test_operations_that_it_does_not_know(self, tmp_path: Path) -> None:
        """A bundle with a local function of its own."""
        bundle = Bundle.open(toy_bundle.write(tmp_path / "toy"))
        assert backend.OpenVino("f32").propagate_graph(bundle) == "propagate.plain.onnx"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(None, "was not built with OpenVINO"), (b"not a library", "Cannot load library")],
    )
    def test_where_it_does_not_load(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
    ) -> None:
        library = tmp_path / "libgsvnet_openvino.so"
        if content is not None:
            library.write_bytes(content)
        monkeypatch.setattr(kernels, "openvino_extension", lambda version: library if content else None)
        monkeypatch.setattr(backend, "why_no_extension", backend.why_no_extension.__wrapped__)
        assert reason in (backend.OpenVino("f32").no_extension or "")
        check = doctor.check_openvino_extension()
        assert check.optional and not check.ok and "\n" not in check.detail
        assert reason in check.detail and "PF runs its plain graph" in check.detail
