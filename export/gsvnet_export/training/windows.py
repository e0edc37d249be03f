"""What PF learns from: windows of consecutive frames at 1/8 size, with the keyframe network's scores.

Two kinds. *Clip windows*: consecutive frames of unlabelled video; the teacher's scores of every frame are the target.
*Still windows*: a labelled still moved by a synthetic camera; its labels, moved alike, are the target, and only the
first frame needs the teacher. Teachers are run once, through the engine's own decoding and frame preparation, and
their scores kept in memory-mapped arrays beside the run.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from gsvnet_engine import prepare
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Geometry
from gsvnet_engine.video import open_source
from gsvnet_export.data.clips import training_clips
from gsvnet_export.data.datasets import load_labelled
from gsvnet_export.data.stills import IGNORE, Image, Labels, Stills

Float32 = NDArray[np.float32]
# (keyframe picture [1,3,H',W'], grid (h, w)) -> scores [C,h,w]
Teacher = Callable[[Float32, tuple[int, int]], Float32]

FRAMES = 5  # of a still window: the keyframe and four propagated frames
STRIDES = (1, 2)  # distances between the frames of a clip window


@dataclass(frozen=True)
class ClipCache:
    """One clip: `pictures` [T,3,h,w] uint8 (i_t times 255, rounded), `scores` [T,C,h,w] float16.

    `flows` [T,len(STRIDES),2,h,w] float16: motion from frame t back to t - STRIDES[k], in cells; NaN where unknown.
    """

    name: str
    pictures: NDArray[np.uint8]
    scores: NDArray[np.float16]
    flows: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, taken: slice) -> "ClipCache":
        """The same clip, some of its frames."""
        return ClipCache(self.name, self.pictures[taken], self.scores[taken], self.flows[taken])


def cache_clip(clip: Path, folder: Path, teacher: Teacher, geometry: Geometry, key: str) -> ClipCache:
    """Decode `clip` once, run the teacher on every frame, keep both in `folder`; later calls map what is there.

    `key` names the teacher: another teacher gets other files.
    """
    stem = f"{clip.stem}-{_digest(key, str(clip.stat().st_size), str(geometry))}"
    paths = {part: folder / f"{stem}.{part}.npy" for part in ("pictures", "scores", "flows")}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        columns = zip(*_clip_frames(clip, teacher, geometry), strict=True)
        for path, column in zip(paths.values(), columns, strict=True):
            partial = path.with_suffix(".partial.npy")
            np.save(partial, np.stack(column))
            partial.replace(path)
    return ClipCache(clip.stem, *(np.load(path, mmap_mode="r") for path in paths.values()))


def _clip_frames(
    clip: Path, teacher: Teacher, geometry: Geometry
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16]]]:
    motion = ReferenceFlow()
    with open_source(clip) as source:
        for frame in source:
            sizes = geometry.plan(frame.height, frame.width)
            current = prepare.current(frame, sizes.grid)[0]
            picture = prepare.keyframe(frame, sizes.keyframe)
            scores, flows = teacher(picture, sizes.grid), motion.push(picture[0], sizes.grid)
            yield np.round(current * 255).astype(np.uint8), scores.astype(np.float16), flows


class ReferenceFlow:
    """Motion between a clip's frames as a classical method sees it: a target for PF's flow network.

    DIS (Kroeger et al., ECCV 2016; OpenCV's, preset medium) at up to 640 pixels a row, both ways; where the way there
    and back does not end within a pixel and a half of its start the motion is unknown.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: list[NDArray[np.uint8]] = []

    def push(self, picture: Float32, grid: tuple[int, int]) -> NDArray[np.float16]:
        """The next frame [3,H',W'] RGB in 0..1 -> [len(STRIDES),2,h,w] in cells: to where it was STRIDES[k] before."""
        factor = min(1.0, 640 / picture.shape[2])
        size = [max(16, round(n * factor)) for n in picture.shape[1:]]
        grey = cv2.cvtColor(np.ascontiguousarray(picture.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        now = np.clip(np.round(grey * 255), 0, 255).astype(np.uint8)
        flows = np.full((len(STRIDES), 2, *grid), np.nan, np.float16)
        for k, stride in enumerate(STRIDES):
            if stride <= len(self._before):
                flows[k] = self._between(now, self._before[-stride], grid)
        self._before = [*self._before[-max(STRIDES) + 1 :], now]
        return flows

    def _between(
        self, now: NDArray[np.uint8], before: NDArray[np.uint8], grid: tuple[int, int]
    ) -> NDArray[np.float16]:
        if now.shape != before.shape:
            return np.full((2, *grid), np.nan, np.float16)
        back, forth = (self._dis.calc(*pair, np.empty(0)) for pair in ((now, before), (before, now)))
        rows, columns = np.indices(now.shape, np.float32)
        returned = back + cv2.remap(
            forth,
            columns + back[..., 0],
            rows + back[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        known = (np.abs(returned).max(2) < 1.5).astype(np.float32)
        to_cells = np.array([grid[1] / now.shape[1], grid[0] / now.shape[0]], np.float32)
        share = cv2.resize(known, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)[..., None]
        total = cv2.resize(back * known[..., None], (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
        cells = np.where(share > 0.5, total / np.maximum(share, 1e-6) * to_cells, np.nan)
        return np.ascontiguousarray(cells.transpose(2, 0, 1)).astype(np.float16)


class StillWindows:
    """`variants` windows for each still; all but the teacher's scores is made again from the seed when asked for."""

    def __init__(
        self,
        stills: Stills,
        folder: Path,
        teacher: Teacher,
        geometry: Geometry,
        key: str,
        variants: int,
        seed: int,
    ) -> None:
        self.stills, self.geometry, self.variants, self.seed = stills, geometry, variants, seed
        path = (
            folder / f"stills-{_digest(key, *stills.names, str((variants, seed)), str(geometry))}.scores.npy"
        )
        if not path.exists():
            scores = np.stack([self._teach(index, teacher) for index in range(len(self))])
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, scores)
            partial.replace(path)
        self.scores: NDArray[np.float16] = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.stills) * self.variants

    def __getitem__(self, index: int) -> tuple[Float32, Float32, Labels, Float32]:
        """(pictures [5,3,h,w] in 0..1, scores of the first frame [C,h,w], labels [5,H,W] with IGNORE outside,
        flows [5,2,h,w] in cells, of each frame back to the one before; NaN in the first)."""
        frames, labels, moves = self._moved(index)
        pictures = [self._current(frame) for frame in frames]
        grid = self.scores.shape[2:]
        flows = [np.full((2, *grid), np.nan, np.float32)]
        flows += [flow_of_moves(now, before, labels[0].shape, grid) for before, now in pairwise(moves)]
        return np.stack(pictures), self.scores[index].astype(np.float32), np.stack(labels), np.stack(flows)

    def _moved(
        self, index: int, frames: int = FRAMES
    ) -> tuple[list[Image], list[Labels], list[NDArray[np.float64]]]:
        image, labels = self.stills[index // self.variants]
        rng = np.random.default_rng([self.seed, index])
        moves = camera_path(labels.shape, frames, rng)
        return *move_still(image, labels, moves), moves

    def _current(self, image: Image) -> Float32:
        frame = Frame.from_rgb(image)
        current: Float32 = prepare.current(frame, self.geometry.plan(frame.height, frame.width).grid)[0]
        return current

    def _teach(self, index: int, teacher: Teacher) -> NDArray[np.float16]:
        frame = Frame.from_rgb(self._moved(index, frames=1)[0][0])
        sizes = self.geometry.plan(frame.height, frame.width)
        return teacher(prepare.keyframe(frame, sizes.keyframe), sizes.grid).astype(np.float16)


def camera_path(size: Sequence[int], frames: int, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """`frames` maps [3,3] from the still's pixels to those of frame k: a steady zoom, pan and roll with a little shake.

    Rates a frame, of a 480x360 picture: zoom -1 to 5 %, pan up to 8 pixels (a turn) and 2 up or down, roll 0.6 degrees.
    """
    height, width = size
    centre = np.array([width * rng.uniform(0.25, 0.75), height * rng.uniform(0.3, 0.6)])
    zoom = rng.uniform(-0.01, 0.05)
    pan = np.array([rng.normal(0, 0.006) * width, rng.normal(0, 0.002) * height]).clip(
        -width / 60, width / 60
    )
    roll = np.radians(rng.normal(0, 0.2)).clip(-0.01, 0.01)
    closer = rng.uniform(1.0, 1.35)
    maps = []
    for k in range(frames):
        shake = rng.normal(0, 0.0007, 2) * width
        s, a = closer * (1 + zoom) ** k, roll * k
        linear = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        maps.append(
            np.vstack([np.column_stack([linear, centre - linear @ centre + pan * k + shake]), [0, 0, 1]])
        )
    return maps


def move_still(
    image: Image, labels: Labels, moves: Sequence[NDArray[np.float64]]
) -> tuple[list[Image], list[Labels]]:
    """The still as each map shows it; pictures mirrored at the border, labels IGNORE there."""
    size = (labels.shape[1], labels.shape[0])
    pictures = [
        cv2.warpPerspective(image, m, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(
            np.uint8
        )
        for m in moves
    ]
    maps = [
        cv2.warpPerspective(
            labels, m, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(IGNORE,)
        ).astype(np.uint8)
        for m in moves
    ]
    return pictures, maps


def flow_of_moves(
    now: NDArray[np.float64], before: NDArray[np.float64], size: Sequence[int], grid: Sequence[int]
) -> Float32:
    """Maps [3,3] of two frames of a moved still of `size` -> the exact motion back, [2,h,w] in cells of `grid`."""
    ratio = np.array([size[1] / grid[1], size[0] / grid[0]])  # pixels a cell
    rows, columns = np.indices(grid, np.float64)
    pixels = np.stack(
        [(columns + 0.5) * ratio[0] - 0.5, (rows + 0.5) * ratio[1] - 0.5, np.ones_like(rows)], -1
    )
    moved = pixels @ (before @ np.linalg.inv(now)).T
    motion = (moved[..., :2] / moved[..., 2:] - pixels[..., :2]) / ratio
    return np.ascontiguousarray(motion.transpose(2, 0, 1)).astype(np.float32)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Everything PF learns from, and how it came about."""

    clips: list[ClipCache]
    stills: StillWindows | None
    held_out_stills: StillWindows | None  # of the slice of `train` that is only measured
    description: dict[str, Any]


def load_windows(
    root: Path, checkpoint: Path, keyframe: nn.Module, geometry: Geometry, cache: Path, with_stills: bool
) -> Windows:
    """Windows of root/clips and, with `with_stills`, of root/camvid's training stills; the teacher runs once."""
    teacher, key = torch_teacher(keyframe), _file_digest(checkpoint)
    paths = training_clips(root / "clips")
    clips = [cache_clip(path, cache, teacher, geometry, key) for path in paths]
    sources = [f"windows of the clips {', '.join(clip.name for clip in clips)}, unlabelled"]
    stills = held_out = None
    if with_stills:
        labelled = load_labelled("camvid", root)
        stills = StillWindows(labelled.train, cache, teacher, geometry, key, variants=3, seed=0)
        held_out = StillWindows(labelled.held_out, cache, teacher, geometry, key, variants=2, seed=1)
        sources.append("CamVid train stills moved by a synthetic camera")
    return Windows(
        clips=clips,
        stills=stills,
        held_out_stills=held_out,
        description={"sources": sources, "teacher": key},
    )


def torch_teacher(keyframe: nn.Module) -> Teacher:
    """The keyframe network in bf16 on the CPU: (picture [1,3,H',W'], grid) -> scores [C,h,w] float32."""
    network = keyframe.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def teach(picture: Float32, grid: tuple[int, int]) -> Float32:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = network(torch.from_numpy(picture).contiguous(memory_format=torch.channels_last))
        scores = F.interpolate(scores.float(), size=grid, mode="bilinear", align_corners=False)
        return scores[0].numpy().astype(np.float32, copy=False)

    return teach


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
