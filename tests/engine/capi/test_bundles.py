"""The library refuses what Python refuses, with the same sentence: every hostile bundle of test_bundle.py, and more."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BundleError
from samples.c.gsvnet_ctypes import Engine, GsvnetError
from tests import toy_bundle
from tests.engine.test_bundle import EDITS, Edit, edit

BUNDLE = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy")


def refused(library: str, folder: Path) -> str:
    """What the library says of the bundle, which it must refuse as one."""
    with pytest.raises(GsvnetError) as caught:
        Engine(library, str(folder))
    assert caught.value.status == BUNDLE
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def refused_alike(library: str, folder: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(folder).verify()
    ours, theirs = refused(library, folder), str(caught.value)
    # The program's name differs where it names itself; the place in a broken JSON is told in other words.
    assert ours.replace("libgsvnet", "gsvnet-engine").split(" (")[0] == theirs.split(" (")[0]


@pytest.mark.parametrize("change", [change for change, _ in EDITS.values()], ids=EDITS.keys())
def test_hand_edited(library: str, folder: Path, change: Edit) -> None:
    edit(folder, change)
    refused_alike(library, folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "\xff\xfe",
        '{"format_version": NaN}',
        "9" * 5000,
        "[]",
        "null",
        " " * (1 << 21),
    ],
    ids=["empty", "cut", "deep", "binary", "nan", "long number", "list", "null", "huge"],
)
def test_not_a_manifest(library: str, folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    refused_alike(library, folder)


def _unlink(path: Path) -> None:
    path.unlink()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _leave(path: Path) -> None:
    outside = path.parent.parent / "outside.onnx"
    path.rename(outside)
    path.symlink_to(outside)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    toy_bundle.replace_graph(path.parent, path.name, path.read_bytes()[:-7])


def _text(path: Path) -> None:
    toy_bundle.replace_graph(path.parent, path.name, b"this is no graph at all")


def _claim(path: Path) -> None:
    """A tensor that claims more bytes than the file has."""
    toy_bundle.replace_graph(path.parent, path.name, b"\x3a\xff\xff\xff\xff\x0f" + path.read_bytes())


def _external(path: Path) -> None:
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    toy_bundle.replace_graph(path.parent, path.name, model.SerializeToString())


@pytest.mark.parametrize(
    "attack", [_unlink, _pipe, _directory, _leave, _empty, _cut, _text, _claim, _external]
)
def test_hostile_graph(library: str, folder: Path, attack: Callable[[Path], None]) -> None:
    attack(folder / "keyframe.onnx")
    refused_alike(library, folder)


def test_a_graph_of_another_kind_is_refused_when_it_is_loaded(library: str, folder: Path) -> None:
    """Whole protobuf, right hash; OpenVINO or the ports tell."""
    for name, sentence in (("labels.onnx", "its inputs are"), ("keyframe.onnx", "openvino cannot load it")):
        data = (folder / name).read_bytes()
        broken = data if name == "labels.onnx" else data.replace(b"Resize", b"Resixe")
        toy_bundle.replace_graph(folder, "keyframe.onnx", broken)
        with Engine(library, str(folder)) as engine, pytest.raises(GsvnetError, match=sentence) as caught:
            engine.call("warm", engine.pointer, 64, 48)
        assert caught.value.status == BUNDLE


def test_classes_that_the_graphs_do_not_have(library: str, folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    content["classes"].append({"name": "Fifth", "color": [1, 2, 3]})
    (folder / "manifest.json").write_text(json.dumps(content))
    with (
        Engine(library, str(folder)) as engine,
        pytest.raises(GsvnetError, match="scores has shape") as caught,
    ):
        engine.call("warm", engine.pointer, 64, 48)
    assert caught.value.status == BUNDLE


def test_no_bundle(library: str, tmp_path: Path) -> None:
    assert "no such bundle" in refused(library, tmp_path / "nowhere")
    assert "has no manifest.json; give the folder" in refused(library, tmp_path)


def test_hash_in_capitals(library: str, folder: Path) -> None:
    data = (folder / "keyframe.onnx").read_bytes()
    content = json.loads((folder / "manifest.json").read_text())
    content["graphs"]["keyframe.onnx"] = hashlib.sha256(data).hexdigest().upper()
    (folder / "manifest.json").write_text(json.dumps(content))
    Engine(library, str(folder)).close()
