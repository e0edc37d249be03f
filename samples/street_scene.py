"""A moving street scene seen from a driving car, with exact labels and exact backward flow.

Everything is ray cast against flat, axis-aligned surfaces: a road, two pavements with kerbs, two rows of
facades, and upright cards (trees, poles, signs, fences, cars, people), some of which move. Each pixel's world
point is therefore known, and so is where it was shown one frame earlier: labels, flow and occlusion hold by
construction. The sky and the far skyline are infinitely far away, so that they only turn.

    python samples/street_scene.py street.mp4 --frames 100 --size 640x360 --labels labels/

The clip beside this file was made with

    python samples/street_scene.py samples/street.mp4 --frames 100 --size 640x360 --seed 0
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Array = NDArray[Any]
Vector = tuple[float, float, float]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

# The world, in metres: x to the right, y up, z along the street.
EGO_SPEED = 10.0  # metres a second: 0.4 m a frame at 25 frames a second
EGO_X, EYE = 1.9, 1.4
KERB_X, KERB_HEIGHT, FACADE_X = 5.8, 0.12, 10.5
NEAR, FAR = 0.3, 100.0  # cards nearer or farther than this are not drawn
CELL = 13.0  # street furniture is dealt out once every so many metres
HOUSE = 12.0  # width of a house front
STOREY, BAY = 3.2, 2.4  # height of a storey, distance between windows

# Surfaces that are always there; the cards are numbered after them.
S_SKY, S_SKYLINE, S_ROAD, S_PAVEMENT, S_KERB_L, S_KERB_R, S_FACADE_L, S_FACADE_R, FIXED = range(9)
FIXED_LABELS = (SKY, BUILDING, ROAD, PAVEMENT, PAVEMENT, PAVEMENT, BUILDING, BUILDING)

FACADE_COLOURS = np.array(
    [[186, 166, 134], [150, 82, 62], [158, 156, 150], [204, 190, 160], [128, 98, 80], [172, 118, 88]]
)
SHOP_COLOURS = np.array([[52, 70, 60], [96, 38, 36], [44, 54, 84], [88, 84, 78], [120, 96, 52]])
CAR_COLOURS = ((150, 30, 28), (34, 62, 116), (176, 178, 182), (44, 46, 50), (222, 222, 218), (60, 92, 72))
COAT_COLOURS = ((132, 44, 48), (46, 56, 92), (66, 66, 62), (160, 126, 62), (62, 96, 82), (200, 196, 188))
LEAF_COLOURS = ((74, 100, 44), (92, 112, 52), (60, 88, 48), (110, 112, 50))
HAZE = np.array([198, 208, 218], np.float32)


@dataclass(frozen=True)
class Rendered:
    """Image uint8 [H, W, 3] RGB, labels uint8 [H, W], flow float32 [2, H, W], occluded bool [H, W].

    The point shown at pixel p = (x, y) was at p + flow[:, y, x] one frame earlier (channel 0 is x, 1 is y, in
    pixels), unless it is marked as occluded: hidden behind something then, or outside the picture.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    flow: NDArray[np.float32]
    occluded: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Card:
    """An upright rectangle with a silhouette; `origin` is the middle of its lower edge, in metres."""

    key: tuple[object, ...]  # the same card has the same key in every frame
    label: int
    origin: Vector
    width: float
    height: float
    across: int = 2  # the axis it stands across: 2 faces the driver, 0 runs along the street
    motion: Vector = (0.0, 0.0, 0.0)  # its way since the frame before
    shape: str = "box"
    paint: str = "plain"
    colour: Vector = (128.0, 128.0, 128.0)
    salt: float = 0.0  # shifts the texture, so that no two trees are alike


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: `turn` float64 [3, 3] takes camera axes (right, down, forward) to world axes."""

    place: NDArray[np.float64]
    turn: NDArray[np.float64]
    focal: float
    cx: float
    cy: float

    def rays(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """World directions through pixels x, y, scaled so that a length of 1 is a depth of 1 metre."""
        a, b = (x - self.cx) / self.focal, (y - self.cy) / self.focal
        r = self.turn
        return (
            r[0, 0] * a + (r[0, 1] * b + r[0, 2]),
            r[1, 0] * a + (r[1, 1] * b + r[1, 2]),
            r[2, 0] * a + (r[2, 1] * b + r[2, 2]),
        )

    def project(self, dx: Array, dy: Array, dz: Array) -> tuple[Array, Array, Array]:
        """Pixel x, y and depth of points given relative to the camera's place, in world axes."""
        r = self.turn
        right = r[0, 0] * dx + r[1, 0] * dy + r[2, 0] * dz
        down = r[0, 1] * dx + r[1, 1] * dy + r[2, 1] * dz
        depth = r[0, 2] * dx + r[1, 2] * dy + r[2, 2] * dz
        safe = np.maximum(depth, 1e-3)
        return self.cx + self.focal * right / safe, self.cy + self.focal * down / safe, depth


@dataclass(frozen=True)
class Hits:
    """What each ray meets: surface number int32, depth float64 in metres, and the ray's direction."""

    surface: Array
    depth: Array
    ray: tuple[Array, Array, Array]


