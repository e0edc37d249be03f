"""Sources: what is read from files, folders and pipes, and how each bad input is refused."""

import gc
import io
import math
import os
import threading
import time
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.sources.clock import Clock
from gsvnet_engine.sources.layout import LAYOUTS, Orientation, from_av, nearest_format
from gsvnet_engine.sources.raw import RawSource
from gsvnet_engine.video import RawFormat, Source, SourceOptions, open_source, own_paths, stem_of
from tests import media
from tests.media import packed


def read(path: Path | str, **options: Any) -> tuple[Source, list[Frame]]:
    with open_source(path, SourceOptions(**options)) as source:
        return source, list(source)


def numbers(frames: list[Frame]) -> list[int]:
    return [media.number_of(frame) for frame in frames]


class TestFile:
    def test_frames_arrive_whole_and_in_order(self, tmp_path: Path) -> None:
        source, frames = read(media.write_video(tmp_path / "a.mp4"))
        assert numbers(frames) == list(range(12))
        assert [frame.index for frame in frames] == list(range(12))
        assert [frame.pts for frame in frames] == [n * media.STEP for n in range(12)]
        assert [frame.pts_s for frame in frames] == pytest.approx([n / 25 for n in range(12)])
        assert (source.height, source.width) == (48, 64)
        assert source.rate == 25
        assert source.time_base == media.TIME_BASE
        assert source.frames_estimate == 12
        assert source.errors == []
        assert source.complete

    def test_planes_are_views_of_the_decoder_s_memory(self, tmp_path: Path) -> None:
        _, frames = read(media.write_video(tmp_path / "a.mp4"))
        luma, chroma = frames[0].planes[0].data, frames[0].planes[1].data
        assert not luma.flags.owndata
        assert luma.shape == (48, 64)
        assert chroma.shape == (24, 32)
        assert frames[0].chroma_shift == (1, 1)

    def test_variable_frame_rate_keeps_its_times(self, tmp_path: Path) -> None:
        path, times = media.write_vfr(tmp_path / "vfr.mp4")
        _, frames = read(path)
        assert [frame.pts for frame in frames] == times

    @pytest.mark.parametrize("size", [(1, 1), (47, 63), (144, 176), (97, 33)])
    def test_odd_portrait_and_tiny_sizes(self, tmp_path: Path, size: tuple[int, int]) -> None:
        height, width = size
        path = media.write_video(
            tmp_path / "a.mkv", frames=2, height=height, width=width, codec="ffv1", encoder={"bf": "0"}
        )
        source, frames = read(path)
        assert (source.height, source.width) == size
        assert frames[0].planes[0].data.shape == size
        assert frames[0].planes[2].data.shape == (-(-height // 2), -(-width // 2))

    def test_nothing_is_read_after_closing(self, tmp_path: Path) -> None:
        source = open_source(str(media.write_video(tmp_path / "a.mp4")))
        frames = iter(source)
        next(frames)
        source.close()
        with pytest.raises(ValueError, match="closed"):
            next(frames)
        with pytest.raises(ValueError, match="closed"):
            next(iter(source))

    def test_one_frame(self, tmp_path: Path) -> None:
        source, frames = read(media.write_video(tmp_path / "a.mp4", frames=1))
        assert numbers(frames) == [0]
        assert source.errors == []

    def test_ten_bits(self, tmp_path: Path) -> None:
        _, frames = read(media.write_video(tmp_path / "a.mkv", codec="ffv1", pixel_format="yuv420p10le"))
        assert frames[0].depth == 10
        assert frames[0].planes[0].data.dtype == np.uint16
        assert numbers(frames) == list(range(12))

    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_rotation_is_applied(self, tmp_path: Path, rotation: int) -> None:
        source, frames = read(media.write_video(tmp_path / "a.mp4", rotation=rotation))
        with av.open(str(tmp_path / "a.mp4")) as container:
            stored = from_av(next(container.decode(video=0)), turned=Orientation()).planes[0].data
        expected = np.rot90(stored, rotation // 90)  # both count anti-clockwise
        assert (source.height, source.width) == expected.shape
        assert (frames[0].height, frames[0].width) == expected.shape
        assert np.array_equal(frames[0].planes[0].data, expected)
        assert frames[0].planes[1].data.shape == (expected.shape[0] // 2, expected.shape[1] // 2)

    @pytest.mark.parametrize(
        ("tags", "matrix", "full"),
        [
            ({}, "bt601", False),
            ({"colorspace": 1, "color_range": 1}, "bt709", False),
            ({"colorspace": 5, "color_range": 2}, "bt601", True),
            ({"colorspace": 9, "color_range": 1}, "bt2020", False),
        ],
    )
    def test_matrix_and_range(self, tmp_path: Path, tags: dict[str, int], matrix: str, full: bool) -> None:
        _, frames = read(media.write_video(tmp_path / "a.mp4", frames=2, tags=tags))
        assert (frames[0].matrix, frames[0].full_range) == (matrix, full)

    def test_untagged_high_definition_is_bt709(self, tmp_path: Path) -> None:
        _, frames = read(media.write_video(tmp_path / "a.mp4", frames=1, height=720, width=64))
        assert frames[0].matrix == "bt709"

    def test_pixel_aspect_is_passed_on(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4", tags={"sample_aspect_ratio": Fraction(128, 117)})
        source, _ = read(path)
        assert source.pixel_aspect == Fraction(128, 117)

    def test_a_name_that_ffmpeg_would_take_for_something_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        media.write_video(tmp_path / "a.mp4").rename("concat:%03d.mp4")
        _, frames = read("concat:%03d.mp4")
        assert len(frames) == 12


class TestPart:
    @pytest.mark.parametrize("start", [0.0, 0.04, 0.1, 0.2, 0.3999, 0.44])
    def test_start_is_the_first_frame_at_or_after(self, tmp_path: Path, start: float) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        _, frames = read(path, start_s=start)
        first = int(np.ceil(start * 25 - 1e-6))
        assert numbers(frames) == list(range(first, 12))
        assert frames[0].index == 0
        assert frames[0].forces_keyframe == (start > 0)

    def test_start_with_b_frames(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4", frames=20, keyframe_every=20, encoder={"bf": "3"})
        for first in range(20):
            _, frames = read(path, start_s=first / 25, max_frames=2)
            assert numbers(frames) == list(range(first, min(first + 2, 20)))

    def test_start_counts_from_the_first_frame(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mkv", pts=lambda n: (n + 250) * media.STEP)
        _, frames = read(path)
        assert frames[0].pts_s == 0
        _, frames = read(path, start_s=0.2)
        assert numbers(frames) == list(range(5, 12))

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.h264", {}),
            ("a.m2v", {"codec": "mpeg2video"}),
            ("a.mjpeg", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
        ],
    )
    @pytest.mark.parametrize("start", [0.0, 0.2, 0.32])
    def test_streams_without_times(
        self, tmp_path: Path, name: str, options: dict[str, Any], start: float
    ) -> None:
        first = round(start * 25)
        path = media.write_video(tmp_path / name, time_base=Fraction(1, 25), pts=lambda n: n, **options)
        source, frames = read(path, start_s=start, duration_s=0.12)
        assert len(frames) == 3
        assert [frame.pts_s for frame in frames] == pytest.approx([(first + n) / 25 for n in range(3)])
        assert source.errors == []
        _, whole = read(path)
        for frame, expected in zip(frames, whole[first:], strict=False):
            assert np.array_equal(frame.planes[0].data, expected.planes[0].data)

    def test_a_seek_that_lands_between_keyframes(self, tmp_path: Path) -> None:
        path = media.write_video(
            tmp_path / "a.ts", frames=20, keyframe_every=10, pts=lambda n: (25000 + n) * media.STEP
        )
        for first in range(20):
            source, frames = read(path, start_s=first / 25)
            assert numbers(frames) == list(range(first, 20))
            assert source.errors == []

    def test_duration_and_max_frames(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4")
        source, frames = read(path, start_s=0.08, duration_s=0.2)
        assert numbers(frames) == [2, 3, 4, 5, 6]
        assert source.frames_estimate == 5
        assert not source.complete
        source, frames = read(path, max_frames=3)
        assert numbers(frames) == [0, 1, 2]
        assert source.frames_estimate == 3

    def test_the_end_is_where_it_is_asked_for(self, tmp_path: Path) -> None:
        """In floating point 0.1 + 0.2 is more than 0.3, where frame 3 stands."""
        path = media.write_video(tmp_path / "a.mp4", pts=lambda n: n * 1280)
        _, frames = read(path, start_s=0.1, duration_s=0.2)
        assert numbers(frames) == [1, 2]

    def test_a_part_between_two_frames(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no frame lies in the 0\.01 s from 0\.05 s on.* at 0\.080 s"):
            read(media.write_video(tmp_path / "a.mp4"), start_s=0.05, duration_s=0.01)

    def test_a_start_after_the_end(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"starts at 9 s, but it lasts 0\.480 s"):
            read(media.write_video(tmp_path / "a.mp4"), start_s=9)

    @pytest.mark.parametrize(
        "options",
        [
            {"start_s": -1.0},
            {"start_s": math.nan},
            {"start_s": 1e15},
            {"duration_s": 0.0},
            {"duration_s": math.inf},
            {"duration_s": math.nan},
            {"max_frames": 0},
            {"image_fps": 0.0},
        ],
    )
    def test_nonsense_is_a_usage_error(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            SourceOptions(**options)


class TestDamage:
    def test_corrupt_packets_are_counted_and_a_keyframe_follows(self, tmp_path: Path) -> None:
        source, frames = read(media.write_corrupt(tmp_path / "a.mp4", damaged=(6,)))
        assert source.errors
        assert "could not be decoded" in source.errors[0].text
        assert 10 <= len(frames) < 16  # from the next keyframe of the file on, all is well
        assert [frame.index for frame in frames] == list(range(len(frames)))
        forced = [i for i, frame in enumerate(frames) if frame.forces_keyframe]
        assert forced
        assert frames[forced[0]].pts_s > 5 / 25 > frames[forced[0] - 1].pts_s - 1e-9

    def test_a_truncated_file_counts_as_damaged(self, tmp_path: Path) -> None:
        source, frames = read(media.write_truncated(tmp_path / "a.mp4"))
        assert 4 <= len(frames) < 16
        assert any("ends early" in error.text for error in source.errors)
        assert numbers(frames)[:4] == [0, 1, 2, 3]

    @pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
    def test_avi_of_variable_frame_rate(self, tmp_path: Path, codec: str) -> None:
        """Its count of frames includes repeats, which are not missing; what is cut off is."""
        times = [*range(4), *range(8, 12), *range(20, 60)]
        path = media.write_video(
            tmp_path / "a.avi",
            frames=len(times),
            codec=codec,
            pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p",
            time_base=Fraction(1, 25),
            pts=times.__getitem__,
            noise=12,
        )
        source, frames = read(path)
        assert [frame.pts for frame in frames] == times
        assert source.errors == []
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        source, frames = read(path)
        assert 4 < len(frames) < len(times)
        assert any("ends early" in error.text for error in source.errors)

    def test_a_truncated_matroska_file(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mkv", frames=40, noise=12)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        source, frames = read(path)
        assert 4 <= len(frames) < 40
        assert source.errors

    def test_size_change_in_mid_stream(self, tmp_path: Path) -> None:
        source, frames = read(media.write_size_change(tmp_path / "a.ts"))
        assert {(frame.height, frame.width) for frame in frames} == {(48, 64), (96, 64)}
        assert [frame.planes[0].data.shape for frame in frames] == [(f.height, f.width) for f in frames]
        times = [frame.pts_s for frame in frames]
        assert times == sorted(set(times))
        assert (source.height, source.width) == (48, 64)

    def test_times_that_jump_back_go_on(self, tmp_path: Path) -> None:
        whole = media.write_video(tmp_path / "a.ts").read_bytes()
        (tmp_path / "twice.ts").write_bytes(whole + whole)
        _, frames = read(tmp_path / "twice.ts")
        times = [frame.pts_s for frame in frames]
        assert all(0 < b - a < 0.2 for a, b in pairwise(times))


class TestRefused:
    def refuse(self, spec: Path | str | int, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            open_source(spec)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        self.refuse(tmp_path / "nope.mp4", "no such file or folder")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").touch()
        self.refuse(tmp_path / "a.mp4", "is empty")

    def test_sound_alone(self, tmp_path: Path) -> None:
        self.refuse(media.write_audio_only(tmp_path / "a.m4a"), "holds sound but no picture")

    def test_no_video_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("these are words\n" * 50)
        self.refuse(tmp_path / "a.mp4", "is not a video that can be read")

    def test_a_pipe_of_words(self, tmp_path: Path) -> None:
        """Answered at once: nobody writes to the pipe a second time."""
        os.mkfifo(tmp_path / "pipe")
        words = b"these are words\n" * 1000
        threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(words,), daemon=True).start()
        refused: list[str] = []

        def open_it() -> None:
            self.refuse(tmp_path / "pipe", "is not a video that can be read")
            refused.append("pipe")

        thread = threading.Thread(target=open_it, daemon=True)
        thread.start()
        thread.join(20)
        assert refused

    def test_names_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "loop.mp4").symlink_to("loop.mp4")
        self.refuse(tmp_path / "loop.mp4", "cannot be read: .*symbolic links")
        self.refuse("x" * 300, "cannot be read: File name too long")
        self.refuse("\u00b2", "no such file or folder")  # a digit that is no decimal

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir()
        closed.chmod(0)
        self.refuse(closed, "cannot be read: Permission denied")
        self.refuse(closed / "a.mp4", "cannot be read: Permission denied")

    def test_what_is_no_url(self) -> None:
        for look in (open_source, stem_of):
            with pytest.raises(InputError, match=r"http://\[::1/x: is no URL") as caught:
                look("http://user:secret@[::1/x")
            assert "secret" not in str(caught.value)

    def test_an_index_that_was_never_written(self, tmp_path: Path) -> None:
        path = media.write_video(tmp_path / "a.mp4", noise=12)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.refuse(path, "moov atom not found")

    def test_a_folder_without_images(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        self.refuse(tmp_path, "holds no images")

    def test_a_pattern_without_images(self, tmp_path: Path) -> None:
        self.refuse(str(tmp_path / "*.png"), "no image has such a name")

    def test_a_webcam_that_is_not_there(self) -> None:
        self.refuse(97, "webcam 97")
        self.refuse("97", "webcam 97")

    def test_a_url_that_nobody_answers_keeps_its_password(self) -> None:
        with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:9/x: cannot be opened") as caught:
            open_source("rtsp://user:secret@127.0.0.1:9/x", SourceOptions(timeout_s=3))
        assert "secret" not in str(caught.value)

    def test_a_url_that_stays_silent(self) -> None:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4"
            with pytest.raises(InputError, match=r"no answer within 0\.5 s"):
                open_source(url, SourceOptions(timeout_s=0.5))

    def test_a_corrupt_file_of_which_nothing_decodes(self, tmp_path: Path) -> None:
        self.refuse(media.write_corrupt(tmp_path / "a.mp4", damaged=range(16)), "not one frame")


def test_pictures_go_when_nobody_holds_them(tmp_path: Path) -> None:
    """Without the garbage collector, which comes too seldom for things of this size."""
    path = media.write_video(tmp_path / "a.mp4", rotation=90, frames=20)
    gc.collect()
    before = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    gc.disable()
    try:
        with open_source(path) as source:
            assert len([frame.index for frame in source]) == 20
            held = sum(type(each) is av.VideoFrame for each in gc.get_objects()) - before
    finally:
        gc.enable()
    assert held <= 2


class TestUrl:
    def test_a_live_stream_that_falls_silent(self, tmp_path: Path) -> None:
        import socket

        data = media.write_video(tmp_path / "a.ts").read_bytes()
        done = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as server:

            def send() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)
                    done.wait(10)

            thread = threading.Thread(target=send)
            thread.start()
            source, frames = read(f"tcp://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.5)
            done.set()
            thread.join()
        assert source.live
        assert numbers(frames) == list(range(12))
        assert frames[0].pts_s == 0
        assert [error.text for error in source.errors] == ["the stream broke off: nothing came for too long"]

    def test_a_part_of_a_live_stream_counts_from_its_first_picture(self, tmp_path: Path) -> None:
        import socket

        data = media.write_video(tmp_path / "a.ts", pts=lambda n: (25000 + n) * media.STEP).read_bytes()
        with socket.create_server(("127.0.0.1", 0)) as server:

            def send() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)

            threading.Thread(target=send, daemon=True).start()
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            _, frames = read(url, start_s=0.2, duration_s=0.16, timeout_s=5)
        assert numbers(frames) == [5, 6, 7, 8]
        assert frames[0].pts_s == pytest.approx(0.2)

    def test_http(self, tmp_path: Path) -> None:
        from functools import partial
        from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

        media.write_video(tmp_path / "a.mp4")
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            source, frames = read(f"http://127.0.0.1:{server.server_port}/a.mp4")
            server.shutdown()
        assert numbers(frames) == list(range(12))
        assert source.stem == "a"


class TestImages:
    def write(self, path: Path, number: int, pixel_format: str = "rgb24") -> None:
        codec = {".png": "png", ".jpg": "mjpeg", ".bmp": "bmp", ".tiff": "tiff"}[path.suffix]
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 64, 48, pixel_format
        context.time_base = Fraction(1, 25)
        if codec == "mjpeg":
            context.color_range = 2
        made = media.picture(number, 48, 64).reformat(format=pixel_format, dst_color_range=2)
        packets = context.encode(made) + context.encode(None)
        path.write_bytes(b"".join(bytes(packet) for packet in packets))

    def test_a_folder_in_natural_order(self, tmp_path: Path) -> None:
        for number in (0, 2, 10, 9):
            self.write(tmp_path / f"frame{number}.png", number)
        (tmp_path / "notes.txt").touch()
        source, frames = read(tmp_path)
        greens = [int(frame.planes[1].data[40, 60]) for frame in frames]
        assert greens == sorted(greens)
        assert len(set(greens)) == 4
        assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
        assert source.frames_estimate == 4
        assert frames[0].kind == "rgb"

    def test_a_part_between_two_images(self, tmp_path: Path) -> None:
        for number in range(3):
            self.write(tmp_path / f"{number}.png", number)
        with pytest.raises(InputError, match=r"no frame lies in the 0\.01 s from 0\.05 s on"):
            read(tmp_path, start_s=0.05, duration_s=0.01)

    def test_names_with_digits_that_are_no_decimals(self, tmp_path: Path) -> None:
        for name in ("1\u00b22.png", "\u00b2.png", "1.png"):
            self.write(tmp_path / name, 1)
        assert len(read(tmp_path)[1]) == 3

    def test_a_pattern_at_another_rate(self, tmp_path: Path) -> None:
        for number in range(6):
            self.write(tmp_path / f"{number}.png", number)
        _, frames = read(str(tmp_path / "[0-4].png"), image_fps=2, start_s=1)
        assert [frame.pts_s for frame in frames] == pytest.approx([1, 1.5, 2])

    @pytest.mark.parametrize(
        ("name", "pixel_format", "kind"),
        [
            ("a.png", "rgba", "rgb"),
            ("a.png", "gray", "gray"),
            ("a.png", "pal8", "rgb"),
            ("a.jpg", "yuvj422p", "yuv"),
        ],
    )
    def test_kinds(self, tmp_path: Path, name: str, pixel_format: str, kind: str) -> None:
        if pixel_format == "pal8":
            pytest.importorskip("gsvnet_engine.sinks.palette")
            from gsvnet_engine.sinks.palette import encode_png

            colors = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
            (tmp_path / name).write_bytes(encode_png(np.ones((48, 64), np.uint8), colors))
        else:
            self.write(tmp_path / name, 3, pixel_format)
        _, frames = read(tmp_path / name)
        assert (frames[0].kind, frames[0].height, frames[0].width, frames[0].full_range) == (
            kind,
            48,
            64,
            True,
        )

    def test_an_unreadable_image_is_counted(self, tmp_path: Path) -> None:
        for number in range(4):
            self.write(tmp_path / f"{number}.png", number)
        (tmp_path / "1.png").write_text("no image")
        source, frames = read(tmp_path)
        assert [frame.forces_keyframe for frame in frames] == [False, True, False]
        assert [frame.pts_s for frame in frames] == pytest.approx([0, 0.2, 0.3])
        assert len(source.errors) == 1
        assert "1.png" in source.errors[0].text

    def test_none_readable(self, tmp_path: Path) -> None:
        (tmp_path / "1.png").write_text("no image")
        with pytest.raises(InputError, match="none of its 1 images"):
            read(tmp_path)


class Trickle(io.BytesIO):
    """A pipe: at most 100 bytes at a time."""

    def readinto(self, buffer: Any, /) -> int:
        return super().readinto(memoryview(buffer)[:100])


class TestRaw:
    @pytest.mark.parametrize(
        "pixel_format", sorted(set(LAYOUTS) - {"yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p"})
    )
    @pytest.mark.parametrize("size", [(6, 8), (5, 7)])
    def test_every_format_reads_as_ffmpeg_writes_it(self, pixel_format: str, size: tuple[int, int]) -> None:
        height, width = size
        if width % 2 and pixel_format in ("yuyv422", "uyvy422"):
            pytest.skip("packed 4:2:2 comes in pairs")
        rng = np.random.default_rng(3)
        made = av.VideoFrame.from_ndarray(
            rng.integers(16, 235, (height, width, 3)).astype(np.uint8), format="rgb24"
        )
        made = made.reformat(format=pixel_format)
        expected = from_av(made)
        data = packed(made)
        options = SourceOptions(raw=RawFormat(width=width, height=height, pixel_format=pixel_format))
        frames = list(RawSource(Trickle(data * 2), options))
        assert len(frames) == 2
        for plane, other in zip(frames[1].planes, expected.planes, strict=True):
            assert np.array_equal(plane.data, other.data)
            assert plane.shift == other.shift
        assert replace(frames[0], planes=(), owner=None) == replace(
            expected, planes=(), owner=None, time_base=Fraction(1, 25), pts=0
        )
        assert frames[1].pts_s == pytest.approx(0.04)

    def test_a_pipe_that_does_not_wait(self) -> None:
        """Nothing there yet is not its end."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)

        def write() -> None:
            with os.fdopen(write_end, "wb", buffering=0) as pipe:
                for number in range(6):
                    pipe.write(bytes([number]) * 24)
                    time.sleep(0.05)

        threading.Thread(target=write).start()
        options = SourceOptions(raw=RawFormat(width=8, height=6, pixel_format="gray"))
        with os.fdopen(read_end, "rb", buffering=0) as pipe:
            frames = list(RawSource(pipe, options))
        assert [frame.planes[0].data[::3, 0].tolist() for frame in frames] == [[0, 1], [2, 3], [4, 5]]

    def test_stop_ends_the_wait_for_the_first_frame(self) -> None:
        read_end, write_end = os.pipe()
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        options = SourceOptions(raw=RawFormat(width=8, height=6, pixel_format="gray"), stop=stop)
        with (
            os.fdopen(read_end, "rb", buffering=0) as pipe,
            os.fdopen(write_end, "wb", buffering=0) as other,
            pytest.raises(InputError, match="nothing came"),
        ):
            other.write(bytes(5))
            threading.Timer(5, other.close).start()
            RawSource(pipe, options)
        assert stop.is_set()

    def test_a_cut_off_frame_is_counted(self) -> None:
        options = SourceOptions(raw=RawFormat(width=8, height=6, pixel_format="gray"))
        source = RawSource(io.BytesIO(bytes(48 * 2 + 5)), options)
        assert len(list(source)) == 2
        assert "5 of 48 bytes" in source.errors[0].text

    def test_start_and_rate(self) -> None:
        raw = RawFormat(width=8, height=6, pixel_format="gray", rate=Fraction(10))
        data = b"".join(bytes([n]) * 48 for n in range(5))
        frames = list(RawSource(io.BytesIO(data), SourceOptions(raw=raw, start_s=0.2)))
        assert [int(frame.planes[0].data[0, 0]) for frame in frames] == [2, 3, 4]
        assert [frame.index for frame in frames] == [0, 1, 2]
        with pytest.raises(InputError, match=r"starts at 100 s, but its 5 frames last 0\.5 s at 10 frames/s"):
            RawSource(io.BytesIO(data), SourceOptions(raw=raw, start_s=100))

    def test_refusals(self) -> None:
        with pytest.raises(InputError, match="nothing came"):
            RawSource(io.BytesIO(), SourceOptions(raw=RawFormat(width=8, height=6)))
        with pytest.raises(UsageError, match="--raw-size"):
            open_source("-")
        with pytest.raises(UsageError, match="raw-format"):
            RawSource(io.BytesIO(), SourceOptions(raw=RawFormat(width=8, height=6, pixel_format="xyz")))


class TestLayout:
    @pytest.mark.parametrize(
        ("given_format", "expected"),
        [
            ("yuva420p", "yuv420p"),
            ("yuv420p12le", "yuv420p10le"),
            ("yuv422p16be", "yuv422p10le"),
            ("yuv411p", "yuv422p"),
            ("gbrp16le", "rgb24"),
            ("rgb48le", "rgb24"),
            ("pal8", "rgb24"),
            ("ya8", "gray"),
            ("gray16be", "gray10le"),
            ("monob", "gray"),
        ],
    )
    def test_others_become_the_nearest(self, given_format: str, expected: str) -> None:
        assert nearest_format(av.VideoFormat(given_format)) == expected
        assert expected in LAYOUTS

    @pytest.mark.parametrize("flip", [1, -1])
    @pytest.mark.parametrize("turn", range(4))
    def test_orientations_follow_the_display_matrix(self, turn: int, flip: int) -> None:
        """Against the definition: the point (x, y) is shown at (a·x + c·y, b·x + d·y), then moved into view."""
        cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turn]
        a, b, c, d = cos * flip, sin * flip, -sin, cos
        stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
        places = {(a * x + c * y, b * x + d * y): stored[y, x] for y in range(2) for x in range(3)}
        xs, ys = sorted({x for x, _ in places}), sorted({y for _, y in places})
        expected = np.array([[places[x, y] for x in xs] for y in ys])
        matrix: NDArray[np.int32] = (np.array([a, b, 0, c, d, 0, 0, 0, 1 << 14]) << 16).astype(np.int32)
        assert np.array_equal(Orientation.from_display_matrix(matrix).turn(stored), expected)


class TestClock:
    @given(st.lists(st.none() | st.integers(-(10**6), 10**6), max_size=40), st.integers(1, 1000))
    def test_times_rise_whatever_comes(self, given_pts: list[int | None], step: int) -> None:
        clock = Clock(step=step, jump=10 * step)
        times = [clock.next(pts)[0] for pts in given_pts]
        assert all(b > a for a, b in pairwise(times))

    @given(st.lists(st.integers(0, 10**6), max_size=40, unique=True).map(sorted))
    def test_good_times_stay(self, good: list[int]) -> None:
        clock = Clock(step=10, jump=100)
        assert [clock.next(pts) for pts in good] == [(pts, False) for pts in good]

    def test_repairs(self) -> None:
        clock = Clock(step=10, jump=100)
        assert [clock.next(pts)[0] for pts in (None, None, 20, 20, 30)] == [0, 10, 20, 21, 30]
        assert clock.next(-5000) == (40, True)
        assert clock.next(-4990) == (50, False)


def test_stems() -> None:
    names = {
        "clips/road.mp4": "road",
        "-": "stdin",
        "rtsp://host/live/cam1": "cam1",
        "http://host:80": "host",
        "3": "webcam3",
    }
    assert {name: stem_of(name) for name in names} == names


def test_what_an_input_is_read_from(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for name in ("road.mp4", "frames/1.png"):
        (tmp_path / name).touch()
    expected = {
        "road.mp4": ["road.mp4"],
        "frames": ["frames"],
        "frames/1.png": ["frames/1.png", "frames"],
        "frames/*.png": ["frames"],
    }
    for spec, paths in expected.items():
        assert own_paths(str(tmp_path / spec)) == [tmp_path / path for path in paths]
    assert own_paths(f"file://{tmp_path}/road.mp4") == [tmp_path / "road.mp4"]
    assert own_paths("-") == own_paths("rtsp://host/live") == own_paths("97") == []


def test_real_clips(data_dir: Path) -> None:
    """Every clip is read whole, with no error and no guessed time."""
    clips = sorted((data_dir / "clips").glob("*.mp4"))
    assert clips
    for clip in clips:
        source, frames = read(clip, max_frames=40)
        assert source.errors == []
        assert len(frames) == min(40, source.frames_estimate or 0)
