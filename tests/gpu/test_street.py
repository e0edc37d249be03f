"""The bundle that is shipped, on ONNX Runtime's CUDA provider, against ONNX Runtime on the CPU."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.frames import Frame
from gsvnet_engine.video import SourceOptions, open_source

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_provider")]

CLIP = Path(__file__).parents[2] / "samples" / "street.mp4"
FRAMES, INTERVAL = 20, 4


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    with open_source(CLIP, SourceOptions(max_frames=FRAMES)) as source:
        return list(source)


@pytest.fixture(scope="module")
def cpu() -> Iterator[Segmenter]:
    with Segmenter("street", backend="onnxruntime", interval=INTERVAL) as segmenter:
        yield segmenter


@pytest.fixture
def on_gpu(tmp_path: Path) -> Iterator[Segmenter]:
    gpu = GpuOptions(cache=tmp_path / "cache")
    with Segmenter("street", backend="onnxruntime-cuda", interval=INTERVAL, gpu=gpu) as segmenter:
        yield segmenter


def agreement(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    return float(np.mean(found == expected))


def test_labels(clip: list[Frame], cpu: Segmenter, on_gpu: Segmenter) -> None:
    found = [s.labels for s in on_gpu.stream(clip)]
    expected = [s.labels for s in cpu.stream(clip)]
    shares = [agreement(a, b) for a, b in zip(found, expected, strict=True)]
    print("pixels equal to the CPU's:", " ".join(f"{share:.5f}" for share in shares))
    assert len(shares) == FRAMES and float(np.mean(shares)) >= 0.999


def test_frame_by_frame_is_the_same_as_streamed(clip: list[Frame], on_gpu: Segmenter) -> None:
    streamed = [s.labels for s in on_gpu.stream(clip[:8])]
    on_gpu.reset()
    pushed = [on_gpu.push(frame).labels for frame in clip[:8]]
    assert min(agreement(a, b) for a, b in zip(streamed, pushed, strict=True)) >= 0.9999


def close(found: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> bool:
    """But for cells where one class gives way to another: PF takes decisions there."""
    apart = np.abs(found - expected)
    print(f"{what}: {apart.mean():.2e} apart on average, {apart.max():.2e} at most")
    return found.shape == expected.shape and bool(np.mean(apart <= 1e-2) >= 0.999)


def test_scores(clip: list[Frame], cpu: Segmenter, on_gpu: Segmenter) -> None:
    expected = cpu.keyframe_scores(clip[0])
    assert close(on_gpu.keyframe_scores(clip[0]), expected, "keyframe")
    given = clip[1], clip[0], expected
    assert close(on_gpu.propagate_scores(*given), cpu.propagate_scores(*given), "propagate")
    for got, wanted, what in zip(
        on_gpu.warp_scores(*given), cpu.warp_scores(*given), ("warp", "flow"), strict=True
    ):
        assert close(got, wanted, what)
