"""A frame as it comes from a source: its planes as they are stored, with what is needed to read them as colour."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["yuv", "rgb", "gray"]
Matrix = Literal["bt601", "bt709", "bt2020"]
Samples = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Plane:
    """Samples [rows, columns] uint8 or uint16, any strides: chroma of NV12 and the channels of RGB are strided views.

    `shift`: low bits to drop from each sample (P010 keeps its 10 bits in the high ones: 6).
    """

    data: Samples
    shift: int = 0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of `height` x `width` pixels (after rotation) and its place in time.

    planes: (Y, U, V), (R, G, B) or (Y,) by `kind`. chroma_shift: log2 of the vertical and horizontal subsampling,
    (1, 1) for 4:2:0. depth: bits a sample. pts counts time_base; pts_s is the same in seconds, and always there.
    """

    planes: tuple[Plane, ...]
    kind: Kind
    height: int
    width: int
    chroma_shift: tuple[int, int] = (0, 0)
    depth: int = 8
    matrix: Matrix = "bt709"
    full_range: bool = False
    index: int = 0
    pts: int | None = None
    time_base: Fraction | None = None
    pts_s: float = 0.0
    forces_keyframe: bool = False  # the first frame after a decode error or a seek
    owner: Any = None  # keeps the memory behind the planes alive

    def __repr__(self) -> str:
        return f"Frame({self.index}, {self.width}x{self.height} {self.kind} {self.depth} bit, {self.pts_s:.3f} s)"

    @classmethod
    def from_rgb(cls, picture: NDArray[np.uint8], *, index: int = 0, pts_s: float = 0.0) -> "Frame":
        """From RGB [H,W,3] uint8; the planes are views, nothing is copied. Raises ValueError for another shape."""
        return cls._from_channels(picture, (0, 1, 2), index, pts_s)

    @classmethod
    def from_bgr(cls, picture: NDArray[np.uint8], *, index: int = 0, pts_s: float = 0.0) -> "Frame":
        """From BGR [H,W,3] uint8, OpenCV's order; the planes are views. Raises ValueError for another shape."""
        return cls._from_channels(picture, (2, 1, 0), index, pts_s)

    @classmethod
    def _from_channels(
        cls, picture: NDArray[np.uint8], order: tuple[int, int, int], index: int, pts_s: float
    ) -> "Frame":
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(f"a picture must be uint8 [H,W,3], not {picture.dtype} {list(picture.shape)}")
        return cls(
            planes=tuple(Plane(picture[:, :, channel]) for channel in order),
            kind="rgb",
            height=picture.shape[0],
            width=picture.shape[1],
            full_range=True,
            index=index,
            pts_s=pts_s,
        )
