"""Device memory that others own, through __cuda_array_interface__ (pycuda, CuPy, Numba, torch) or DLPack."""

import ctypes
from typing import Any

import numpy as np

from gsvnet_engine.cuda.driver import api, call
from gsvnet_engine.cuda.memory import DeviceArray
from gsvnet_engine.errors import UsageError

LEGACY_STREAM = 1  # the handle of CUDA's default stream
_DLPACK_CUDA = 2
_DLPACK_KINDS = {0: "i", 1: "u", 2: "f"}


def on_device(array: Any) -> bool:
    """Whether it offers device memory in one of the two ways. Asks only, and touches no driver."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == _DLPACK_CUDA


def device_array(array: Any) -> DeviceArray:
    """The memory behind it, on the device that is current. Raises UsageError where it is none that can be read."""
    if hasattr(array, "__cuda_array_interface__"):
        found = _from_interface(array)
    elif on_device(array):
        found = dlpack_array(array, LEGACY_STREAM)  # the producer makes that stream wait for its work
    else:
        raise UsageError(
            f"{type(array).__name__} offers no device memory: give __cuda_array_interface__ or DLPack"
        )
    _check_pointer(found)
    return found


def _from_interface(array: Any) -> DeviceArray:
    """Version 3 names a stream, earlier ones none. https://numba.readthedocs.io, CUDA Array Interface."""
    interface = array.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise UsageError("a masked device array cannot be used: give one without a mask")
    shape = tuple(int(side) for side in interface["shape"])
    dtype = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    return DeviceArray(
        address=int(interface["data"][0]),
        shape=shape,
        strides=_packed(shape, dtype.itemsize) if strides is None else tuple(int(s) for s in strides),
        dtype=dtype,
        owner=array,
        stream=interface.get("stream"),
    )


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def dlpack_array(array: Any, stream: int | None) -> DeviceArray:
    """The memory behind a DLPack object; `stream`: which it is told that the memory will be read on.

    The capsule is kept, not consumed: its own destructor gives the memory back.
    """
    capsule = array.__dlpack__() if stream is None else array.__dlpack__(stream=stream)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    kind, size = _DLPACK_KINDS.get(tensor.dtype.code), tensor.dtype.bits // 8
    if kind is None or tensor.dtype.lanes != 1:
        raise UsageError("a device array of this type cannot be used: give unsigned integers")
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = (
        tuple(tensor.strides[i] * size for i in range(tensor.ndim))
        if tensor.strides
        else _packed(shape, size)
    )
    return DeviceArray(
        address=(tensor.data or 0) + tensor.byte_offset,
        shape=shape,
        strides=strides,
        dtype=np.dtype(f"{kind}{size}"),
        owner=(array, capsule),
        stream=stream,
    )


def _packed(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides, step = [], itemsize
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))


def _check_pointer(array: DeviceArray) -> None:
    """A host pointer would end the process on the device, not here."""
    memory_type = api().CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
    found = call("cuPointerGetAttribute", memory_type, array.address, doing="a pointer given from outside")
    if int(found) != int(api().CUmemorytype.CU_MEMORYTYPE_DEVICE):
        raise UsageError("the array given lies in host memory though it says otherwise: copy it to the GPU")
