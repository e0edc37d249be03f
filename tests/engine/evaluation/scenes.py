"""A toy bundle of CamVid's classes, and CamVid trees of blocks whose areas and means are exact."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.evaluation.camvid import CLASSES
from gsvnet_engine.frames import Frame
from tests import toy_bundle

HEIGHT, WIDTH = 32, 48
GRID = (4, 6)
WARP = -0.5  # W = WARP * S: turns the order of the classes around, so that each step of it shows
ABSENT = CLASSES.index("Fence")
Array = NDArray[np.uint8]


def bundle(folder: Path, *, warp: bool = True, names: Sequence[str] = CLASSES) -> Path:
    """The toy bundle with these classes, CamVid's 11, whose keyframe picture is the frame itself."""
    toy_bundle.write(folder, classes=len(names), keyframe_size={"scale": [1, 1], "multiple": 8})
    graph = toy_bundle.models(len(names))["warp.plain.onnx"]
    (keep,) = (node for node in graph.graph.node if node.op_type == "Constant" and node.output[0] == "keep")
    keep.attribute[0].f = WARP
    toy_bundle.replace_graph(folder, "warp.plain.onnx", graph.SerializeToString())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["classes"] = [{"name": name, "color": [9, 9, 9]} for name in names]
    if not warp:
        del manifest["graphs"]["warp.plain.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def scene(count: int, *, seed: int = 11) -> list[tuple[Array, Array]]:
    """(RGB [H,W,3], labels [H,W]) pairs; the labels have some unlabelled pixels and no Fence."""
    rng = np.random.default_rng(seed)
    values = np.array([c for c in range(12) if c != ABSENT], np.uint8)
    pictures = rng.integers(0, 256, (count, *GRID, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return [(picture, rng.choice(values, (HEIGHT, WIDTH))) for picture in pictures]


def write(root: Path, pairs: list[tuple[Array, Array]], *, split: str = "val", step: int = 2) -> Path:
    """`root/split/{images,labels}`, frame numbers at that step from 9."""
    for kind in ("images", "labels"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
    for index, (picture, labels) in enumerate(pairs):
        name = f"0016E5_{9 + step * index:05d}"
        lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
        cv2.imwrite(str(root / split / "images" / f"{name}.webp"), picture[..., ::-1], lossless)
        cv2.imwrite(str(root / split / "labels" / f"{name}.png"), labels)
    return root


@dataclass(frozen=True)
class Memory:
    """A data set in memory: one run of pairs (RGB [H,W,3], labels [H,W] or None)."""

    classes: tuple[str, ...]
    pairs: Sequence[tuple[Array, Array | None]]
    name = split = source = "memory"
    is_video = True
    gap = None

    def clips(self, longest: int, max_frames: int | None = None) -> "list[list[MemoryPicture]]":
        return [[MemoryPicture(*pair) for pair in self.pairs[:max_frames]]]


@dataclass(frozen=True)
class MemoryPicture:
    picture: Array
    labels: Array | None
    name = "memory"

    def read(self, index: int = 0) -> tuple[Frame, Array | None]:
        return Frame.from_rgb(self.picture, index=index), self.labels
