"""Things that cross a moved still: cut from other stills, pasted in, on a way of their own with exact motion.

A camera that drives through a still moves what is in it along rays from where it drives to. Crossing traffic, oncoming
cars and people on foot do not keep to those, and show at the picture's edge what no frame before has shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gsvnet_export.data.stills import Image, Labels, Stills
from gsvnet_export.training.camera import CAMERA_HEIGHT_M, HORIZON, MovedStill, cell_centres

_SMALLEST, _LARGEST = 0.0008, 0.08  # of the picture's area
_TRIES = 8  # stills looked through for one cut
_FARTHEST = 0.03  # of the height below the horizon: what stands higher does not cross


@dataclass(frozen=True)
class Cut:
    """A thing cut from a still: picture [h,w,3] uint8, mask [h,w] float32 0..1, class id, and where its corner was."""

    picture: Image
    mask: NDArray[np.float32]
    label: int
    corner: tuple[int, int]  # x, y in pixels, of the top left


@dataclass(frozen=True)
class Crossing:
    """A cut and, for each frame, the map [3,3] (affine) from its pixels to the frame's."""

    cut: Cut
    maps: tuple[NDArray[np.float64], ...]
    below: float  # pixels from the horizon down to its foot: what is lower is nearer

    def paint(self, picture: Image, labels: Labels, k: int) -> None:
        """Put it into frame k, in place: picture [H,W,3], labels [H,W]."""
        size = (labels.shape[1], labels.shape[0])
        matrix = self.maps[k][:2]
        mask = cv2.warpAffine(self.cut.mask, matrix, size, flags=cv2.INTER_LINEAR)
        if not mask.any():
            return
        seen = cv2.warpAffine(
            self.cut.picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        share = mask[..., None]
        picture[:] = np.round(picture * (1 - share) + seen * share).astype(np.uint8)
        labels[mask > 0.5] = self.cut.label

    def motion(self, points: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Points [h,w,2] of frame k -> where frame k - 1 shows those of the thing; [h,w] which of them are its own."""
        there = _applied(np.linalg.inv(self.maps[k]).astype(np.float64), points)
        x, y = there[..., 0].astype(np.float32), there[..., 1].astype(np.float32)
        within = cv2.remap(self.cut.mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.5
        return _applied(self.maps[k - 1], there), within


def _applied(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def cut_from(stills: Stills, movers: Sequence[int], rng: Generator) -> Cut | None:
    """Some thing of a class in `movers` that a still shows whole; None where a few tries find none."""
    for _ in range(_TRIES):
        image, labels = stills[int(rng.integers(len(stills)))]
        for label in rng.permutation(np.array(movers, int)).tolist():
            _, parts, boxes, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
            whole = [part for part in range(1, len(boxes)) if _is_whole(boxes[part], labels.shape)]
            if whole:
                part = int(rng.choice(whole))
                x, y, width, height, _ = (int(n) for n in boxes[part])
                box = np.s_[y - 1 : y + height + 1, x - 1 : x + width + 1]
                mask = cv2.GaussianBlur((parts[box] == part).astype(np.float32), (3, 3), 0)
                return Cut(image[box].copy(), mask.astype(np.float32), label, (x - 1, y - 1))
    return None


def _is_whole(box: NDArray[np.int32], size: tuple[int, ...]) -> bool:
    x, y, width, height, area = (int(n) for n in box)
    inside = x > 1 and y > 1 and x + width < size[1] - 1 and y + height < size[0] - 1
    return inside and _SMALLEST <= area / (size[0] * size[1]) <= _LARGEST


def crossing(
    cut: Cut, size: tuple[int, int], camera: Sequence[NDArray[np.float64]], rng: Generator
) -> Crossing:
    """Send a cut through frames of `size` (H,W) that the maps in `camera` pan and zoom.

    It stands on the ground, at its own still's distance times 0.75 to 1.5, and moves sideways up to 0.7 m a frame
    (38 km/h at 15 Hz) while it comes up to 14 % a frame nearer or goes up to 5 % farther; every fourth comes on by 5 to
    25 %, as a car on the other lane does in the last frames before it leaves the picture at the side.
    """
    height, width = size
    horizon = HORIZON * height
    (_, y), (tall, wide) = cut.corner, cut.mask.shape
    factor = float(np.exp(rng.uniform(-0.4, 0.3)))
    below = max((y + tall - horizon) * factor, _FARTHEST * height)  # pixels, of its foot under the horizon
    metres_a_pixel = CAMERA_HEIGHT_M / below
    sideways = np.clip(rng.normal(0, 0.3), -0.7, 0.7) / metres_a_pixel
    oncoming = rng.random() < 1 / 4
    growth = 1 + (rng.uniform(0.05, 0.25) if oncoming else np.clip(rng.normal(0.02, 0.05), -0.05, 0.14))
    met = int(rng.integers(len(camera)))  # the frame in which it is surely in the picture
    focus, foot = np.array([width / 2, horizon]), np.array([rng.uniform(0, width), horizon + below])
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    maps = []
    for k, seen in enumerate(camera):
        nearer = growth ** (k - met)
        at = focus + (foot + np.array([sideways * (k - met), 0]) - focus) * nearer
        linear = np.diag([mirrored, 1.0]) * factor * nearer
        place = np.vstack([np.column_stack([linear, at - linear @ [wide / 2, tall]]), [0, 0, 1]])
        maps.append(seen @ place)
    return Crossing(cut, tuple(maps), below)


class CrossedStill:
    """A moved still with things that cross it; the nearest hide the others."""

    def __init__(self, moved: MovedStill, crossings: Sequence[Crossing]) -> None:
        self._moved = moved
        self._crossings = sorted(crossings, key=lambda each: each.below)

    def view(self, k: int) -> tuple[Image, Labels]:
        """As MovedStill.view."""
        picture, labels = self._moved.view(k)
        for each in self._crossings:
            each.paint(picture, labels, k)
        return picture, labels

    def flow(self, k: int, grid: tuple[int, int]) -> NDArray[np.float32]:
        """As MovedStill.flow."""
        flow = self._moved.flow(k, grid)
        points, ratio = cell_centres(self._moved.size, grid)
        for each in self._crossings:
            before, own = each.motion(points, k)
            flow[:, own] = ((before - points) / ratio)[own].T
        return flow
