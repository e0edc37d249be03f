"""libgsvnet from a language that only knows foreign functions: here Python's ctypes, with nothing installed.

ffmpeg -v error -i road.mp4 -pix_fmt bgr24 -f rawvideo - | \
    python samples/c/gsvnet_ctypes.py build/c/libgsvnet.so path/to/street 1280 720
"""

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

I420, NV12, I010, P010, RGB, BGR, BGRA = range(1, 8)
_i32, _i64, _u32, _double, _text = (
    ctypes.c_int32, ctypes.c_int64, ctypes.c_uint32, ctypes.c_double, ctypes.c_char_p,
)  # fmt: skip


class Error(ctypes.Structure):
    _fields_ = (("status", _i32), ("message", ctypes.c_char * 1020))


class Sized(ctypes.Structure):
    """A struct of gsvnet.h that begins with its size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class Options(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("interval", _i32),
        ("threads", _i32),
        ("backend", _text),
        ("cpu_precision", _text),
        ("device", _i32),
        ("reserved", _i32),
        ("plan_cache", _text),
        ("plugins", _text),
    )


class Frame(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("format", _i32),
        ("width", _i32),
        ("height", _i32),
        ("planes", ctypes.c_void_p * 3),
        ("strides", _i64 * 3),
        ("plane_sizes", _i64 * 3),
        ("matrix", _i32),
        ("range", _i32),
        ("memory", _i32),
        ("reserved", _i32),
        ("pts_s", _double),
        ("cuda_stream", ctypes.c_void_p),
    )


class Output(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("counts_length", _i32),
        ("labels", ctypes.c_void_p),
        ("labels_stride", _i64),
        ("labels_size", _i64),
        ("counts", ctypes.POINTER(_i64)),
    )


class Result(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("is_keyframe", _i32),
        ("age", _i32),
        ("reserved", _i32),
        ("prepare_ms", _double),
        ("keyframe_ms", _double),
        ("propagate_ms", _double),
        ("labels_ms", _double),
    )


class Info(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("classes", _i32),
        ("interval", _i32),
        ("reserved", _i32),
        ("name", _text),
        ("license", _text),
        ("backend", _text),
        ("backend_version", _text),
        ("cpu_precision", _text),
    )


class Class(Sized):
    _fields_ = (
        ("struct_size", _u32),
        ("red", ctypes.c_uint8),
        ("green", ctypes.c_uint8),
        ("blue", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("name", _text),
    )


class GsvnetError(Exception):
    """What libgsvnet said; `status` is a GSVNET_ERROR_... of gsvnet.h."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message.decode(errors="replace"))
        self.status = int(error.status)


class Engine:
    """One video's segmentation. Close it, or use it in a `with`."""

    def __init__(self, library: str, bundle: str, **options: Any) -> None:
        self.library = ctypes.CDLL(library)
        self.library.gsvnet_version.restype = _text
        self.pointer = ctypes.c_void_p()
        self.call("open", bundle.encode(), ctypes.byref(Options(**options)), ctypes.byref(self.pointer))
        self.info = Info()
        self.call("get_info", self.pointer, ctypes.byref(self.info))

    def call(self, name: str, *arguments: Any) -> None:
        """gsvnet_<name>(arguments..., &error). Raises GsvnetError where that fails."""
        error = Error()
        if getattr(self.library, f"gsvnet_{name}")(*arguments, ctypes.byref(error)):
            raise GsvnetError(error)

    def push(self, frame: Frame) -> tuple[bytearray, list[int], Result]:
        """Labels (height x width bytes), pixels of each class, and what was done."""
        labels = bytearray(frame.width * frame.height)
        counts, result = (_i64 * self.info.classes)(), Result()
        there = (ctypes.c_uint8 * len(labels)).from_buffer(labels)
        output = Output(
            labels=ctypes.addressof(there),
            labels_size=len(labels),
            counts=counts,
            counts_length=len(counts),
        )
        self.call("push", self.pointer, *(ctypes.byref(s) for s in (frame, output, result)))
        return labels, list(counts), result

    def class_names(self) -> list[str]:
        """The classes' names by label."""
        names = []
        for index in range(self.info.classes):
            one = Class()
            self.call("get_class", self.pointer, index, ctypes.byref(one))
            names.append(one.name.decode())
        return names

    def close(self) -> None:
        """Free everything; a second time does nothing."""
        self.library.gsvnet_close(ctypes.byref(self.pointer))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(arguments: Sequence[str]) -> None:
    library, bundle, width, height = arguments[0], arguments[1], int(arguments[2]), int(arguments[3])
    picture = bytearray(3 * width * height)
    there = (ctypes.c_uint8 * len(picture)).from_buffer(picture)
    with Engine(library, bundle) as engine:
        names = engine.class_names()
        while len(data := sys.stdin.buffer.read(len(picture))) == len(picture):
            picture[:] = data
            frame = Frame(format=BGR, width=width, height=height)
            frame.planes[0] = ctypes.addressof(there)
            _, counts, result = engine.push(frame)
            most = max(range(len(counts)), key=counts.__getitem__)
            kind = "keyframe" if result.is_keyframe else "propagated"
            print(f"{kind:10} {names[most]} covers {100 * counts[most] / (width * height):.0f} %")


if __name__ == "__main__":
    main(sys.argv[1:])