def _band(u: Array, low: float, high: float, soft: Array | float) -> Array:
    """1 between low and high, 0 outside, with edges `soft` wide: a line that does not flicker when far."""
    width = np.maximum(soft, 0.02)
    rise: Array = np.clip((u - low) / width + 0.5, 0, 1)
    return rise * np.clip((high - u) / width + 0.5, 0, 1)


def _rgb(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)


def _mix(base: Array, over: Array | Sequence[float], weight: Array) -> Array:
    w = weight[:, None].astype(np.float32)
    mixed: Array = base * (1 - w) + np.asarray(over, np.float32) * w
    return mixed


class StreetScene:
    """A street without end, the same for the same seed; `render(t)` may be asked for any t, in any order."""

    def __init__(self, height: int, width: int, seed: int = 0, fps: float = 25) -> None:
        if height < 1 or width < 1 or fps <= 0:
            raise ValueError(f"height, width and fps must be positive, not {height}, {width}, {fps}")
        self.height, self.width, self.seed, self.fps = height, width, seed, fps
        self._table = np.random.default_rng([seed, 1]).uniform(-1, 1, 256 * 256).astype(np.float32)
        self._furnish = lru_cache(maxsize=64)(self._furnish_cell)
        self._cards = lru_cache(maxsize=4)(self._cards_of_frame)

    def render(self, t: int) -> Rendered:
        """Frame t, with the flow to frame t - 1."""
        camera, before = self._camera(t), self._camera(t - 1)
        cards, cards_before = self._cards(t), self._cards(t - 1)
        x, y = np.arange(self.width, dtype=np.float64), np.arange(self.height, dtype=np.float64)
        hits = self._trace(camera, x[None, :], y[:, None], cards)
        labels = np.array([*FIXED_LABELS, *(c.label for c in cards)], np.uint8)[hits.surface]

        then_x, then_y = self._backward(camera, before, hits, cards)
        then = self._trace(before, then_x, then_y, cards_before)
        number = {card.key: FIXED + i for i, card in enumerate(cards)}
        renumber = np.array([*range(FIXED), *(number.get(c.key, -1) for c in cards_before)])
        # Flat surfaces cannot hide themselves: the point was visible if the same surface is met there.
        occluded = renumber[then.surface] != hits.surface
        occluded |= (then_x < -0.5) | (then_x > self.width - 0.5)
        occluded |= (then_y < -0.5) | (then_y > self.height - 0.5)
        flow = np.stack([then_x - x[None, :], then_y - y[:, None]]).astype(np.float32)
        return Rendered(self._picture(camera, cards, hits), labels, flow, occluded)

    # The camera and what stands in the street

    def _camera(self, t: int) -> Camera:
        s = t / self.fps
        yaw = 0.018 * math.sin(0.9 * s + self.seed) + 0.007 * math.sin(2.3 * s)
        pitch = 0.012 + 0.004 * math.sin(5.1 * s) + 0.002 * math.sin(9.7 * s + 1)
        sway, bob = 0.15 * math.sin(0.7 * s), 0.02 * math.sin(5.1 * s + 2)
        place = np.array([EGO_X + sway, EYE + bob, EGO_SPEED * s])
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn_yaw = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        cos, sin = math.cos(pitch), math.sin(pitch)
        turn_pitch = np.array([[1, 0, 0], [0, -cos, -sin], [0, -sin, cos]])
        focal = 0.8 * max(self.height, self.width)
        return Camera(place, turn_yaw @ turn_pitch, focal, (self.width - 1) / 2, (self.height - 1) / 2)

    def _cards_of_frame(self, t: int) -> tuple[Card, ...]:
        """All cards of frame t in any order: the depths sort them out."""
        s, step = t / self.fps, 1 / self.fps
        start = EGO_SPEED * s
        cards: list[Card] = []
        for cell in range(math.floor(start / CELL) - 1, math.floor((start + FAR) / CELL) + 1):
            cards += self._furnish(cell)
        # Each stream: name, place across the street, speed along it, distance between its members.
        streams = (
            ("oncoming", -2.0, -8.0, 34.0),
            ("cyclist", 3.5, 4.2, 29.0),
            ("walk", 7.0, 1.3, 19.0),
            ("walk", 8.3, -1.1, 27.0),
            ("walk", -6.9, -1.3, 21.0),
            ("walk", -8.0, 1.2, 16.0),
        )
        for n, (kind, x, speed, gap) in enumerate(streams):
            first = math.floor((start - 4 - speed * s) / gap) + 1
            for k in range(first, math.floor((start + FAR - speed * s) / gap) + 1):
                rng = self._rng(2, n, k)
                z = k * gap + speed * s
                place = (x + rng.uniform(-0.3, 0.3), 0.0, z)
                motion = (0.0, 0.0, speed * step)
                if kind == "oncoming":
                    cards += _car((n, k), place, motion, rng, back=False)
                else:
                    stride = 5.5 * s + k
                    cards += _person((n, k), place, motion, rng, stride, 5.5 * step, kind == "cyclist")

        def ahead(at: float) -> float:
            return EGO_SPEED * at + 17 + 4 * math.sin(0.6 * at)

        motion = (0.0, 0.0, ahead(s) - ahead(s - step))
        cards += _car(("ahead",), (EGO_X, 0.0, ahead(s)), motion, self._rng(3, 0, 0), back=True)
        return tuple(cards)

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *(n + 2**20 for n in numbers)])

    def _furnish_cell(self, cell: int) -> tuple[Card, ...]:
        """What stands still in one cell: trees, poles, signs, fences, parked cars, people, by chance."""
        cards: list[Card] = []
        for side in (-1, 1):
            rng = self._rng(4, cell, side)
            z, key = cell * CELL, (cell, side)
            if rng.random() < 0.7:
                cards += _tree((*key, "tree"), side * rng.uniform(6.7, 7.4), z + rng.uniform(1, 4), rng)
            if (cell + (side > 0)) % 2:
                cards += _lamp((*key, "lamp"), side, z + 5.5)
            if rng.random() < 0.6:
                cards += _sign((*key, "sign"), side * 6.3, z + 7 + rng.uniform(0, 1), rng)
            if rng.random() < 0.5:
                cards.append(
                    Card(
                        key=(*key, "fence"),
                        label=FENCE,
                        origin=(side * 9.4, KERB_HEIGHT, z + CELL / 2),
                        width=CELL,
                        height=1.15,
                        across=0,
                        paint="fence",
                        colour=(72, 84, 70),
                    )
                )
            for slot in range(2):
                if rng.random() < (0.6 if side < 0 else 0.35):
                    place = (side * 4.7, 0.0, z + 3.2 + 6.4 * slot)
                    cards += _car((*key, slot), place, (0, 0, 0), rng, back=side > 0)
            if rng.random() < 0.4:
                place = (side * rng.uniform(7.2, 8.8), 0.0, z + rng.uniform(0, CELL))
                cards += _person((*key, "waits"), place, (0, 0, 0), rng, 0.5, 0.0, False)
        return tuple(cards)

    # Geometry: which surface each ray meets, and where that point was

    def _trace(self, camera: Camera, x: Array, y: Array, cards: Sequence[Card]) -> Hits:
        """The nearest surface at pixel positions x, y: x [1 or H, W] and y [H, 1 or W]."""
        rx, ry, rz = camera.rays(x, y)
        px, py, pz = camera.place
        depth = np.full(rx.shape, np.inf)
        surface = np.where(ry < self._skyline(rx, rz) * np.hypot(rx, rz), S_SKYLINE, S_SKY).astype(np.int32)
        down = _span(ry < 0, 1), slice(None)

        def keep(number: int, s: Array, good: Array, where: Any) -> None:
            nearest = depth[where]
            good = good & (s > NEAR) & (s < nearest)
            np.copyto(nearest, s, where=good)
            np.copyto(surface[where], number, where=good)

        with np.errstate(divide="ignore", invalid="ignore"):
            s = -py / ry[down]
            keep(S_ROAD, s, np.abs(px + s * rx[down]) <= KERB_X, down)
            s = (KERB_HEIGHT - py) / ry[down]
            keep(S_PAVEMENT, s, np.abs(px + s * rx[down]) >= KERB_X, down)
            for side, kerb, facade in ((-1, S_KERB_L, S_FACADE_L), (1, S_KERB_R, S_FACADE_R)):
                there = slice(None), _span(side * rx > 0, 0)
                s = (side * KERB_X - px) / rx[there]
                up = py + s * ry[there]
                keep(kerb, s, (up >= 0) & (up <= KERB_HEIGHT), there)
                s = (side * FACADE_X - px) / rx[there]
                keep(facade, s, py + s * ry[there] <= self._roof(pz + s * rz[there], side), there)
            for i, near, where in _windows(camera, cards, x, y):
                if near >= depth[where].max():  # hidden: nothing of it can be met
                    continue
                card = cards[i]
                ox, oy, oz = card.origin
                s = (oz - pz) / rz[where] if card.across == 2 else (ox - px) / rx[where]
                u = px + s * rx[where] - ox if card.across == 2 else pz + s * rz[where] - oz
                v = py + s * ry[where] - oy
                inside = (np.abs(u) <= card.width / 2) & (v >= 0) & (v <= card.height)
                if card.shape != "box":
                    inside &= self._silhouette(card, u, v)
                keep(FIXED + i, s, inside, where)
        return Hits(surface, depth, (rx, ry, rz))

    def _backward(
        self, camera: Camera, before: Camera, hits: Hits, cards: Sequence[Card]
    ) -> tuple[Array, Array]:
        """Pixel positions in the frame before of the points met now, float64 [H, W] each."""
        still = (0.0, 0.0, 0.0)
        motion = np.array([*(still for _ in range(FIXED)), *(c.motion for c in cards)])
        far = np.isinf(hits.depth)  # the sky turns, but comes no nearer
        depth = np.where(far, 1.0, hits.depth)
        travelled = camera.place - before.place
        moved = [
            hits.ray[axis] * depth + np.where(far, 0.0, travelled[axis] - motion[:, axis][hits.surface])
            for axis in range(3)
        ]
        x, y, _ = before.project(moved[0], moved[1], moved[2])
        return x, y

    def _roof(self, z: Array, side: int) -> Array:
        """Height of the houses at z, in metres."""
        roof: Array = 11.5 + 3.5 * self._hash(np.floor(z / HOUSE), 11 + side)
        return roof

    def _skyline(self, rx: Array, rz: Array) -> Array:
        """Tangent of the elevation up to which far houses fill the horizon, by direction."""
        return 0.03 + 0.015 * self._hash(np.floor(np.arctan2(rx, rz) * 40), 5)

    def _silhouette(self, card: Card, u: Array, v: Array) -> Array:
        a, b = 2 * u / card.width, 2 * v / card.height - 1  # -1 to 1 across and up the card
        good: Array
        if card.shape == "ellipse":
            good = a * a + b * b <= 1
        elif card.shape == "foliage":
            ragged = 0.25 * self._noise(u * 1.6 + card.salt, v * 1.6)
            ragged = ragged + 0.2 * self._noise(u * 4, v * 4 + card.salt)
            good = a * a + b * b <= 0.75 + ragged
        elif card.shape == "coat":
            good = np.abs(a) <= np.where(b > 0.55, 1 - (b - 0.55) * 1.2, 0.82 + 0.18 * b)
        elif card.shape == "car end":
            body = np.abs(a) <= np.where(b > 0.1, 1 - 0.2 * (b - 0.1), 1) - np.maximum(b - 0.85, 0) * 1.2
            good = body & ((v > 0.24) | (np.abs(a) > 0.72))
        elif card.shape == "car side":  # upright towards the driver, a sloping window and a bonnet beyond
            roof = np.clip(1.0 - (a - 0.15) * 2.2, 0.16, 1.0) - 0.1 * np.maximum(a - 0.5, 0)
            wheel = np.minimum(np.abs(u - 0.31 * card.width), np.abs(u + 0.31 * card.width))
            good = (b <= roof) & ((v > 0.24) | (wheel**2 + (v - 0.3) ** 2 < 0.09))
        else:
            raise ValueError(f"no such shape: {card.shape}")
        return good

    # Textures: value noise of world places, faded out where a pixel covers more than its grain

    def _noise(self, u: Array, v: Array) -> Array:
        """Smooth noise from -1 to 1 with a grain of one unit, repeating after 256."""
        u0, v0 = np.floor(u), np.floor(v)
        a, b = (u - u0).astype(np.float32), (v - v0).astype(np.float32)
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        i, j = u0.astype(np.intp) & 255, v0.astype(np.intp) & 255
        i1, row, row1 = (i + 1) & 255, j << 8, ((j + 1) & 255) << 8
        table = self._table
        low = table[row + i] * (1 - a) + table[row + i1] * a
        high = table[row1 + i] * (1 - a) + table[row1 + i1] * a
        smooth: Array = low * (1 - b) + high * b
        return smooth

    def _hash(self, k: Array, salt: int) -> Array:
        """One number from -1 to 1 for each whole number k."""
        whole = k.astype(np.int64)  # rays that meet nothing give infinity: any number will do
        number: Array = self._table[(whole * 97 + salt * 7919) & 65535]
        return number

    def _grain(self, u: Array, v: Array, size: float, pixel: Array) -> Array:
        """Noise with a grain of `size` metres, gone where a pixel covers more than that."""
        fade = np.clip(1.6 - 1.2 * pixel / size, 0, 1).astype(np.float32)
        return self._noise(u / size, v / size) * fade if fade.any() else np.zeros_like(fade)

    def _picture(self, camera: Camera, cards: Sequence[Card], centre: Hits) -> NDArray[np.uint8]:
        """The image uint8 [H, W, 3]: a sample at the centre of a pixel inside a surface; at edges, where its
        neighbourhood differs, the mean of two on its diagonal, so that they are smooth."""
        rows = np.arange(2 * self.height)[:, None]
        x = np.arange(self.width) + np.where(rows % 2, 0.25, -0.25)
        corners = self._trace(camera, x, (rows - 0.5) / 2, cards)
        inside = (self._pairs(corners.surface) == centre.surface[..., None]).all(2)

        def samples(at_centre: Array, at_corners: Array) -> Array:
            edges = self._pairs(at_corners)[~inside]
            return np.concatenate([at_centre[inside], edges.ravel()])

        surface = samples(centre.surface, corners.surface)
        depth = samples(centre.depth, corners.depth)
        rays = [samples(a, b) for a, b in zip(centre.ray, corners.ray, strict=True)]
        order = np.argsort(surface.astype(np.int16), kind="stable")
        ends = np.cumsum(np.bincount(surface, minlength=FIXED + len(cards)))
        colour = np.empty((surface.size, 3), np.float32)
        for number, chosen in enumerate(np.split(order, ends[:-1])):
            if chosen.size:
                ray = (rays[0][chosen], rays[1][chosen], rays[2][chosen])
                colour[chosen] = self._shade(number, camera, depth[chosen], ray, cards)
        picture = np.empty((self.height, self.width, 3), np.float32)
        count = np.count_nonzero(inside)
        picture[inside], picture[~inside] = colour[:count], colour[count:].reshape(-1, 2, 3).mean(1)
        image: NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
        return image

    def _pairs(self, rows: Array) -> Array:
        """[2 H, W] -> [H, W, 2]: the two samples of each pixel together."""
        return rows.reshape(self.height, 2, self.width).swapaxes(1, 2)

    def _shade(
        self, number: int, camera: Camera, s: Array, ray: tuple[Array, ...], cards: Sequence[Card]
    ) -> Array:
        """Colours float32 [n, 3], 0 to 255, of points of one surface."""
        if number <= S_SKYLINE:
            return self._paint_sky(number, *ray)
        x, y, z = (camera.place[axis] + s * ray[axis] for axis in range(3))
        pixel = 1.2 * s / camera.focal  # softer than a pixel: textures must not flicker
        if number in (S_ROAD, S_PAVEMENT):
            colour = self._paint_ground(number, x, z, pixel, pixel * s / EYE, cards)
        elif number in (S_KERB_L, S_KERB_R):
            colour = np.full((s.size, 3), 150, np.float32) + 14 * self._grain(z, y, 0.5, pixel)[:, None]
        elif number in (S_FACADE_L, S_FACADE_R):
            side = -1 if number == S_FACADE_L else 1
            slant = pixel * s / abs(side * FACADE_X - camera.place[0])
            colour = self._paint_facade(side, y, z, np.maximum(pixel, slant))
        else:
            card = cards[number - FIXED]
            u = x - card.origin[0] if card.across == 2 else z - card.origin[2]
            colour = self._paint_card(card, u, y - card.origin[1], pixel)
        return _mix(colour, HAZE, 1 - np.exp(-s / 260))

    def _paint_sky(self, number: int, rx: Array, ry: Array, rz: Array) -> Array:
        if number == S_SKYLINE:
            tone = 22 * self._hash(np.floor(np.arctan2(rx, rz) * 40), 6)
            town: Array = _rgb(158, 164, 174) + tone[:, None]
            return town
        up = ry / np.sqrt(rx * rx + ry * ry + rz * rz)
        horizon = np.tile(_rgb(206, 220, 234), (up.size, 1))
        colour = _mix(horizon, (98, 148, 208), np.clip(up * 1.9, 0, 1))
        u, v = 2.2 * rx / (up + 0.22), 2.2 * rz / (up + 0.22)
        cloud = self._noise(u, v) + 0.5 * self._noise(u * 2.1 + 9, v * 2.1)
        cloud = cloud + 0.25 * self._noise(u * 4.3, v * 4.3)
        return _mix(colour, (246, 246, 248), np.clip(cloud * 0.9 + 0.25, 0, 0.9))

    def _paint_ground(
        self, number: int, x: Array, z: Array, across: Array, along: Array, cards: Sequence[Card]
    ) -> Array:
        blot = self._grain(x, z / 3, 1.1, along / 3)
        speck = self._grain(x, z / 2, 0.28, along / 2) + 0.8 * self._grain(x, z, 0.09, along)
        if number == S_ROAD:
            colour = _rgb(92, 92, 96) + (13 * blot + 11 * speck)[:, None]
            wear = _band(np.abs(np.abs(x) - 2), 0.55, 1.05, 0.5)
            colour = colour - 9 * wear[:, None].astype(np.float32)
            dash = _band(x, -0.08, 0.08, across) * _band(np.mod(z, 9.0), 1.0, 5.0, np.minimum(along, 4))
            edge = _band(np.abs(x), 3.62, 3.74, across) * 0.7
            colour = _mix(colour, (214, 214, 206), np.clip(dash + edge, 0, 1) * (0.85 + 0.15 * speck))
        else:
            colour = _rgb(158, 150, 140) + (12 * blot + 10 * speck)[:, None]
            slab = _band(np.mod(z, 0.9), 0, 0.05, along) * np.clip(1.2 - along, 0, 1)
            joint = _band(np.mod(np.abs(x), 0.9), 0, 0.05, across) * np.clip(1.2 - 2 * across, 0, 1)
            slab = np.maximum(slab, joint)
            colour = _mix(colour, (112, 106, 100), 0.6 * slab)
            kerbstone = _band(np.abs(x), KERB_X, KERB_X + 0.2, across)
            colour = _mix(colour, (176, 174, 168), 0.7 * kerbstone)
        shade = np.ones(x.size, np.float32)
        # Soft shadows under cars and trees darken the ground; its flow stays that of the ground.
        for card in cards:
            if card.paint not in ("car back", "car front", "bark"):
                continue
            is_car = card.paint != "bark"
            half_x, half_z = (card.width / 2, 2.1) if is_car else (1.6, 1.4)
            cx, cz = card.origin[0], card.origin[2] + (half_z if is_car else 0)
            near = np.flatnonzero((np.abs(z - cz) < half_z + 0.5) & (np.abs(x - cx) < half_x + 0.5))
            if near.size:
                gap = np.maximum(np.abs(x[near] - cx) - half_x, np.abs(z[near] - cz) - half_z)
                shade[near] *= 1 - (0.62 if is_car else 0.3) * np.clip(0.5 - gap, 0, 1).astype(np.float32)
        shaded: Array = colour * shade[:, None]
        return shaded

    def _paint_facade(self, side: int, y: Array, z: Array, pixel: Array) -> Array:
        house = np.floor(z / HOUSE)
        pick = ((self._hash(house, 21 + side) + 1) * 3).astype(np.int64) % len(FACADE_COLOURS)
        colour: Array = FACADE_COLOURS[pick].astype(np.float32)
        stain, brick = self._grain(z, y, 1.7, pixel), self._grain(z, y * 2, 0.3, pixel)
        colour = colour * (1 + 0.10 * stain + 0.12 * brick)[:, None]
        bay, floor = np.floor(z / BAY), np.floor(y / STOREY)
        u, v = z - bay * BAY, y - floor * STOREY
        clear = np.clip(1.5 - pixel / 1.2, 0, 1)
        roof = self._roof(z, side)
        upper = (y > STOREY) & (y < np.floor((roof - 0.5) / STOREY) * STOREY)
        frame = _band(u, 0.55, 1.85, pixel) * _band(v, 0.75, 2.6, pixel) * upper
        glass = _band(u, 0.68, 1.72, pixel) * _band(v, 0.9, 2.48, pixel) * upper
        bars = np.maximum(_band(u, 1.16, 1.24, pixel), _band(v, 1.66, 1.74, pixel))
        tone = 0.5 + 0.5 * self._hash(bay * 31 + floor * 7, 3 + side)
        window = _rgb(58, 70, 84) + (44 * tone + 22 * (v - 1.6) + 12 * stain)[:, None]
        colour = _mix(colour, (224, 220, 208), frame * clear)
        colour = _mix(colour, window, glass * (1 - 0.8 * bars) * clear)
        pick = ((self._hash(house, 41 + side) + 1) * 2.5).astype(np.int64) % len(SHOP_COLOURS)
        shop = SHOP_COLOURS[pick].astype(np.float32) * (1.1 + 0.14 * brick)[:, None]
        ground = _band(y, -1, STOREY - 0.2, pixel)
        colour = _mix(colour, shop, ground)
        display = _band(np.mod(z, 4.0), 0.4, 3.2, pixel) * _band(y, 0.7, 2.4, pixel)
        display = display * np.clip(1.5 - pixel / 2, 0, 1)
        inside = _rgb(86, 92, 96) + (46 * self._grain(z, y, 0.6, pixel) + 24 * tone)[:, None]
        colour = _mix(colour, inside, display)
        ledge = _band(y, STOREY - 0.2, STOREY + 0.05, pixel) + _band(roof - y, -1, 0.4, pixel)
        colour = _mix(colour, (206, 200, 188), 0.8 * np.clip(ledge, 0, 1))
        joint = _band(z - house * HOUSE, -0.1, 0.12, pixel)
        colour = _mix(colour, (90, 84, 78), 0.5 * joint)
        lit: Array = colour * np.float32(0.78 if side < 0 else 1.04)  # the sun stands on the left
        return lit

    def _paint_card(self, card: Card, u: Array, v: Array, pixel: Array) -> Array:
        colour = np.tile(_rgb(*card.colour), (u.size, 1))
        a, b = 2 * u / card.width, v / card.height  # -1 to 1 across, 0 to 1 up
        if card.paint == "leaves":
            clump = self._grain(u + card.salt, v, 0.9, pixel)
            clump = clump + 0.7 * self._grain(u, v + card.salt, 0.3, pixel)
            leaves: Array = colour * np.clip(0.67 + 0.34 * clump + 0.3 * b - 0.1 * a, 0.3, 1.5)[:, None]
            return leaves
        if card.paint == "fence":
            bar = _band(np.mod(u, 0.5), 0.0, 0.16, pixel) * np.clip(1.5 - pixel / 0.25, 0, 1)
            rail = _band(v, 0.95, 1.08, pixel) + _band(v, 0.1, 0.22, pixel)
            hedge = 1 + 0.24 * self._grain(u, v, 0.5, pixel)
            return _mix(colour * hedge[:, None], (46, 48, 48), 0.8 * np.clip(bar + rail, 0, 1))
        if card.paint.startswith("car"):
            return self._paint_car(card, colour, u, v, pixel)
        if card.paint == "disc":
            rim = np.clip((np.hypot(a, 2 * b - 1) - 0.68) * 8, 0, 1)
            bar = _band(a, -0.5, 0.5, 0.1) * _band(b, 0.42, 0.58, 0.1)
            return _mix(_mix(np.full_like(colour, 232), card.colour, rim), (40, 40, 44), bar)
        rough = 0.16 * self._grain(u + card.salt, v, 0.22, pixel) + 0.06 * a
        if card.paint == "bark":
            rough = 0.3 * self._grain(u * 3 + card.salt, v, 0.3, pixel) - 0.2 * a
        rubbed: Array = colour * (1 + rough)[:, None]
        return rubbed

    def _paint_car(self, card: Card, colour: Array, u: Array, v: Array, pixel: Array) -> Array:
        a, b = 2 * u / card.width, v / card.height
        sheen = 0.86 + 0.3 * b + 0.07 * self._grain(u + card.salt, v, 0.4, pixel)
        colour = colour * sheen[:, None]
        mirrored = 70 * (b - 0.6) + 16 * self._grain(u, v + card.salt, 0.35, pixel)
        pane = _rgb(44, 54, 64) + mirrored[:, None]
        tyre = (26, 26, 28)
        if card.paint == "car side":
            glass = _band(b, 0.6, 0.92, pixel) * _band(a + 0.5 * (b - 0.6), -0.88, 0.36, pixel)
            glass = glass * (1 - _band(a, -0.3, -0.25, pixel))
            colour = _mix(colour, pane, glass)
            wheel = np.minimum(np.abs(u - 0.31 * card.width), np.abs(u + 0.31 * card.width))
            radius = np.hypot(wheel, v - 0.3)
            colour = _mix(colour, tyre, np.clip((0.33 - radius) / np.maximum(pixel, 0.02), 0, 1))
            return _mix(colour, (150, 152, 156), np.clip((0.18 - radius) / np.maximum(pixel, 0.02), 0, 1))
        colour = _mix(colour, pane, _band(b, 0.6, 0.92, pixel) * _band(np.abs(a), -1, 0.8, pixel))
        lamp = (176, 24, 22) if card.paint == "car back" else (248, 244, 224)
        colour = _mix(colour, lamp, _band(np.abs(a), 0.68, 0.95, pixel) * _band(b, 0.42, 0.54, pixel))
        colour = _mix(colour, (38, 38, 40), _band(b, 0.16, 0.27, pixel))
        plate = (226, 214, 120) if card.paint == "car back" else (230, 230, 226)
        colour = _mix(colour, plate, _band(np.abs(a), -1, 0.28, pixel) * _band(b, 0.3, 0.37, pixel))
        return _mix(colour, tyre, _band(b, -1, 0.16, pixel))


