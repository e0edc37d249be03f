import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from gsvnet_engine.bundle import Bundle, ClassInfo
from gsvnet_engine.errors import BundleError, InputError
from gsvnet_engine.geometry import Fixed, Scaled, ShortSide
from tests import toy_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


class TestOpen:
    @pytest.mark.parametrize("spell", [str, Path, lambda path: path / "manifest.json"])
    def test_a_folder_or_its_manifest(self, folder: Path, spell: Callable[[Path], Any]) -> None:
        bundle = Bundle.open(spell(folder))
        assert bundle.path == folder
        assert bundle.manifest.classes[0] == ClassInfo("Road", (128, 64, 128))
        assert bundle.manifest.keyframe_size == Scaled((1, 2), 8)
        bundle.verify()

    def test_an_open_bundle_is_itself(self, folder: Path) -> None:
        bundle = Bundle.open(folder)
        assert Bundle.open(bundle) is bundle

    def test_size_rules(self, tmp_path: Path) -> None:
        folder = toy_bundle.write(
            tmp_path, working_size={"short_side": 720}, keyframe_size={"size": [512, 1024]}
        )
        manifest = Bundle.open(folder).manifest
        assert manifest.working_size == ShortSide(720)
        assert manifest.keyframe_size == Fixed((512, 1024))

    def test_what_a_later_version_adds_is_left_alone(self, tmp_path: Path) -> None:
        assert Bundle.open(toy_bundle.write(tmp_path, mood="sunny")).manifest.name == "toy"

    def test_cost_may_be_missing(self, folder: Path) -> None:
        edit(folder, lambda manifest: manifest.pop("cost"))
        assert Bundle.open(folder).manifest.cost is None

    def test_the_warp_graph_may_be_missing(self, folder: Path) -> None:
        edit(folder, lambda manifest: manifest["graphs"].pop("warp.plain.onnx"))
        (folder / "warp.plain.onnx").unlink()
        bundle = Bundle.open(folder)
        with pytest.raises(BundleError, match=r"warp\.plain\.onnx is not listed"):
            bundle.graph("warp.plain.onnx")

    def test_bytes_are_read_once(self, folder: Path) -> None:
        bundle = Bundle.open(folder)
        before = bundle.graph("keyframe.onnx")
        (folder / "keyframe.onnx").write_bytes(b"changed while running")
        assert bundle.graph("keyframe.onnx") is before

    def test_unknown_name_lists_where_to_look(self) -> None:
        with pytest.raises(BundleError, match="nowhere: no such bundle; give its folder, or a name shipped"):
            Bundle.open("nowhere")

    def test_a_shape_that_suits_no_working_size(self, tmp_path: Path) -> None:
        bundle = Bundle.open(toy_bundle.write(tmp_path, working_size={"short_side": 720}))
        with pytest.raises(InputError, match="a picture of 100000x2 would be worked on at 36000000x720"):
            bundle.plan(2, 100_000)


class TestCost:
    def test_scales_by_the_areas_that_the_networks_see(self, folder: Path) -> None:
        manifest = Bundle.open(folder).manifest
        assert manifest.cost is not None
        assert manifest.cost.scaled(manifest.geometry, (64, 96)) == manifest.cost
        larger = manifest.cost.scaled(manifest.geometry, (128, 192))
        assert larger.macs == {part: 4 * macs for part, macs in manifest.cost.macs.items()}
        assert larger.parameters == manifest.cost.parameters

    def test_mean_of_an_interval(self, folder: Path) -> None:
        cost = Bundle.open(folder).manifest.cost
        assert cost is not None
        assert cost.mean_macs(1) == cost.macs["keyframe"]
        assert cost.mean_macs(4) == (cost.macs["keyframe"] + 3 * cost.macs["propagate"]) / 4


Edit = Callable[[dict[str, Any]], Any]


