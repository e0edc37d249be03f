"""libgsvnet's TensorRT backend on stand-ins: plans that Python's backend built, labels equal to OpenVINO's to the bit.

The C++ half, without Python and under sanitizers, is test_gpu.cpp.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.backend import TensorRT
from gsvnet_engine.backends.tensorrt.cache import PlanCache
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.device import Context, probe
from gsvnet_engine.errors import BackendError
from gsvnet_engine.frames import Samples
from gsvnet_engine.sources.layout import LAYOUTS, frame_of, raw_sizes
from samples.c import gsvnet_ctypes as c
from tests import toy_bundle
from tests.cuda import standin
from tests.cuda.outside import OutsideArray
from tests.engine.backends.tensorrt import standin_tensorrt
from tests.engine.capi.conftest import REPOSITORY, STREET, Build, configured
from tests.engine.capi.test_parity import FORMATS, c_frame, patches

HEIGHT, WIDTH = 48, 64
CUDA = 1  # GSVNET_MEMORY_CUDA


@pytest.fixture
def driver() -> Iterator[standin.Driver]:
    """A GPU, of which nothing may be left over; afterwards there is none, as before."""
    driver = standin.load()
    driver.reset()
    yield driver
    assert (driver.violations, driver.alive) == ("", "")
    driver.reset()
    driver.device(number=0)


@pytest.fixture
def library(plain: Build, driver: standin.Driver) -> str:
    """libgsvnet with both backends, its TensorRT being OpenVINO; it finds the driver that is loaded already."""
    return str(plain.target("gsvnet_standin", "tests/libgsvnet_standin.so"))


@pytest.fixture
def built(
    library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Path, str, int, int], Path]:
    """What gsvnet-engine build does, with that TensorRT: the cache's folder."""

    def build(folder: Path, version: str, height: int, width: int) -> Path:
        ctypes.CDLL(library).standin_tensorrt_version(*generation.parse_version(version))
        monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": version})
        monkeypatch.setattr(generation, "load", lambda choice: standin_tensorrt)
        backend, bundle = TensorRT(GpuOptions(cache=tmp_path / "cache")), Bundle.open(folder)
        backend.build(bundle, bundle.plan(height, width))
        backend.close()
        return tmp_path / "cache"

    return build


def on_gpu(library: str, folder: Path, cache: Path) -> c.Engine:
    return c.Engine(library, str(folder), backend=b"tensorrt", threads=1, plan_cache=str(cache).encode())


def on_cpu(library: str, folder: Path) -> c.Engine:
    return c.Engine(library, str(folder), backend=b"openvino", threads=1)


def on_device(frame: c.Frame, buffers: list[Samples]) -> tuple[c.Frame, list[OutsideArray]]:
    """The same frame as device pointers, and what keeps them alive."""
    arrays = []
    there = c.Frame.from_buffer_copy(frame)
    there.memory = CUDA
    for i, buffer in enumerate(buffers):
        array = OutsideArray((len(buffer), buffer.strides[0]))
        rows = np.lib.stride_tricks.as_strided(
            buffer.view(np.uint8), (len(buffer), buffer.shape[1] * buffer.itemsize), (buffer.strides[0], 1)
        )
        array.host()[:, : rows.shape[1]] = rows
        there.planes[i] = array.address
        arrays.append(array)
    return there, arrays


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (37, 51)])
def test_formats(
    library: str,
    tmp_path: Path,
    built: Callable[[Path, str, int, int], Path],
    name: str,
    height: int,
    width: int,
) -> None:
    """From host memory and as device pointers, rows that lie apart, keyframes and propagation: as OpenVINO."""
    folder = toy_bundle.write(tmp_path / "toy")
    cache = built(folder, "8.6.1", height, width)  # whose graphs are plain: OpenVINO knows no ONNX functions
    rng, layout, seen = np.random.default_rng(height), LAYOUTS[name], set[int]()
    with (
        on_cpu(library, folder) as cpu,
        on_gpu(library, folder, cache) as host,
        on_gpu(library, folder, cache) as device,
        Context(probe()[0]) as context,
        context.current(),
    ):
        for index in range(5):
            largest = (1 << layout.depth) << layout.shift
            buffers: list[Samples] = [
                patches(rng, rows, samples + 8 * index, largest, layout.dtype)[:, :samples]
                for rows, samples in raw_sizes(layout, height, width)
            ]
            frame = replace(frame_of(layout, buffers, height, width), pts_s=index / 25)
            given = c_frame(frame, name, buffers)
            wanted, counts, result = cpu.push(given)
            there, arrays = on_device(given, buffers)
            for engine, each in ((host, given), (device, there)):
                labels, found, told = engine.push(each)
                assert labels == wanted and found == counts
                seen.update(labels)
                assert (told.is_keyframe, told.age) == (result.is_keyframe, result.age)
            del arrays
    assert len(seen) > 1