def _span(flags: Array, across: int) -> slice:
    """From the first to the last row (across 1) or column (across 0) of flags [H, W] with one that is set."""
    found = np.flatnonzero(flags.any(across))
    return slice(found[0], found[-1] + 1) if found.size else slice(0)


def _windows(camera: Camera, cards: Sequence[Card], x: Array, y: Array) -> Iterator[tuple[int, float, Any]]:
    """Numbers of the cards that may be seen at x, y, from near to far: each with the least depth it can have
    there, and the part of [H, W] to look in."""
    origin = np.array([c.origin for c in cards]) - camera.place
    half = np.array([c.width for c in cards]) / 2
    rise = np.array([c.height for c in cards])
    facing = np.array([c.across == 2 for c in cards])
    wide, deep = np.where(facing, half, 0), np.where(facing, 0, half)
    near, far = np.maximum(origin[:, 2] - deep, NEAR), origin[:, 2] + deep
    corners = [
        (origin[:, 0] + side * wide, origin[:, 1] + up, z)
        for side in (-1, 1)
        for up in (np.zeros_like(rise), rise)
        for z in (near, far)
    ]
    px, py, depths = camera.project(*(np.array([corner[axis] for corner in corners]) for axis in range(3)))
    least = np.maximum(depths.min(0) - 1e-6, NEAR)
    columns = (x.max(0) >= px.min(0)[:, None] - 1) & (x.min(0) <= px.max(0)[:, None] + 1)
    rows = (y.max(1) >= py.min(0)[:, None] - 1) & (y.min(1) <= py.max(0)[:, None] + 1)
    left, right = columns.argmax(1), columns.shape[1] - columns[:, ::-1].argmax(1)
    top, bottom = rows.argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)
    shown = np.flatnonzero((far >= near) & columns.any(1) & rows.any(1))
    for i in shown[np.argsort(least[shown], kind="stable")]:
        yield int(i), float(least[i]), (slice(top[i], bottom[i]), slice(left[i], right[i]))


