"""Which GPUs there are, and the primary context of one: the one that TensorRT, torch and CuPy use too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Self

from gsvnet_engine.cuda.driver import INSTALL, DriverError, api, call, release
from gsvnet_engine.errors import BackendError, UsageError

_NAME_BYTES = 128


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """A GPU. capability: its compute capability, (8, 6); driver: the CUDA version that its driver serves, (13, 0)."""

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver: tuple[int, int]

    @property
    def architecture(self) -> str:
        """As compilers call it: sm_86."""
        return f"sm_{self.capability[0]}{self.capability[1]}"


def probe() -> list[DeviceInfo]:
    """Every GPU that the driver shows. Raises BackendError, saying why, where there is none.

    Nothing of TensorRT may be touched before this has succeeded: without a driver its runtimes return pointers that
    crash on use.
    """
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        raise BackendError(f"no GPU can be asked for: cuda-bindings is not installed; {INSTALL}")
    try:
        call("cuInit", 0)
        count = call("cuDeviceGetCount")
    except DriverError as error:
        if error.code in (0, 100):  # 100: CUDA_ERROR_NO_DEVICE
            raise BackendError(f"no NVIDIA GPU, or no driver for it ({error})") from error
        raise
    if not count:
        raise BackendError("the NVIDIA driver shows no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    return [_info(index) for index in range(count)]


def find(index: int) -> DeviceInfo:
    """The GPU of that number. Raises BackendError where there is none at all, UsageError where there are others."""
    devices = probe()
    if not 0 <= index < len(devices):
        shown = ", ".join(f"{device.index} ({device.name})" for device in devices)
        raise UsageError(f"GPU {index} is not there; there is {shown}")
    return devices[index]


def _info(index: int) -> DeviceInfo:
    device = call("cuDeviceGet", index)
    attribute = api().CUdevice_attribute
    major = call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
    minor = call("cuDeviceGetAttribute", attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
    name: bytes = call("cuDeviceGetName", _NAME_BYTES, device)
    version = call("cuDriverGetVersion")
    return DeviceInfo(
        index=index,
        name=name.split(b"\0")[0].decode(errors="replace"),
        capability=(major, minor),
        memory_bytes=call("cuDeviceTotalMem", device),
        driver=(version // 1000, version % 1000 // 10),
    )


class Context:
    """A device's primary context, retained until `close`. Current only inside `with context.current():`."""

    def __init__(self, info: DeviceInfo) -> None:
        self.info = info
        self._device: Any = call("cuDeviceGet", info.index)
        self._context: Any = call("cuDevicePrimaryCtxRetain", self._device, doing=info.name)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it current on this thread; whoever embeds us finds their own context as they left it."""
        call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            release("cuCtxPopCurrent")

    @contextmanager
    def quietly_current(self) -> Iterator[None]:
        """As `current`, for freeing: goes on where the device is lost."""
        release("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            release("cuCtxPopCurrent")

    def close(self) -> None:
        if self._context is not None:
            release("cuDevicePrimaryCtxRelease", self._device)
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
