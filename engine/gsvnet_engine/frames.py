"""A frame as it comes from a source: its planes as they are stored, with what is needed to read them as colour."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["yuv", "rgb", "gray"]
Matrix = Literal["bt601", "bt709", "bt2020"]
Samples = NDArray[np.uint8] | NDArray[np.uint16]

# Of red and blue (ITU-R BT.601, BT.709, BT.2020); green is the rest.
LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}


@dataclass(frozen=True)
class Plane:
    """Samples [rows, columns] uint8 or uint16, any strides: chroma of NV12 and the channels of RGB are strided views.

    `shift`: low bits to drop from each sample (P010 keeps its 10 bits in the high ones: 6).
    """

    data: Samples
    shift: int = 0


@dataclass(frozen=True)
class DevicePlane:
    """As Plane, in a GPU's memory: samples [rows, columns] of `itemsize` bytes at `address`, strides in bytes."""

    address: int
    rows: int
    columns: int
    row_stride: int
    pixel_stride: int
    itemsize: int = 1
    shift: int = 0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of `height` x `width` pixels (after rotation) and its place in time.

    planes: (Y, U, V), (R, G, B) or (Y,) by `kind`. chroma_shift: log2 of the vertical and horizontal subsampling,
    (1, 1) for 4:2:0. depth: bits a sample. pts counts time_base; pts_s is the same in seconds, and always there.

    A picture that lies in a GPU's memory has `device_planes` instead; they may be read once the work that
    `device_stream` (a CUDA stream's handle; None: nothing) was given so far is done.
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
    forces_keyframe: bool = False  # the first frame after a decode error, a seek or a lost connection
    # time.monotonic() when it arrived; of a live source, its last packet
    captured_s: float | None = field(default=None, compare=False)
    owner: Any = None  # keeps the memory behind the planes alive
    device_planes: tuple[DevicePlane, ...] = ()
    device_stream: int | None = None
    staged: Any = None  # a GPU backend's own copy, on its way to the device (Segmenter.stage)

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
    def from_device(
        cls, picture: Any, *, index: int = 0, pts_s: float = 0.0, stream: int | None = None
    ) -> "Frame":
        """From RGB [H,W,3] uint8 in a GPU's memory (__cuda_array_interface__ or DLPack); nothing is copied.

        `stream`: the handle of the CUDA stream that writes it, where the object does not say. For the tensorrt
        backend alone. Raises ValueError for another shape.
        """
        from gsvnet_engine.cuda.external import device_array

        array = device_array(picture)
        if len(array.shape) != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
            raise ValueError(f"a picture must be uint8 [H,W,3], not {array.dtype} {list(array.shape)}")
        height, width, _ = array.shape
        rows, columns, channels = array.strides
        return cls(
            planes=(),
            kind="rgb",
            height=height,
            width=width,
            full_range=True,
            index=index,
            pts_s=pts_s,
            owner=array,
            device_planes=tuple(
                DevicePlane(array.address + i * channels, height, width, rows, columns) for i in range(3)
            ),
            device_stream=array.stream if stream is None else stream,
        )

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