def _pick(rng: np.random.Generator, colours: Sequence[Vector]) -> Vector:
    return colours[int(rng.integers(len(colours)))]


def _tree(key: tuple[object, ...], x: float, z: float, rng: np.random.Generator) -> Iterator[Card]:
    trunk, size = rng.uniform(2.2, 2.8), rng.uniform(2.6, 3.6)
    yield Card(
        key=(*key, "trunk"),
        label=TREE,
        origin=(x, KERB_HEIGHT, z + 0.05),  # behind the middle leaves: no two cards share a plane
        width=0.3,
        height=trunk + 1,
        paint="bark",
        colour=(88, 70, 54),
        salt=rng.uniform(0, 99),
    )
    colour = _pick(rng, LEAF_COLOURS)
    for n, (dx, dy, dz) in enumerate(((0.0, 0.0, 0.0), (-0.8, 0.7, 0.7), (0.7, 1.1, -0.6))):
        yield Card(
            key=(*key, n),
            label=TREE,
            origin=(x + dx, trunk + dy * 0.8, z + dz),
            width=size,
            height=size * 0.95,
            shape="foliage",
            paint="leaves",
            colour=colour,
            salt=rng.uniform(0, 99),
        )


def _lamp(key: tuple[object, ...], side: int, z: float) -> Iterator[Card]:
    grey = (84.0, 90.0, 92.0)
    yield Card(
        key=(*key, "post"),
        label=POLE,
        origin=(side * 6.15, KERB_HEIGHT, z),
        width=0.16,
        height=6.5,
        colour=grey,
    )
    yield Card(
        key=(*key, "arm"), label=POLE, origin=(side * 5.5, 6.5, z - 0.05), width=1.4, height=0.14, colour=grey
    )


