"""fp16 and int8 bundles: the int8 scheme read off the graph, what stays float by measurement, refusal, bytes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime import InferenceSession
from torch import Tensor, nn

from gsvnet_engine import Bundle, Frame, Segmenter
from gsvnet_engine.cli import main
from gsvnet_engine.errors import BundleError
from gsvnet_engine.geometry import Geometry, Scaled
from gsvnet_export import onnx_graphs, precision, quantise
from gsvnet_export.bundles import ExportOptions, write_bundle
from gsvnet_export.data.stills import Image, Labels, Still, Stills
from gsvnet_export.networks import Propagation
from gsvnet_export.networks.propagation import PropagationConfig
from gsvnet_export.precision import Judgement, Material
from tests.export.datasets import write_clip

CLASSES = ("Road", "Sky", "Car", "Tree")
GEOMETRY = Geometry(working="source", keyframe=Scaled((1, 2), 8))
Lowered = tuple[str, dict[str, ModelProto], dict[str, Any]]  # precision, graphs, record
ROUGH = "rough/Conv"  # the convolution that int8 must hurt


class Tiny(nn.Module):
    """[N,3,H,W] -> scores [N,4,H/2,W/2]: every kind of layer that is quantised, a residual among them.

    One convolution is fed channels of very different size, of which the smallest decides: no one scale suits them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6())
        self.project = nn.Conv2d(16, 16, 1)
        self.rough = nn.Conv2d(16, 16, 1)
        self.head = nn.Conv2d(16, len(CLASSES), 1)
        with torch.no_grad():
            self.rough.weight[:, 0] = 0

    def forward(self, frame: Tensor) -> Tensor:
        x = self.stem(frame)
        x = x + self.project(self.depthwise(x))
        large = torch.tensor([1000.0] + [1.0] * 15)[:, None, None]
        scores: Tensor = self.head(x + self.rough(x * large))
        return scores


