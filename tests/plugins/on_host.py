"""The .cu kernels compiled by g++ and run on the CPU, thread after thread (plugins/kernels/on_host.h)."""

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "plugins" / "kernels"
BLOCK = (32, 8, 1)  # portable.h


def compile(output: Path, *sources: Path, flags: tuple[str, ...] = ()) -> None:
    """g++ on C++ and .cu files, the latter as host code."""
    linked = []
    for source in sources:
        if source.suffix == ".cu":
            linked.append(output.with_name(f"{source.stem}.o"))
            as_host = ["-include", str(KERNELS / "on_host.h"), "-x", "c++", "-c", str(source)]
            _gpp(*flags, *as_host, "-o", str(linked[-1]))
        else:
            linked.append(source)
    _gpp(*flags, *(str(each) for each in linked), "-o", str(output), "-pthread")


def _gpp(*arguments: str) -> None:
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


class Axis(ctypes.Structure):
    """gsvnet::Axis of frame/core.h."""

    _fields_ = (
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("taps", ctypes.c_int),
        ("samples", ctypes.c_int),
    )


class SourcePlane(ctypes.Structure):
    """gsvnet::SourcePlane."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("item_stride", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
        ("rows", Axis),
        ("columns", Axis),
        ("bytes", ctypes.c_int),
        ("shift", ctypes.c_int),
    )


class Preparation(ctypes.Structure):
    """gsvnet::Preparation."""

    _fields_ = (
        ("planes", SourcePlane * 3),
        ("offset", ctypes.c_float * 3),
        ("matrix", ctypes.c_float * 9),
    )


class Host:
    """A "device" whose memory is NumPy's."""

    def __init__(self, folder: Path) -> None:
        path = folder / "on_host.so"
        compile(path, Path(__file__).with_name("on_host.cpp"), flags=("-O2", "-fPIC", "-shared"))
        self._library = ctypes.CDLL(str(path))

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Any) -> None:
        """Run a kernel over columns x rows x depth. Arguments: arrays (by address), ints, structures."""
        extents = zip(threads, BLOCK, strict=True)
        grid = (ctypes.c_uint * 3)(*(-(-count // block) for count, block in extents))
        boxed = [_box(argument) for argument in arguments]
        addresses = (ctypes.c_void_p * len(boxed))(*(ctypes.addressof(box) for box in boxed))
        status = self._library.launch(kernel.encode(), grid, (ctypes.c_uint * 3)(*BLOCK), addresses)
        assert status == 0, f"{kernel}: no such kernel"

    def warp(self, scores: NDArray[Any], flow: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """scores [N,C,h,w], flow [N,2,h,w], float32 or float16 -> warped, edges [N,1,h,w] of the same type."""
        n, classes, rows, columns = scores.shape
        suffix, over = _suffix(scores), (columns, rows, n)
        warped, edges = np.empty_like(scores), np.empty((n, 1, rows, columns), scores.dtype)
        index = np.empty((n, rows, columns), np.uint8)
        self.launch(f"gsvnet_warp{suffix}", over, scores, flow, classes, rows, columns, warped, index)
        self.launch(f"gsvnet_edges{suffix}", over, index, rows, columns, edges)
        return warped, edges

    def filter(self, warped: NDArray[Any], intra: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
        """warped, intra [N,C,h,w], weights [N,D+1,h,w], float32 or float16 -> [N,C,h,w] of the same type."""
        n, classes, rows, columns = warped.shape
        kernel = f"gsvnet_filter_{weights.shape[1] - 1}{_suffix(warped)}"
        out = np.empty_like(warped)
        over = (columns, rows, n * -(-classes // 4))
        self.launch(kernel, over, warped, intra, weights, classes, rows, columns, out)
        return out

    def labels(self, scores: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
        """scores [N,C,h,w], float32 or float16 -> labels [N,height,width] uint8."""
        n, classes, rows, columns = scores.shape
        labels = np.empty((n, height, width), np.uint8)
        kernel, over = f"gsvnet_labels{_suffix(scores)}", (width, height, n)
        self.launch(kernel, over, scores, classes, rows, columns, labels, height, width)
        return labels


def _suffix(array: NDArray[Any]) -> str:
    return {"float32": "", "float16": "_half"}[array.dtype.name]


def _box(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_int(argument) if isinstance(argument, int) else argument