def _sign(key: tuple[object, ...], x: float, z: float, rng: np.random.Generator) -> Iterator[Card]:
    yield Card(
        key=(*key, "post"),
        label=POLE,
        origin=(x, KERB_HEIGHT, z),
        width=0.09,
        height=2.5,
        colour=(120, 124, 126),
    )
    colour = (178.0, 30.0, 34.0) if rng.random() < 0.6 else (30.0, 74.0, 150.0)
    yield Card(
        key=(*key, "disc"),
        label=SIGN,
        origin=(x, 2.2, z - 0.05),
        width=0.8,
        height=0.8,
        shape="ellipse",
        paint="disc",
        colour=colour,
    )


def _car(
    key: tuple[object, ...], place: Vector, motion: Vector, rng: np.random.Generator, *, back: bool
) -> Iterator[Card]:
    """A car of two cards: the end towards the driver, and the side towards the driver."""
    x, y, z = place
    width, height, length = rng.uniform(1.7, 1.85), rng.uniform(1.5, 1.72), 4.2
    colour, salt = _pick(rng, CAR_COLOURS), rng.uniform(0, 99)
    yield Card(
        key=(*key, "end"),
        label=CAR,
        origin=(x, y, z - length / 2),
        width=width,
        height=height,
        motion=motion,
        shape="car end",
        paint="car back" if back else "car front",
        colour=colour,
        salt=salt,
    )
    side = 1 if x < EGO_X else -1
    shaded = tuple(c * (1.0 if side < 0 else 0.85) for c in colour)
    yield Card(
        key=(*key, "side"),
        label=CAR,
        origin=(x + side * width / 2, y, z),
        width=length,
        height=height,
        across=0,
        motion=motion,
        shape="car side",
        paint="car side",
        colour=(shaded[0], shaded[1], shaded[2]),
        salt=salt,
    )