def edit(folder: Path, change: Edit) -> None:
    """Change the manifest by hand."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def put(*keys: str | int, value: Any) -> Edit:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def drop(*keys: str | int) -> Edit:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


# What is wrong with the manifest, and what the message must say.
INTERVALS = {"dataset": "CamVid", "average_miou": {"1": 70, "2": 69.5}}
EDITS: dict[str, tuple[Edit, str]] = {
    "no version": (drop("format_version"), "lacks 'format_version'"),
    "newer version": (put("format_version", value=2), "format_version: is 2 .* update gsvnet-engine"),
    "version as text": (
        put("format_version", value="1"),
        'format_version: must be a whole number .* not "1"',
    ),
    "version as truth": (
        put("format_version", value=True),
        "format_version: must be a whole number .* not true",
    ),
    "no name": (put("name", value=""), "name: must be a line of text"),
    "name with escapes": (put("name", value="\x1b[2J"), "name: must be a line of text"),
    "classes no list": (put("classes", value={}), "classes: must be a list of 2 to 256 entries"),
    "one class": (lambda m: m["classes"].__delitem__(slice(1, None)), "classes: must be a list of 2 to 256"),
    "too many classes": (put("classes", value=[{}] * 257), "classes: must be a list of 2 to 256"),
    "class no object": (put("classes", 2, value="Car"), r"classes\[2\]: must be an object"),
    "class without name": (drop("classes", 1, "name"), r"classes\[1\]: lacks 'name'"),
    "same name twice": (put("classes", 1, "name", value="Road"), "classes: names 'Road' twice"),
    "colour out of range": (
        put("classes", 0, "color", value=[0, 0, 256]),
        "color: must be a whole number in 0..255",
    ),
    "colour of two": (
        put("classes", 0, "color", value=[0, 0]),
        r"classes\[0\]: color: must be a list of 3 whole",
    ),
    "colour of floats": (put("classes", 0, "color", value=[0, 0, 1.5]), "color: must be a whole number"),
    "working size unknown": (put("working_size", value="half"), 'working_size: must be "source" or'),
    "working size tiny": (
        put("working_size", value={"short_side": 7}),
        "short_side: must be a whole number in 8..8192",
    ),
    "working size huge": (
        put("working_size", value={"short_side": 10**9}),
        "short_side: must be a whole number in",
    ),
    "no keyframe rule": (put("keyframe_size", value={}), "keyframe_size: lacks 'scale'"),
    "scale zero": (put("keyframe_size", "scale", value=[0, 1]), "scale: must be a whole number in 1"),
    "scale by zero": (put("keyframe_size", "scale", value=[1, 0]), "scale: must be a whole number in 1"),
    "scale above four": (put("keyframe_size", "scale", value=[9, 2]), "scale: is 9/2; at most 4"),
    "scale a number": (put("keyframe_size", "scale", value=0.5), "scale: must be a list of 2 whole numbers"),
    "multiple zero": (
        put("keyframe_size", "multiple", value=0),
        "multiple: must be a whole number in 1..512",
    ),
    "absurd fixed size": (
        put("keyframe_size", value={"size": [8, 10**6]}),
        "size: must be a whole number in 8..8192",
    ),
    "unknown precision": (
        put("precision", value="fp8"),
        'precision: must be one of fp32, fp16, int8, not "fp8"',
    ),
    "precision a list": (put("precision", value=[]), "precision: must be one of"),
    "conversion a list": (put("conversion", value=[]), "conversion: must be an object"),
    "interval zero": (put("interval", value=0), "interval: must be a whole number in 1..1000"),
    "no licence": (drop("license"), "lacks 'license'"),
    "trained on text": (put("trained_on", value="CamVid"), "trained_on: must be a list"),
    "accuracy a number": (put("accuracy", value=0.7), "accuracy: must be an object"),
    "no dataset": (
        put("accuracy", value={"intervals": {"average_miou": {"1": 70}}}),
        "accuracy: intervals: lacks 'dataset'",
    ),
    "no interval 1": (
        put("accuracy", value={"intervals": {"dataset": "d", "average_miou": {"2": 70}}}),
        'average_miou: lacks interval "1"',
    ),
    "an interval in words": (
        put("accuracy", value={"intervals": {"dataset": "d", "average_miou": {"1": 70, "two": 60}}}),
        "average_miou: two: is no interval",
    ),
    "a share for percent": (
        put("accuracy", value={"intervals": {"dataset": "d", "average_miou": {"1": 170}}}),
        r"average_miou: 1: must be a number in 0\.\.100, not 170",
    ),
    "speed as text": (
        put("accuracy", value={"intervals": INTERVALS, "speed_up": {"2": "fast"}}),
        'speed_up: 2: must be a number in 0..1000, not "fast"',
    ),
    "threshold true": (
        put("familiarity", value={"statistic": "mean_confidence", "threshold": True, "usual": [0.8, 0.9]}),
        r"familiarity: threshold: must be a number in 0\.\.1, not true",
    ),
    "one usual": (
        put("familiarity", value={"statistic": "mean_confidence", "threshold": 0.5, "usual": [0.8]}),
        "familiarity: usual: must be a list of 2 to 2 entries",
    ),
    "usual upside down": (
        put("familiarity", value={"statistic": "mean_confidence", "threshold": 0.5, "usual": [0.99, 0.5]}),
        r"familiarity: usual: must be \[lowest, highest\], not \[0\.99, 0\.5\]",
    ),
    "an interval too long": (
        put("accuracy", value={"intervals": {"dataset": "d", "average_miou": {"1": 70, "1001": 60}}}),
        r"average_miou: 1001: is no interval; the keys must be whole numbers in 1\.\.1000",
    ),
    "cost absurd": (
        put("cost", "macs", "keyframe", value=10**400),
        "cost: macs: keyframe: must be a whole number in 0..1000000000000000000, not 1000",
    ),
    "cost negative": (
        put("cost", "macs", "keyframe", value=-1),
        "cost: macs: keyframe: must be a whole number",
    ),
    "graphs a list": (put("graphs", value=[]), "graphs: must be an object"),
    "graph not listed": (drop("graphs", "propagate.onnx"), r"graphs: lacks propagate\.onnx"),
    "path escape": (
        put("graphs", "../secret.onnx", value="0" * 64),
        "graphs: names '../secret.onnx'; only these",
    ),
    "absolute path": (put("graphs", "/etc/passwd", value="0" * 64), "graphs: names '/etc/passwd'"),
    "unknown graph": (put("graphs", "extra.onnx", value="0" * 64), "graphs: names 'extra.onnx'"),
    "hash too short": (put("graphs", "keyframe.onnx", value="abc"), r"keyframe\.onnx: must be a sha256"),
    "hash a number": (put("graphs", "keyframe.onnx", value=5), r"keyframe\.onnx: must be a line of text"),
    "wrong hash": (put("graphs", "labels.onnx", value="0" * 64), r"labels\.onnx: its sha256 is not the one"),
}


class TestStated:
    def test_accuracy_by_interval(self, folder: Path) -> None:
        stated = {"intervals": INTERVALS, "speed_up": {"2": 1.8}, "by": ["anything"]}
        edit(folder, put("accuracy", value=stated))
        manifest = Bundle.open(folder).manifest
        found = manifest.interval_accuracy
        assert found is not None
        assert (found.dataset, found.average_miou, found.minimum_miou) == ("CamVid", {1: 70, 2: 69.5}, {})
        assert found.speed_up == {2: 1.8}
        assert manifest.accuracy["by"] == ["anything"]

    def test_free_form_is_left_alone(self, folder: Path) -> None:
        manifest = Bundle.open(folder).manifest
        assert manifest.interval_accuracy is None and manifest.familiarity is None
        assert manifest.accuracy == {"camvid": {"test_miou": 12.5}}

    def test_familiarity(self, folder: Path) -> None:
        stated = {"statistic": "mean_confidence", "threshold": 0.86, "usual": [0.9, 0.95], "measured": {}}
        edit(folder, put("familiarity", value=stated))
        found = Bundle.open(folder).manifest.familiarity
        assert found is not None
        assert (found.statistic, found.threshold, found.usual) == ("mean_confidence", 0.86, (0.9, 0.95))

    def test_a_statistic_of_a_later_version_is_left_alone(self, folder: Path) -> None:
        stated = {"statistic": "entropy", "threshold": 4.2, "usual": "0..3"}
        edit(folder, put("familiarity", value=stated))
        assert Bundle.open(folder).manifest.familiarity is None


def refused(folder: Path, message: str) -> None:
    """The bundle raises a BundleError of one line that names the folder and matches `message`."""
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(folder).verify()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


class TestHandEdited:
    @pytest.mark.parametrize(("change", "message"), EDITS.values(), ids=EDITS.keys())
    def test_manifest(self, folder: Path, change: Edit, message: str) -> None:
        edit(folder, change)
        refused(folder, message)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("[" * 100_000, "is not JSON"),
            ("\xff\xfe", "is not JSON"),
            ('{"format_version": NaN}', "NaN is not a JSON number"),
            ("9" * 5000, "is not JSON"),
            ("[]", "must be an object"),
            ("null", "must be an object"),
            (" " * (1 << 21), "larger than 1 MiB"),
        ],
        ids=["empty", "cut", "deep", "binary", "nan", "long number", "list", "null", "huge"],
    )
    def test_not_a_manifest(self, folder: Path, text: str, message: str) -> None:
        (folder / "manifest.json").write_text(text, encoding="latin-1")
        refused(folder, message)

    def test_no_manifest(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        refused(folder, r"has no manifest\.json")

    def test_manifest_is_a_folder(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        (folder / "manifest.json").mkdir()
        refused(folder, "is not a file")

    def test_manifest_is_a_pipe(self, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        os.mkfifo(folder / "manifest.json")
        refused(folder, "is not a file")

    def test_missing_graph(self, folder: Path) -> None:
        (folder / "keyframe.onnx").unlink()
        refused(folder, r"keyframe\.onnx: is missing")

    def test_empty_graph(self, folder: Path) -> None:
        (folder / "keyframe.onnx").write_bytes(b"")
        refused(folder, r"keyframe\.onnx: is 0 bytes")

    def test_graph_above_2_gib(self, folder: Path) -> None:
        with (folder / "keyframe.onnx").open("wb") as file:
            file.truncate((2 << 30) + 1)  # sparse: takes no room
        refused(folder, r"keyframe\.onnx: is 2147483649 bytes")

    def test_graph_is_a_folder(self, folder: Path) -> None:
        (folder / "keyframe.onnx").unlink()
        (folder / "keyframe.onnx").mkdir()
        refused(folder, r"keyframe\.onnx: is not a file")

    def test_link_out_of_the_folder(self, folder: Path) -> None:
        outside = folder.parent / "outside.onnx"
        (folder / "keyframe.onnx").rename(outside)
        (folder / "keyframe.onnx").symlink_to(outside)
        refused(folder, r"keyframe\.onnx: is a link that leaves the bundle")

    def test_dangling_link(self, folder: Path) -> None:
        (folder / "keyframe.onnx").unlink()
        (folder / "keyframe.onnx").symlink_to(folder.parent / "nothing")
        refused(folder, r"keyframe\.onnx: is missing")

    def test_weights_in_another_file(self, folder: Path) -> None:
        model = toy_bundle.models()["keyframe.onnx"]
        secret = folder.parent / "secret.bin"
        np.zeros(12, np.float32).tofile(secret)
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=str(secret))
        toy_bundle.replace_graph(folder, "keyframe.onnx", model.SerializeToString())
        refused(folder, r"keyframe\.onnx: keeps weights in other files")

    def test_not_a_graph(self, folder: Path) -> None:
        toy_bundle.replace_graph(folder, "keyframe.onnx", b"\x07 this is no protobuf")
        refused(folder, r"keyframe\.onnx: is not an ONNX graph")

    def test_hashes_may_be_written_in_capitals(self, folder: Path) -> None:
        digest = hashlib.sha256((folder / "labels.onnx").read_bytes()).hexdigest()
        edit(folder, put("graphs", "labels.onnx", value=digest.upper()))
        Bundle.open(folder).verify()
