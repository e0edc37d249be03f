"""The bundles in the repository are what `export` makes of the checkpoints beside them."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.numpy_helper import to_array

from gsvnet_engine import Bundle
from gsvnet_engine.geometry import Sizes
from gsvnet_export.bundles import load_keyframe, load_propagation
from gsvnet_export.onnx_graphs import build_graphs

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "samples/bench"


@pytest.mark.parametrize("folder", ["street", BENCH / "swiftnet_r18"], ids=["street", "swiftnet_r18"])
def test_it_comes_from_its_checkpoints(folder: str | Path) -> None:
    bundle = Bundle.open(folder)
    checkpoints = ROOT / "export/checkpoints" / bundle.manifest.name
    keyframe, config = load_keyframe(checkpoints / "keyframe.safetensors")
    propagation, _ = load_propagation(checkpoints / "propagation.safetensors")
    for name, model in build_graphs(keyframe, propagation, len(bundle.manifest.classes)).items():
        assert_same(onnx.load_from_string(bundle.graph(name)), model)
    names = [c["name"] for c in config["data"]["classes"]]
    assert names == [c.name for c in bundle.manifest.classes]


def assert_same(shipped: ModelProto, exported: ModelProto) -> None:
    """Equal but for the last bits of folded weights, which differ between processors."""
    ours, theirs = exported.graph.initializer, shipped.graph.initializer
    assert [tensor.name for tensor in ours] == [tensor.name for tensor in theirs]
    for new, old in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(to_array(new), to_array(old), rtol=1e-4, atol=1e-6, err_msg=new.name)
    for model in (shipped, exported):
        del model.graph.initializer[:]
    assert shipped == exported


def test_street_is_as_its_manifest_and_card_say() -> None:
    bundle = Bundle.open("street")
    assert sum(path.stat().st_size for path in bundle.path.glob("*.onnx")) < 30e6
    assert bundle.manifest.license == "CC-BY-NC-4.0" and (bundle.path / "LICENSE").is_file()
    card = (bundle.path / "MODEL_CARD.md").read_text()
    accuracy = json.loads((bundle.path / "manifest.json").read_text())["accuracy"]
    for value in (accuracy["CamVid test mIoU in percent, keyframe network"],):
        assert f"{value:.1f}" in card


def test_what_bench_measures_is_one_network_in_two_precisions() -> None:
    """SwiftNet-R18 as the targets have it: at the source's size, keyframes at 3/4, 11 classes."""
    plain, int8 = (Bundle.open(BENCH / name) for name in ("swiftnet_r18", "swiftnet_r18_int8"))
    assert (plain.manifest.precision, int8.manifest.precision) == ("fp32", "int8")
    for bundle in (plain, int8):
        bundle.verify()
        assert bundle.plan(1024, 2048) == Sizes((1024, 2048), (1024, 2048), (768, 1536), (128, 256))
        assert len(bundle.manifest.classes) == 11 and bundle.manifest.license == "CC-BY-NC-4.0"
    differing = {name for name in plain.manifest.graphs if plain.graph(name) != int8.graph(name)}
    assert differing == {"keyframe.onnx"}
