"""Temporal consistency: how many labels stay the same along the motion of the picture.

For two frames t-1 and t in succession, the labels of t-1 are carried to t along a flow that no bundle takes part in:
DIS (Kroeger et al. 2016; cv2.DISOpticalFlow, medium preset) on the luma of the full frames. With f the flow from t to
t-1 at pixel p and g that from t-1 to t at p + f, a pixel is left out where p + f lies outside the picture, or where
|f + g|^2 > 0.01 (|f|^2 + |g|^2) + 0.5 (Sundaram et al. 2010): hidden before, or the flow is wrong. Consistency is the
percent of the remaining pixels, pooled over all pairs, whose label at t is the label of t-1 at round(p + f). Higher is
steadier; what is missing to 100 are label changes that the motion does not explain (and errors of the flow). The ground
truth's own consistency, over pixels that are labelled in both frames, shows what can be had.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.evaluation.dataset import Labels
from gsvnet_engine.frames import Frame

Float32 = NDArray[np.float32]
_RELATIVE, _ABSOLUTE = 0.01, 0.5
_DIS_LEAST = 16  # pixels a side below which DIS has no pyramid to work on


@dataclass(frozen=True)
class Motion:
    """rows, columns [H,W] int32: where in frame t-1 each pixel of t was; valid [H,W] bool: whether that is sure."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    valid: NDArray[np.bool_]

    @classmethod
    def from_flows(cls, backward: Float32, forward: Float32) -> "Motion":
        """From the flows [H,W,2] float32 (x, y in pixels) t -> t-1 and t-1 -> t."""
        import cv2

        height, width = backward.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        to_x, to_y = x + backward[..., 0], y + backward[..., 1]
        inside = (to_x > -0.5) & (to_x < width - 0.5) & (to_y > -0.5) & (to_y < height - 0.5)
        back = cv2.remap(forward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = ((backward + back) ** 2).sum(2)
        allowed = _RELATIVE * ((backward**2).sum(2) + (back**2).sum(2)) + _ABSOLUTE
        return cls(_rounded(to_y, height), _rounded(to_x, width), inside & (error <= allowed))


class Track:
    """The motion from frame to frame of one video."""

    def __init__(self) -> None:
        self._before: Labels | None = None

    def step(self, frame: Frame) -> Motion | None:
        """The motion since the frame before; None for the first, after a change of size, and after a cut or a seek
        that the source knows of."""
        luma, before = luma_of(frame), self._before
        self._before = luma
        if (
            before is None
            or before.shape != luma.shape
            or frame.forces_keyframe
            or min(luma.shape) < _DIS_LEAST
        ):
            return None
        return motion_between(before, luma)


class Consistency:
    """Pixels, and those of them that kept their label, over the frames of one labelling."""

    def __init__(self, classes: int | None = None) -> None:
        """classes: labels of so many or more are none, and count in neither."""
        self._classes = classes
        self._before: Labels | None = None
        self._same = self._pixels = 0

    def add(self, labels: Labels, motion: Motion | None) -> None:
        """The next frame's labels [H,W] uint8, and how it moved since the last (None: starts anew)."""
        if motion is not None and self._before is not None:
            carried, valid = self._before[motion.rows, motion.columns], motion.valid
            if self._classes is not None:
                valid = valid & (carried < self._classes) & (labels < self._classes)
            self._same += int(np.count_nonzero((carried == labels) & valid))
            self._pixels += int(np.count_nonzero(valid))
        self._before = labels

    def percent(self) -> float | None:
        """Percent of the pixels, None without any."""
        return 100 * self._same / self._pixels if self._pixels else None


def motion_between(before: Labels, after: Labels) -> Motion:
    """The motion of one luma picture [H,W] uint8 to the next, by DIS both ways."""
    import cv2

    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, after = np.ascontiguousarray(before), np.ascontiguousarray(after)
    none: Float32 = np.zeros((*after.shape, 2), np.float32)
    backward = dis.calc(after, before, none.copy())
    forward = dis.calc(before, after, none)
    return Motion.from_flows(np.asarray(backward, np.float32), np.asarray(forward, np.float32))


def luma_of(frame: Frame) -> Labels:
    """[H,W] uint8: the luma plane, or that of RGB (BT.601), at 8 bits."""
    import cv2

    planes = [(plane.data >> (plane.shift + frame.depth - 8)).astype(np.uint8) for plane in frame.planes]
    if frame.kind == "rgb":
        return np.asarray(cv2.cvtColor(np.stack(planes, 2), cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(planes[0])


def _rounded(positions: Float32, size: int) -> NDArray[np.int32]:
    return np.clip(np.rint(positions), 0, size - 1).astype(np.int32)
