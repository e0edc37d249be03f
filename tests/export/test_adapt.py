"""`adapt`: other people's networks wrapped to the contract, what it says of those it cannot take, and whole runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gsvnet_engine import Segmenter
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cli import main
from gsvnet_engine.errors import BundleError, InputError, OutputError, UsageError
from gsvnet_export import onnx_graphs, verify
from gsvnet_export.adapt import report, run, videos, wrap
from gsvnet_export.adapt.classes import class_list, palette
from gsvnet_export.adapt.foreign import Foreign, ForeignOptions, inspect_network
from gsvnet_export.networks import Propagation
from gsvnet_export.networks.propagation import PropagationConfig
from gsvnet_export.training import propagation
from gsvnet_export.training.windows import FEWEST, ClipCache
from tests.export import foreign_networks
from tests.export.datasets import write_camvid, write_clip
from tests.export.foreign_networks import CLASSES, network, write
from tests.export.test_training import full_disk
from tests.media import write_corrupt, write_size_change

OPTIONS = ForeignOptions()
PLAIN = wrap.NORMALISATIONS["zero-one"]


def expected(foreign: Foreign, normalisation: wrap.Normalisation = PLAIN) -> verify.Keyframe:
    return lambda frame: wrap.reference_scores(foreign, normalisation, frame)


@pytest.mark.parametrize("normalisation", ["zero-one", "imagenet", "caffe"])
@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"layout": "nhwc", "softmax": True, "size": (64, 96)},
        {"layout": "nhwc", "output_layout": "nchw", "stride": 4},
        {"output_layout": "nhwc", "opset": 13, "softmax": True, "batch": "count"},
        {"opset": 18, "stride": 1, "size": (96, 64)},
        {"opset": 22, "stride": 8, "classes": 40},
        {"names": ("frame", "scores")},
        {"names": ("grid", "normalise/factor")},
        {"branch": True},
        {"domain": "ai.onnx", "opset": 18},
    ],
)
def test_wrapped_network_gives_what_its_author_sees(
    habits: dict[str, Any], normalisation: str, tmp_path: Path
) -> None:
    foreign = inspect_network(write(tmp_path / "their.onnx", **habits), OPTIONS)
    layout = habits.get("layout", "nchw")
    assert (foreign.layout, foreign.output_layout) == (layout, habits.get("output_layout", layout))
    assert foreign.classes == habits.get("classes", CLASSES)
    assert foreign.size == habits.get("size") and foreign.any_batch == ("batch" in habits)
    assert foreign.probabilities == habits.get("softmax", False)
    values = wrap.NORMALISATIONS[normalisation]
    graph = wrap.keyframe_graph(foreign, values)
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 17)]
    sizes = (foreign.size,) if foreign.size else ((64, 96), (96, 32))
    batches = (1, 2) if foreign.any_batch else (1,)
    assert verify.verify_keyframe(graph, expected(foreign, values), sizes, batches) > 0.1
    again = wrap.keyframe_graph(foreign, values)
    assert graph.SerializeToString() == again.SerializeToString()


def test_the_whole_by_hand(tmp_path: Path) -> None:
    """BGR in 0..255 less a mean, through a convolution, softmax: in NumPy and OpenCV alone."""
    foreign = inspect_network(write(tmp_path / "n.onnx", size=(16, 24), softmax=True, stride=1), OPTIONS)
    values = wrap.Normalisation(mean=(104, 117, 123), std=(50, 60, 70), range=255, channels="bgr")
    graph = wrap.keyframe_graph(foreign, values)
    rgb = np.random.default_rng(0).random((16, 24, 3)).astype(np.float32)
    bgr = (rgb[..., ::-1] * 255 - (104, 117, 123)) / (50, 60, 70)
    blurred = cv2.GaussianBlur(bgr, (3, 3), 0, borderType=cv2.BORDER_CONSTANT)  # kernel() is that blur
    colours = foreign_networks.kernel()[:, :, 1, 1] * 4
    exponents = np.exp(blurred @ colours.T)
    probabilities = (exponents / exponents.sum(2, keepdims=True)).transpose(2, 0, 1)
    frame = torch.from_numpy(rgb.transpose(2, 0, 1)[None].copy())
    (scores,) = verify.Sessions({"k": graph}).run("k", frame, torch.tensor([16, 24]))
    np.testing.assert_allclose(scores[0].numpy(), np.log(np.maximum(probabilities, 1e-6)), atol=1e-3)


def test_verification_catches_a_wrong_normalisation(tmp_path: Path) -> None:
    foreign = inspect_network(write(tmp_path / "n.onnx", size=(64, 96)), OPTIONS)
    graph = wrap.keyframe_graph(foreign, wrap.NORMALISATIONS["imagenet"])
    with pytest.raises(BundleError, match="differs from the network"):
        verify.verify_keyframe(graph, expected(foreign), ((64, 96),), (1,))


def test_a_graph_leaves_no_trace_of_its_maker(tmp_path: Path) -> None:
    model = network()
    model.graph.node[0].doc_string = "/home/somebody/net.py"
    model.graph.node[0].metadata_props.add(key="source", value="/home/somebody/net.py")
    model.graph.doc_string = model.doc_string = "/home/somebody"
    model.metadata_props.add(key="where", value="/home/somebody")
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    foreign = inspect_network(tmp_path / "n.onnx", OPTIONS)
    assert b"somebody" not in wrap.keyframe_graph(foreign, PLAIN).SerializeToString()


def test_scores_can_be_any_tensor(tmp_path: Path) -> None:
    path = write(tmp_path / "n.onnx", argmax=True)
    with pytest.raises(
        InputError, match="before the ArgMax, or name the tensor before it: --output 'conv_0'"
    ):
        inspect_network(path, OPTIONS)
    foreign = inspect_network(path, ForeignOptions(output="conv_0"))
    assert foreign.classes == CLASSES and [n.op_type for n in foreign.model.graph.node] == ["Conv"]


def test_a_batch_is_tried_not_believed(tmp_path: Path) -> None:
    """A graph that says "any number" and then takes the first picture alone."""
    model = network(batch="n", size=(64, 96))
    weights = {"first": [0], "second": [1], "along": [0]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in weights.items())
    model.graph.node.insert(0, helper.make_node("Slice", ["pixels", "first", "second", "along"], ["one"]))
    model.graph.node[1].input[0] = "one"
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    assert not inspect_network(tmp_path / "n.onnx", OPTIONS).any_batch
    assert inspect_network(write(tmp_path / "n.onnx", batch="n", size=(64, 96)), OPTIONS).any_batch


def test_sigmoids_are_noticed(tmp_path: Path) -> None:
    foreign = inspect_network(write(tmp_path / "n.onnx", more=["Sigmoid"]), OPTIONS)
    assert foreign.like_sigmoid and not foreign.probabilities
    foreign = inspect_network(write(tmp_path / "n.onnx", softmax=True), OPTIONS)
    assert foreign.probabilities and not foreign.like_sigmoid


def test_what_is_said_of_the_network_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "n.onnx", softmax=True)
    foreign = inspect_network(path, ForeignOptions(scores="logits", layout="nchw", output_layout="nchw"))
    assert not foreign.probabilities
    with pytest.raises(UsageError, match="--scores must be one of auto, logits, probabilities"):
        ForeignOptions(scores="maybe")


def with_two_inputs() -> ModelProto:
    model = network()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    return model


def with_two_outputs() -> ModelProto:
    model = network(more=["Relu"])
    model.graph.output.append(helper.make_tensor_value_info("conv_0", TensorProto.FLOAT, [None] * 4))
    return model


def of_another_domain() -> ModelProto:
    model = network()
    model.graph.node.append(
        helper.make_node("FusedConv", ["pixels", "kernel"], ["x"], domain="com.microsoft")
    )
    return model


def of_rank_five() -> ModelProto:
    model = network()
    model.graph.node.append(helper.make_node("Unsqueeze", ["result", "axis"], ["five"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("five", TensorProto.FLOAT, [None] * 5))
    return model


def of_classes_that_change() -> ModelProto:
    """[1,3,h,w] -> its rows as channels."""
    nodes = [
        helper.make_node("Slice", ["pixels", "zero", "two", "four"], ["few"]),
        helper.make_node("Resize", ["few", "", "scales"], ["wide"]),
        helper.make_node("Transpose", ["wide"], ["result"], perm=[0, 2, 1, 3]),
    ]
    arrays = {"zero": [0], "two": [1], "four": [1]}
    weights = [numpy_helper.from_array(np.array(value), name) for name, value in arrays.items()]
    weights.append(numpy_helper.from_array(np.array([1, 60, 0.5, 0.2], np.float32), "scales"))
    model = network()
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    return model


BAD: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "two inputs": (with_two_inputs, "has 2 inputs (pixels [1,3,?,?], mask [1])"),
    "two outputs": (
        with_two_outputs,
        "has 2 outputs (result [?,?,?,?], conv_0 [?,?,?,?]); name the scores: --output",
    ),
    "argmax": (lambda: network(argmax=True), "PF needs the scores of every class"),
    "one channel": (
        lambda: network(classes=1),
        "scores of at least 2 classes; export it with a channel for each",
    ),
    "huge": (lambda: network(size=(100000, 100000)), "takes pictures of 100000x100000 alone"),
    "tiny": (lambda: network(size=(4, 4)), "export it with sides in 8..8192"),
    "half precision": (
        lambda: network(kind=TensorProto.FLOAT16),
        "is float16; export it with float32 inputs",
    ),
    "bytes": (lambda: network(kind=TensorProto.UINT8), "is uint8; export it with float32 inputs"),
    "batch of 4": (lambda: network(batch=4), "takes 4 pictures at a time"),
    "grey": (lambda: network(channels=1), "none is 3"),
    "free channels": (lambda: network(channels="any"), "say --layout nchw or nhwc"),
    "one side free": (lambda: network(size=(64, "columns")), "one side of its input is fixed (64)"),
    "rank 5": (of_rank_five, "scores [N,C,h,w] or [N,h,w,C] are needed"),
    "300 classes": (lambda: network(classes=300), "gives 300 classes; 2 to 256"),
    "changing classes": (of_classes_that_change, "say --output-layout"),
    "not finite": (lambda: network(more=["Neg", "Sqrt"]), "not finite"),
    "another domain": (of_another_domain, "uses FusedConv of domain com.microsoft"),
    "new operators": (lambda: network(opset=20, more=["Gelu"]), "is of opset 20 and does not convert to 17"),
}


@pytest.mark.parametrize("fault", BAD)
def test_networks_that_cannot_be_taken_get_one_line(
    fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, text = BAD[fault]
    (tmp_path / "their.onnx").write_bytes(make().SerializeToString())
    assert adapt(tmp_path) == 3
    error = capfd.readouterr().err.splitlines()
    assert error[-1].startswith(f"error: {tmp_path}/their.onnx: ") and text in error[-1]
    assert len(error) <= 2  # a line before it says what the network is, where it got that far


def adapt(folder: Path, *more: str) -> int:
    """The verb on folder/their.onnx and folder/videos."""
    common = ["--keyframe", str(folder / "their.onnx"), "--videos", str(folder / "videos")]
    return main(["adapt", *common, "-o", str(folder / "bundle"), "--normalise", "zero-one", *more])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "no such file"),
        (b"", "is not an ONNX file, or is cut short"),
        (b"GIF89a and so on", "is not an ONNX file, or is cut short"),
        (network().SerializeToString()[:-40], "cut short"),
    ],
)
def test_files_that_are_no_network(
    data: bytes | None, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if data is not None:
        (tmp_path / "their.onnx").write_bytes(data)
    assert adapt(tmp_path) == 3
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and error.startswith(f"error: {tmp_path}/their.onnx: ")


def write_external(path: Path, location: str, *, length: int | None = None) -> Path:
    """A network whose kernel lies in `location`, by its graph."""
    model = network()
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(len(data) if length is None else length))
    path.write_bytes(model.SerializeToString())
    (path.parent / "weights.bin").write_bytes(data)
    return path


def test_weights_beside_the_graph_become_part_of_it(tmp_path: Path) -> None:
    path = write_external(tmp_path / "n.onnx", "weights.bin")
    foreign = inspect_network(path, OPTIONS)
    same = inspect_network(write(tmp_path / "same.onnx"), OPTIONS)
    graphs = [wrap.keyframe_graph(f, PLAIN).SerializeToString() for f in (foreign, same)]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("{}/weights.bin", "weights must lie in the graph's own folder"),
        ("../model/weights.bin", "weights must lie in the graph's own folder"),
        ("link.bin", "leads out of"),
        ("a\0b", "reads weights from 'a.x00b'; weights must lie"),
        ("circle.bin", "is missing"),
        ("long" * 2000, r"keeps weights in '(long){19}l\.\.\.', which is missing"),
        ("none.bin", "is missing"),
        ("weights.bin", "ends before the weights"),
    ],
)
def test_weights_elsewhere_are_never_read(location: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = write_external(folder / "n.onnx", location.format(folder), length=10**6)
    (tmp_path / "secret.bin").write_bytes(b"0" * 10**6)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "circle.bin").symlink_to(folder / "circle.bin")
    with pytest.raises(InputError, match=text):
        inspect_network(path, OPTIONS)


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--mean", "1,2"], 2, "--mean takes a number for each channel"),
        (["--std", "a"], 2, "--std takes a number for each channel"),
        (["--std", "0"], 2, "--std must be above 0"),
        (["--channels", "gbr"], 2, "--channels must be rgb or bgr"),
        (["--normalise", "best"], 2, "zero-one, minus-one-one, imagenet, caffe, none255"),
        (["--layout", "chw"], 2, "--layout must be one of"),
        (["--minutes", "inf"], 2, "--minutes must be a number of at most 1,000,000"),
        (["--minutes", "nan"], 2, "--minutes"),
        (["--cache-gb", "inf"], 2, "--cache-gb must be a number of at most 1,000,000"),
        (["--interval", "5000"], 2, "--interval"),
        (["--short-side", "100000"], 2, "--short-side"),
        (["--keyframe-scale", "9/1"], 2, "--keyframe-scale 9/1: give a ratio"),
        (["--license", ""], 2, "--license '': give a line of text"),
        (["--name", "a\tb"], 2, "--name 'a\\tb': give a line of text"),
        (["-o", "/"], 2, "-o /: is no place for a bundle"),
        (["--work", "{}/work", "-o", "{}/names.txt"], 5, "names.txt: is a file; name a folder with -o"),
        (["--work", "{}/work", "-o", "{}/names.txt/b"], 5, "cannot be written (Not a directory)"),
        (["--work", "{}/names.txt/work"], 5, "name another folder with --work"),
        (["--keyframe", "{}/videos"], 3, "videos: is a folder; give the network as an .onnx file"),
        (["--held-out", "{}/short.mp4"], 3, "short.mp4: begins with 4 consecutive frames, and 5 are needed"),
        (["--output", "nothing"], 3, "has no tensor 'nothing' to take scores from; outputs: result"),
        (["--held-out", "{}/none.mp4"], 3, "none.mp4: no such file"),
        (["--classes", "{}/names.txt"], 3, "names 2 classes, but the network has 5"),
        (["--classes", "{}/none.txt"], 3, "cannot be read as text"),
    ],
)
def test_mistakes_of_the_call(
    more: list[str], code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "their.onnx")
    (tmp_path / "names.txt").write_text("Road\nSky\n")
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4")
    write_clip(tmp_path / "short.mp4", frames=4)
    there = set(tmp_path.iterdir())
    assert adapt(tmp_path, *(part.format(tmp_path) for part in more)) == code
    assert text in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == there


def test_force_deletes_nothing_before_all_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "their.onnx", size=(64, 96))
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4")
    old = tmp_path / "bundle.work/training/checkpoint.safetensors"
    old.parent.mkdir(parents=True)
    for path in (old, tmp_path / "bundle.work/run.json"):
        path.write_text("{}")
    few = ["--cache-gb", "0.001", "--short-side", "720"]
    for more, code in ((["--keyframe", "none.onnx"], 3), (["--held-out", "none.mp4"], 3), (few, 3)):
        assert adapt(tmp_path, "--force", *more) == code
        assert old.exists() and (tmp_path / "bundle.work/run.json").exists()
    assert "share 1 MB of cache" in capsys.readouterr().err
    assert adapt(tmp_path, "--resume") == 2
    assert "begin anew with --force, or name another" in capsys.readouterr().err

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "cache_runs", stop)
    assert adapt(tmp_path, "--force") == 130
    assert not old.exists() and "keyframe" in (tmp_path / "bundle.work/run.json").read_text()


def test_a_bundle_in_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = inspect_network(write(tmp_path / "their.onnx", size=(64, 96)), OPTIONS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run._draft(replace(options_of(tmp_path), work=Path()), foreign, wrap.keyframe_graph(foreign, PLAIN))
    options = replace(options_of(tmp_path), bundle=Path())
    draft = Bundle.open(tmp_path / "here/draft")
    graphs = {name: onnx.load_model_from_string(draft.graph(name)) for name in draft.manifest.graphs}
    assert run._write(options, options.bundle, graphs, foreign, [], None).manifest.name == "here"
    assert {p.name for p in tmp_path.iterdir()} == {"here", "their.onnx"}


def test_settings_are_written_after_all_checks(tmp_path: Path) -> None:
    write(tmp_path / "their.onnx", size=(64, 96))
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4")
    assert adapt(tmp_path, "--cache-gb", "0.001", "--short-side", "720") == 3
    assert not (tmp_path / "bundle.work/run.json").exists()


def test_settings_and_report_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    for name in ("run.json", "report.json"):
        run._write_json(tmp_path / name, {"steps": 4})
        before = (tmp_path / name).read_bytes()
        with full_disk(100), pytest.raises(OutputError, match=r"cannot be written \(.*make room"):
            run._write_json(tmp_path / name, {"videos": ["a.mp4"] * 100})
        assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_when_the_run_is_settled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "their.onnx", size=(64, 96))
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4")
    settle = run._settle

    def settle_without_room(*arguments: Any) -> None:
        with full_disk(10):
            settle(*arguments)

    monkeypatch.setattr(run, "_settle", settle_without_room)
    assert adapt(tmp_path) == 5
    assert "cannot be written" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "bundle.work/run.json").exists()


def test_a_folder_where_the_settings_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bundle.work/run.json").mkdir(parents=True)
    assert adapt(tmp_path, "--force") == 5
    error = capsys.readouterr().err
    assert "run.json: is a folder; remove it" in error and error.count("\n") == 1


def test_normalisation_must_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "their.onnx")
    assert main(["adapt", "--keyframe", str(tmp_path / "their.onnx"), "--videos", "v", "-o", "b"]) == 2
    assert "say what values the network expects" in capsys.readouterr().err


def test_classes_from_a_file_or_generated(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("Road #804080\n\n  Traffic light\n# 3\n")
    assert class_list(3, names) == [
        {"name": "Road", "color": [128, 64, 128]},
        {"name": "Traffic light", "color": list(palette(3)[1])},
        {"name": "# 3", "color": list(palette(3)[2])},
    ]
    names.write_text("Road\nRoad\n")
    with pytest.raises(InputError, match="line 2: 'Road' is there twice"):
        class_list(2, names)
    assert len(set(palette(256))) == 256


def test_long_videos_are_sampled() -> None:
    long = videos.Video(Path("long.mp4"), (720, 1280), 25.0, 90_000)
    found = videos._runs(long, 1500)
    assert len(found) == 15 and {r.frames for r in found} == {videos.RUN}
    assert found[0].start_s == 0 and found[-1].start_s == (90_000 - videos.RUN) / 25
    assert videos._runs(replace(long, frames=40), 1500) == [videos.Run(Path("long.mp4"), 0.0, 1500)]
    assert sum(r.frames for r in videos._runs(long, 30)) == 30


@pytest.mark.parametrize("limit", [30, 100, 150, 199, 200])
def test_few_frames_come_from_all_over_a_video(limit: int) -> None:
    found = videos._runs(videos.Video(Path("long.mp4"), (720, 1280), 25.0, 90_000), limit)
    assert len(found) >= 2 and 0.9 * limit <= sum(r.frames for r in found) <= limit
    assert min(r.frames for r in found) >= FEWEST
    assert found[0].start_s == 0 and found[-1].start_s == (90_000 - found[-1].frames) / 25


def test_steps_fill_the_minutes() -> None:
    assert run.steps_within(60, 1.0) == int(3600 / 1.1)
    assert run.steps_within(0.01, 1.0) == run.FEWEST_STEPS
    assert run.steps_within(600, 0.01) == run.MOST_STEPS
    assert run.steps_within(1e308, 0.01) == run.MOST_STEPS


def options_of(folder: Path, **more: Any) -> run.AdaptOptions:
    return run.AdaptOptions(
        network=folder / "their.onnx",
        videos=folder / "videos",
        bundle=folder / "bundle",
        work=folder / "work",
        normalisation=PLAIN,
        **more,
    )


def test_held_out_videos_end_where_the_picture_changes(tmp_path: Path) -> None:
    path = write_size_change(tmp_path / "change.ts")
    segments = run._held_out(options_of(tmp_path, held_out=(path,)), [])
    assert [[(f.height, f.width) for f in segment] for segment in segments] == [[(48, 64)] * 6]
    assert run._checked_held_out((path,)) == {path: (48, 64)}


def test_more_held_out_videos_than_can_be_measured(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", frames=6)
    segments = list(run._held_out(options_of(tmp_path, held_out=(tmp_path / "a.mp4",) * 61), []))
    assert len(segments) == 31


def test_sources_are_the_videos_names(tmp_path: Path) -> None:
    clip = np.empty((10, 3, 1, 1), np.uint8)
    cached = [
        (videos.Run(Path("trip from Paris.mp4"), start, 10), ClipCache("", clip, clip, clip))  # type: ignore[arg-type]
        for start in (0.0, 8.0)
    ]
    assert "videos trip from Paris, unlabelled" in run._sources(options_of(tmp_path), cached)[1]


def test_what_is_not_whole_in_the_cache_is_made_again(tmp_path: Path) -> None:
    foreign = inspect_network(write(tmp_path / "their.onnx", size=(64, 96)), OPTIONS)
    write_clip(tmp_path / "a.mp4")
    draft = run._draft(options_of(tmp_path), foreign, wrap.keyframe_graph(foreign, PLAIN))
    segmenter = Segmenter(draft, backend="onnxruntime")
    runs = [videos.Run(tmp_path / "a.mp4", 0.0, 100)]

    def cache() -> dict[str, bytes]:
        videos.cache_runs(runs, tmp_path / "cache", draft, segmenter, pytest.fail)
        return {path.suffix: path.read_bytes() for path in (tmp_path / "cache").iterdir()}

    whole = cache()
    assert set(whole) == {".json", ".pictures", ".scores", ".flows"}
    for suffix, damaged in (
        (".scores", whole[".scores"][:-100]),
        (".flows", None),
        (".pictures", b""),
        (".json", b""),
        (".json", b"{}"),
        (".json", b"[]"),
        (".json", b'{"frames": -1, "grid": [0, 0]}'),
    ):
        (path,) = (tmp_path / "cache").glob(f"*{suffix}")
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert cache() == whole


def test_scores_that_the_cache_cannot_hold_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network(size=(64, 96))
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1e5), "kernel"))
    (tmp_path / "their.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4")
    assert adapt(tmp_path) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path}/their.onnx: its scores lie in -") and "softmax" in error


def test_measured_frames_are_shared_out() -> None:
    assert report.spread_evenly([4, 5, 100]) == [0, 5, 100]
    assert sum(report.spread_evenly([10] * 500)) <= 300
    assert report.spread_evenly([1000]) == [300]


def test_a_folder_without_a_video_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "their.onnx", size=(64, 96))
    assert adapt(tmp_path) == 3
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/notes.txt").write_text("no video")
    (tmp_path / "videos/broken.mov").write_bytes(b"no video either")
    assert adapt(tmp_path) == 3
    error = capsys.readouterr().err
    assert "skipped: " in error and "broken.mov" in error and "notes.txt" not in error
    assert "holds no video to learn from" in error


def test_from_network_and_videos_to_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted while it trains and resumed; damaged and short videos among the good."""
    write(tmp_path / "their.onnx", layout="nhwc", softmax=True, size=(64, 96), opset=13)
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "good.mp4", frames=30)
    write_clip(folder / "other.mkv", frames=14)
    write_clip(folder / "single.avi", frames=1)
    write_corrupt(folder / "damaged.mp4")
    (folder / "broken.webm").write_bytes(b"nothing")
    (tmp_path / "names.txt").write_text("\n".join(("Road #804080", "Sky", "Car", "Tree", "Person")))
    common = ["--steps", "4", "--classes", str(tmp_path / "names.txt"), "--json"]

    draw = propagation.draw
    recipe = replace(propagation.PRESETS["best"], batch=2)
    monkeypatch.setitem(propagation.PRESETS, "best", recipe)

    def draw_until_two(step: int, *rest: Any) -> propagation.Batch:
        if step == 2:
            raise KeyboardInterrupt
        return draw(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(propagation, "draw", draw_until_two)
        assert adapt(tmp_path, *common) == 130
    said = capsys.readouterr().err
    assert "skipped: " in said and "broken.webm" in said and "single: 1 consecutive frames" in said
    assert not (tmp_path / "bundle").exists()
    cached = {p: p.stat().st_mtime_ns for p in (tmp_path / "bundle.work/cache").iterdir()}

    assert adapt(tmp_path, *common) == 2  # begun already
    assert "--resume" in capsys.readouterr().out
    assert adapt(tmp_path, *common, "--short-side", "64", "--resume") == 2
    assert "begun with another geometry" in capsys.readouterr().out
    assert adapt(tmp_path, *common, "--resume") == 0
    facts = json.loads(capsys.readouterr().out)
    assert cached == {p: p.stat().st_mtime_ns for p in (tmp_path / "bundle.work/cache").iterdir()}
    check_report(facts)

    bundle = Bundle.open(tmp_path / "bundle")
    assert [c.name for c in bundle.manifest.classes][:2] == ["Road", "Sky"]
    assert bundle.manifest.classes[0].color == (128, 64, 128)
    assert (
        bundle.manifest.cost is not None and bundle.manifest.cost.macs["keyframe"] == 32 * 48 * 27 * CLASSES
    )
    assert bundle.plan(720, 1280).keyframe == (64, 96)
    assert "good, other" in bundle.manifest.trained_on[1]
    for backend in ("openvino", "onnxruntime"):
        found = list(Segmenter(bundle, backend=backend).stream(folder / "good.mp4", interval=4))
        assert len(found) == 30 and not found[3].is_keyframe and found[4].is_keyframe

    assert adapt(tmp_path, *common, "--resume") == 5  # there is a bundle
    assert "--force" in capsys.readouterr().out


def check_report(facts: dict[str, Any]) -> None:
    rows, measured = facts["report"]["rows"], facts["report"]
    assert facts["classes"] == CLASSES and facts["probabilities"] and facts["steps"] == 4
    assert [row["interval"] for row in rows] == [1, 2, 3, 4, 5]
    first = rows[0]
    assert first["agreement"] == first["repeat_agreement"] == first["warp_agreement"] == first["minimum"] > 50
    assert first["speedup"] == 1
    key, step = measured["keyframe_ms"], measured["propagate_ms"]
    assert rows[3]["speedup"] == pytest.approx(4 * key / (key + 3 * step))
    for row in rows:
        for name in ("", "repeat_", "warp_"):
            average = row[f"{name}agreement"]
            minimum = row["minimum" if not name else f"{name}minimum"]
            assert 0 <= minimum <= 100 and 0 <= average <= 100


def test_a_free_network_and_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free size, logits; steps found by trying; measured on a video of its own; in place of another run."""
    write(tmp_path / "their.onnx", stride=4)
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / f"videos/{name}.mp4", frames=12)
    for name in ("bundle/manifest.json", "bundle.work/run.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(run, "FEWEST_STEPS", 2)
    monkeypatch.setitem(propagation.PRESETS, "best", replace(propagation.PRESETS["best"], batch=1))
    sizes = ["--short-side", "96", "--keyframe-scale", "1/2", "--multiple", "16"]
    held_out = ["--held-out", str(tmp_path / "videos/b.mp4")]
    assert adapt(tmp_path, "--minutes", "0.01", *sizes, *held_out) == 5
    assert adapt(tmp_path, "--minutes", "0.01", *sizes, *held_out, "--force") == 0
    assert json.loads((tmp_path / "bundle.work/report.json").read_text())["frames"] == 12 - 4
    steps = json.loads((tmp_path / "bundle.work/run.json").read_text())["steps"]
    assert steps >= 2
    bundle = Bundle.open(tmp_path / "bundle")
    assert "videos a, unlabelled" in bundle.manifest.trained_on[1]
    assert bundle.plan(64, 96).keyframe == (48, 80) and bundle.manifest.license == "LicenseRef-unknown"
    assert f"interval {report.INTERVALS[-1]}" in next(iter(bundle.manifest.accuracy.values()))


@pytest.mark.parametrize("factor", [100, 0.001])
def test_propagation_is_verified_for_scores_of_any_spread(factor: float, tmp_path: Path) -> None:
    """A fault of a hundredth of the spread is one, however far the scores lie apart."""
    model = network(size=(64, 96), stride=4)
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(factor), "kernel"))
    (tmp_path / "n.onnx").write_bytes(model.SerializeToString())
    foreign = inspect_network(tmp_path / "n.onnx", OPTIONS)
    keyframe = wrap.keyframe_graph(foreign, PLAIN)
    spread = verify.verify_keyframe(keyframe, expected(foreign), ((64, 96),), (1,))
    assert factor < spread < 100 * factor
    pf = Propagation(PropagationConfig(classes=CLASSES)).eval()
    graphs = {"keyframe.onnx": keyframe, **onnx_graphs.propagation_graphs(pf, CLASSES)}
    asked = (expected(foreign), pf, ((64, 96),), (1,), verify.unit_of(spread))
    verify.verify(graphs, *asked)
    wrong = graphs["propagate.plain.onnx"].graph
    fault = np.array([spread / 100, 0, 0, 0, 0], np.float32).reshape(1, CLASSES, 1, 1)
    wrong.node[-1].output[0] = "before"
    wrong.initializer.append(numpy_helper.from_array(fault, "fault"))
    wrong.node.append(helper.make_node("Add", ["before", "fault"], ["propagated"]))
    with pytest.raises(BundleError, match="step_scores"):
        verify.verify(graphs, *asked)


def test_ties_everywhere_excuse_nothing() -> None:
    expected_scores = torch.zeros(1, 2, 8, 8)
    scores = expected_scores + 1
    assert verify._compare_step(scores, expected_scores, expected_scores)[0] == 1


def test_the_sample_network_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """samples/any_network/train_unet.py for a moment: its habits are found out."""
    from samples.any_network import train_unet

    root = write_camvid(tmp_path, count=1, size=(360, 480)) / "camvid"
    target = tmp_path / "unet.onnx"
    monkeypatch.setattr(train_unet, "save", lambda *_: None)
    train_unet.main([str(root), str(target), "--minutes", "0.001", "--batch", "1"])
    foreign = inspect_network(target, OPTIONS)
    assert (foreign.input, foreign.output, foreign.size) == ("data", "prob", (384, 512))
    assert foreign.classes == 11 and foreign.probabilities and foreign.layout == "nchw"
    names = [c["name"] for c in class_list(11, tmp_path / "unet.classes.txt")]
    from gsvnet_engine.evaluation.camvid import CLASSES as CAMVID

    assert tuple(names) == CAMVID
