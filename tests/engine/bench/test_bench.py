"""What `bench` makes of runs: ratios, parts of PF, alternating rounds, the clip."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsvnet_engine import Bundle, Segmentation, Segmenter, backends
from gsvnet_engine.backends.base import Layer, Profiled
from gsvnet_engine.bench import clip, measure, paper, parts
from gsvnet_engine.bench.measure import Effort, Run, Series, Variant
from gsvnet_engine.bench.ratios import TARGETS, Target, compute
from gsvnet_engine.errors import InputError, OutputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.geometry import Sizes
from gsvnet_engine.sinks.palette import encode_png
from gsvnet_engine.telemetry import StageSummary
from gsvnet_engine.video import open_source
from tests import media


def variant(interval: int, precision: str = "f32", backend: str = "openvino") -> Variant:
    return Variant(bundle="toy", precision=precision, backend=backend, interval=interval)


def series(*seconds: float, network_ms: float = 0.0, labels_ms: float = 1.0) -> Series:
    """A run of ten frames for each number of seconds."""
    made = Series(runs=[Run(frames=10, seconds=s, network_ms=network_ms) for s in seconds])
    made.times.add("labels", labels_ms)
    return made


class TestRatios:
    def test_each_is_the_median_of_the_rounds(self) -> None:
        torch = variant(1, backend="torch eager")
        found = compute(
            {
                variant(1): series(4, 8, 4, network_ms=80),
                variant(4): series(1, 4, 2, network_ms=20),
                variant(8): series(0.5, 2, 1),
                variant(4, "bf16"): series(0.5, 2, 1),
                variant(5, "bf16"): series(1, 1, 2),
                torch: series(8, 16, 8, labels_ms=30),
            },
            torch,
            1.25,
        )
        assert found == {
            "network_l1_over_l4": 4,
            "end_to_end_l1_over_l4": 2,
            "end_to_end_l1_over_l8": 4,
            "best_over_torch": 8,
            "best_l5_fps": 7.5,
            "labels_over_torch": 30,
            "pf_over_its_convolutions": 1.25,
        }

    def test_the_first_bundle_is_the_base(self) -> None:
        """Another bundle in float32 beside it changes nothing but what is fastest."""
        other = {replace(variant(n), bundle="other"): series(0.25, network_ms=1) for n in (1, 4, 8)}
        found = compute(
            {variant(1): series(4, network_ms=4), variant(4): series(1, network_ms=2), **other}, None, None
        )
        assert (found["end_to_end_l1_over_l4"], found["end_to_end_l1_over_l8"]) == (4, None)

    def test_what_was_not_measured_is_none(self) -> None:
        found = compute({variant(1): series(1)}, None, None)
        assert set(found) == set(TARGETS) and set(found.values()) == {None}

    def test_targets_are_bounds(self) -> None:
        assert Target(2, "at least").met(2) and not Target(2, "at least").met(1.9)
        assert Target(2, "at most").met(2) and not Target(2, "at most").met(2.1)


def test_percentiles() -> None:
    summary = StageSummary.of(range(101))
    assert (summary.p50, summary.p90, summary.p95, summary.p99) == (50, 90, 95, 99)
    with pytest.raises(ValueError, match="never ran"):
        StageSummary.of([])


class TestParts:
    def test_layers_are_summed_by_prefix(self) -> None:
        layers = [
            Layer("flow/down/Conv/WithoutBiases", "Convolution", 1),
            Layer("flow/Add_acdb_abcd_warp/SegmentationWarp", "Reorder", 2),
            Layer("warp/steps__3", "Convolution", 4),
            Layer("intra/layers/Conv", "FusedConv", 8),
            Layer("guide/Resize", "Convert", 16),
            Layer("propagated", "Reference", 32),
            Layer("Constant_7", "Const", 64),
            Layer("/flow/head/Conv_output_0_nchwc", "Conv", 128),
            Layer("_inlfunc_SegmentationWarp_token_0_warp/points", "Concat", 256),
            Layer("_inlfunc_GuidedFilter_filter/sum1", "Add", 512),
            Layer("intra/0/Conv + intra/0/Relu", "Conv", 1024),
            Layer("Reformatting CopyNode for Input Tensor 0 to guide/up/Conv", "Reformatting", 2048),
            Layer("PWN(/flow/Sigmoid, /flow/Mul)", "PWN", 4096),
            Layer("{ForeignNode[warp/points...filter/sum8]}", "{ForeignNode[warp", 8192),
        ]
        found, convolutions = parts.sum_parts(layers)
        assert found == {
            "flow": 131 + 4096,
            "warp": 260,
            "features": 8 + 1024,
            "guide": 16 + 2048,
            "filter": 544,
            "other": 64 + 8192,
        }
        assert convolutions == 137 + 1024

    @pytest.mark.parametrize("name", backends.CPU_BACKENDS)
    def test_street(self, name: str) -> None:
        sizes = Sizes((96, 128), (96, 128), (96, 128), (12, 16))
        backend = backends.choose(name)
        assert isinstance(backend, Profiled)
        found = parts.break_down(backend, Bundle.open("street"), sizes, 1, 3)
        assert all(found.parts[part] > 0 for part in ("flow", "warp", "features", "guide", "filter"))
        assert found.parts["other"] < sum(found.parts.values()) / 4
        assert 0 < found.convolutions < sum(found.parts.values())
        assert (found.over_its_convolutions or 0) > 0


def clip_of(folder: Path, frames: int) -> clip.Clip:
    path = media.write_video(folder / "clip.mp4", frames=frames)
    return clip.Clip(path=path, source=path.name, size=(48, 64), frames=frames)


class Fake:
    """Reads its frames and notes who it is."""

    def __init__(self, name: str, order: list[str]) -> None:
        self._name, self._order = name, order

    def frames(self, source: Iterable[Frame], interval: int) -> Iterator[Mapping[str, float]]:
        self._order.append(self._name)
        for number, _ in enumerate(source):
            yield {"propagate" if number % interval else "keyframe": 2.0, "labels": 1.0}


class TestAlternate:
    def test_rounds(self, tmp_path: Path) -> None:
        road = clip_of(tmp_path, frames=12)
        order: list[str] = []
        sides = {variant(interval): Fake(str(interval), order) for interval in (1, 4)}
        found = measure.alternate(sides, road, Effort(frames=6, rounds=2, budget_s=100))
        assert order == ["1", "4"] * 3  # the first time to warm up
        assert [run.frames for run in found[variant(4)].runs] == [8, 8]
        assert found[variant(1)].runs[0].network_ms == 12
        stages = found[variant(4)].times.summary()
        assert (stages["keyframe frame"].count, stages["propagated frame"].count) == (4, 12)
        assert stages["keyframe frame"].mean == 3
        assert stages["decode"].count == 16

    def test_no_round_is_begun_after_the_budget(self, tmp_path: Path) -> None:
        road = clip_of(tmp_path, frames=2)
        sides = {variant(1): Fake("1", [])}
        found = measure.alternate(sides, road, Effort(frames=1, rounds=5, budget_s=0))
        assert len(found[variant(1)].runs) == 1

    @pytest.mark.parametrize(
        ("frames", "interval", "whole"),
        [(8, 1, 8), (8, 5, 10), (8, 8, 8), (1, 3, 3), (24, 21, 21), (30, 9, 36)],
    )
    def test_whole_intervals(self, frames: int, interval: int, whole: int) -> None:
        assert measure.whole_intervals(frames, interval, 40) == whole


class TestOnGpu:
    def test_frames_in_memory_go_round(self, tmp_path: Path) -> None:
        with open_source(media.write_video(tmp_path / "clip.mp4", frames=3)) as source:
            frames = list(source)
        seen = list[tuple[int, bool]]()

        class Counting(Segmenter):
            def push(self, frame: Any) -> Segmentation:
                found = super().push(frame)
                seen.append((frame.index, found.is_keyframe))
                return found

        segmenter = Counting("street", backend="onnxruntime", threads=1)
        assert measure.sustained_fps(segmenter, frames, 2, 0.0) > 0
        assert len(seen) % 2 == 0 and len(seen) >= 4  # whole intervals, after one that warms up
        assert seen == [(number, number % 2 == 0) for number in range(len(seen))]

    def test_steps_alone(self) -> None:
        made = series(1)
        assert measure.device_fps(made, 1) is None
        for stage, ms in (("keyframe", 8.0), ("propagate", 2.0)):
            made.times.add(stage, ms)
        assert measure.device_fps(made, 1) == 125 and measure.device_fps(made, 4) == pytest.approx(4e3 / 14)

    def test_the_papers_lines(self) -> None:
        ours = {line.interval: line.fps for line in paper.SPEED if line.ours}
        assert ours == {1: 63.2, 2: 100, 3: 125, 4: 142, 5: 155}
        assert {line.data for line in paper.SPEED} == {"Cityscapes val, 2048x1024", "CamVid test"}


class TestClip:
    def test_it_is_scaled_once(self, tmp_path: Path) -> None:
        source, said = media.write_video(tmp_path / "road.mp4", frames=5), list[str]()
        made = clip.scaled(source, (48, 96), tmp_path / "cache", said.append)
        assert (made.frames, made.size, made.source) == (5, (48, 96), "road.mp4")
        with open_source(made.path) as frames:
            assert {(frame.height, frame.width) for frame in frames} == {(48, 96)}
        assert clip.scaled(source, (48, 96), tmp_path / "cache", said.append) == made
        assert len(said) == 1
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [made.path.name]

    def test_what_is_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "road.mp4").write_text("no video")
        with pytest.raises(InputError, match=r"road\.mp4"):
            clip.scaled(tmp_path / "road.mp4", (48, 96), tmp_path, print)

    def test_a_damaged_video(self, tmp_path: Path) -> None:
        """As far as `run` reads it, under a name that FFmpeg would take for a protocol's."""
        source = media.write_corrupt(tmp_path / "a.mp4").rename(tmp_path / "a:b.mp4")
        made = clip.scaled(source, (48, 96), tmp_path / "cache", print)
        with open_source(source) as frames:
            assert made.frames == len(list(frames))

    def test_a_folder_of_images(self, tmp_path: Path) -> None:
        folder = tmp_path / "frames"
        folder.mkdir()
        greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        for number in range(3):
            picture = np.full((30, 40), 5 + 100 * number, np.uint8)
            (folder / f"{number}.png").write_bytes(encode_png(picture, greys))
        made = clip.scaled(folder, (48, 96), tmp_path / "cache", print)
        with open_source(made.path) as frames:
            means = [float(frame.planes[0].data.mean()) for frame in frames]
            assert frames.color.range == 2
        assert means == pytest.approx([5, 105, 205], abs=4)
        (folder / "3.png").write_bytes((folder / "0.png").read_bytes())
        assert clip.scaled(folder, (48, 96), tmp_path / "cache", print).frames == 4

    def test_a_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = media.write_video(tmp_path / "road.mp4", frames=2)

        def full(self: Path, target: Path) -> None:
            raise OSError(ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="No space left"):
            clip.scaled(source, (48, 96), tmp_path / "cache", print)
        assert not list((tmp_path / "cache").iterdir())

    def test_a_cache_that_cannot_be_made(self, tmp_path: Path) -> None:
        source = media.write_video(tmp_path / "road.mp4", frames=2)
        with pytest.raises(OutputError, match="cannot be written"):
            clip.scaled(source, (48, 96), source / "cache", print)
