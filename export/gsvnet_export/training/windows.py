"""What PF learns from: windows of consecutive frames at 1/8 size, with the keyframe network's scores.

Two kinds. *Clip windows*: consecutive frames of unlabelled video; the teacher's scores of every frame are the target.
*Still windows*: a labelled still moved by a synthetic camera; its labels, moved alike, are the target, and only the
first frame needs the teacher. Teachers are run once, through the engine's own decoding and frame preparation, and
their scores kept in memory-mapped arrays beside the run.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from gsvnet_engine import prepare
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Geometry
from gsvnet_engine.video import open_source
from gsvnet_export.data.clips import training_clips
from gsvnet_export.data.datasets import load_labelled
from gsvnet_export.data.stills import Labels, Stills, version
from gsvnet_export.outputs import Say, whole, writing
from gsvnet_export.training.augment import other_weather
from gsvnet_export.training.camera import MovedStill, SceneClasses, camera_path
from gsvnet_export.training.crossing import CrossedStill, crossing, cut_from
from gsvnet_export.training.loop import CPU, bf16_where_fast

Float32 = NDArray[np.float32]
# (keyframe picture [1,3,H',W'], grid (h, w)) -> scores [C,h,w]
Teacher = Callable[[Float32, tuple[int, int]], Float32]

FRAMES = 5  # of a still window: the keyframe and four propagated frames
FEWEST = 10  # of a clip: the last five are held out, and windows take two to five of the others
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
    """Decode `clip`, run the teacher on every frame, keep all in `folder`; later calls map what is there.

    `key` names the teacher: another teacher gets other scores, but pictures and motion are made once.
    """
    stem = f"{clip.stem}-{_digest(str(version(clip)), str(geometry))}"
    pictures, flows = _kept(folder, stem, ("pictures", "flows"), lambda: _filmed(clip, geometry))
    (scores,) = _kept(folder, f"{stem}-{key}", ("scores",), lambda: _taught(clip, geometry, teacher))
    return ClipCache(clip.stem, pictures, scores, flows)


def _kept(
    folder: Path, stem: str, parts: Sequence[str], rows: Callable[[], Iterator[tuple[NDArray[Any], ...]]]
) -> list[NDArray[Any]]:
    """What `rows` yields, stacked by column into files of `folder`, each mapped; made where one is missing or cut."""
    paths = [folder / f"{stem}.{part}.npy" for part in parts]
    kept = _mapped(paths)
    if kept is None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for path, column in zip(paths, zip(*rows(), strict=True), strict=True):
            stacked = np.stack(column)
            with whole(path) as file:
                np.save(file, stacked)
        kept = [np.load(path, mmap_mode="r") for path in paths]
    return kept


def _mapped(paths: list[Path]) -> list[NDArray[Any]] | None:
    """The arrays, None where one cannot be read."""
    try:
        return [np.load(path, mmap_mode="r") for path in paths]
    except (OSError, ValueError, EOFError):
        return None


def _filmed(clip: Path, geometry: Geometry) -> Iterator[tuple[NDArray[Any], ...]]:
    motion = ReferenceFlow()
    with open_source(clip) as source:
        for frame in source:
            sizes = geometry.plan(frame.height, frame.width)
            picture = prepare.current(frame, sizes.grid)[0]
            flows = motion.push(prepare.keyframe(frame, sizes.keyframe)[0], sizes.grid)
            yield np.round(picture * 255).astype(np.uint8), flows


def _taught(clip: Path, geometry: Geometry, teacher: Teacher) -> Iterator[tuple[NDArray[Any], ...]]:
    with open_source(clip) as source:
        for frame in source:
            sizes = geometry.plan(frame.height, frame.width)
            yield (teacher(prepare.keyframe(frame, sizes.keyframe), sizes.grid).astype(np.float16),)


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
    """`variants` windows for each still, moved by a synthetic camera; kept in files once they are made.

    What the camera saw does not depend on the teacher: only the teacher's scores of the first frames are its own.
    Raises UsageError for a geometry by which a cell is no whole number of the stills' pixels: labels could not be
    cropped with scores.

    Tried: a teacher that sees the first frames coarser and in other light, since it knows these stills (`street`'s:
    83 % mIoU of them, 72 of held-out ones). 500 steps from scores of some 77 % left what propagation loses as it was.
    """

    def __init__(
        self,
        stills: Stills,
        classes: SceneClasses,
        folder: Path,
        geometry: Geometry,
        variants: int,
        seed: int,
    ) -> None:
        height, width = stills[0][1].shape
        rows, columns = geometry.plan(height, width).grid
        if height % rows or columns * (height // rows) != width:
            raise UsageError(
                f"stills of {width}x{height} pixels on a grid of {columns}x{rows}: no whole number of pixels a cell; "
                "give another --short-side (CamVid's 480x360 takes 720), or --no-stills"
            )
        self.stills, self.classes, self.geometry = stills, classes, geometry
        self.variants, self.seed = variants, seed
        self._folder = folder
        way = str((variants, seed, classes, "crossed, in other weather"))
        self._name = f"stills-{_digest(*stills.versions(), way, str(geometry))}"
        frames = (self._filmed(index) for index in range(len(self)))
        parts = ("pictures", "labels", "flows")
        self._pictures, self._labels, self._flows = _kept(folder, self._name, parts, lambda: frames)
        self.scores: NDArray[np.float16] = np.empty((0, 0, *self._pictures.shape[3:]), np.float16)

    def teach(self, teacher: Teacher, key: str) -> None:
        """Run the teacher that `key` names on every window's first frame."""
        rows = ((self._taught(index, teacher),) for index in range(len(self)))
        (self.scores,) = _kept(self._folder, f"{self._name}-{key}", ("scores",), lambda: rows)

    def __len__(self) -> int:
        return len(self.stills) * self.variants

    def __getitem__(self, index: int) -> tuple[Float32, Float32, Labels, Float32]:
        """(pictures [5,3,h,w] in 0..1, scores of the first frame [C,h,w], labels [5,H,W] with IGNORE where unknown,
        flows [5,2,h,w] in cells, of each frame back to the one before; NaN where unknown, as in the first)."""
        pictures = self._pictures[index].astype(np.float32) / np.float32(255)
        return (
            pictures,
            self.scores[index].astype(np.float32),
            self._labels[index],
            self._flows[index].astype(np.float32),
        )

    def _filmed(self, index: int) -> tuple[NDArray[np.uint8], Labels, NDArray[np.float16]]:
        """Of one window: pictures [5,3,h,w] (times 255), labels [5,H,W], flows [5,2,h,w]."""
        moved = self._moved(index)
        grid = self.geometry.plan(*self.stills[0][1].shape).grid
        frames, labels = zip(*(moved.view(k) for k in range(FRAMES)), strict=True)
        pictures = [np.round(prepare.current(Frame.from_rgb(frame), grid)[0] * 255) for frame in frames]
        flows = [np.full((2, *grid), np.nan), *(moved.flow(k, grid) for k in range(1, FRAMES))]
        return np.stack(pictures).astype(np.uint8), np.stack(labels), np.stack(flows).astype(np.float16)

    def _moved(self, index: int) -> CrossedStill:
        """Every third variant of a still is zoomed and shifted as a whole, the others are driven into.

        Things of other stills cross two of three windows, one or two of them. Shadows move as the ground does: what is
        dark on the road is not all cars.
        """
        image, labels = self.stills[index // self.variants]
        sky, road = np.isin(labels, self.classes.sky), np.isin(labels, self.classes.ground[:1])
        image = other_weather(image, sky, road, np.random.default_rng([self.seed, index, 1]))
        rng = np.random.default_rng([self.seed, index])
        path = camera_path(labels.shape, FRAMES, rng, drive=index % self.variants % 3 > 0)
        moved = MovedStill(image, labels, path, self.classes, rng)
        cuts = [cut_from(self.stills, self.classes.movers, rng) for _ in range(int(rng.integers(3)))]
        size = (labels.shape[0], labels.shape[1])
        return CrossedStill(moved, [crossing(cut, size, path.maps, rng) for cut in cuts if cut is not None])

    def _taught(self, index: int, teacher: Teacher) -> NDArray[np.float16]:
        frame = Frame.from_rgb(self._moved(index).view(0)[0])
        sizes = self.geometry.plan(frame.height, frame.width)
        return teacher(prepare.keyframe(frame, sizes.keyframe), sizes.grid).astype(np.float16)


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
    root: Path,
    checkpoint: Path,
    keyframe: nn.Module,
    geometry: Geometry,
    cache: Path,
    with_stills: bool,
    say: Say = lambda note: None,
    device: torch.device = CPU,
) -> Windows:
    """Windows of root/clips and, with `with_stills`, of root/camvid's training stills; the teacher runs once, on
    `device`.

    Clips of fewer than FEWEST frames are left out, and `say` hears of each; InputError where no clip is left.
    """
    paths = training_clips(root / "clips")
    stills, held_out = still_windows(root, geometry, cache) if with_stills else (None, None)
    teacher, key = torch_teacher(keyframe, device), _file_digest(checkpoint)
    clips = [cache_clip(path, cache, teacher, geometry, key) for path in paths]
    for short in (clip for clip in clips if len(clip) < FEWEST):
        say(f"skipped: {short.name}: {len(short)} frames; at least {FEWEST} are needed")
    clips = [clip for clip in clips if len(clip) >= FEWEST]
    if not clips:
        raise InputError(f"{root / 'clips'}: no clip has the {FEWEST} frames that are needed to learn from")
    sources = [f"windows of the clips {', '.join(clip.name for clip in clips)}, unlabelled"]
    for part in (stills, held_out):
        if part is not None:
            part.teach(teacher, key)
    if with_stills:
        sources.append("CamVid train stills moved by a synthetic camera")
    return Windows(
        clips=clips,
        stills=stills,
        held_out_stills=held_out,
        description={"sources": sources, "teacher": key},
    )


def still_windows(root: Path, geometry: Geometry, cache: Path) -> tuple[StillWindows, StillWindows]:
    """Of root/camvid's training stills, and of the slice of them that is only measured."""
    labelled = load_labelled("camvid", root)
    scene = SceneClasses.of([c["name"] for c in labelled.description["classes"]])
    return (
        StillWindows(labelled.train, scene, cache, geometry, variants=3, seed=0),
        StillWindows(labelled.held_out, scene, cache, geometry, variants=3, seed=1),
    )


def torch_teacher(keyframe: nn.Module, device: torch.device = CPU) -> Teacher:
    """The keyframe network on `device`, in bf16 where fast: (picture [1,3,H',W'], grid) -> scores [C,h,w] float32."""
    network = keyframe.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def teach(picture: Float32, grid: tuple[int, int]) -> Float32:
        with bf16_where_fast(device):
            scores = network(
                torch.from_numpy(picture).to(device).contiguous(memory_format=torch.channels_last)
            )
        scores = F.interpolate(scores.float(), size=grid, mode="bilinear", align_corners=False)
        return scores[0].cpu().numpy().astype(np.float32, copy=False)

    return teach


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
