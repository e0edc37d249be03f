"""The order between streams, tested by its absence: without any one edge, some scene goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gsvnet_engine.backends.tensorrt import picture, runtime, session, steps, uploads
from gsvnet_engine.backends.tensorrt.order import Edge
from tests.cuda import standin
from tests.engine.backends.tensorrt.scenes import SCENES, Scene

SEEDS = 12  # of which one must show what is missing


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("seed", range(4))
def test_every_scene_is_right(
    scene: Scene, seed: int, driver: standin.Driver, folder: Path, tmp_path: Path
) -> None:
    driver.reset(seed)
    assert scene(folder, tmp_path / "cache") == 0


@pytest.mark.parametrize("edge", Edge, ids=lambda edge: edge.name)
def test_no_edge_can_be_left_out(
    edge: Edge, machine: standin.Driver, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    without(edge, monkeypatch)
    shown = (_goes_wrong(machine, scene, seed, folder, tmp_path) for seed in range(SEEDS) for scene in SCENES)
    assert any(shown), f"nobody missed it: {edge.value}"


def test_current_and_scores_need_both_buffers(
    machine: standin.Driver, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime, "PARITIES", 1)
    assert _goes_wrong(machine, SCENES[0], 0, folder, tmp_path)


def without(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runtime not wait for `edge`."""

    def but_one(order: Callable[..., None]) -> Callable[..., None]:
        return lambda which, *arguments: None if which is edge else order(which, *arguments)

    for module in (picture, runtime, session, steps, uploads):
        for name in ("wait", "settle", "drain"):
            if hasattr(module, name):
                found: Any = getattr(module, name)
                monkeypatch.setattr(module, name, but_one(found))


def _goes_wrong(driver: standin.Driver, scene: Scene, seed: int, folder: Path, tmp_path: Path) -> bool:
    driver.reset(seed)
    try:
        bad = scene(folder, tmp_path / "cache")
    except Exception:
        return True
    return bool(bad or driver.violations or driver.errors)