@pytest.fixture(scope="module")
def graphs() -> dict[str, ModelProto]:
    torch.manual_seed(3)
    network = Tiny().eval()
    frames = torch.from_numpy(np.stack([picture(n)[0] for n in range(4)])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        network.head.bias -= network(frames).mean((0, 2, 3))  # so that every class is seen
    return onnx_graphs.build_graphs(network, Propagation(PropagationConfig(classes=4)).eval(), 4)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    clip = tmp_path_factory.mktemp("clips") / "road.mp4"
    write_clip(clip)

    def stills(first: int, count: int) -> Stills:
        return Stills([Still(str(n), partial(picture, n)) for n in range(first, first + count)], keep=True)

    return Material(
        train=stills(0, 5), clips=[clip], held_out=stills(5, 3), classes=CLASSES, slice_of="the last three"
    )


def picture(number: int) -> tuple[Image, Labels]:
    """Patches of colour, and labels that have nothing to do with them."""
    rng = np.random.default_rng(number)
    patches = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return patches, rng.integers(0, len(CLASSES), (12, 16), np.uint8).repeat(8, 0).repeat(8, 1)


@pytest.fixture(scope="module", params=["fp16", "int8"])
def lowered(request: pytest.FixtureRequest, graphs: dict[str, ModelProto], material: Material) -> Lowered:
    """(precision, graphs, record); whatever it costs is allowed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "check", lambda *_: None)
        return request.param, *precision.convert(graphs, request.param, material, GEOMETRY)


@pytest.fixture(scope="module")
def keyframe(graphs: dict[str, ModelProto], material: Material) -> ModelProto:
    """keyframe.onnx in int8, every convolution."""
    return quantise.quantise(graphs["keyframe.onnx"], observed(graphs, material))


def observed(graphs: dict[str, ModelProto], material: Material) -> Any:
    feeds = (precision.feed(frame, GEOMETRY) for frame in material.calibration())
    return quantise.observe(graphs["keyframe.onnx"], feeds)


class TestScheme:
    def test_symmetric_signed_and_zero_point_zero(self, keyframe: ModelProto) -> None:
        values = constants(keyframe)
        pairs = [node for node in keyframe.graph.node if node.op_type.endswith("uantizeLinear")]
        assert len(pairs) > 20 and {node.op_type for node in pairs} == {"QuantizeLinear", "DequantizeLinear"}
        for node in pairs:
            scale, zero = (values[name] for name in node.input[1:])
            assert zero.dtype == np.int8 and not zero.any()
            assert scale.dtype == np.float32 and (scale > 0).all()

    def test_weights_by_channel_and_biases_in_float(self, keyframe: ModelProto) -> None:
        values, by_output = constants(keyframe), producers(keyframe)
        convolutions = [node for node in keyframe.graph.node if node.op_type == "Conv"]
        assert len(convolutions) == 5
        for node in convolutions:
            weight = by_output[node.input[1]]
            assert weight.op_type == "DequantizeLinear" and weight.attribute[0].i == 0
            source = by_output[weight.input[0]]
            outputs = len(values[source.input[0]])
            assert source.op_type == "QuantizeLinear" and len(values[source.input[1]]) == outputs
            np.testing.assert_allclose(
                values[source.input[1]],
                np.abs(values[source.input[0]]).max((1, 2, 3)) / 127,
                rtol=0.01,
            )
            assert values[node.input[2]].dtype == np.float32

    def test_weights_are_stored_as_they_are_computed_with(
        self, graphs: dict[str, ModelProto], material: Material, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rounded in the file: fewer bytes once packed, and no score is another."""
        seen = observed(graphs, material)
        stored = quantise.quantise(graphs["keyframe.onnx"], seen)
        monkeypatch.setattr(quantise, "_settle", lambda model: None)
        raw = quantise.quantise(graphs["keyframe.onnx"], seen)
        settled, trained = (constants(model)["head/Conv.weight"] for model in (stored, raw))
        scale = np.abs(trained).max((1, 2, 3), keepdims=True) / 127
        np.testing.assert_allclose(settled, np.rint(trained / scale) * scale, rtol=1e-5)
        assert np.abs(settled - trained).max() > 0
        frame = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
        given = {"frame": frame, "grid": np.array([4, 6], np.int64)}
        first, second = (InferenceSession(m.SerializeToString()).run(None, given)[0] for m in (stored, raw))
        np.testing.assert_array_equal(first, second)

    def test_what_enters_a_convolution_or_an_addition(self, keyframe: ModelProto) -> None:
        """Both sides of a residual; and what leaves a convolution reaches its activation unrounded."""
        by_output = producers(keyframe)
        additions = [n for n in keyframe.graph.node if n.op_type == "Add" and n.name.endswith("Add")]
        additions += [n for n in keyframe.graph.node if n.op_type == "Add" and n.name.endswith("Add_1")]
        assert len(additions) == 2
        for node in additions:
            assert {by_output[name].op_type for name in node.input} == {"DequantizeLinear"}
        for node in keyframe.graph.node:
            if node.op_type == "Conv":
                assert by_output[node.input[0]].op_type == "DequantizeLinear"
            elif node.op_type in ("Relu", "Clip"):
                assert by_output[node.input[0]].op_type == "Conv"

    def test_scores_are_float(self, keyframe: ModelProto, graphs: dict[str, ModelProto]) -> None:
        assert (keyframe.graph.input, keyframe.graph.output) == (
            graphs["keyframe.onnx"].graph.input,
            graphs["keyframe.onnx"].graph.output,
        )
        assert producers(keyframe)["scores"].op_type == "Resize"
        assert producers(keyframe)[producers(keyframe)["scores"].input[0]].op_type == "Conv"
        assert [(o.domain, o.version) for o in keyframe.opset_import] == [("", 17)]

    def test_what_is_left_stays_float(self, graphs: dict[str, ModelProto], material: Material) -> None:
        left = quantise.quantise(graphs["keyframe.onnx"], observed(graphs, material), left=[ROUGH])
        node = next(n for n in left.graph.node if n.name == ROUGH)
        assert node.input[1] in constants(left) and producers(left)[node.input[0]].op_type == "Mul"


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def producers(model: ModelProto) -> dict[str, NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


class TestSensitivity:
    def test_the_rule(self) -> None:
        """More than a tenth of what all cause: the names in order, whatever the scale."""
        errors = {"c": 0.5, "a": 0.3, "b": 0.1, "d": 0.05, "e": 0.05}
        assert precision.sensitive(errors) == ["a", "c"]
        assert precision.sensitive({name: 1e-9 * error for name, error in errors.items()}) == ["a", "c"]
        assert precision.sensitive(dict.fromkeys("abcdefghijk", 1.0)) == []
        assert precision.sensitive({"a": 0.0}) == []

    def test_the_worst_is_found_and_left(self, lowered: Lowered) -> None:
        name, graphs, record = lowered
        if name == "fp16":
            assert set(record) == {"held_out"}
            return
        left = record["left_in_float"]
        assert isinstance(left, list) and ROUGH in left and len(left) < 5
        trained = constants(graphs["keyframe.onnx"])
        raw = {
            n.name
            for n in graphs["keyframe.onnx"].graph.node
            if n.op_type == "Conv" and n.input[1] in trained
        }
        assert sorted(raw) == left


class TestConversion:
    def test_int8_leaves_pf_alone(self, lowered: Lowered, graphs: dict[str, ModelProto]) -> None:
        name, result, _ = lowered
        same = {n for n in graphs if result[n].SerializeToString() == graphs[n].SerializeToString()}
        labels = {"labels.onnx", "labels.plain.onnx"}
        assert same == (labels if name == "fp16" else set(graphs) - {"keyframe.onnx"})

    def test_again_the_same_bytes(
        self,
        lowered: Lowered,
        graphs: dict[str, ModelProto],
        material: Material,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        name, result, record = lowered
        monkeypatch.setattr(precision, "check", lambda *_: None)
        again, same = precision.convert(graphs, name, material, GEOMETRY)
        assert {n: m.SerializeToString() for n, m in again.items()} == {
            n: m.SerializeToString() for n, m in result.items()
        }
        assert same == record

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
    def test_runtimes_run_it(
        self, lowered: Lowered,
        graphs: dict[str, ModelProto], tmp_path: Path, backend: str,
    ) -> None:  # fmt: skip
        """An interval of frames, labelled nearly as the float graphs do."""
        name, result, record = lowered
        found = [
            labels(write(tmp_path / kind, kind, given, said), backend)
            for kind, given, said in (("fp32", graphs, None), (name, result, record))
        ]
        assert len(np.unique(found[0])) > 1 and np.mean(found[0] == found[1]) > 0.9

    def test_the_manifest_says_how(
        self, lowered: Lowered,
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        name, result, record = lowered
        bundle = write(tmp_path / "tiny", name, result, record)
        assert (bundle.manifest.precision, bundle.manifest.conversion) == (name, record)
        assert main(["inspect", str(bundle.path)]) == 0
        shown = capsys.readouterr().out
        assert f"precision   {name}" in shown and "agreement: " in shown
        assert (ROUGH in shown) == (name == "int8")
        assert main(["inspect", str(bundle.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["conversion"] == record


def write(folder: Path, name: str, graphs: dict[str, ModelProto], record: dict[str, Any] | None) -> Bundle:
    options = ExportOptions(name="tiny", geometry=GEOMETRY, license="CC0-1.0", precision=name)
    classes = [{"name": name, "color": [0, 0, index]} for index, name in enumerate(CLASSES)]
    return write_bundle(folder, graphs, classes, [], None, options, record)


def labels(bundle: Bundle, backend: str) -> Labels:
    """Labels [3,H,W] of an interval."""
    segmenter = Segmenter(bundle, backend=backend, threads=1, interval=3)
    frames = [Frame.from_rgb(np.roll(picture(9)[0], 2 * k, 1), index=k) for k in range(3)]
    return np.stack([segmenter.push(frame).labels for frame in frames])


class TestJudgement:
    def test_the_same_graphs_lose_nothing(self, graphs: dict[str, ModelProto], material: Material) -> None:
        found = precision.judge(graphs, graphs, material, GEOMETRY)
        assert (found.lost(), found.agreement, found.pictures) == (0, 100, 3)

    def test_other_graphs_do(self, graphs: dict[str, ModelProto], material: Material) -> None:
        """A keyframe network that sees another class everywhere: nothing is labelled alike."""
        wrong = ModelProto()
        wrong.CopyFrom(graphs["keyframe.onnx"])
        bias = next(t for t in wrong.graph.initializer if t.name == "head/Conv.bias")
        bias.CopyFrom(numpy_helper.from_array(np.array([0, 0, 1e6, 0], np.float32), bias.name))
        found = precision.judge(graphs, {**graphs, "keyframe.onnx": wrong}, material, GEOMETRY)
        assert found.agreement < 80 and found.miou != found.float_miou

    def test_views_drift_over_a_still_and_its_labels(self) -> None:
        image, truth = (
            np.arange(360 * 480 * 3).reshape(360, 480, 3).astype(np.uint8),
            np.zeros((360, 480), np.uint8),
        )
        truth[100, 200] = 7
        views = list(precision.drifting_views(image, truth))
        assert {(frame.height, frame.width) for frame, _ in views} == {(354, 462)}
        for k, (frame, labels) in enumerate(views):
            assert labels.shape == (354, 462) and labels[100 - 2 * k, 200 - 6 * k] == 7
            np.testing.assert_array_equal(
                frame.planes[1].data, image[2 * k : 2 * k + 354, 6 * k : 6 * k + 462, 1]
            )

    @pytest.mark.parametrize(
        ("name", "miou", "agreement", "refused"),
        [
            ("int8", 70.0, 100.0, False),
            ("int8", 69.1, 98.5, False),
            ("int8", 68.9, 100.0, True),
            ("int8", 70.0, 97.9, True),
            ("int8", float("nan"), 100.0, True),
            ("fp16", 69.9, 99.8, False),
            ("fp16", 69.7, 99.8, True),
            ("fp16", 70.0, 99.4, True),
        ],
    )
    def test_limits(self, name: str, miou: float, agreement: float, refused: bool) -> None:
        found = Judgement(pictures=3, float_miou=70.0, miou=miou, agreement=agreement)
        if not refused:
            return precision.check(name, found, "the last three")
        with pytest.raises(
            BundleError, match=f"in {name} the bundle loses .* points .*nothing was written"
        ) as caught:
            precision.check(name, found, "the last three")
        assert ("--precision fp32 or fp16" in str(caught.value)) == (name == "int8")


class TestMaterial:
    def test_calibration_reads_stills_and_clips(self, material: Material) -> None:
        frames = list(material.calibration())
        assert [frame.kind for frame in frames] == ["rgb"] * 5 + ["yuv"]  # 14 frames: one in forty

    def test_nothing_held_out_is_calibrated_on(self, tmp_path: Path) -> None:
        from tests.export.datasets import write_camvid

        root = write_camvid(tmp_path)
        (root / "clips").mkdir()
        for name in ("road", "bikes", "orange_road", "udacity_vehdet_test_video"):
            write_clip(root / "clips" / f"{name}.mp4", frames=2)
        opened = Material.open("camvid", root)
        assert [clip.stem for clip in opened.clips] == ["road"]
        assert not set(opened.train.names) & set(opened.held_out.names) and len(opened.held_out) == 2
