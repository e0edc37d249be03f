"""How pixel formats lie in memory: from FFmpeg's buffers to the planes of a Frame, without copying them."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.frames import Frame, Kind, Matrix, Plane, Samples

if TYPE_CHECKING:
    import av

HD_HEIGHT = 720  # an untagged picture this high or more is BT.709, a lower one BT.601, as players take it
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_MATRICES: dict[int, Matrix] = {
    1: "bt709", 7: "bt709",  # SMPTE 240M is near BT.709
    4: "bt601", 5: "bt601", 6: "bt601",
    9: "bt2020", 10: "bt2020",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
    """components: buffer, first sample and step (counted in samples) of each of Y, U, V | R, G, B | Y."""

    kind: Kind
    components: tuple[tuple[int, int, int], ...]
    chroma_shift: tuple[int, int] = (0, 0)
    depth: int = 8
    shift: int = 0
    full_range: bool = False

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.depth == 8 else np.uint16

    def subsampling(self, component: int) -> tuple[int, int]:
        """log2 of the vertical and horizontal subsampling of a component."""
        return self.chroma_shift if self.kind == "yuv" and component > 0 else (0, 0)


def _layouts() -> dict[str, Layout]:
    planar = ((0, 0, 1), (1, 0, 1), (2, 0, 1))
    semi = ((0, 0, 1), (1, 0, 2), (1, 1, 2))
    layouts: dict[str, Layout] = {}
    for name, chroma in (("420", (1, 1)), ("422", (0, 1)), ("444", (0, 0)), ("440", (1, 0))):
        yuv = Layout(kind="yuv", components=planar, chroma_shift=chroma)
        layouts[f"yuv{name}p"] = yuv
        layouts[f"yuvj{name}p"] = replace(yuv, full_range=True)
        layouts[f"yuv{name}p10le"] = replace(yuv, depth=10)
    for name, depth_name, chroma in (
        ("nv12", "p010le", (1, 1)),
        ("nv16", "p210le", (0, 1)),
        ("nv24", "p410le", (0, 0)),
    ):
        layouts[name] = Layout(kind="yuv", components=semi, chroma_shift=chroma)
        layouts[depth_name] = replace(layouts[name], depth=10, shift=6)
    layouts["nv21"] = replace(layouts["nv12"], components=((0, 0, 1), (1, 1, 2), (1, 0, 2)))
    packed_422 = Layout(kind="yuv", components=(), chroma_shift=(0, 1))
    layouts["yuyv422"] = replace(packed_422, components=((0, 0, 2), (0, 1, 4), (0, 3, 4)))
    layouts["uyvy422"] = replace(packed_422, components=((0, 1, 2), (0, 0, 4), (0, 2, 4)))
    for name in ("rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"):
        order = name.removesuffix("24")
        components = tuple((0, order.index(channel), len(order)) for channel in "rgb")
        layouts[name] = Layout(kind="rgb", components=components, full_range=True)
    layouts["gbrp"] = Layout(kind="rgb", components=((2, 0, 1), (0, 0, 1), (1, 0, 1)), full_range=True)
    layouts["gray"] = Layout(kind="gray", components=((0, 0, 1),), full_range=True)
    layouts["gray10le"] = replace(layouts["gray"], depth=10)
    return layouts


LAYOUTS = _layouts()


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: first transposed, then mirrored."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: NDArray[np.int32]) -> "Orientation":
        """From FFmpeg's 3x3 display matrix; angles between quarter turns go to the nearest one.

        A point (x, y) of the picture is shown at (a·x + c·y, b·x + d·y).
        """
        a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, flip_rows=b < 0, flip_columns=c < 0)
        return cls(flip_rows=d < 0, flip_columns=a < 0)

    def turn(self, samples: Samples) -> Samples:
        """The same samples as a view laid the right way."""
        turned = samples.T if self.transpose else samples
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


UPRIGHT = Orientation()


def planes_of(layout: Layout, buffers: list[Samples], height: int, width: int) -> tuple[Plane, ...]:
    """Views of the components of a picture of height x width. buffers: the stored planes [rows, samples]."""
    planes = []
    for component, (buffer, first, step) in enumerate(layout.components):
        vertical, horizontal = layout.subsampling(component)
        rows, columns = -(-height >> vertical), -(-width >> horizontal)
        planes.append(Plane(buffers[buffer][:rows, first::step][:, :columns], layout.shift))
    return tuple(planes)


def frame_of(
    layout: Layout, buffers: list[Samples], height: int, width: int, *, turned: Orientation = UPRIGHT
) -> Frame:
    """A Frame over the buffers, with defaults for its colours and its time."""
    planes = planes_of(layout, buffers, height, width)
    vertical, horizontal = layout.chroma_shift
    if turned != UPRIGHT:
        planes = tuple(Plane(turned.turn(plane.data), plane.shift) for plane in planes)
    if turned.transpose:
        width, height, vertical, horizontal = height, width, horizontal, vertical
    return Frame(
        planes=planes,
        kind=layout.kind,
        height=height,
        width=width,
        chroma_shift=(vertical, horizontal),
        depth=layout.depth,
        matrix=untagged_matrix(height),
        full_range=layout.full_range,
    )


def from_av(picture: "av.VideoFrame", *, turned: Orientation | None = None) -> Frame:
    """The planes of a decoded picture, rotated by its display matrix, or as `turned`; its time is unset."""
    tags = picture.colorspace, picture.color_range
    stored_height = picture.height
    if picture.format.name == "cuda":
        from gsvnet_engine.sources.nvdec import from_cuda

        frame = from_cuda(picture, orientation_of(picture) if turned is None else turned)
        return replace(
            frame,
            matrix=_MATRICES.get(tags[0], untagged_matrix(stored_height)),
            full_range=tags[1] == _FULL_RANGE,
        )
    layout = LAYOUTS.get(picture.format.name)
    if layout is None:
        picture = picture.reformat(format=nearest_format(picture.format))
        layout = LAYOUTS[picture.format.name]
    buffers = [_samples(plane, layout.dtype) for plane in picture.planes]
    orientation = orientation_of(picture) if turned is None else turned
    frame = frame_of(layout, buffers, picture.height, picture.width, turned=orientation)
    full = layout.full_range if layout.kind == "rgb" or tags[1] not in (1, 2) else tags[1] == _FULL_RANGE
    matrix = _MATRICES.get(tags[0], untagged_matrix(stored_height))
    return replace(frame, matrix=matrix, full_range=full, owner=picture)


def untagged_matrix(height: int) -> Matrix:
    """The matrix that a picture of so many rows is taken to have where its stream does not say."""
    return "bt601" if height < HD_HEIGHT else "bt709"


def orientation_of(picture: "av.VideoFrame") -> Orientation:
    """How the picture must be turned to be looked at, by its display matrix."""
    from av.sidedata.sidedata import SideDataContainer, Type

    # not `picture.side_data`: picture and container would hold each other, and hundreds of pictures wait for the
    # garbage collector's rarest round
    container: Any = SideDataContainer
    matrix = container(picture).get(Type.DISPLAYMATRIX)
    return UPRIGHT if matrix is None else Orientation.from_display_matrix(np.frombuffer(matrix, np.int32))


def nearest_format(pixel_format: "av.VideoFormat") -> str:
    """The format of LAYOUTS that loses least (alpha is dropped, more than 10 bits become 10)."""
    colour = [component for component in pixel_format.components if not component.is_alpha]
    if pixel_format.is_rgb or pixel_format.has_palette:
        return "rgb24"
    deep = max(component.bits for component in colour) > 8
    if len(colour) < 3:
        return "gray10le" if deep else "gray"
    probe = 64
    chroma = pixel_format.chroma_height(probe) < probe, pixel_format.chroma_width(probe) < probe
    name = {(True, True): "420", (False, True): "422"}.get(chroma, "444")
    return f"yuv{name}p10le" if deep else f"yuv{name}p"


def raw_sizes(layout: Layout, height: int, width: int) -> list[tuple[int, int]]:
    """(rows, samples a row) of each stored plane of a tightly packed picture."""
    sizes: list[tuple[int, int]] = []
    for buffer in range(1 + max(component[0] for component in layout.components)):
        members = [i for i, component in enumerate(layout.components) if component[0] == buffer]
        extents = []
        for i in members:
            vertical, horizontal = layout.subsampling(i)
            extents.append((-(-height >> vertical), -(-width >> horizontal) * layout.components[i][2]))
        sizes.append((max(rows for rows, _ in extents), max(samples for _, samples in extents)))
    return sizes


def pixel_aspect(ratio: Fraction | None, turned: Orientation) -> Fraction | None:
    """The aspect of a pixel once the picture is turned; None for square or unknown."""
    if not ratio or ratio == 1:
        return None
    return 1 / ratio if turned.transpose else ratio


def _samples(plane: Any, dtype: type[np.uint8] | type[np.uint16]) -> Samples:
    """[rows, samples] of a stored plane, padding included; a negative line size stores the last row first."""
    samples: Any = np.frombuffer(plane, dtype)
    row = abs(plane.line_size) // samples.itemsize
    rows: Samples = samples[: samples.size // row * row].reshape(-1, row)
    return rows[::-1] if plane.line_size < 0 else rows
