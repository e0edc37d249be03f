"""Class colours over a picture, blended in its own 4:2:0 planes: nothing is ever converted to RGB.

Full-size work is one look-up and one blend a plane; text and legend are drawn once and pasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.bundle import ClassInfo
from gsvnet_engine.frames import LUMA_WEIGHTS, Frame, Matrix, Plane

Bytes = NDArray[np.uint8]
Planes = tuple[Bytes, Bytes, Bytes]  # Y [H,W], U and V [ceil(H/2),ceil(W/2)]

_PANEL_OPACITY = 0.6
_SMALLEST_TEXT = 8  # rows; less cannot be read
_MOST_OF_PICTURE = 0.62  # the legend's largest share of the height, and of the width


@dataclass(frozen=True)
class Sticker:
    """A small picture and its opacity in 4:2:0: y, opacity_y [h,w]; u, v, opacity_c [h/2,w/2]; even sides."""

    y: Bytes
    u: Bytes
    v: Bytes
    opacity_y: Bytes
    opacity_c: Bytes

    @property
    def size(self) -> tuple[int, int]:
        return self.y.shape[0], self.y.shape[1]

    def paste(self, planes: Planes, top: int, left: int) -> None:
        """Blend onto the planes at an even position; what would stand outside is cut off."""
        top, left = top // 2 * 2, left // 2 * 2
        for plane, own, opacity, half in (
            (planes[0], self.y, self.opacity_y, 1),
            (planes[1], self.u, self.opacity_c, 2),
            (planes[2], self.v, self.opacity_c, 2),
        ):
            target = plane[top // half :, left // half :][: own.shape[0], : own.shape[1]]
            own, opacity = (
                own[: target.shape[0], : target.shape[1]],
                opacity[: target.shape[0], : target.shape[1]],
            )
            weight = opacity.astype(np.uint16)
            target[...] = (target * (255 - weight) + own * weight + 127) // 255


class Painter:
    """Paints label maps of one list of classes over frames. alpha: 0 is the picture, 1 the classes alone."""

    def __init__(self, classes: Sequence[ClassInfo], *, alpha: float = 0.5, legend: bool = True) -> None:
        self._classes = tuple(classes)
        self._alpha = alpha
        self._wants_legend = legend
        self._tables: dict[tuple[Matrix, bool], Bytes] = {}
        self._stickers: dict[tuple[object, ...], Sticker | None] = {}

    def paint(self, frame: Frame, labels: Bytes, out: Planes, *, caption: str = "") -> None:
        """Blend labels [H,W] over the frame into `out`, and paste the legend and a caption (bottom left)."""
        matrix, full_range = frame.matrix, frame.full_range
        table = self._table(matrix, full_range)
        small = np.ascontiguousarray(labels[::2, ::2])
        for own, plane, lut, classes in zip(
            planes_420(frame), out, table, (labels, small, small), strict=True
        ):
            cv2.addWeighted(own, 1 - self._alpha, cv2.LUT(classes, lut), self._alpha, 0, dst=plane)
        margin = max(frame.height // 60, 2)
        if self._wants_legend and (legend := self._legend(frame)) is not None:
            legend.paste(out, margin, margin)
        if caption and (sticker := self._caption(frame, caption)) is not None:
            sticker.paste(out, frame.height - margin - sticker.size[0], margin)

    def _table(self, matrix: Matrix, full_range: bool) -> Bytes:
        """[3,256] uint8: Y, U and V of every class's colour."""
        key = matrix, full_range
        if key not in self._tables:
            colors = np.zeros((256, 3), np.uint8)
            colors[: len(self._classes)] = [c.color for c in self._classes]
            self._tables[key] = np.ascontiguousarray(rgb_to_yuv(colors, matrix, full_range).T)
        return self._tables[key]

    def _legend(self, frame: Frame) -> Sticker | None:
        key = frame.height, frame.width, frame.matrix, frame.full_range
        if key not in self._stickers:
            picture = legend_picture(self._classes, frame.height, frame.width)
            self._stickers[key] = (
                None if picture is None else _sticker(*picture, frame.matrix, frame.full_range)
            )
        return self._stickers[key]

    def _caption(self, frame: Frame, text: str) -> Sticker | None:
        text_rows = max(_text_rows(frame.height), _SMALLEST_TEXT)
        mask = text_mask(text, text_rows)
        pad = max(text_rows // 2, 2)
        mask = np.pad(mask, pad)
        if mask.shape[1] > frame.width:
            return None
        return _sticker(*_panel(mask, []), frame.matrix, frame.full_range)


def planes_420(frame: Frame) -> Planes:
    """The frame's picture as 8-bit Y [H,W], U and V [ceil(H/2),ceil(W/2)]; views where it is stored so."""
    height, width = frame.height, frame.width
    chroma_size = -(-height // 2), -(-width // 2)
    if frame.kind == "gray":
        grey = np.full(chroma_size, 128, np.uint8)
        return _eight_bits(frame.planes[0], frame.depth), grey, grey
    if frame.kind == "rgb":
        pixels = np.dstack([_eight_bits(plane, frame.depth) for plane in frame.planes])
        y, u, v = _split(rgb_to_yuv(pixels, frame.matrix, frame.full_range))
    else:
        y, u, v = (_eight_bits(plane, frame.depth) for plane in frame.planes)
    return _dense(y), _halved(u, chroma_size), _halved(v, chroma_size)


def rgb_to_yuv(rgb: Bytes, matrix: Matrix, full_range: bool) -> Bytes:
    """RGB [...,3] uint8 to Y, U, V [...,3] uint8 of the given matrix and range."""
    return _transformed(rgb, _yuv_of_rgb(matrix, full_range))


def recolored(frame: Frame, matrix: Matrix, full_range: bool) -> Frame:
    """The frame in that matrix and range, its samples as well as its tags: itself where they are its own, else 8-bit
    4:2:0 or RGB."""
    if (frame.matrix, frame.full_range) == (matrix, full_range):
        return frame
    if frame.kind == "rgb":
        return replace(frame, matrix=matrix, full_range=full_range)
    y, u, v = planes_420(frame)
    height, width = y.shape
    pixels = np.dstack([y, *(plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane in (u, v))])
    last = [[0.0, 0, 0, 1]]
    own = np.vstack([_yuv_of_rgb(frame.matrix, frame.full_range), last])
    wanted = np.vstack([_yuv_of_rgb(matrix, full_range), last])
    y, u, v = _split(_transformed(pixels, (wanted @ np.linalg.inv(own))[:3]))
    half = -(-height // 2), -(-width // 2)
    return replace(
        frame,
        planes=(Plane(y), Plane(_halved(u, half)), Plane(_halved(v, half))),
        kind="yuv",
        chroma_shift=(1, 1),
        depth=8,
        matrix=matrix,
        full_range=full_range,
    )


def _yuv_of_rgb(matrix: Matrix, full_range: bool) -> NDArray[np.float64]:
    """[3,4]: what R, G, B (0..255) and 1 are multiplied by for Y, U and V."""
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    unit = np.eye(3)
    rows = np.stack([luma, (unit[2] - luma) / (2 * (1 - blue)), (unit[0] - luma) / (2 * (1 - red))])
    offset = np.array([0.0, 128, 128])
    if not full_range:
        rows *= np.array([[219 / 255], [224 / 255], [224 / 255]])
        offset[0] = 16
    return np.column_stack([rows, offset])


def _transformed(pixels: Bytes, transform: NDArray[np.float64]) -> Bytes:
    """[...,3] uint8, each pixel and a 1 multiplied by `transform` [3,4]."""
    flat = np.ascontiguousarray(pixels).reshape(-1, 1, 3).astype(np.float32)
    values = cv2.transform(flat, transform.astype(np.float32))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(pixels.shape)


def legend_picture(classes: Sequence[ClassInfo], height: int, width: int) -> tuple[Bytes, Bytes] | None:
    """The legend for a picture of height x width: RGB [h,w,3], opacity [h,w]; None where none is legible."""
    for text_rows in range(_text_rows(height), _SMALLEST_TEXT - 1, -1):
        pitch = round(text_rows * 1.5)
        pad = max(text_rows // 2, 3)
        rows = int((height * _MOST_OF_PICTURE - 2 * pad) // pitch)
        if rows < 1:
            continue
        columns = -(-len(classes) // rows)
        rows = -(-len(classes) // columns)
        masks = [text_mask(c.name, text_rows) for c in classes]
        swatch = round(text_rows * 1.4)
        column = swatch + pad + max(mask.shape[1] for mask in masks) + 2 * pad
        size = rows * pitch + 2 * pad, columns * column
        if size[1] > width * _MOST_OF_PICTURE:
            continue
        text = np.zeros(size, np.uint8)
        swatches = []
        for i, (info, mask) in enumerate(zip(classes, masks, strict=True)):
            top, left = pad + i % rows * pitch, pad + i // rows * column
            middle = top + pitch // 2
            box = (
                slice(middle - text_rows // 2, middle - text_rows // 2 + text_rows),
                slice(left, left + swatch),
            )
            swatches.append((box, info.color))
            place = text[middle - mask.shape[0] // 2 :, left + swatch + pad :][
                : mask.shape[0], : mask.shape[1]
            ]
            place[...] = mask[: place.shape[0]]
        return _panel(text, swatches)
    return None


def text_mask(text: str, rows: int) -> Bytes:
    """[h,w] uint8: white text, capitals `rows` high; h depends on `rows` alone. Not ASCII: shown as "?"."""
    text = "".join(c if " " <= c <= "~" else "?" for c in text) or " "
    fine = 4  # drawn large and made small by area: OpenCV's own small text is ragged
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(round(rows * fine / 9), 1)
    scale = cv2.getFontScaleFromHeight(font, rows * fine, thickness)
    (across, _), _ = cv2.getTextSize(text, font, scale, thickness)
    (_, up), down = cv2.getTextSize("Ag", font, scale, thickness)
    canvas = np.zeros(
        (-(-(up + down + thickness) // fine) * fine, -(-(across + thickness) // fine) * fine), np.uint8
    )
    cv2.putText(canvas, text, (0, up + thickness // 2), font, scale, 255, thickness, cv2.LINE_AA)
    size = canvas.shape[1] // fine, canvas.shape[0] // fine
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)


def _text_rows(height: int) -> int:
    """The height of a capital: 1/45 of the picture's, at least 9 rows."""
    return max(round(height / 45), 9)


def _panel(
    text: Bytes, swatches: list[tuple[tuple[slice, slice], tuple[int, int, int]]]
) -> tuple[Bytes, Bytes]:
    """White text and coloured swatches on a dark panel: RGB [h,w,3] and opacity [h,w], sides even."""
    text = np.pad(text, ((0, text.shape[0] % 2), (0, text.shape[1] % 2)))
    rgb = np.repeat(text[:, :, None], 3, axis=2)
    opacity = np.maximum(text, np.uint8(255 * _PANEL_OPACITY))
    for box, color in swatches:
        rgb[box] = color
        opacity[box] = 255
    return rgb, opacity


def _sticker(rgb: Bytes, opacity: Bytes, matrix: Matrix, full_range: bool) -> Sticker:
    y, u, v = _split(rgb_to_yuv(rgb, matrix, full_range))
    half = rgb.shape[0] // 2, rgb.shape[1] // 2
    return Sticker(y, _halved(u, half), _halved(v, half), opacity, _halved(opacity, half))


def _split(pixels: Bytes) -> Planes:
    """[H,W,3] -> its three channels [H,W]."""
    first, second, third = (np.ascontiguousarray(pixels[:, :, channel]) for channel in range(3))
    return first, second, third


def _eight_bits(plane: Plane, depth: int) -> Bytes:
    """[rows, columns] uint8: rounded, not cut, to eight bits."""
    samples = plane.data
    if samples.dtype == np.uint8:
        return _dense(np.asarray(samples, np.uint8))
    drop = depth - 8
    value = (samples >> plane.shift) if plane.shift else samples
    return np.asarray(np.minimum((value + (1 << drop >> 1)) >> drop, 255), np.uint8)


def _halved(plane: Bytes, size: tuple[int, int]) -> Bytes:
    """The chroma plane at `size`, by area."""
    if plane.shape == size:
        return _dense(plane)
    edges = [2 * target - own if own > target else 0 for own, target in zip(plane.shape, size, strict=True)]
    plane = np.pad(plane, [(0, max(edge, 0)) for edge in edges], mode="edge")
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _dense(samples: Bytes) -> Bytes:
    """Rows of adjacent samples, which OpenCV needs; copied only where they are not."""
    return samples if samples.strides[1] == 1 and samples.strides[0] > 0 else np.ascontiguousarray(samples)