def _person(
    key: tuple[object, ...],
    place: Vector,
    motion: Vector,
    rng: np.random.Generator,
    stride: float,
    stride_step: float,
    rides: bool,
) -> Iterator[Card]:
    """Someone on foot or on a bicycle, from behind or in front; each limb is a card with its own motion."""
    x, _, z = place
    label, ground = (BICYCLIST, 0.0) if rides else (PEDESTRIAN, KERB_HEIGHT)
    size, coat, salt = rng.uniform(0.92, 1.05), _pick(rng, COAT_COLOURS), rng.uniform(0, 99)
    seat = ground + (0.18 if rides else 0.0)

    def part(
        name: str,
        dx: float,
        bottom: float,
        width: float,
        height: float,
        shape: str,
        colour: Vector,
        dz: float = 0.0,
        swing: float = 0.0,
    ) -> Card:
        now, then = swing * math.sin(stride), swing * math.sin(stride - stride_step)
        return Card(
            key=(*key, name),
            label=label,
            origin=(x + dx, seat + bottom * size + now, z + dz),
            width=width * size,
            height=height * size,
            motion=(motion[0], motion[1] + now - then, motion[2]),
            shape=shape,
            colour=colour,
            salt=salt,
        )

    skin, trousers = (196.0, 152.0, 128.0), _pick(rng, ((48, 50, 66), (70, 62, 54), (40, 40, 44)))
    for name, dx, sign in (("left", -0.11, 1), ("right", 0.11, -1)):
        yield part(name, dx, 0.05, 0.18, 0.88, "box", trousers, dz=0.02, swing=sign * 0.07)
    yield part("coat", 0.0, 0.78, 0.54, 0.72, "coat", coat)
    yield part("head", 0.0, 1.47, 0.22, 0.28, "ellipse", skin, dz=-0.02)
    yield part("hair", 0.0, 1.58, 0.23, 0.18, "ellipse", (62, 46, 36), dz=-0.03)
    if rides:
        yield part("wheel", 0.0, -0.18, 0.09, 0.7, "box", (34, 34, 36), dz=-0.3)
        yield part("bars", 0.0, 0.86, 0.62, 0.06, "box", (50, 50, 54), dz=0.4)


