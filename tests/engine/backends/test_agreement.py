"""The shipped bundle on every backend, held against ONNX Runtime float32 within the design's bounds."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Bundle, Segmenter
from gsvnet_engine.backends import CPU_BACKENDS
from gsvnet_engine.backends.openvino import OpenVino

REFERENCE = "onnxruntime"
PLAIN = "openvino without the extension"
OTHERS = [*(name for name in CPU_BACKENDS if name != REFERENCE), PLAIN]
TOLERANCE = 1e-3
CELLS_WITHIN = 0.999
REACH = 16  # cells that a tie in the argmax, flipped by rounding, can touch through the edge map
PIXELS_DIFFERENT = 0.0005

Scores = NDArray[np.float32]


@cache
def street() -> Bundle:
    return Bundle.open("street")


@cache
def frames() -> list[NDArray[np.uint8]]:
    """RGB 180x240: smooth blobs that drift by a pixel or two a frame."""
    coarse = np.random.default_rng(5).integers(0, 256, (24, 32, 3))
    blobs = coarse.repeat(10, 0).repeat(10, 1).astype(np.float64)
    for axis in (0, 1):
        blobs = sum((np.roll(blobs, shift, axis) for shift in range(-5, 6)), np.zeros_like(blobs)) / 11
    return [np.ascontiguousarray(blobs[n : n + 180, 2 * n : 2 * n + 240].astype(np.uint8)) for n in range(5)]


@cache
def segmenter(backend: str) -> Segmenter:
    made = Segmenter(street(), backend=backend.partition(" ")[0], interval=5)
    if backend == PLAIN:
        made._backend = OpenVino(extension=False)
    return made


def near(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """The cells within `reach` of a cell of the mask [h,w], along either axis."""
    h, w = mask.shape
    padded = np.pad(mask, reach)
    rows = np.any([padded[:, d : d + w] for d in range(2 * reach + 1)], axis=0)
    return np.asarray(np.any([rows[d : d + h] for d in range(2 * reach + 1)], axis=0))


@pytest.mark.parametrize("backend", OTHERS)
class TestAgreement:
    def test_keyframe(self, backend: str) -> None:
        expected = segmenter(REFERENCE).keyframe_scores(frames()[0])
        np.testing.assert_allclose(segmenter(backend).keyframe_scores(frames()[0]), expected, atol=TOLERANCE)

    def test_one_step(self, backend: str) -> None:
        reference, other = segmenter(REFERENCE), segmenter(backend)
        step = frames()[1], frames()[0], reference.keyframe_scores(frames()[0])
        warped, flow = reference.warp_scores(*step)
        for found, expected in zip(other.warp_scores(*step), (warped, flow), strict=True):
            np.testing.assert_allclose(found, expected, atol=TOLERANCE)

        differences = np.abs(other.propagate_scores(*step) - reference.propagate_scores(*step))
        beyond = differences[0].max(0) > TOLERANCE
        best_two = np.sort(warped[0], axis=0)[-2:]
        ties = best_two[1] - best_two[0] < TOLERANCE
        assert beyond.mean() <= 1 - CELLS_WITHIN
        assert not (beyond & ~near(ties, REACH)).any()

    def test_labels_of_an_interval(self, backend: str) -> None:
        runs = [
            [run.push(frame).labels for frame in frames()] for run in map(segmenter, (REFERENCE, backend))
        ]
        assert np.mean(np.stack(runs[0]) != np.stack(runs[1])) <= PIXELS_DIFFERENT
