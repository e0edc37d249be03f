"""Random views of a labelled still: scale, crop, flip, and light and colour as other cameras and weathers have them."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from gsvnet_export.data.stills import IGNORE, Image, Labels

Array = NDArray[Any]


def random_view(
    image: Image,
    labels: Labels,
    rng: Generator,
    crop: tuple[int, int],
    scale: tuple[float, float],
    colour: float,
    sky: int | None = None,
    road: int | None = None,
    shadow: bool = False,
) -> tuple[NDArray[np.float32], Labels]:
    """[H,W,3] uint8, [H,W] -> a crop [3,h,w] float32 in 0..1 and its labels; what lies outside the still is IGNORE.

    sky: the class to paint another sky over; road: the class to paint markings on; None to leave them.
    shadow: whether a shadow falls into the view.
    """
    factor = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    size = [max(1, round(n * factor)) for n in labels.shape]
    shrink = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture: Array = cv2.resize(image, (size[1], size[0]), interpolation=shrink)
    classes: Array = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)

    top, left = (int(rng.integers(0, max(1, n - c + 1))) for n, c in zip(size, crop, strict=True))
    picture, classes = (a[top : top + crop[0], left : left + crop[1]] for a in (picture, classes))
    below, right = crop[0] - classes.shape[0], crop[1] - classes.shape[1]
    if below or right:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        classes = cv2.copyMakeBorder(classes, 0, below, 0, right, cv2.BORDER_CONSTANT, value=IGNORE)
    if rng.random() < 0.5:
        picture, classes = picture[:, ::-1], classes[:, ::-1]

    scene: Array = picture.astype(np.float32) / np.float32(255)
    if sky is not None and (above := classes == sky).any():
        scene = other_sky(scene, above, rng)
    if road is not None and (below_us := classes == road).any():
        scene = markings(scene, below_us, rng)
    if shadow:
        scene = cast_shadow(scene, rng)
    lit = photometric(scene, rng, colour)
    return np.ascontiguousarray(lit.transpose(2, 0, 1)), np.ascontiguousarray(classes)


def other_weather(image: Image, sky: NDArray[np.bool_], road: NDArray[np.bool_], rng: Generator) -> Image:
    """[H,W,3] uint8, its sky and road [H,W] -> the same under another sky, with other markings and in up to three
    shadows, each or none of them."""
    scene: Array = image.astype(np.float32) / np.float32(255)
    if rng.random() < 0.4 and sky.any():
        scene = other_sky(scene, sky, rng)
    if rng.random() < 0.3 and road.any():
        scene = markings(scene, road, rng)
    for _ in range(int(rng.integers(4))):
        scene = cast_shadow(scene, rng)
    return np.round(scene * 255).astype(np.uint8)


def other_sky(picture: Array, sky: NDArray[np.bool_], rng: Generator) -> NDArray[np.float32]:
    """[H,W,3] float32 in 0..1, its sky [H,W] -> the same under another sky: a gradient of two colours with clouds.

    A data set of one season has one kind of sky (CamVid's is white); a network that saw no other takes clouds for cars.
    """
    height, width = sky.shape
    blue, pale = (
        rng.uniform((0.15, 0.35, 0.55), (0.6, 0.75, 1.0)),
        rng.uniform(0.6, 1.0) + rng.normal(0, 0.04, 3),
    )
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** np.float32(rng.uniform(0.4, 2.0))
    clear = blue + (pale - blue) * down
    clouds = np.zeros((height, width), np.float32)
    for cells in (3, 7, 15, 31, 63)[rng.integers(0, 3) :]:
        noise = rng.normal(0, 1 / np.sqrt(cells), (max(2, cells // 2), cells)).astype(np.float32)
        clouds += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    cover = (
        1
        / (1 + np.exp(-(clouds - rng.normal(0, 0.5)) * np.exp(rng.uniform(np.log(3), np.log(30)))))[..., None]
    )
    cloud = rng.uniform(0.55, 1.0) + rng.uniform(0.05, 0.2) * clouds[..., None]
    painted = clear + (cloud - clear) * cover * rng.uniform(0.2, 1.0)
    soft = cv2.GaussianBlur(sky.astype(np.float32), (0, 0), 1.0)[..., None] * sky[..., None]
    keep = np.float32(rng.uniform(0.0, 0.3))  # of the true sky's texture, so that wires and twigs stay
    changed = picture + (painted + keep * (picture - picture[sky].mean(0)) - picture) * soft
    painted_over: NDArray[np.float32] = np.clip(changed, 0, 1).astype(np.float32)
    return painted_over


def markings(picture: Array, road: NDArray[np.bool_], rng: Generator) -> NDArray[np.float32]:
    """[H,W,3] float32 in 0..1, its road [H,W] -> the same with lines and dashes that run to one vanishing point."""
    height, width = road.shape
    top = int(np.flatnonzero(road.any(1))[0])
    vanishing = np.array([rng.uniform(0.1, 0.9) * width, top - rng.uniform(0, 0.1) * height])
    paint = np.zeros(road.shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        foot = np.array([rng.uniform(-0.5, 1.5) * width, 1.05 * height])
        half = np.array([rng.uniform(0.002, 0.02) * width, 0.0])  # of the line's width, at its foot
        dashed, near = rng.random() < 0.6, 1.0
        while near > 0.05:
            far = near * rng.uniform(0.5, 0.9) if dashed else 0.02
            corners = [
                vanishing + (foot + side * half - vanishing) * share
                for share, side in ((near, -1), (near, 1), (far, 1), (far, -1))
            ]
            cv2.fillPoly(paint, [np.round(np.array(corners) * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
            near = far * rng.uniform(0.5, 0.9)
    share = (paint * road * rng.uniform(0.5, 1.0))[..., None]
    colour = np.array([1.0, 1.0, 1.0 if rng.random() < 0.7 else 0.5]) * rng.uniform(0.6, 1.0)
    marked: NDArray[np.float32] = (picture + (colour - picture) * share).astype(np.float32)
    return marked


def cast_shadow(picture: Array, rng: Generator) -> NDArray[np.float32]:
    """[H,W,3] float32 in 0..1 -> the same with a polygon of it in the shade, as of a tree, a wall or a bridge."""
    height, width = picture.shape[:2]
    corners = rng.uniform((-0.2, 0.2), (1.2, 1.2), (int(rng.integers(3, 7)), 2)) * (width, height)
    angles = np.arctan2(*(corners - corners.mean(0)).T)
    shade = np.zeros((height, width), np.float32)
    cv2.fillPoly(shade, [np.round(corners[np.argsort(angles)]).astype(np.int32)], 1.0)
    soft = cv2.GaussianBlur(shade, (0, 0), float(np.exp(rng.uniform(np.log(0.5), np.log(8)))))[..., None]
    light = rng.uniform(0.3, 0.8) * np.array([1.0, 1.0, rng.uniform(1.0, 1.2)])  # the sky's own, bluish
    shaded: NDArray[np.float32] = (picture * (1 + (light - 1) * soft)).astype(np.float32)
    return shaded


def photometric(picture: Array, rng: Generator, strength: float) -> NDArray[np.float32]:
    """[H,W,3] float32 in 0..1 -> the same scene in other light, by another camera. `strength` 1 is the usual amount."""
    if strength <= 0:
        return picture
    picture = picture ** np.float32(np.exp(rng.normal(0, 0.25 * strength)))  # gamma
    picture = picture * np.exp(rng.normal(0, 0.08 * strength, 3)).astype(np.float32)  # white balance
    grey = picture.mean(2, keepdims=True)
    picture = grey + (picture - grey) * np.float32(np.exp(rng.normal(0, 0.3 * strength)))  # saturation
    level = picture.mean()
    picture = level + (picture - level) * np.float32(np.exp(rng.normal(0, 0.2 * strength)))  # contrast
    picture = picture * np.float32(np.exp(rng.normal(0, 0.2 * strength)))  # exposure
    if rng.random() < 0.15 * strength:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.5)))
    if rng.random() < 0.15 * strength:
        picture = picture + rng.normal(0, rng.uniform(0.005, 0.03), picture.shape).astype(np.float32)
    return np.clip(picture, 0, 1).astype(np.float32)
