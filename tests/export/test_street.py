"""The shipped bundle is what `export` makes of the checkpoints beside it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from onnx.numpy_helper import to_array

from gsvnet_engine import Bundle
from gsvnet_export.bundles import load_keyframe, load_propagation
from gsvnet_export.onnx_graphs import build_graphs

CHECKPOINTS = Path(__file__).parents[2] / "export/checkpoints/street"


def test_street_comes_from_its_checkpoints() -> None:
    keyframe, config = load_keyframe(CHECKPOINTS / "keyframe.safetensors")
    propagation, _ = load_propagation(CHECKPOINTS / "propagation.safetensors")
    bundle = Bundle.open("street")
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
