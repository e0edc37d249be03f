"""The shipped bundle is what `export` makes of the checkpoints beside it."""

import json
from pathlib import Path

from gsvnet_engine import Bundle
from gsvnet_export.bundles import load_keyframe, load_propagation
from gsvnet_export.onnx_graphs import build_graphs

CHECKPOINTS = Path(__file__).parents[2] / "export/checkpoints/street"


def test_street_comes_from_its_checkpoints() -> None:
    keyframe, config = load_keyframe(CHECKPOINTS / "keyframe.safetensors")
    propagation, _ = load_propagation(CHECKPOINTS / "propagation.safetensors")
    bundle = Bundle.open("street")
    graphs = build_graphs(keyframe, propagation, len(bundle.manifest.classes))
    assert [name for name, model in graphs.items() if model.SerializeToString() != bundle.graph(name)] == []
    names = [c["name"] for c in config["data"]["classes"]]
    assert names == [c.name for c in bundle.manifest.classes]


def test_street_is_as_its_manifest_and_card_say() -> None:
    bundle = Bundle.open("street")
    assert sum(path.stat().st_size for path in bundle.path.glob("*.onnx")) < 30e6
    assert bundle.manifest.license == "CC-BY-NC-4.0" and (bundle.path / "LICENSE").is_file()
    card = (bundle.path / "MODEL_CARD.md").read_text()
    accuracy = json.loads((bundle.path / "manifest.json").read_text())["accuracy"]
    for value in (accuracy["CamVid test mIoU in percent, keyframe network"],):
        assert f"{value:.1f}" in card
