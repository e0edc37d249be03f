"""Decoding on an NVIDIA GPU, through FFmpeg; pictures stay there where nobody needs them on the host.

Not confirmed by any GPU yet: tested on pictures that look like FFmpeg's, and on machines that have no GPU.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import DevicePlane, Frame
from gsvnet_engine.sources.layout import LAYOUTS, Layout, Orientation, frame_of

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

_PRIMARY_CONTEXT = 1  # AV_CUDA_USE_PRIMARY_CONTEXT: TensorRT's, so that both see the same memory
FORMAT = "cuda"  # of a picture that lies on the device


def accelerator(device: int, *, keep: bool) -> "HWAccel":
    """What av.open takes. keep: pictures stay on the device, else they are brought to the host.

    av.open raises PermissionError (av.error.PermissionError) where there is no GPU or no driver, even though software
    fallback is allowed: that is for streams that the GPU cannot decode.
    """
    from av.codec.hwaccel import HWAccel

    return HWAccel(
        FORMAT, device=device, allow_software_fallback=True, flags=_PRIMARY_CONTEXT, is_hw_owned=keep
    )


def from_cuda(picture: Any, turned: Orientation) -> Frame:
    """The planes of a picture on the device, turned; its colours and its time are unset."""
    from gsvnet_engine.cuda.external import LEGACY_STREAM, dlpack_array

    name = picture.sw_format.name
    layout = LAYOUTS.get(name)
    if layout is None or layout.kind != "yuv":
        raise InputError(f"the GPU decodes to {name}, which is not known: leave out --hwaccel")
    # PyAV takes no stream. FFmpeg's decoder copies on the default stream, which our own are made to wait for.
    arrays = [dlpack_array(plane, None) for plane in picture.planes]
    itemsize = 1 if layout.depth == 8 else 2
    planes = []
    for component, (buffer, first, step) in enumerate(layout.components):
        vertical, horizontal = layout.subsampling(component)
        rows, columns = -(-picture.height >> vertical), -(-picture.width >> horizontal)
        array = arrays[buffer]
        plane = DevicePlane(
            address=array.address + first * itemsize,
            rows=rows,
            columns=columns,
            row_stride=array.strides[0],
            pixel_stride=step * itemsize,
            itemsize=itemsize,
            shift=layout.shift,
        )
        planes.append(turn(plane, turned))
    blank = _described(layout, picture.height, picture.width, turned)
    return replace(blank, device_planes=tuple(planes), device_stream=LEGACY_STREAM, owner=picture)


def turn(plane: DevicePlane, turned: Orientation) -> DevicePlane:
    """The same samples laid the right way, by their strides."""
    if turned.transpose:
        plane = replace(
            plane,
            rows=plane.columns,
            columns=plane.rows,
            row_stride=plane.pixel_stride,
            pixel_stride=plane.row_stride,
        )
    if turned.flip_rows:
        last = plane.address + (plane.rows - 1) * plane.row_stride
        plane = replace(plane, address=last, row_stride=-plane.row_stride)
    if turned.flip_columns:
        last = plane.address + (plane.columns - 1) * plane.pixel_stride
        plane = replace(plane, address=last, pixel_stride=-plane.pixel_stride)
    return plane


def _described(layout: Layout, height: int, width: int, turned: Orientation) -> Frame:
    """A Frame of that layout without planes."""
    return frame_of(replace(layout, components=()), [], height, width, turned=turned)
