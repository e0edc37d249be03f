"""Kernels: plugins/kernels' .cu files, compiled by NVRTC for exactly this card when they are first needed.

NVRTC and not a precompiled fatbin: the wheel is built where there is no CUDA toolkit; one source serves every card,
sm_61 included, which nvcc 13 no longer compiles for; and code for the very architecture needs no translation by the
driver, so it cannot be too new for it. It takes about a second, once a process.
"""

import ctypes
from pathlib import Path
from typing import Any

from gsvnet_engine.cuda.driver import INSTALL, call, release
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError

BLOCK = (32, 8)  # threads across and down: kBlockColumns, kBlockRows of plugins/kernels/portable.h
# No contraction: the kernels are equal to the bit to their references (see portable.h).
_OPTIONS = ("--std=c++17", "--fmad=false")


def compile_source(source: Path, architecture: str) -> bytes:
    """The .cu file as machine code for `architecture` ("sm_86"). Raises BackendError with the first error in it."""
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise BackendError(f"CUDA: kernels cannot be compiled ({error}); {INSTALL}") from error

    def checked(result: Any) -> Any:
        status, *values = result
        if int(status):
            raise BackendError(f"CUDA: {source.name}: NVRTC failed: {status.name}")
        return values[0] if values else None

    options = [f"--gpu-architecture={architecture}", f"--include-path={source.parent}", *_OPTIONS]
    try:
        program = checked(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, None, None))
    except BackendError:
        raise
    except Exception as error:  # no libnvrtc: cuda-bindings raises an error of its own
        text = " ".join(str(error).split())
        raise BackendError(f"CUDA: kernels cannot be compiled ({text}); {INSTALL}") from error
    try:
        encoded = [option.encode() for option in options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        if int(status):
            log = bytearray(checked(nvrtc.nvrtcGetProgramLogSize(program)))
            checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise BackendError(
                f"CUDA: {source.name} does not compile for {architecture}: {_first_error(bytes(log))}"
            )
        image = bytearray(checked(nvrtc.nvrtcGetCUBINSize(program)))
        checked(nvrtc.nvrtcGetCUBIN(program, image))
        return bytes(image)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _first_error(log: bytes) -> str:
    lines = [line.strip() for line in log.rstrip(b"\0").decode(errors="replace").splitlines()]
    first = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
    hint = "; an older card needs nvidia-cuda-nvrtc-cu12" if "gpu-architecture" in first else ""
    return first + hint


class Module:
    """Compiled kernels on the device."""

    def __init__(self, image: bytes, name: str) -> None:
        self._image = (
            image  # the driver reads it only while loading; kept for the time a lazy driver does not
        )
        self._handle: Any = call("cuModuleLoadData", image, doing=name)

    def kernel(self, name: str) -> "Kernel":
        return Kernel(call("cuModuleGetFunction", self._handle, name.encode(), doing=name))

    def close(self) -> None:
        if self._handle is not None:
            release("cuModuleUnload", self._handle)
            self._handle = None


class Kernel:
    """One __global__ function of a Module, which must outlive it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def launch(self, stream: Stream, width: int, height: int, *arguments: "Argument") -> None:
        """One thread for each of width x height outputs. Arguments are copied at the call."""
        columns, rows = BLOCK
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        grid = -(-width // columns), -(-height // rows), 1
        call(
            "cuLaunchKernel", self._handle, *grid, columns, rows, 1, 0, stream.handle,
            ctypes.addressof(pointers), 0,
        )  # fmt: skip


Argument = ctypes.c_int | ctypes.c_void_p | ctypes.Structure
