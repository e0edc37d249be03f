"""Training on a real GPU: both networks, for a few steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from gsvnet_engine.cuda.device import DeviceInfo
from gsvnet_engine.geometry import Geometry, Scaled, ShortSide
from tests.export.datasets import write_camvid, write_clip

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.gpu
GEOMETRY = Geometry(working=ShortSide(96), keyframe=Scaled((1, 2), 8))


def test_both_networks(card: DeviceInfo, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    from gsvnet_export.bundles import load_keyframe
    from gsvnet_export.data.datasets import load_labelled
    from gsvnet_export.training import keyframe, loop, propagation
    from gsvnet_export.training.windows import load_windows

    root, device = write_camvid(tmp_path / "data"), torch.device("cuda", card.index)
    (root / "clips").mkdir()
    write_clip(root / "clips/road.mp4")
    recipe = replace(keyframe.PRESETS["smoke"], trunk="resnet18", steps=4, crop=(48, 64), lovasz=1.0)
    keyframe.train_keyframe(tmp_path / "keyframe", recipe, load_labelled("camvid", root), device=device)
    checkpoint = tmp_path / "keyframe/checkpoint.safetensors"
    assert loop.is_done(checkpoint, 4)

    network = load_keyframe(checkpoint)[0]
    windows = load_windows(root, checkpoint, network, GEOMETRY, tmp_path / "cache", True, device=device)
    pf = replace(propagation.PRESETS["smoke"], steps=4, crop=(8, 12))
    model = propagation.train_propagation(tmp_path / "propagation", pf, 11, windows, device=device)
    assert next(model.parameters()).device == device
    assert all(p.isfinite().all() for p in model.parameters())
    assert loop.is_done(tmp_path / "propagation/checkpoint.safetensors", 4)
