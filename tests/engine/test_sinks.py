"""Sinks: what each writes, read back by somebody else's reader, and what is refused."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from errno import ENOSPC
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gsvnet_engine.errors import BackendError, OutputError, UsageError
from gsvnet_engine.pipeline import run_video
from gsvnet_engine.sinks import SinkContext, SinkOptions, check_target, encoder, open_sink
from gsvnet_engine.sinks.coco import bounding_box, compress, encode_labels
from gsvnet_engine.sinks.palette import encode_png
from gsvnet_engine.sinks.raw import RawLabels
from gsvnet_engine.sinks.video import AudioCopy, OverlayVideo
from gsvnet_engine.sources.raw import RawSource
from gsvnet_engine.video import RawFormat, Source, SourceOptions, open_source
from tests import media
from tests.media import packed


def convert(
    video: Path,
    *targets: Path | str,
    compare: bool = False,
    source: SourceOptions | None = None,
    **options: Any,
) -> list[str]:
    """Run the stand-in segmenter over a video into the targets; the notes that were said."""
    notes: list[str] = []
    with open_source(video, source or SourceOptions()) as opened:
        context = SinkContext(
            classes=media.CLASSES,
            source=opened,
            options=SinkOptions(**options),
            captions=("interval 4", "interval 1") if compare else None,
            say=notes.append,
        )
        sinks = [open_sink(str(target), context) for target in targets]
        run_video(opened, media.Striped(), sinks, compare=media.Striped(shift=1) if compare else None)
    return notes


def decoded(path: Path) -> tuple[Any, list[av.VideoFrame]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, list(container.decode(stream))


def times(path: Path) -> list[Fraction]:
    stream, frames = decoded(path)
    return [frame.pts * stream.time_base for frame in frames if frame.pts is not None]


class TestOverlay:
    def test_times_and_time_base_are_the_source_s(self, tmp_path: Path) -> None:
        path, ticks = media.write_vfr(tmp_path / "vfr.mp4")
        for name in ("o.mp4", "o.mov"):
            convert(path, tmp_path / name)
            stream, frames = decoded(tmp_path / name)
            assert [frame.pts for frame in frames] == ticks
            assert stream.time_base == media.TIME_BASE
        convert(path, tmp_path / "o.mkv")
        assert times(tmp_path / "o.mkv") == pytest.approx(
            [float(t * media.TIME_BASE) for t in ticks], abs=1e-3
        )

    def test_pixels(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4", frames=3, height=96, width=128)
        convert(path, tmp_path / "o.mp4", alpha=1, legend=False, crf=1)
        _, frames = decoded(tmp_path / "o.mp4")
        picture = frames[1].to_ndarray(format="rgb24").astype(int)
        for i, info in enumerate(media.CLASSES):
            assert np.abs(picture[48, 32 * i + 16] - info.color).max() < 8

    @pytest.mark.parametrize("size", [(47, 63), (1, 1), (48, 63)])
    def test_odd_sizes_repeat_their_edge(self, tmp_path: Path, size: tuple[int, int]) -> None:
        height, width = size
        path = media.write_video(tmp_path / "a.mkv", frames=2, height=height, width=width, codec="ffv1")
        convert(path, tmp_path / "o.mp4", crf=0, legend=False)
        _, frames = decoded(tmp_path / "o.mp4")
        y = media.samples(frames[0].planes[0])
        y = y[: frames[0].height, : frames[0].width]
        assert y.shape == (height + height % 2, width + width % 2)
        assert np.abs(y[:, -1].astype(int) - y[:, width - 1]).max() <= 2
        assert np.abs(y[-1].astype(int) - y[height - 1]).max() <= 2

    def test_colour_and_aspect_tags_are_kept(self, tmp_path: Path) -> None:
        tags = {
            "colorspace": 1, "color_range": 2, "color_primaries": 1, "color_trc": 1,
            "sample_aspect_ratio": Fraction(128, 117),
        }  # fmt: skip
        path = media.write_video(tmp_path / "a.mp4", tags=tags)
        for name in ("o.mp4", "o.mkv"):
            convert(path, tmp_path / name)
            stream, frames = decoded(tmp_path / name)
            assert {tag: getattr(stream.codec_context, tag) for tag in tags} == tags
            assert frames[0].colorspace == 1

    @pytest.mark.parametrize("pixel_format", ["rgb24", "gray", "yuvj420p"])
    def test_grey_levels_are_the_source_s(self, tmp_path: Path, pixel_format: str) -> None:
        """Of images and of raw frames of full range, black and white being within a few levels of the ends."""
        levels = np.repeat(np.array([5, 128, 250], np.uint8), 32)[None].repeat(48, 0)
        made = av.VideoFrame.from_ndarray(levels, format="gray").reformat(
            format=pixel_format, dst_color_range=2
        )
        raw = RawFormat(width=96, height=48, pixel_format=pixel_format)
        data = packed(made)
        sources: list[Source] = [RawSource(io.BytesIO(data), SourceOptions(raw=raw))]
        if pixel_format != "yuvj420p":
            context: Any = av.CodecContext.create("png", "w")
            context.width, context.height, context.pix_fmt = 96, 48, pixel_format
            context.time_base = Fraction(1, 25)
            (tmp_path / "a.png").write_bytes(b"".join(map(bytes, context.encode(made))))
            sources.append(open_source(tmp_path / "a.png"))
        for number, source in enumerate(sources):
            path = tmp_path / f"{number}.mp4"
            options = SinkOptions(alpha=0, legend=False, crf=1)
            sink = open_sink(str(path), SinkContext(classes=media.CLASSES, source=source, options=options))
            run_video(source, media.Striped(), [sink])
            _, frames = decoded(path)
            shown = frames[0].to_ndarray(format="rgb24")[24, 16::32].astype(int)
            assert np.abs(shown - np.array([[5], [128], [250]])).max() <= 3

    @pytest.mark.parametrize("order", ["png webp jpg", "webp png jpg", "jpg webp png"])
    @pytest.mark.parametrize("height", [48, 720])
    def test_images_of_several_ranges_look_alike(self, tmp_path: Path, order: str, height: int) -> None:
        """PNG is RGB, WebP of limited range, JPEG of full; of the matrix, PNG is taken for BT.709 from 720 rows on."""
        picture = np.full((height, 64, 3), (40, 90, 200), np.uint8)
        picture[: height // 2] = 16
        for number, ending in enumerate(order.split()):
            quality = [cv2.IMWRITE_WEBP_QUALITY, 100] if ending == "webp" else []
            cv2.imwrite(f"{tmp_path}/{number}.{ending}", picture, quality)
        convert(tmp_path, tmp_path / "o.mp4", alpha=0, legend=False, crf=1)
        _, frames = decoded(tmp_path / "o.mp4")
        shown = [frame.to_ndarray(format="yuv444p").astype(int)[:, [4, -4], 32] for frame in frames]
        assert len(shown) == 3
        for other in shown[1:]:
            assert np.abs(other - shown[0]).max() <= 3

    def test_a_rotated_source(self, tmp_path: Path) -> None:
        convert(media.write_video(tmp_path / "a.mp4", rotation=90), tmp_path / "o.mp4")
        _, frames = decoded(tmp_path / "o.mp4")
        assert (frames[0].height, frames[0].width, frames[0].rotation) == (64, 48, 0)

    def test_a_size_change_is_said_once(self, tmp_path: Path) -> None:
        path = media.write_size_change(tmp_path / "a.ts")
        notes = convert(path, tmp_path / "o.mp4")
        _, frames = decoded(tmp_path / "o.mp4")
        assert {(frame.height, frame.width) for frame in frames} == {(48, 64)}
        assert len(notes) == 1
        assert "becomes 64x96" in notes[0]

    def test_side_by_side(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mkv", height=95, width=127, codec="ffv1", frames=2)
        convert(path, tmp_path / "o.mp4", compare=True, alpha=1, legend=False, crf=1)
        _, frames = decoded(tmp_path / "o.mp4")
        picture = frames[0].to_ndarray(format="rgb24").astype(int)
        assert picture.shape == (96, 256, 3)
        assert np.abs(picture[30, 8] - media.CLASSES[0].color).max() < 8
        assert np.abs(picture[30, 128 + 8] - media.CLASSES[1].color).max() < 8

    @pytest.mark.parametrize(
        ("there", "touched", "left"), [(False, True, False), (True, True, False), (True, False, True)]
    )
    def test_an_opening_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, touched: bool, left: bool
    ) -> None:
        """Nothing of its own stays, and no file that it has emptied; one that it has not reached does."""
        path = tmp_path / "o.mp4"
        if there:
            path.write_text("mine")

        def fails(*_: object) -> None:
            if touched:
                path.write_bytes(b"")
            raise OSError(ENOSPC, "No space left on device")

        monkeypatch.setattr(OverlayVideo, "_add_video", fails)
        with open_source(media.write_video(tmp_path / "a.mp4")) as source:
            context = SinkContext(classes=media.CLASSES, source=source, options=SinkOptions(force=True))
            with pytest.raises(OutputError, match="the disk is full"):
                open_sink(str(path), context)
        assert path.exists() == left

    def test_no_frames_leave_no_file(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        with open_source(path) as source:
            open_sink(str(tmp_path / "o.mp4"), SinkContext(classes=media.CLASSES, source=source)).close()
        assert not (tmp_path / "o.mp4").exists()

    @pytest.mark.parametrize("ticks", [12800, 90000])
    def test_without_libx264(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
        missing = replace(encoder.ENCODERS["libx264"], name="no_such_encoder")
        monkeypatch.setitem(encoder.ENCODERS, "libx264", missing)
        step = ticks // 25
        path = media.write_video(tmp_path / "a.mp4", time_base=Fraction(1, ticks), pts=lambda n: n * step)
        convert(path, tmp_path / "o.mp4")
        assert times(tmp_path / "o.mp4") == [Fraction(n, 25) for n in range(12)]

    def test_an_unknown_preset(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        with pytest.raises(UsageError, match="libx264 knows no preset 'warp'"):
            convert(path, tmp_path / "o.mp4", encoder_preset="warp")
        with pytest.raises(UsageError, match="mpeg4 knows no presets"):
            convert(path, tmp_path / "o.mp4", encoder="mpeg4", encoder_preset="fast")
        assert not (tmp_path / "o.mp4").exists()

    def test_presets_reach_the_encoder(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        for preset, profile in ((None, "High"), ("ultrafast", "Constrained Baseline")):
            convert(path, tmp_path / f"{preset}.mp4", encoder="libx264", encoder_preset=preset)
            stream, _ = decoded(tmp_path / f"{preset}.mp4")
            assert stream.profile == profile

    @pytest.mark.parametrize(
        ("name", "error", "line"),
        [
            ("h264_nvenc", BackendError, "h264_nvenc: does not work here .* it needs an NVIDIA GPU"),
            ("h264_qsv", BackendError, "h264_qsv: does not work here .* it needs an Intel GPU"),
            ("h264_vaapi", UsageError, "use h264_qsv on Intel"),
            ("h265", UsageError, "encoder must be one of auto, libx264, mpeg4, h264_nvenc"),
        ],
    )
    def test_encoders_that_are_not_here(
        self, tmp_path: Path, name: str, error: type[Exception], line: str
    ) -> None:
        if error is BackendError and (Path("/dev/dri").exists() or Path("/dev/nvidiactl").exists()):
            pytest.skip("this machine has a GPU")
        path = media.write_video(tmp_path / "a.mp4")
        with pytest.raises(error, match=line):
            convert(path, tmp_path / "o.mp4", encoder=name)
        assert not (tmp_path / "o.mp4").exists()

    def test_what_the_encoder_refuses_ends_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In its own thread, which is gone afterwards; what was encoded before can be played."""
        encode = OverlayVideo._encode

        def fails(self: OverlayVideo, picture: Any, frame: Any) -> None:
            if frame.index == 5:
                raise OutputError("the disk is full")
            encode(self, picture, frame)

        monkeypatch.setattr(OverlayVideo, "_encode", fails)
        path = media.write_video(tmp_path / "a.mp4")
        with pytest.raises(OutputError, match="the disk is full"):
            convert(path, tmp_path / "o.mp4")
        assert len(times(tmp_path / "o.mp4")) == 5
        assert not [t for t in threading.enumerate() if t.name == "gsvnet-encode"]


