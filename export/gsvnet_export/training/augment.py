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
) -> tuple[NDArray[np.float32], Labels]:
    """[H,W,3] uint8, [H,W] -> a crop [3,h,w] float32 in 0..1 and its labels; what lies outside the still is IGNORE."""
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

    lit = photometric(picture.astype(np.float32) / np.float32(255), rng, colour)
    return np.ascontiguousarray(lit.transpose(2, 0, 1)), np.ascontiguousarray(classes)


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
