"""Frames of real clips: for machine-labelled stills, and (training/windows.py) for windows of consecutive frames."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gsvnet_engine.errors import InputError
from gsvnet_export.data.camvid import read_image, read_labels
from gsvnet_export.data.stills import Image, Labels, Still, Stills

# Never trained on: the overlays and agreements that are reported come from these.
HELD_OUT = ("udacity_vehdet_test_video", "orange_road", "bikes")


def training_clips(folder: Path) -> list[Path]:
    """The videos of a folder less the held-out ones, in name order. InputError when none is left."""
    clips = sorted(p for p in folder.glob("*.mp4") if p.stem not in HELD_OUT)
    if not clips:
        raise InputError(f"{folder}: no .mp4 to train on (held out always: {', '.join(HELD_OUT)})")
    return clips


def machine_labelled(clips: Path, labels: Path, short_side: int) -> Stills:
    """Frames of clips that have machine labels `labels/<clip>/<frame index>.png`, brought to a short side.

    Only clips outside HELD_OUT. The labels help training and are never a ground truth.
    """
    items = []
    for clip in training_clips(clips):
        wanted = {_index(p): p for p in sorted((labels / clip.stem).glob("*.png"))}
        if wanted:
            frames = _frames(clip, set(wanted), short_side)
            items += [
                Still(f"{clip.stem}/{index}", partial(_pair, frames[index], path))
                for index, path in wanted.items()
                if index in frames
            ]
    if not items:
        raise InputError(f"{labels}: no <clip>/<frame index>.png that belongs to a clip of {clips}")
    return Stills(items, keep=True)


def _index(labels: Path) -> int:
    if not (labels.stem.isascii() and labels.stem.isdigit()):
        raise InputError(f"{labels}: is not named by a frame's index, as in 000120.png; move it elsewhere")
    return int(labels.stem)


def _pair(image: Image, labels: Path) -> tuple[Image, Labels]:
    size = (image.shape[1], image.shape[0])
    return image, cv2.resize(read_labels(labels), size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)


def _frames(clip: Path, wanted: set[int], short_side: int) -> dict[int, Image]:
    """The frames of those indices, brought to a short side; InputError naming the clip where it cannot be read."""
    import av

    try:
        return _decoded(clip, wanted, short_side)
    except (av.FFmpegError, IndexError) as error:  # IndexError: no video stream
        reason = "it holds no video" if isinstance(error, IndexError) else error.strerror or str(error)
        raise InputError(
            f"{clip}: cannot be decoded ({reason}); restore it, or remove its machine labels"
        ) from error


def _decoded(clip: Path, wanted: set[int], short_side: int) -> dict[int, Image]:
    import av

    frames = {}
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                image = frame.to_ndarray(format="rgb24")
                factor = short_side / min(image.shape[:2])
                size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
                frames[index] = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return frames


__all__ = ["HELD_OUT", "machine_labelled", "read_image", "training_clips"]
