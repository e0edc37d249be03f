"""How far a video's labels at an interval agree with those at interval 1, and how steady they are: no labels needed."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.consistency import Consistency, Motion, Track
from gsvnet_engine.evaluation.dataset import Labels
from gsvnet_engine.evaluation.networks import RuntimeOptions
from gsvnet_engine.frames import Frame
from gsvnet_engine.segmenter import Segmenter

_OPTIONS = RuntimeOptions()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share (0..1) of a video's pixels that are labelled as at interval 1: by the engine, and by repeating the last
    keyframe's labels. `consistency`: percent (see consistency.py), of both; None where not measured."""

    interval: int
    agreement: float
    repeat_agreement: float
    consistency: float | None = None
    repeat_consistency: float | None = None


def agreement(
    bundle: Bundle,
    source: Iterable[Frame],
    intervals: Sequence[int],
    *,
    options: RuntimeOptions = _OPTIONS,
    consistency: bool = False,
) -> list[Agreement]:
    """Segment a video at interval 1 and, in step with it, at each of `intervals`.

    Raises InputError where the source has no frame.
    """
    with ExitStack() as stack:
        every = [
            _Compared(stack.enter_context(options.segmenter(bundle, interval)))
            for interval in sorted({1, *intervals})
        ]
        track = Track() if consistency else None
        pixels = 0
        for frame in source:
            motion = None if track is None else track.step(frame)
            labels = every[0].push(frame)
            pixels += labels.size
            for one in every[1:]:
                one.push(frame)
            for one in every:
                one.compare(labels, motion)
        if not pixels:
            raise InputError("the video has no frame to compare")
        return [one.row(pixels) for one in every if one.segmenter.interval in intervals]


class _Compared:
    """A Segmenter at some interval, counted against labels at interval 1 and against its own last frame."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.equal = self.repeat_equal = 0
        self._labels = self._repeated = np.empty((0, 0), np.uint8)
        self._steady = {"engine": Consistency(), "repeat": Consistency()}

    def push(self, frame: Frame) -> Labels:
        segmentation = self.segmenter.push(frame)
        self._labels = segmentation.labels
        if segmentation.is_keyframe:
            self._repeated = segmentation.labels
        return self._labels

    def compare(self, reference: Labels, motion: Motion | None) -> None:
        self.equal += int(np.count_nonzero(self._labels == reference))
        self.repeat_equal += int(np.count_nonzero(self._repeated == reference))
        self._steady["engine"].add(self._labels, motion)
        self._steady["repeat"].add(self._repeated, motion)

    def row(self, pixels: int) -> Agreement:
        return Agreement(
            interval=self.segmenter.interval,
            agreement=self.equal / pixels,
            repeat_agreement=self.repeat_equal / pixels,
            consistency=self._steady["engine"].percent(),
            repeat_consistency=self._steady["repeat"].percent(),
        )