_WAITS = """
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from gsvnet_engine.sinks.video import AudioCopy
from gsvnet_engine.video import AudioTrack
copy, muxed = AudioCopy(AudioTrack(path=Path(sys.argv[1]), stream_index=1)), []
copy._output, copy._copy = SimpleNamespace(mux_one=muxed.append), copy._stream
copy.start(Fraction(0))
for _ in range(400_000):
    copy.copy_until(Fraction(0))
copy.copy_until(None)
print(len(muxed))
"""


class TestSound:
    def packets(self, path: Path) -> list[tuple[Fraction, int]]:
        with av.open(str(path)) as container:
            track = container.streams.audio[0]
            return [
                (p.pts * p.time_base, hash(bytes(p)))
                for p in container.demux(track)
                if p.size and p.pts is not None
            ]

    @pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
    def test_it_is_copied_in_step(self, tmp_path: Path, name: str) -> None:
        path = media.write_video(tmp_path / "a.mp4", frames=25, audio="aac")
        convert(path, tmp_path / name)
        before, after = self.packets(path), self.packets(tmp_path / name)
        kept = {data: time for time, data in before}
        shared = [(kept[data], time) for time, data in after if data in kept]
        assert len(shared) >= len(before) - 1
        assert all(abs(a - b) < 0.0011 for a, b in shared)
        assert times(tmp_path / name) == pytest.approx([n / 25 for n in range(25)], abs=1e-3)

    @pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
    @pytest.mark.parametrize("start_s", [0.0, 1.2])
    def test_aac_of_a_transport_stream(self, tmp_path: Path, name: str, start_s: float) -> None:
        """Its packets carry heads of their own, which mp4 does not take."""
        path = media.write_video(tmp_path / "a.ts", frames=50, audio="aac")
        assert convert(path, tmp_path / name, source=SourceOptions(start_s=start_s)) == []
        assert len(times(tmp_path / name)) == 50 - 25 * start_s
        with av.open(str(path)) as given, av.open(str(tmp_path / name)) as made:
            before = {bytes(packet)[7:] for packet in given.demux(audio=0)}
            after = [bytes(packet) for packet in made.demux(audio=0) if packet.size]
            made.seek(0)
            assert len(list(made.decode(audio=0))) >= len(after) - 1
        assert 90 - 48 * start_s < len(after) <= 94 - 45 * start_s
        assert before.issuperset(after)

    def test_what_is_not_taken_on_the_way_ends_the_sound_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copied = AudioCopy.copy_until

        def fails(self: AudioCopy, end_s: Fraction | None) -> None:
            if end_s is not None and end_s > 0.5:
                raise av.error.InvalidDataError(1, "no such sound")
            copied(self, end_s)

        monkeypatch.setattr(AudioCopy, "copy_until", fails)
        path = media.write_video(tmp_path / "a.mp4", frames=25, audio="aac")
        notes = convert(path, tmp_path / "o.mp4")
        assert len(notes) == 1 and "its sound ends at 0.52 s" in notes[0]
        assert len(times(tmp_path / "o.mp4")) == 25
        assert 15 < len(self.packets(tmp_path / "o.mp4")) < 30

    def test_a_pipe_is_read_once(self, tmp_path: Path) -> None:
        data = media.write_video(tmp_path / "a.mkv", frames=25, audio="aac").read_bytes()
        os.mkfifo(tmp_path / "pipe")
        thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,), daemon=True)
        thread.start()
        notes = convert(tmp_path / "pipe", tmp_path / "o.mp4")
        thread.join(10)
        assert len(notes) == 1 and "pipe is no file" in notes[0]
        assert len(times(tmp_path / "o.mp4")) == 25

    def test_a_part_keeps_it_in_step(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4", frames=50, audio="aac")
        convert(path, tmp_path / "o.mp4", source=SourceOptions(start_s=1.2, duration_s=0.4))
        before = {data: time for time, data in self.packets(path)}
        after = self.packets(tmp_path / "o.mp4")
        assert times(tmp_path / "o.mp4") == [Fraction(n, 25) for n in range(10)]
        assert 0 <= after[0][0] < 0.03
        assert after[-1][0] < 0.44
        distinct = [(before[data], time) for time, data in after if data in before]
        assert any(abs((a - b) - Fraction(6, 5)) < 1e-3 for a, b in distinct)

    def test_a_long_wait_takes_no_stack(self, tmp_path: Path) -> None:
        """A packet that waits for 400,000 pictures: in a process of its own, which an overflow would end."""
        media.write_video(tmp_path / "a.mp4", frames=5, audio="aac")
        done = subprocess.run(
            [sys.executable, "-c", _WAITS, str(tmp_path / "a.mp4")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 5

    def test_what_a_container_cannot_hold_is_left_out(self, tmp_path: Path) -> None:
        path = media.write_video(
            tmp_path / "a.asf",
            frames=10,
            audio="wmav2",
            codec="mpeg4",
            time_base=Fraction(1, 1000),
            pts=lambda n: 40 * n,
        )
        notes = convert(path, tmp_path / "o.mp4")
        assert len(notes) == 1
        assert "wmav2" in notes[0]
        with av.open(str(tmp_path / "o.mp4")) as container:
            assert not container.streams.audio
        assert len(times(tmp_path / "o.mp4")) == 10


class TestPalette:
    def test_an_independent_reader_finds_indices_and_palette(self, tmp_path: Path) -> None:
        convert(media.write_video(tmp_path / "a.mp4", frames=3), f"{tmp_path}/masks/")
        assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == [
            "000000.png",
            "000001.png",
            "000002.png",
        ]
        _, frames = decoded(tmp_path / "masks" / "000001.png")
        assert frames[0].format.name == "pal8"
        indices = media.samples(frames[0].planes[0])[:, :64]
        assert np.array_equal(indices[0], np.repeat(np.arange(4), 16))
        colors = media.samples(frames[0].planes[1]).reshape(-1, 4)[:4, 2::-1]  # BGRA
        assert colors.tolist() == [list(c.color) for c in media.CLASSES]

    @given(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))
    )
    def test_any_map_comes_back(self, labels: NDArray[np.uint8]) -> None:
        colors = np.array([c.color for c in media.CLASSES], np.uint8)
        with av.open(io.BytesIO(encode_png(labels, colors)), "r") as container:
            picture = next(container.decode(video=0))
        assert np.array_equal(picture.to_ndarray(format="rgb24"), colors[labels])


class TestJsonLines:
    def test_lines(self, tmp_path: Path) -> None:
        convert(media.write_video(tmp_path / "a.mp4", frames=5), tmp_path / "o.jsonl", compare=True)
        lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert [line["index"] for line in lines] == [0, 1, 2, 3, 4]
        assert [line["pts_s"] for line in lines] == [0, 0.04, 0.08, 0.12, 0.16]
        assert [line["keyframe"] for line in lines] == [True, False, False, False, True]
        assert lines[0]["shares"] == {"Sky": 0.25, "Road": 0.25, "Car": 0.25, "Tree": 0.25}
        assert set(lines[1]["stages_ms"]) == {"prepare", "propagate", "labels"}
        assert lines[0]["agreement"] == 0

    def test_each_line_is_there_at_once(self, tmp_path: Path) -> None:
        with open_source(media.write_video(tmp_path / "a.mp4", frames=2)) as source:
            sink = open_sink(str(tmp_path / "o.jsonl"), SinkContext(classes=media.CLASSES, source=source))
            segmenter = media.Striped()
            for count, frame in enumerate(source, 1):
                sink.write(segmenter.push(frame))
                assert (tmp_path / "o.jsonl").read_text().count("\n") == count
            sink.close()


def naive_decode(counts: str, height: int, width: int) -> NDArray[np.uint8]:
    """COCO's rleFrString and rleDecode, as its C code does it."""
    runs: list[int] = []
    position = 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            code = ord(counts[position]) - 48
            value |= (code & 0x1F) << (5 * shift)
            more = bool(code & 0x20)
            position += 1
            shift += 1
            if not more and code & 0x10:
                value |= -1 << (5 * shift)
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
    flat = [bit for i, run in enumerate(runs) for bit in [i % 2] * run]
    return np.array(flat, np.uint8).reshape(width, height).T


class TestCoco:
    @given(
        hnp.arrays(
            np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2)
        )
    )
    def test_masks_come_back(self, labels: NDArray[np.uint8]) -> None:
        height, width = labels.shape
        runs = encode_labels(labels)
        assert set(runs) == set(np.unique(labels).tolist())
        for label, counts in runs.items():
            mask = labels == label
            assert np.array_equal(naive_decode(compress(counts), height, width), mask)
            assert counts.sum() == mask.size
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            assert bounding_box(counts, height) == box

    def test_long_runs(self) -> None:
        labels = np.zeros((1000, 2000), np.uint8)
        labels[10, 1500:] = 1
        for label, counts in encode_labels(labels).items():
            assert np.array_equal(naive_decode(compress(counts), 1000, 2000), labels == label)

    def test_the_published_example(self) -> None:
        """pycocotools: encode of the 3x3 mask with its middle column set."""
        mask = np.zeros((3, 3), np.uint8)
        mask[:, 1] = 1
        assert compress(encode_labels(mask)[1]) == "333"

    def test_the_file(self, tmp_path: Path) -> None:
        convert(media.write_video(tmp_path / "a.mp4", frames=3), tmp_path / "o.json")
        content = json.loads((tmp_path / "o.json").read_text())
        assert [image["id"] for image in content["images"]] == [0, 1, 2]
        assert [category["name"] for category in content["categories"]] == ["Sky", "Road", "Car", "Tree"]
        assert len(content["annotations"]) == 12
        assert len({annotation["id"] for annotation in content["annotations"]}) == 12
        first = content["annotations"][1]
        mask = naive_decode(first["segmentation"]["counts"], *first["segmentation"]["size"])
        assert mask.sum() == first["area"] == 48 * 16
        assert first["bbox"] == [16, 0, 16, 48]

    def test_it_is_whole_json_at_all_times(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gsvnet_engine.sinks.coco._FLUSH_EVERY_S", 0.0)
        monkeypatch.setattr("gsvnet_engine.sinks.coco._FLUSH_SHARE", 1e9)
        with open_source(media.write_video(tmp_path / "a.mp4", frames=4)) as source:
            sink = open_sink(str(tmp_path / "o.json"), SinkContext(classes=media.CLASSES, source=source))
            assert json.loads((tmp_path / "o.json").read_text())["images"] == []
            segmenter = media.Striped()
            for count, frame in enumerate(source, 1):
                sink.write(segmenter.push(frame))
                content = json.loads((tmp_path / "o.json").read_text())
                assert (len(content["images"]), len(content["annotations"])) == (count, 4 * count)
            sink.close()


class Counting(io.FileIO):
    writes = 0

    def write(self, data: Any, /) -> int:
        self.writes += 1
        return super().write(data)


class TestRawLabels:
    def test_bytes(self, tmp_path: Path) -> None:
        pipe = io.BytesIO()
        with open_source(media.write_video(tmp_path / "a.mp4", frames=2)) as source:
            sink = RawLabels(pipe, SinkContext(classes=media.CLASSES, source=source))
            run_video(source, media.Striped(), [sink])
        labels = np.frombuffer(pipe.getvalue(), np.uint8).reshape(2, 48, 64)
        assert np.array_equal(labels[1, 0], np.repeat(np.arange(4), 16))

    def test_a_pipe_that_does_not_wait(self, tmp_path: Path) -> None:
        """Is waited for, not asked again and again."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        taken: list[bytes] = []

        def read() -> None:
            time.sleep(0.5)
            with os.fdopen(read_end, "rb") as pipe:
                taken.append(pipe.read())

        thread = threading.Thread(target=read)
        thread.start()
        with (
            open_source(media.write_video(tmp_path / "a.mp4", frames=40)) as source,
            Counting(write_end, "w") as pipe,
        ):
            sink = RawLabels(pipe, SinkContext(classes=media.CLASSES, source=source))
            run_video(source, media.Striped(), [sink])
        thread.join()
        assert len(taken[0]) == 40 * 48 * 64
        assert pipe.writes < 200

    def test_a_reader_that_went_away(self, tmp_path: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        with (
            open_source(media.write_video(tmp_path / "a.mp4")) as source,
            os.fdopen(write_end, "wb", buffering=0) as pipe,
            pytest.raises(OutputError, match="has ended"),
        ):
            run_video(
                source, media.Striped(), [RawLabels(pipe, SinkContext(classes=media.CLASSES, source=source))]
            )


class TestRefused:
    """All before any work; what is there stays as it is."""

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        for name in ("o.mp4", "o.jsonl", "o.json"):
            (tmp_path / name).write_text("mine")
            with pytest.raises(OutputError, match="exists already"):
                check_target(str(tmp_path / name), force=False)
            check_target(str(tmp_path / name), force=True)
        (tmp_path / "masks").mkdir()
        check_target(str(tmp_path / "masks"), force=False)
        (tmp_path / "masks" / "000000.png").touch()
        with pytest.raises(OutputError, match="numbered PNGs"):
            check_target(str(tmp_path / "masks"), force=False)
        check_target(str(tmp_path / "masks"), force=True)

    def test_the_input_itself(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        with pytest.raises(OutputError, match="is the input itself"):
            check_target(str(path), force=True, inputs=[path])

    def test_the_folder_of_the_input(self, tmp_path: Path) -> None:
        (tmp_path / "frames").mkdir()
        (tmp_path / "link").symlink_to("frames")
        for target in ("frames/", "frames", "link/"):
            with pytest.raises(OutputError, match="holds the input's images"):
                check_target(f"{tmp_path}/{target}", force=True, inputs=[tmp_path / "frames"])
        check_target(f"{tmp_path}/masks/", force=True, inputs=[tmp_path / "frames"])

    def test_names_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "loop.mp4").symlink_to("loop.mp4")
        for name, line in (("loop.mp4", "symbolic links"), ("x" * 300 + ".mp4", "name too long")):
            for ending in ("", "/"):
                with pytest.raises(OutputError, match=f"(?i)cannot be written: .*{line}"):
                    check_target(f"{tmp_path}/{name}{ending}", force=True)

    def test_folders_that_are_missing(self, tmp_path: Path) -> None:
        for name in ("x/o.mp4", "x/o.json", "x/masks/"):
            with pytest.raises(OutputError, match="does not exist"):
                check_target(f"{tmp_path}/{name}", force=False)

    def test_unknown_forms(self, tmp_path: Path) -> None:
        for name in ("o", "o.avi", "o.png"):
            with pytest.raises(UsageError, match=r"name\.mp4"):
                check_target(str(tmp_path / name), force=False)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_no_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="no permission"):
            check_target(str(tmp_path / "o.mp4"), force=False)

    def test_options(self) -> None:
        for options in ({"alpha": 2.0}, {"crf": 99}):
            with pytest.raises(UsageError):
                SinkOptions(**options)


_FULL = """
import resource, sys
from pathlib import Path
from gsvnet_engine.errors import OutputError
from tests.engine.test_sinks import convert
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    convert(folder / "a.mp4", *(folder / name for name in sys.argv[3:]), crf=1)
except OutputError as error:
    print(error)
"""


class TestFullDisk:
    def run_full(self, folder: Path, limit: int, *names: str) -> str:
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
        command = [sys.executable, "-c", _FULL, str(folder), str(limit), *names]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def test_what_was_written_can_be_used(self, tmp_path: Path) -> None:
        """Each sink meets a limit of the file's size; the others are finished in good order."""
        media.write_video(tmp_path / "a.mp4", frames=250, noise=25, height=96, width=128)
        assert "the disk is full" in self.run_full(tmp_path, 400_000, "o.mp4", "o.jsonl")
        _, frames = decoded_as_far_as_it_goes(tmp_path / "o.mp4")
        assert 20 < len(frames) < 250
        lines = (tmp_path / "o.jsonl").read_text().splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))

    def test_json(self, tmp_path: Path) -> None:
        media.write_video(tmp_path / "a.mp4", frames=100)
        assert "the disk is full" in self.run_full(tmp_path, 20_000, "o.json", "o.mp4")
        content = json.loads((tmp_path / "o.json").read_text())
        assert len(content["annotations"]) == 4 * len(content["images"])
        assert decoded(tmp_path / "o.mp4")[1]

    def test_lines(self, tmp_path: Path) -> None:
        media.write_video(tmp_path / "a.mp4", frames=100)
        assert "the disk is full" in self.run_full(tmp_path, 5_000, "o.jsonl")
        text = (tmp_path / "o.jsonl").read_text()
        assert text.endswith("}\n")
        assert [json.loads(line)["index"] for line in text.splitlines()] == list(range(text.count("\n")))

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    @pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.jsonl", "o.json"])
    def test_a_device_that_is_full(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).symlink_to("/dev/full")
        path = media.write_video(tmp_path / "a.mp4", frames=60, noise=12)
        with pytest.raises(OutputError, match="the disk is full"):
            convert(path, tmp_path / name, force=True)


def decoded_as_far_as_it_goes(path: Path) -> tuple[Source, list[Any]]:
    with open_source(path) as source:
        return source, list(source)


def test_context_defaults(tmp_path: Path) -> None:
    with open_source(media.write_video(tmp_path / "a.mp4")) as source:
        context = SinkContext(classes=media.CLASSES, source=source)
        assert replace(context, captions=("a", "b")).options == SinkOptions()
