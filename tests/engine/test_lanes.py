"""Intervals side by side, and keyframes ahead: the same labels in the same order."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import Frame, Segmentation, Segmenter, UsageError
from gsvnet_engine.backends import CPU_BACKENDS
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from tests import toy_bundle

AHEAD = GpuOptions(ahead=True)


def frames(count: int, height: int = 64, width: int = 96) -> list[Frame]:
    """Noise, with a cut at frame 5 that forces a keyframe, and another size from frame 11 on."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(count):
        size = (height, width) if index < 11 else (height + 16, width)
        picture = rng.integers(0, 256, (*size, 3), np.uint8)
        frame = Frame.from_rgb(picture, index=index, pts_s=index / 25)
        made.append(replace(frame, forces_keyframe=index == 5))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle.write(tmp_path_factory.mktemp("bundle") / "toy")


def lane_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("gsvnet-lane", "gsvnet-ahead"))]


def same(found: list[Segmentation], expected: list[Segmentation]) -> None:
    assert [s.index for s in found] == [s.index for s in expected]
    assert [s.is_keyframe for s in found] == [s.is_keyframe for s in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


class TestLanes:
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    @pytest.mark.parametrize(("interval", "lanes"), [(1, 2), (3, 2), (4, 3), (16, 2)])
    def test_labels_are_the_ordinary_ones_to_the_bit(
        self, folder: Path, backend: str, interval: int, lanes: int
    ) -> None:
        one = Segmenter(folder, backend=backend, threads=1, interval=interval)
        several = Segmenter(folder, backend=backend, threads=1, interval=interval, lanes=lanes)
        expected = [one.push(frame) for frame in frames(21)]
        found = []
        for segmentation in several.stream(iter(frames(21))):
            found.append(segmentation)
            assert several.scores is not None
            assert several.scores.shape[1] == len(
                segmentation.classes
            )  # of this very frame, for whoever looks
        same(found, expected)
        assert one.scores is not None and several.scores is not None
        np.testing.assert_array_equal(several.scores, one.scores)
        assert not lane_threads()

    def test_real_networks(self) -> None:
        """`street`, our operations included, on OpenVINO: a stream of several computes as a model of its own does."""
        one = Segmenter("street", backend="openvino", threads=1, interval=2)
        several = Segmenter("street", backend="openvino", threads=1, interval=2, lanes=2)
        same(list(several.segment(frames(6))), [one.push(frame) for frame in frames(6)])

    def test_memory_is_bounded(self, folder: Path) -> None:
        segmenter = Segmenter(folder, backend="onnxruntime", threads=1, interval=4, lanes=2)
        taken = 0

        def source() -> Iterator[Frame]:
            nonlocal taken
            for frame in frames(60):
                taken += 1
                yield frame

        for done, _ in enumerate(segmenter.segment(source()), start=1):
            assert taken - done < 3 * 4
        assert done == 60

    def test_a_frame_that_fails_ends_it(self, folder: Path) -> None:
        segmenter = Segmenter(folder, backend="onnxruntime", threads=1, interval=2, lanes=2)
        given = frames(8)
        given[5] = replace(given[5], height=72)  # more than its planes hold
        with pytest.raises(ValueError, match="cannot cover"):
            list(segmenter.segment(given))
        assert not lane_threads()

    def test_after_an_early_end_the_next_frame_is_a_keyframe(self, folder: Path) -> None:
        segmenter = Segmenter(folder, backend="onnxruntime", threads=1, interval=8, lanes=2)
        with closing(segmenter.segment(frames(10))) as results:
            next(results)
        assert not lane_threads()
        assert segmenter.push(frames(10)[3]).is_keyframe

    def test_it_goes_on_from_what_was_pushed(self, folder: Path) -> None:
        one = Segmenter(folder, backend="onnxruntime", threads=1, interval=4)
        several = Segmenter(folder, backend="onnxruntime", threads=1, interval=4, lanes=2)
        given = frames(11)
        expected = [one.push(frame) for frame in given]
        found = [several.push(frame) for frame in given[:2]] + list(several.segment(given[2:9]))
        same(found + [several.push(frame) for frame in given[9:]], expected)

    def test_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="or an interval of at most 21"):
            Segmenter(folder, backend="onnxruntime", interval=30, lanes=2)
        with pytest.raises(UsageError, match="lanes must be at least 1"):
            Segmenter(folder, backend="onnxruntime", lanes=0)
        with pytest.raises(UsageError, match="not with onnxruntime and ahead"):
            Segmenter(folder, backend="onnxruntime", lanes=2, gpu=AHEAD)


class TestAhead:
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    @pytest.mark.parametrize("interval", [1, 3, 30])
    def test_labels_are_the_ordinary_ones_to_the_bit(self, folder: Path, backend: str, interval: int) -> None:
        ordinary = Segmenter(folder, backend=backend, threads=1, interval=interval)
        ahead = Segmenter(folder, backend=backend, threads=1, interval=interval, gpu=AHEAD)
        found = list(ahead.stream(iter(frames(21))))
        same(found, [ordinary.push(frame) for frame in frames(21)])
        adopted = [s.index for s in found if "adopt" in s.stages_ms]
        assert adopted == [s.index for s in found if s.is_keyframe][1:]  # the first one is nobody's next
        assert not lane_threads()