def test_the_shipped_bundle(library: str, built: Callable[[Path, str, int, int], Path]) -> None:
    """By propagate.onnx, its operations included: equal to the bit too."""
    cache = built(STREET, "11.4.0", 96, 128)
    rng = np.random.default_rng(5)
    with on_cpu(library, STREET) as cpu, on_gpu(library, STREET, cache) as gpu:
        assert gpu.info.backend == b"tensorrt"
        for _ in range(3):
            picture: NDArray[np.uint8] = patches(rng, 96, 128 * 3, 256, np.uint8).astype(np.uint8)
            frame = c.Frame(format=c.RGB, width=128, height=96)
            frame.planes[0] = picture.ctypes.data
            assert gpu.push(frame)[0] == cpu.push(frame)[0]


def test_a_plan_in_use_is_not_the_next_to_be_dropped(
    library: str, tmp_path: Path, built: Callable[[Path, str, int, int], Path]
) -> None:
    folder = toy_bundle.write(tmp_path / "toy")
    cache = built(folder, "8.6.1", HEIGHT, WIDTH)
    plans = list((cache / "plans").glob("*.plan"))
    for plan in plans:
        os.utime(plan, (1, 1))
    with on_gpu(library, folder, cache) as engine:
        engine.call("warm", engine.pointer, WIDTH, HEIGHT)
    assert len(plans) == 2 and all(plan.stat().st_mtime > 1 for plan in plans)


def test_stale_in_pythons_words(
    library: str, tmp_path: Path, built: Callable[[Path, str, int, int], Path]
) -> None:
    folder = toy_bundle.write(tmp_path / "toy")
    cache = built(folder, "8.6.1", HEIGHT, WIDTH)
    old = PlanCache(cache, 0).entries()[-1]  # of the keyframe: built first
    built(folder, "11.4.0", HEIGHT, WIDTH)
    for plan in (cache / "plans").glob("*.plan"):
        if plan.stem != old.stem:
            plan.unlink()
    with (
        on_gpu(library, folder, cache) as engine,
        pytest.raises(
            c.GsvnetError, match=r"keyframe\.onnx: the plan in .* is stale \((.*)\): run"
        ) as caught,
    ):
        engine.call("warm", engine.pointer, WIDTH, HEIGHT)
    assert caught.value.status == BackendError.exit_code
    assert "(road plain, now functions; tensorrt TensorRT 8.6.1, now TensorRT 11.4.0)" in str(caught.value)
    assert f"run gsvnet-engine build {folder} --size {WIDTH}x{HEIGHT} --plan-cache {cache}" in str(
        caught.value
    )


def test_with_tensorrts_headers() -> None:
    """By hand: TENSORRT_ROOT=... pytest. Builds, links nothing of NVIDIA's, and says what a machine without lacks."""
    root = Path(os.environ.get("TENSORRT_ROOT", "/nowhere"))
    if not (root / "include/NvInferRuntime.h").is_file():
        pytest.skip("TENSORRT_ROOT names no folder with include/NvInferRuntime.h")
    settings = f"TENSORRT_ROOT={root}", f"TENSORRT_INCLUDE_DIR={root / 'include'}", "GSVNET_OPENVINO=OFF"
    library = configured("test-c-tensorrt", *settings).target("gsvnet", "libgsvnet.so")
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" in needed and not any(name in needed for name in ("nvinfer", "cuda"))
    header = REPOSITORY / "engine/capi/include/gsvnet.h"
    subprocess.run([Path(__file__).with_name("symbols.sh"), library, header], check=True)
    with pytest.raises(c.GsvnetError, match=r"libcuda|libnvinfer|no NVIDIA GPU") as caught:
        c.Engine(str(library), str(STREET), backend=b"tensorrt")
    assert caught.value.status == BackendError.exit_code
