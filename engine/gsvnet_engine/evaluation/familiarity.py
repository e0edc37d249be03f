"""What a bundle's familiarity statistic comes to on known material and on videos, and the threshold that follows.

Known material: every split of a labelled data set that is there (its labels are not looked at), pictures in their
order; of each sequence at most 3 windows of 10 pictures, spread evenly. A video: windows of 10 keyframes as `run`
takes them, the first ones and others spread evenly. The proposed threshold is the value that 2 % of the known pictures
lie below. `run` compares it with the median of a window, which errs less often than a single picture does:
`false_alarms` counts it.
"""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.camvid import CamVid
from gsvnet_engine.evaluation.cityscapes import Cityscapes
from gsvnet_engine.evaluation.dataset import read_picture
from gsvnet_engine.evaluation.layouts import is_cityscapes
from gsvnet_engine.evaluation.networks import Networks, RuntimeOptions
from gsvnet_engine.familiarity import FEWEST, KEYFRAMES, mean_confidence
from gsvnet_engine.sources.base import SourceError
from gsvnet_engine.video import SourceOptions, open_source

FALSE_ALARMS = 0.02
_SPLITS = ("train", "val", "test")
_STILL_WINDOWS, _VIDEO_WINDOWS = 3, 3
_OPTIONS = RuntimeOptions()
_W = TypeVar("_W", bound=Sized)
Windows = tuple[tuple[float, ...], ...]
Note = Callable[[str, Sequence[SourceError]], None]


def _ignore(name: str, errors: Sequence[SourceError]) -> None:
    """The Note that nobody reads."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """The statistic of each picture of each window. `is_known`: like what the bundle was trained on, by assumption."""

    name: str
    is_known: bool
    windows: Windows

    def values(self) -> list[float]:
        return [value for window in self.windows for value in window]

    def warned(self, threshold: float) -> int:
        """How many windows `run` would warn of."""
        return sum(median(window) < threshold for window in self.windows)

    def run_warns(self, threshold: float) -> bool:
        """Whether `run` warns of it: its first window decides."""
        return median(self.windows[0]) < threshold


@dataclass(frozen=True, kw_only=True)
class Survey:
    """`usual`: the lowest and highest tenth on known material; `false_alarms`: share (0..1) of its windows."""

    materials: tuple[Material, ...]
    threshold: float
    usual: tuple[float, float]
    false_alarms: float


def survey(
    bundle: Bundle,
    root: Path,
    videos: Sequence[str],
    *,
    kind: str = "auto",
    options: RuntimeOptions = _OPTIONS,
    max_frames: int | None = None,
    note: Note = _ignore,
) -> Survey:
    """Measure the splits of the data set in `root`, and the videos: files, or folders of .mp4.

    kind: as `open_dataset` takes it. max_frames: the first of each split and of each video. note: hears of each
    video's name and unreadable parts. Raises InputError where there is no split, or a video with too few keyframes.
    """
    with Networks(bundle, options) as networks:
        known = [
            Material(name=name, is_known=True, windows=_of_stills(networks, pictures))
            for name, pictures in known_material(root, kind, max_frames)
        ]
        judged = [
            Material(
                name=Path(video).stem,
                is_known=False,
                windows=_of_video(networks, video, bundle.manifest.interval, max_frames, note),
            )
            for video in videos_in(videos)
        ]
    return conclude(known, judged)


def conclude(known: Sequence[Material], judged: Sequence[Material]) -> Survey:
    """The threshold that the known material gives, and how often it errs there."""
    values = [value for material in known for value in material.values()]
    if not values:
        raise InputError(f"no sequence of the known material has {FEWEST} pictures; give the whole data set")
    threshold = float(np.quantile(values, FALSE_ALARMS))
    windows = sum(len(material.windows) for material in known)
    return Survey(
        materials=(*known, *judged),
        threshold=threshold,
        usual=(float(np.quantile(values, 0.1)), float(np.quantile(values, 0.9))),
        false_alarms=sum(material.warned(threshold) for material in known) / windows,
    )


def known_material(
    root: Path, kind: str = "auto", max_frames: int | None = None
) -> list[tuple[str, list[Path]]]:
    """(name, pictures in order) of each sequence of each split that is there, with its pictures. Raises InputError
    where none is."""
    found = []
    for split in _SPLITS:
        if is_cityscapes(root, kind):
            if not Cityscapes.has(root, split):
                continue
            city = Cityscapes.open(root, split).clips(1, max_frames)
            pictures = [(clip[0].image.parent.name, clip[0].image) for clip in city]
        else:
            if not any((folder / split).is_dir() for folder in (root, root / "camvid")):
                continue
            stills = CamVid.open(root, split).stills[:max_frames]
            pictures = [(still.sequence, still.image) for still in stills]
        for sequence, run in groupby(pictures, lambda pair: pair[0]):
            found.append((f"{split}/{sequence}", [image for _, image in run]))
    if not found:
        raise InputError(f"{root}: holds none of {', '.join(_SPLITS)}; give the data set's folder")
    return found


def _of_stills(networks: Networks, pictures: Sequence[Path]) -> Windows:
    windows = [pictures[at : at + KEYFRAMES] for at in range(0, len(pictures), KEYFRAMES)]
    return tuple(
        tuple(mean_confidence(networks.keyframe(read_picture(path))) for path in window)
        for window in _spread(windows, _STILL_WINDOWS)
    )


def _of_video(networks: Networks, video: str, interval: int, max_frames: int | None, note: Note) -> Windows:
    """The first keyframes, as `run` sees them, and later ones: each frame is decoded, only chosen ones segmented."""
    with open_source(video, SourceOptions(max_frames=max_frames)) as source:
        count = sum(1 for _ in source)
    keyframes = range(0, count, interval)
    windows = [keyframes[at : at + KEYFRAMES] for at in range(0, len(keyframes), KEYFRAMES)]
    chosen = _spread(windows, _VIDEO_WINDOWS)
    wanted = {number for window in chosen for number in window}
    values: dict[int, float] = {}
    with open_source(video, SourceOptions(max_frames=max_frames)) as source:
        for number, frame in enumerate(source):
            if number in wanted:
                values[number] = mean_confidence(networks.keyframe(frame))
        note(source.name, source.errors)
    found = tuple(tuple(values[n] for n in window if n in values) for window in chosen)
    if not found:
        raise InputError(
            f"{video}: has fewer than {FEWEST} keyframes at interval {interval}; give a longer one"
        )
    return found


def _spread(windows: Sequence[_W], count: int) -> list[_W]:
    """At most `count` of the windows that are long enough, evenly, the first among them."""
    usable = [window for window in windows if len(window) >= FEWEST]
    if len(usable) <= count:
        return list(usable)
    return [usable[round(i * (len(usable) - 1) / (count - 1))] for i in range(count)]


def videos_in(given: Sequence[str]) -> Iterator[str]:
    """The videos themselves; those of a folder that holds some."""
    for video in given:
        folder = Path(video)
        inside = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
        yield from map(str, inside) if inside else [video]