# The program


def _write(arguments: argparse.Namespace) -> None:
    width, height = arguments.size
    scene = StreetScene(height, width, arguments.seed, arguments.fps)
    if arguments.labels is not None:
        arguments.labels.mkdir(parents=True, exist_ok=True)
    with av.open(str(arguments.output), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(arguments.fps), options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # What the conversion to 4:2:0 uses, said in the file: a player would guess BT.709 for large sizes.
        stream.codec_context.colorspace, stream.codec_context.color_range = (
            Colorspace.SMPTE170M,
            ColorRange.MPEG,
        )
        for t in range(arguments.frames):
            rendered = scene.render(t)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rendered.image, format="rgb24")))
            if arguments.labels is not None:
                (arguments.labels / f"{t:05d}.png").write_bytes(encode_png(rendered.labels))
        container.mux(stream.encode(None))


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG file of a picture uint8 [H, W] (gray) or [H, W, 3] (RGB)."""
    layout = "gray" if picture.ndim == 2 else "rgb24"
    codec = av.VideoCodecContext.create("png", "w")
    codec.height, codec.width, codec.pix_fmt = picture.shape[0], picture.shape[1], layout
    codec.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()) or int(width) * int(height) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write WIDTHxHEIGHT, such as 640x360")
    if int(width) % 2 or int(height) % 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is odd, and 4:2:0 video needs even numbers: make both even"
        )
    return int(width), int(height)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Render a street scene seen from a driving car, as H.264 video."
    )
    parser.add_argument("output", type=Path, help="the video to write, such as street.mp4")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=_size, default=(640, 360), metavar="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0, help="another seed, another street")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="also write each frame's label ids as gray PNGs"
    )
    _write(parser.parse_args(argv))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
