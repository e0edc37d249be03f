"""A folder of unlabelled video -> what PF learns from: runs of consecutive frames with the network's own scores.

Hours of video are sampled: at most so many frames of each, in runs spread evenly over it, within a number of bytes for
all. What has been cached stays when a run is interrupted.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import prepare
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Size
from gsvnet_engine.segmenter import Segmenter
from gsvnet_engine.telemetry import Progress
from gsvnet_engine.video import SourceOptions, open_source
from gsvnet_export.outputs import Say, writing
from gsvnet_export.training.windows import FEWEST, STRIDES, ClipCache, ReferenceFlow

SUFFIXES = (".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
            ".ts", ".webm", ".wmv", ".y4m")  # fmt: skip
PARTS = ("pictures", "scores", "flows")  # of a ClipCache, in its order
LARGEST_SCORE = 60000.0  # that a cache of float16 holds
RUN = 100  # frames of each run of a long video
FEW_RUNS = 4  # of a video, where there is room for less than two of RUN frames


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """frames: at most so many of each video. bytes: of all videos together, on disk."""

    frames: int = 1500
    bytes: int = 4_000_000_000


class TooLargeError(InputError):
    """Scores that the cache does not hold: the network is to be mended, not the video left out."""


@dataclass(frozen=True)
class Video:
    """A video that opens: pixels, frames a second, and how many frames it says it has (None: unknown)."""

    path: Path
    size: Size
    rate: float
    frames: int | None


@dataclass(frozen=True)
class Run:
    """`frames` consecutive frames of a video from `start_s` seconds on."""

    video: Path
    start_s: float
    frames: int

    @property
    def name(self) -> str:
        return self.video.stem if self.start_s == 0 else f"{self.video.stem} from {self.start_s:.1f} s"


def find_videos(folder: Path, left_out: set[Path], say: Say) -> list[Video]:
    """Every video of a folder (or the one file) that opens, in name order; those that do not get a line each.

    InputError where none is left.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give a folder of videos")
    paths = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    found = []
    for path in paths:
        if path.resolve() in left_out or path.name.startswith("."):
            continue
        if path.is_file() and (path.suffix.lower() in SUFFIXES or not folder.is_dir()):
            try:
                with open_source(path) as source:
                    size = (source.height, source.width)
                    found.append(Video(path, size, float(source.rate), source.frames_estimate))
            except InputError as error:
                say(f"skipped: {error}")
    if not found:
        raise InputError(
            f"{folder}: holds no video to learn from; put unlabelled videos there (.mp4, .mkv, ...)"
        )
    return found


