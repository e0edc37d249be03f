"""Decoding on the GPU, through the engine's sources: the same pictures as software decodes, bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.cuda.device import DeviceInfo
from gsvnet_engine.frames import DevicePlane, Frame
from gsvnet_engine.video import SourceOptions, open_source
from tests.engine.backends.tensorrt.scenes import on_cpu
from tests.gpu import scenes as real
from tests.gpu.outside import memory_at

pytestmark = pytest.mark.gpu

CLIP = Path(__file__).parents[2] / "samples" / "street.mp4"
FRAMES = 24


@pytest.fixture(scope="module")
def software() -> list[Frame]:
    with open_source(CLIP, SourceOptions(max_frames=FRAMES)) as source:
        return list(source)


def decoded(*, keep: bool) -> Iterator[Frame]:
    options = SourceOptions(max_frames=FRAMES, hwaccel="cuda", keep_on_device=keep)
    with open_source(CLIP, options) as source:
        yield from source


@pytest.fixture(scope="module")
def nvdec(card: DeviceInfo) -> None:
    """PyAV with CUDA's decoder, and a card that has one."""
    from av.codec.hwaccel import hwdevices_available

    if "cuda" not in hwdevices_available():
        pytest.skip("PyAV is built without CUDA's hwaccel")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch has no GPU")
    torch.cuda.init()
    frame = next(iter(decoded(keep=True)))
    if not frame.device_planes:
        pytest.skip("FFmpeg decodes in software here: this card, or this PyAV, has no decoder for it")


def fetched(plane: DevicePlane) -> NDArray[Any]:
    kind = "|u1" if plane.itemsize == 1 else "<u2"
    strides = plane.row_stride, plane.pixel_stride
    with memory_at(plane.address, plane.rows, plane.columns, strides, kind) as memory:
        found: NDArray[Any] = memory.cpu().numpy()
        return found


@pytest.mark.usefixtures("nvdec")
def test_pictures_that_stay_on_the_device(software: list[Frame]) -> None:
    count = 0
    for found, expected in zip(decoded(keep=True), software, strict=True):
        count += 1
        assert (found.pts_s, found.height, found.width) == (expected.pts_s, expected.height, expected.width)
        assert (found.matrix, found.full_range) == (expected.matrix, expected.full_range)
        for plane, wanted in zip(found.device_planes, expected.planes, strict=True):
            np.testing.assert_array_equal(fetched(plane), wanted.data)
    assert count == FRAMES


@pytest.mark.usefixtures("nvdec")
def test_pictures_that_come_to_the_host(software: list[Frame]) -> None:
    for found, expected in zip(decoded(keep=False), software, strict=True):
        assert not found.device_planes
        for plane, wanted in zip(found.planes, expected.planes, strict=True):
            np.testing.assert_array_equal(plane.data, wanted.data)


@pytest.mark.usefixtures("nvdec", "toy_tensorrt")
def test_labels_of_pictures_that_stay_there(software: list[Frame], folder: Path, gpu: GpuOptions) -> None:
    """Straight from the decoder's memory, the decode thread ahead."""
    with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
        found = [s.labels for s in segmenter.stream(decoded(keep=True))]
    assert real.wrong(found, on_cpu(folder, software)) == 0
