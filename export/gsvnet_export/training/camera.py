"""Labelled stills as video: what a moving camera would have seen, with exact labels and exact motion.

The scene is the still as a relief: ground by its height below the horizon, everything that stands on it as far as the
ground it stands on, the sky infinitely far. A camera that drives through it sees near things move faster than far ones
(parallax), which a picture merely zoomed and shifted does not show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gsvnet_export.data.stills import IGNORE, Image, Labels

Float32 = NDArray[np.float32]
Points = NDArray[np.float64]  # [...,2]: x, y in pixels

HORIZON = 0.46  # of the height, in CamVid's pictures
CAMERA_HEIGHT_M, _FOCAL = 1.5, 1.0  # focal length in picture widths
_NEAREST_M, _FARTHEST_M = 4.0, 120.0
_SURE_PX = 2.5
_PLANES = np.array([*np.geomspace(1 / _NEAREST_M, 1 / _FARTHEST_M, 22), 0.0, -0.05, -0.2])


@dataclass(frozen=True, kw_only=True)
class SceneClasses:
    """Which class ids are ground, sky, and things that move by themselves."""

    ground: tuple[int, ...]
    sky: tuple[int, ...]
    movers: tuple[int, ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> "SceneClasses":
        """By the names that CamVid and Cityscapes use."""
        ids = {name.lower(): index for index, name in enumerate(names)}

        def known(*wanted: str) -> tuple[int, ...]:
            return tuple(ids[name] for name in wanted if name in ids)

        return cls(
            ground=known("road", "pavement", "sidewalk", "terrain"),
            sky=known("sky"),
            movers=known(
                "car", "truck", "bus", "motorcycle", "bicycle", "bicyclist", "rider", "pedestrian", "person"
            ),
        )


def closeness(labels: Labels, classes: SceneClasses) -> Float32:
    """[H,W] class ids -> [H,W] float32 in 1/m: inverse distance, 0 for the sky."""
    height, width = labels.shape
    below = (np.arange(height) + 0.5 - HORIZON * height).clip(min=0)
    ground = (below / (_FOCAL * width * CAMERA_HEIGHT_M)).clip(1 / _FARTHEST_M, 1 / _NEAREST_M)
    is_ground, is_sky = np.isin(labels, classes.ground), np.isin(labels, classes.sky)
    close = np.zeros((height, width), np.float32)
    standing = np.full(width, ground[-1], np.float32)  # of whatever the column shows, seen from below upwards
    beneath = labels[-1]
    for y in range(height - 1, -1, -1):
        row = labels[y]
        behind = (row != beneath) & ~np.isin(beneath, classes.ground) & (row != IGNORE)
        standing = np.where(behind, np.maximum(standing * 0.6, 1 / _FARTHEST_M), standing)
        standing = np.where(is_ground[y], ground[y], standing).astype(np.float32)
        close[y] = np.where(is_sky[y], 0, standing)
        beneath = np.where(row == IGNORE, beneath, row)
    smooth: Float32 = cv2.medianBlur(close, 5).astype(np.float32)
    return smooth


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """For each frame k: a map [3,3] of the picture plane (pan, roll, zoom), and the metres driven into the scene."""

    maps: tuple[NDArray[np.float64], ...]
    driven_m: tuple[float, ...]


def camera_path(size: Sequence[int], frames: int, rng: Generator, *, drive: bool) -> CameraPath:
    """A steady camera with a little shake: pan (a turn), roll, and either driving or a zoom of the whole picture.

    Rates a frame, of a 480x360 picture: pan up to 8 pixels and 2 up or down, roll 0.6 degrees, and -0.1 to 0.9 m
    driven (15 Hz at 50 km/h), or a zoom of -1 to 5 %.
    """
    height, width = size
    centre = np.array([width * rng.uniform(0.25, 0.75), height * rng.uniform(0.3, 0.6)])
    zoom = 0.0 if drive else rng.uniform(-0.01, 0.05)
    speed = rng.uniform(-0.1, 0.9) if drive else 0.0
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
        column = centre - linear @ centre + pan * k + shake
        maps.append(np.vstack([np.column_stack([linear, column]), [0, 0, 1]]))
    return CameraPath(maps=tuple(maps), driven_m=tuple(speed * k for k in range(frames)))


class MovedStill:
    """One labelled still seen along a camera path. image [H,W,3] uint8, labels [H,W] uint8."""

    def __init__(
        self, image: Image, labels: Labels, path: CameraPath, classes: SceneClasses, rng: Generator
    ) -> None:
        self._image, self._labels, self._path = image, labels, path
        self.size = height, width = labels.shape
        self._focus = np.array([width * rng.uniform(0.4, 0.6), height * HORIZON])
        self._close: Float32 | None = None
        if any(path.driven_m):  # [H,W] float32 in 1/m; below zero: what recedes
            self._close = _with_own_motion(closeness(labels, classes), labels, classes.movers, rng)

    def view(self, k: int) -> tuple[Image, Labels]:
        """Frame k: its picture [H,W,3], and its labels [H,W], IGNORE where the still does not show what is there.

        There the picture is filled from beside it, or mirrored at the border.
        """
        height, width = self._labels.shape
        rows, columns = np.indices((height, width), np.float64)
        source, known = self.to_still(np.stack([columns, rows], -1), k)
        x, y = source[..., 0].astype(np.float32), source[..., 1].astype(np.float32)
        picture = cv2.remap(self._image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        labels = cv2.remap(
            self._labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(IGNORE,)
        )
        return picture.astype(np.uint8), np.where(known, labels, IGNORE).astype(np.uint8)

    def flow(self, k: int, grid: Sequence[int]) -> Float32:
        """Motion from frame k back to k - 1, [2,h,w] in cells of `grid`, exact at their centres; NaN where unknown."""
        points, ratio = cell_centres(self.size, grid)
        source, known = self.to_still(points, k)
        motion = np.where(known[..., None], (self.to_frame(source, k - 1) - points) / ratio, np.nan)
        return np.ascontiguousarray(motion.transpose(2, 0, 1)).astype(np.float32)

    def to_frame(self, points: Points, k: int) -> Points:
        """Points of the still -> where frame k shows them."""
        if self._close is None:
            return _mapped(self._path.maps[k], points)
        shrink = 1 - self._path.driven_m[k] * self._closeness_at(points)[..., None]
        return _mapped(self._path.maps[k], self._focus + (points - self._focus) / shrink)

    def to_still(self, points: Points, k: int) -> tuple[Points, NDArray[np.bool_]]:
        """Points [h,w,2] of frame k -> the point of the still seen there, the nearest where there are several; and
        [h,w] where that is known: not where frame k sees what the still hides."""
        flat = _mapped(np.linalg.inv(self._path.maps[k]).astype(np.float64), points)
        driven = self._path.driven_m[k]
        if self._close is None or not driven:
            return flat, np.ones(flat.shape[:-1], np.bool_)

        rays = flat - self._focus
        reach = driven * np.abs(rays).max(-1)  # pixels that a closeness of one moves a point by

        def relief(close: Any, rays: Points) -> NDArray[np.float32]:  # where the rays meet that closeness
            return self._closeness_at(self._focus + rays * (1 - driven * np.asarray(close)[..., None]))

        # Along each ray, from the nearest plane outwards, the first place where the relief really is.
        found, known = np.zeros(reach.shape), np.zeros(reach.shape, np.bool_)
        for plane in _PLANES:
            there = relief(plane, rays)
            open_ = np.flatnonzero(~known & (there >= plane))
            close = there.flat[open_]
            for _ in range(2):  # to the relief itself, between two planes
                close = relief(close, rays.reshape(-1, 2)[open_])
            apart = np.abs(relief(close, rays.reshape(-1, 2)[open_]) - close) * reach.flat[open_]
            found.flat[open_] = close
            known.flat[open_] = apart < _SURE_PX
        return self._focus + rays * (1 - driven * found[..., None]), known

    def _closeness_at(self, points: Points) -> NDArray[np.float32]:
        """Of points [...,2]; the nearest sample."""
        assert self._close is not None
        height, width = self._close.shape
        x = np.clip(points[..., 0] + 0.5, 0, width - 1).astype(np.int32)
        y = np.clip(points[..., 1] + 0.5, 0, height - 1).astype(np.int32)
        return self._close[y, x]


def cell_centres(size: Sequence[int], grid: Sequence[int]) -> tuple[Points, Points]:
    """Of a picture of `size` (H,W): the centres of the grid's cells [h,w,2], and how many pixels [2] a cell spans."""
    ratio = np.array([size[1] / grid[1], size[0] / grid[0]])
    rows, columns = np.indices(tuple(grid), np.float64)
    return (np.stack([columns, rows], -1) + 0.5) * ratio - 0.5, ratio


def _mapped(matrix: NDArray[np.float64], points: NDArray[Any]) -> Points:
    """[3,3] applied to points [...,2]."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    mapped: Points = moved[..., :2] / moved[..., 2:]
    return mapped


def _with_own_motion(close: Float32, labels: Labels, movers: tuple[int, ...], rng: Generator) -> Float32:
    """Some things move by themselves: they come nearer faster or slower than the scene does, or recede."""
    _, parts = cv2.connectedComponents(np.isin(labels, movers).astype(np.uint8))
    factors = np.where(rng.random(parts.max() + 1) < 0.5, rng.uniform(-0.5, 1.6, parts.max() + 1), 1.0)
    factors[0] = 1.0  # what is no mover
    own: Float32 = (close * factors[parts]).clip(-0.2, 1 / _NEAREST_M).astype(np.float32)
    return own