def plan_runs(videos: list[Video], bundle: Bundle, options: CacheOptions, say: Say) -> list[Run]:
    """Which frames to take, within the limits; a line where that is not all."""
    classes = len(bundle.manifest.classes)
    share = options.bytes // len(videos)
    runs: list[Run] = []
    total = taken = 0
    for video in videos:
        limit = min(options.frames, share // bytes_a_frame(bundle.plan(*video.size).grid, classes))
        if limit < FEWEST:
            raise InputError(
                f"{video.path.parent}: {len(videos)} videos share {_shown(options.bytes)} of cache, which is "
                f"fewer than {FEWEST} frames each; allow more with --cache-gb, or give fewer videos"
            )
        found = _runs(video, limit)
        runs += found
        total += video.frames or 0
        taken += min(sum(run.frames for run in found), video.frames or 2**62)
    if total > taken:
        say(f"taking {taken} of {total} frames, at most {options.frames} a video and {_shown(options.bytes)}")
    return runs


def _shown(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"


def _runs(video: Video, limit: int) -> list[Run]:
    """The whole video, or runs of it spread evenly from its start to its end."""
    if video.frames is None or video.frames <= limit:
        return [Run(video.path, 0.0, limit)]
    count = limit // RUN if limit >= 2 * RUN else max(1, min(FEW_RUNS, limit // FEWEST))
    length = min(RUN, limit // count)
    last = video.frames - length
    starts = [last * k // max(1, count - 1) for k in range(count)]
    return [Run(video.path, start / video.rate, length) for start in starts]


def bytes_a_frame(grid: Size, classes: int) -> int:
    """Of the cache: picture, scores and motion."""
    return grid[0] * grid[1] * (3 + 2 * classes + 4 * len(STRIDES))


def frames_of(run: Run) -> Iterator[Frame]:
    """The run's frames, up to where something could not be read or the picture changes its size."""
    with open_source(run.video, SourceOptions(start_s=run.start_s, max_frames=run.frames)) as source:
        first: Frame | None = None
        for frame in source:
            first = first or frame
            broken = frame is not first and frame.forces_keyframe
            if broken or (frame.height, frame.width) != (first.height, first.width):
                return
            yield frame


def cache_runs(
    runs: list[Run], folder: Path, bundle: Bundle, segmenter: Segmenter, say: Say
) -> list[tuple[Run, ClipCache]]:
    """Run the network over every run that `folder` does not hold yet; runs that are too short get a line.

    InputError where none is left; TooLargeError where the network's scores are too large to be kept.
    """
    cached = []
    with Progress("caching scores", sum(run.frames for run in runs)) as bar:
        done = 0
        for run in runs:
            try:
                with writing(folder, "--work"):
                    clip = _cached(run, folder, bundle, segmenter, lambda n, done=done: bar.step(done + n))  # type: ignore[misc]
            except TooLargeError:
                raise
            except InputError as error:
                say(f"skipped: {error}")
                continue
            done += run.frames
            if len(clip) < FEWEST:
                say(f"skipped: {run.name}: {len(clip)} consecutive frames; at least {FEWEST} are needed")
            else:
                cached.append((run, clip))
    if not cached:
        raise InputError(f"{runs[0].video.parent}: no video has {FEWEST} consecutive frames to learn from")
    return cached


def _half(run: Run, scores: NDArray[np.float32]) -> NDArray[np.float16]:
    """[C,h,w] as the cache keeps it."""
    if not np.isfinite(scores).all():
        raise InputError(
            f"{run.name}: the network gives scores that are not finite here; leave the video out"
        )
    if np.abs(scores).max() > LARGEST_SCORE:
        raise TooLargeError(
            f"its scores lie in {scores.min():.3g}..{scores.max():.3g} ({run.name}), and PF learns from scores within "
            f"{LARGEST_SCORE:g} of zero; export it with a softmax, or with its logits divided by a constant"
        )
    return scores.astype(np.float16)


@dataclass(frozen=True)
class _Files:
    """One run's part of the cache: a description, and an array for each part of a ClipCache."""

    folder: Path
    stem: str
    classes: int

    @property
    def description(self) -> Path:
        return self.folder / f"{self.stem}.json"

    def path(self, part: str) -> Path:
        return self.folder / f"{self.stem}.{part}"

    def layout(self, part: str) -> tuple[tuple[int, ...], type[np.generic]]:
        """Shape of a frame before rows and columns, and dtype."""
        if part == "pictures":
            return (3,), np.uint8
        return ((self.classes,) if part == "scores" else (len(STRIDES), 2)), np.float16

    def facts(self) -> tuple[int, Size] | None:
        """(frames, grid), or None where the cache does not hold the run whole."""
        try:
            read = json.loads(self.description.read_text())
            frames, (height, width) = int(read["frames"]), map(int, read["grid"])
            for part in PARTS:
                shape, kind = self.layout(part)
                size = frames * math.prod(shape) * height * width * np.dtype(kind).itemsize
                if self.path(part).stat().st_size != size:
                    return None
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return (frames, (height, width)) if min(frames, height, width) >= min(frames, 1) >= 0 else None

    def describe(self, frames: int, grid: Size) -> None:
        """Say that the run is there, whole."""
        partial = self.description.with_suffix(".partial")
        partial.write_text(json.dumps({"frames": frames, "grid": grid}))
        partial.replace(self.description)

    def open(self, name: str, frames: int, grid: Size) -> ClipCache:
        arrays = []
        for part in PARTS:
            shape, kind = self.layout(part)
            if frames < FEWEST:  # nobody looks into it, and an empty file cannot be mapped
                arrays.append(np.empty((frames, *shape, 1, 1), kind))
            else:
                arrays.append(np.memmap(self.path(part), kind, "r", shape=(frames, *shape, *grid)))
        return ClipCache(name, *arrays)


def _cached(
    run: Run, folder: Path, bundle: Bundle, segmenter: Segmenter, step: Callable[[int], None]
) -> ClipCache:
    """One run's pictures, scores and motion: made now, unless the cache holds them whole."""
    key = (bundle.manifest.graphs["keyframe.onnx"], str(bundle.manifest.geometry), segmenter.backend)
    about = (str(run.video.stat().st_size), str(run.video.stat().st_mtime_ns), str(run))
    stem = f"{run.video.stem}-{hashlib.sha256(chr(10).join((*key, *about)).encode()).hexdigest()[:16]}"
    files = _Files(folder, stem, len(bundle.manifest.classes))
    facts = files.facts() or _cache(run, files, bundle, segmenter, step)
    return files.open(run.name, *facts)


def _cache(
    run: Run, files: _Files, bundle: Bundle, segmenter: Segmenter, step: Callable[[int], None]
) -> tuple[int, Size]:
    """Stream a run's pictures, scores and motion to files; the description is written last. (frames, grid)."""
    files.folder.mkdir(parents=True, exist_ok=True)
    files.description.unlink(missing_ok=True)
    motion, frames, grid = ReferenceFlow(), 0, (0, 0)
    with (
        files.path("pictures").open("wb") as pictures,
        files.path("scores").open("wb") as scores,
        files.path("flows").open("wb") as flows,
    ):
        for frame in frames_of(run):
            sizes = bundle.plan(frame.height, frame.width)
            grid, frames = sizes.grid, frames + 1
            picture = np.round(prepare.current(frame, grid)[0] * 255)
            pictures.write(picture.astype(np.uint8).tobytes())
            scores.write(_half(run, segmenter.keyframe_scores(frame)[0]).tobytes())
            flows.write(motion.push(prepare.keyframe(frame, sizes.keyframe)[0], grid).tobytes())
            step(frames)
    files.describe(frames, grid)
    return frames, grid
