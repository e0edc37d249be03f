"""The run verb, from arguments to exit code, on the toy bundle."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import gsvnet_engine
from gsvnet_engine import job, machine
from gsvnet_engine.cli import app
from gsvnet_engine.errors import OutputError
from gsvnet_engine.segmenter import Segmenter
from gsvnet_engine.sinks import Sink, SinkContext, open_sink
from gsvnet_engine.sinks.palette import encode_png
from tests import media, toy_bundle

VERB = EntryPoint("run", "gsvnet_engine.cli.run:command", app.GROUP)
_PROGRAM = (
    "import sys; from importlib.metadata import EntryPoint; from gsvnet_engine.cli import app;"
    "app.entry_points = lambda group: [EntryPoint('run', 'gsvnet_engine.cli.run:command', group)];"
    "sys.exit(app.main())"
)
Run = Callable[..., int]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle.write(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def run(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The exit code of `gsvnet-engine run` with the toy bundle, in a folder of its own."""
    monkeypatch.setattr(app, "entry_points", lambda group: [VERB])
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: app.main(["run", "--bundle", str(toy), *map(str, arguments)])


def process(toy: Path, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """The same in a process of its own."""
    folders = [Path(gsvnet_engine.__file__).parents[1], *sys.path]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        **options.pop("environment", {}),
    }
    command = [
        *options.pop("through", []),
        sys.executable,
        "-c",
        _PROGRAM,
        "run",
        "--bundle",
        str(toy),
        *map(str, arguments),
    ]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, **{**streams, **options})


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


class TestRun:
    def test_the_default_output(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=6)
        assert run("road.mp4") == 0
        assert frames_in(tmp_path / "road.gsvnet.mp4") == 6
        captured = capsys.readouterr()
        assert captured.out == ""
        for word in (
            "decode",
            "prepare",
            "keyframe",
            "propagate",
            "labels",
            "overlay",
            "encode",
            "road.gsvnet.mp4",
        ):
            assert word in captured.err

    def test_json(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=10)
        assert run("road.mp4", "--json", "--quiet", "--interval", 5, "--backend", "onnxruntime") == 0
        captured = capsys.readouterr()
        report = json.loads(captured.out)
        assert captured.err == ""
        assert (report["frames"], report["keyframes"], report["interval"]) == (10, 2, 5)
        assert (report["backend"], report["bundle"]) == ("onnxruntime", "toy")
        assert report["errors"] == []
        assert report["outputs"] == ["road.gsvnet.mp4"]
        assert report["fps"] > 0
        assert {"decode", "prepare", "keyframe", "propagate", "labels", "overlay", "encode"} <= set(
            report["stages_ms"]
        )
        assert set(report["stages_ms"]["keyframe"]) == {"mean", "p50", "p90", "p95", "p99", "count"}
        assert report["inputs"][0]["size"] == [48, 64]

    @pytest.mark.parametrize(("backend", "told"), [("onnxruntime", True), ("openvino", False)])
    def test_int8_says_what_it_wants(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, told: bool
    ) -> None:
        folder = toy_bundle.lower(toy_bundle.write(tmp_path / "int8"), "int8")
        media.write_video(tmp_path / "road.mp4", frames=4)
        assert run("road.mp4", "--bundle", folder, "--backend", backend, "-q") == 0
        assert ("int8 is slow on ONNX Runtime" in capsys.readouterr().err) == told

    def test_every_sink_at_once(self, run: Run, tmp_path: Path) -> None:
        media.write_video(tmp_path / "road.mp4", frames=4)
        targets = ("o.mkv", "o.jsonl", "o.json", "masks/")
        assert run("road.mp4", *(word for target in targets for word in ("-o", target))) == 0
        assert frames_in(tmp_path / "o.mkv") == 4
        assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 4
        assert len(json.loads((tmp_path / "o.json").read_text())["images"]) == 4
        assert len(list((tmp_path / "masks").iterdir())) == 4

    def test_several_inputs(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "one.mp4", frames=3)
        media.write_video(tmp_path / "two.mp4", frames=4)
        assert run("one.mp4", "two.mp4", "--json", "-q", "-o", "{stem}.jsonl", "--start", 0.04) == 0
        report = json.loads(capsys.readouterr().out)
        assert [(r["input"], r["frames"], r["keyframes"]) for r in report["inputs"]] == [
            ("one.mp4", 2, 1),
            ("two.mp4", 3, 1),
        ]
        assert report["frames"] == 5
        assert (tmp_path / "two.jsonl").exists()

    def test_one_of_several_inputs_is_unreadable(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The others are gone through, before it and after it."""
        for name in ("one.mp4", "two.mp4"):
            media.write_video(tmp_path / name, frames=3)
        (tmp_path / "words.mp4").write_text("these are words")
        given = "one.mp4", "words.mp4", "two.mp4", "-o", "{stem}.jsonl"
        assert run(*given) == 3
        captured = capsys.readouterr()
        assert "6 frames" in captured.err and captured.out == ""
        assert captured.err.count("error: words.mp4: is not a video that can be read") == 1
        assert run(*given, "--force", "-q", "--json") == 3
        captured = capsys.readouterr()
        report = json.loads(captured.out)
        assert [each["input"] for each in report["inputs"]] == ["one.mp4", "two.mp4"]
        assert report["frames"] == 6 and report["outputs"] == ["one.jsonl", "two.jsonl"]
        (error,) = report["errors"]
        assert error["input"] == "words.mp4" and "is not a video" in error["text"]
        assert captured.err == ""
        (tmp_path / "empty.mp4").touch()
        assert run("words.mp4", "empty.mp4", "-q") == 3
        assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
            "words.mp4",
            "empty.mp4",
        ]

    def test_an_output_that_fails_keeps_the_report_of_the_inputs_before(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fails(target: str, context: SinkContext) -> Sink:
            if target.startswith("two"):
                raise OutputError(f"{target}: the disk is full")
            return open_sink(target, context)

        monkeypatch.setattr(job, "open_sink", fails)
        names = "one.mp4", "two.mp4", "three.mp4"
        for name in names:
            media.write_video(tmp_path / name, frames=3)
        assert run(*names, "-o", "{stem}.jsonl", "--json", "-q") == 5
        report = json.loads(capsys.readouterr().out)
        assert report["outputs"] == ["one.jsonl"]
        assert [error["text"] for error in report["errors"]] == ["two.jsonl: the disk is full"]

    def test_compare(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=6)
        assert run("road.mp4", "--compare", 1, "--interval", 1, "--json", "-q", "-o", "o.mp4") == 0
        assert json.loads(capsys.readouterr().out)["agreement"] == 1
        with av.open(str(tmp_path / "o.mp4")) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == (128, 48)

    def test_what_the_interval_gained(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=6)
        line = "at interval 3 this run's networks were "
        assert run("road.mp4", "-o", "o.jsonl") == 0
        assert capsys.readouterr().err.count(line) == 1
        assert run("road.mp4", "-o", "p.jsonl", "--json", "-q") == 0
        captured = capsys.readouterr()
        assert captured.err == "" and json.loads(captured.out)["recommendation"][0].startswith(line)

    def test_an_unfamiliar_input_is_warned_of_once(
        self, toy: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        rule = {"statistic": "mean_confidence", "threshold": 1, "usual": [1, 1]}
        strict = toy_bundle.write(tmp_path / "strict", familiarity=rule)
        for name, frames in (("short.mp4", 2), ("ends.mp4", 5), ("long.mp4", 14)):
            media.write_video(tmp_path / name, frames=frames)
        given = "short.mp4", "ends.mp4", "long.mp4", "--bundle", strict, "--interval", 1, "-o", "{stem}.jsonl"
        assert run(*given, "--json", "-q") == 0
        captured = capsys.readouterr()
        said = captured.err.splitlines()
        assert [line.split(": this video looks unlike what toy")[0] for line in said] == [
            "warning: ends.mp4",
            "warning: long.mp4",
        ]
        found = [report["unfamiliar"] for report in json.loads(captured.out)["inputs"]]
        assert [answer is None for answer in found] == [True, False, False]

    def test_part_of_the_input_unreadable(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_corrupt(tmp_path / "a.mp4")
        assert run("a.mp4", "--json", "-q") == 7
        report = json.loads(capsys.readouterr().out)
        assert report["errors"]
        assert report["frames"] == frames_in(tmp_path / "a.gsvnet.mp4")
        media.write_truncated(tmp_path / "b.mp4")
        assert run("b.mp4") == 7
        assert "ends early" in capsys.readouterr().err

    def test_a_size_change(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_size_change(tmp_path / "a.ts")
        run("a.ts", "-o", "o.mp4", "-o", "o.jsonl")
        assert "becomes 64x96" in capsys.readouterr().err
        lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert [line["index"] for line in lines if line["keyframe"]][:3] == [
            0,
            3,
            6,
        ]  # the toy's interval is 3


class TestRefused:
    def test_input_errors(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "words.mp4").write_text("these are words")
        media.write_audio_only(tmp_path / "sound.m4a")
        for name in ("missing.mp4", "empty.mp4", "words.mp4", "sound.m4a"):
            assert run(name) == 3
            assert name in one_line(capsys)
        assert not list(tmp_path.glob("*.gsvnet.*"))

    def test_output_errors(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=2)
        (tmp_path / "o.mp4").write_text("mine")
        assert run("road.mp4", "-o", "o.jsonl", "-o", "o.mp4") == 5
        assert "--force" in one_line(capsys)
        assert not (tmp_path / "o.jsonl").exists()
        assert run("road.mp4", "-o", "x/o.mp4") == 5
        assert "x does not exist" in one_line(capsys)
        assert run("road.mp4", "-o", "road.mp4", "--force") == 5
        assert "is the input itself" in one_line(capsys)
        assert run("road.mp4", "-o", "o.mp4", "--force", "-q") == 0
        assert frames_in(tmp_path / "o.mp4") == 2
        (tmp_path / "loop.mp4").symlink_to("loop.mp4")
        for target in ("loop.mp4", "x" * 300 + ".mp4", "loop.mp4/"):
            assert run("road.mp4", "-o", target, "--force") == 5
            assert "cannot be written" in one_line(capsys)

    def test_images_are_not_written_over(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "frames").mkdir()
        images = [tmp_path / "frames" / f"{number:06d}.png" for number in range(2)]
        for image in images:
            image.write_bytes(encode_png(np.zeros((8, 8), np.uint8), np.zeros((1, 3), np.uint8)))
        before = [image.read_bytes() for image in images]
        for given in ("frames/", "frames/*.png", "frames/000001.png"):
            assert run(given, "-o", "frames/", "--force") == 5
            assert "holds the input's images" in one_line(capsys)
        assert run("frames", "-o", "{stem}/", "--force") == 5
        assert [image.read_bytes() for image in images] == before

    @pytest.mark.parametrize(
        "arguments",
        [
            ("road.mp4", "-o", "o.avi"),
            ("road.mp4", "--json", "-o", "-"),
            ("road.mp4", "road.mp4", "-o", "o.mp4"),
            ("road.mp4", "other/road.mp4"),
            ("road.mp4", "-o", "o.mp4", "-o", "o.mp4"),
            ("road.mp4", "--duration", "0"),
            ("road.mp4", "--duration", "inf"),
            ("road.mp4", "--duration", "nan"),
            ("road.mp4", "--start", "1e15"),
            ("road.mp4", "--realtime", "--ahead"),
            ("road.mp4", "--interval", "0"),
            ("road.mp4", "--alpha", "2"),
            ("road.mp4", "-o", "o.mp4", "--encoder", "h264_vaapi"),
            ("road.mp4", "-o", "o.mp4", "--encoder-preset", "warp"),
            ("-", "-o", "o.mp4"),
            ("-", "--raw-size", "tall"),
            ("-", "--raw-size", "8x6", "--raw-format", "pink"),
            ("-", "-", "--raw-size", "8x6", "-o", "{stem}.mp4"),
            (),
        ],
    )
    def test_usage_errors(self, run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=1)
        (tmp_path / "other").mkdir()
        media.write_video(tmp_path / "other" / "road.mp4", frames=1)
        assert run(*arguments) == 2
        assert not (tmp_path / "o.mp4").exists()

    def test_a_start_after_the_end(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=2)
        assert run("road.mp4", "--start", 60) == 3
        assert "earlier start" in one_line(capsys)
        (tmp_path / "o.mp4").write_text("mine")
        assert run("road.mp4", "--start", 0.01, "--duration", 0.01, "-o", "o.mp4", "--force") == 3
        assert "no frame lies in" in one_line(capsys)
        assert (tmp_path / "o.mp4").read_text() == "mine"

    def test_a_window_that_never_opens(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=2)
        monkeypatch.setattr(job, "_WINDOW_PROBE", "import time; time.sleep(60)")
        monkeypatch.setattr(job, "_WINDOW_WAIT_S", 0.5)
        assert run("road.mp4", "--show") == 6
        assert "no window opened within 0.5 s" in one_line(capsys)

    def test_no_display(self, toy: Path, tmp_path: Path) -> None:
        media.write_video(tmp_path / "road.mp4", frames=2)
        nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
        with process(toy, "road.mp4", "--show", cwd=tmp_path, environment=nowhere) as child:
            _, err = child.communicate(timeout=60)
        assert child.returncode == 6
        assert err.decode().count("\n") == 1
        assert "no window can be opened" in err.decode()


class TestPipes:
    def test_raw_frames_in_raw_labels_out(self, toy: Path, tmp_path: Path) -> None:
        arguments = ("-", "--raw-size", "64x48", "--raw-format", "gray", "-o", "-", "-o", "o.mp4")
        with process(toy, *arguments, cwd=tmp_path) as child:
            out, err = child.communicate(bytes(64 * 48 * 5), timeout=60)
        assert child.returncode == 0, err
        assert len(out) == 64 * 48 * 5
        assert frames_in(tmp_path / "o.mp4") == 5

    def test_a_reader_that_went_away(self, toy: Path, tmp_path: Path) -> None:
        arguments = ("-", "--raw-size", "64x48", "--raw-format", "gray", "-o", "-", "-o", "o.mp4")
        with process(toy, *arguments, cwd=tmp_path) as child:
            assert child.stdout is not None
            child.stdout.close()
            child.stdout = None
            _, err = child.communicate(bytes(64 * 48 * 60), timeout=60)
        assert child.returncode == 5
        assert err.decode().count("\n") == 1
        assert "the program reading it has ended" in err.decode()
        assert not (tmp_path / "o.mp4").exists()  # not one frame got as far

    def test_a_closed_stderr(self, toy: Path, tmp_path: Path) -> None:
        """Notes and the table go nowhere, and not among the labels."""
        media.write_video(tmp_path / "one.mp4", frames=3)
        media.write_video(tmp_path / "two.mp4", frames=3, height=96)
        given = "one.mp4", "two.mp4", "-o", "-", "-o", "{stem}.mkv"
        command = ["bash", "-c", 'exec "$@" 2>&-', "-"]
        with process(toy, *given, cwd=tmp_path, through=command) as child:
            out, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert len(out) == 3 * 48 * 64 + 3 * 96 * 64
        assert frames_in(tmp_path / "two.mkv") == 3

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interruption_leaves_whole_files(self, toy: Path, tmp_path: Path, number: int) -> None:
        """While it waits for a source that has gone silent."""
        arguments = ("-", "--raw-size", "64x48", "--raw-format", "gray", "--json")
        outputs = ("-o", "o.mp4", "-o", "o.json", "-o", "o.jsonl")
        with process(toy, *arguments, *outputs, cwd=tmp_path) as child:
            assert child.stdin is not None
            child.stdin.write(bytes(64 * 48 * 8))
            child.stdin.flush()
            lines = tmp_path / "o.jsonl"
            deadline = time.monotonic() + 30
            while not (lines.exists() and lines.read_text().count("\n") == 8) and time.monotonic() < deadline:
                time.sleep(0.05)
            child.send_signal(number)
            out, err = child.stdout.read(), child.stderr.read()  # type: ignore[union-attr]
        assert child.returncode == 130, err
        report = json.loads(out)
        assert (report["frames"], report["interrupted"]) == (8, True)
        assert frames_in(tmp_path / "o.mp4") == 8
        assert len(json.loads((tmp_path / "o.json").read_text())["images"]) == 8
        assert b"8 frames" in err

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interruption_before_the_first_frame(self, toy: Path, tmp_path: Path, number: int) -> None:
        """Of stdin, which is waited for once the other input is done."""
        media.write_video(tmp_path / "road.mp4", frames=2)
        given = "road.mp4", "-", "--raw-size", "64x48", "-o", "{stem}.jsonl", "--json"
        with process(toy, *given, cwd=tmp_path) as child:
            assert child.stdin is not None and child.stdout is not None
            lines = tmp_path / "road.jsonl"
            while not (lines.exists() and lines.read_text().count("\n") == 2):
                assert child.poll() is None
                time.sleep(0.05)
            time.sleep(0.5)
            child.send_signal(number)
            child.wait(20)
            report = json.loads(child.stdout.read())
        assert child.returncode == 130 and report["interrupted"] and report["frames"] == 2
        assert not (tmp_path / "stdin.jsonl").exists()


def test_real_clips(run: Run, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = data_dir / "clips"
    names = [clips / name for name in ("carphone_pristine.mp4", "udacity_solidWhiteRight.mp4")]
    assert run(*names, "--max-frames", 8, "--json", "-q") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == 16
    for output in report["outputs"]:
        assert frames_in(tmp_path / output) == 8


class TestLive:
    def serve(self, data: list[bytes], pause_s: float, times: int) -> tuple[str, threading.Thread]:
        """A loopback address that streams `data`, a piece every `pause_s`, to one connection after another."""
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(30)

        def send() -> None:
            with server:
                for _ in range(times):
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        for piece in data:
                            connection.sendall(piece)
                            time.sleep(pause_s)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        return f"tcp://127.0.0.1:{server.getsockname()[1]}", thread

    def pieces(self, folder: Path, frames: int) -> list[bytes]:
        data = media.write_video(folder / "live.ts", frames=frames).read_bytes()
        size = -(-len(data) // frames)
        return [data[at : at + size] for at in range(0, len(data), size)]

    def test_a_stream_lost_and_found(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, thread = self.serve(self.pieces(tmp_path, 7), 0.02, times=2)
        options = "--realtime", "--deadline", 5000, "--reconnect", 1, "--interval", 100
        assert run(url, *options, "--json", "-q", "-o", "o.mp4", "-o", "o.jsonl") == 7
        thread.join(10)
        captured = capsys.readouterr()
        report = json.loads(captured.out)
        assert (report["frames"], report["dropped"]) == (14, 0)
        assert report["keyframes"] == 2  # the first frame, and the first after the loss
        latency = report["inputs"][0]["latency_ms"]
        assert {"p50", "p90", "p95", "p99", "count"} <= set(latency) and latency["count"] == 14
        assert "the connection was lost" in [error["text"] for error in report["errors"]]
        assert "back after" in captured.err
        assert frames_in(tmp_path / "o.mp4") == 14

    def test_a_deadline_drops_before_the_scheduler(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, _ = self.serve(self.pieces(tmp_path, 50), 0.0, times=1)
        assert (
            run(url, "--realtime", "--deadline", 0.01, "--reconnect", 0, "--json", "-q", "-o", "o.jsonl") == 0
        )
        report = json.loads(capsys.readouterr().out)
        assert report["dropped"] > 0 and report["frames"] + report["dropped"] == 50
        lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
        assert len(lines) == report["frames"]

    def test_all_dropped(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Is said where no frame is left, and no output is named that is not there."""
        url, _ = self.serve(self.pieces(tmp_path, 30), 0.0, times=1)
        options = "--realtime", "--deadline", 1e-6, "--reconnect", 0, "-o", "o.mp4"
        assert run(url, *options) == 0
        said = capsys.readouterr().err
        assert "30 frames dropped before they were segmented" in said
        assert "o.mp4" not in said and not (tmp_path / "o.mp4").exists()

    def test_files_are_whole(self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        media.write_video(tmp_path / "road.mp4", frames=9)
        assert run("road.mp4", "--realtime", "--deadline", 0.01, "-o", "o.jsonl") == 0
        said = capsys.readouterr().err
        assert "road.mp4: 0 frames dropped" in said and "from arrival to labels p50" in said
        assert "the rate is bound by" in said

    @pytest.mark.parametrize("start_s", [0, 100])
    def test_an_interruption_while_it_is_lost(self, toy: Path, tmp_path: Path, start_s: float) -> None:
        """After its first pictures, and while the first one that is asked for is waited for."""
        url, _ = self.serve(self.pieces(tmp_path, 8), 0.0, times=1)
        given = url, "--reconnect", 600, "--start", start_s, "-o", "o.jsonl", "--json"
        with process(toy, *given, cwd=tmp_path) as child:
            assert child.stderr is not None and child.stdout is not None
            while b"lost; trying again" not in child.stderr.readline():
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            sent_s = time.monotonic()
            report = json.loads(child.stdout.read())
            child.wait(30)
        assert time.monotonic() - sent_s < 10  # not 600; how soon is test_live's affair
        assert child.returncode == 130 and report["interrupted"]

    def test_a_deadline_wants_realtime(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=1)
        assert run("road.mp4", "--deadline", 100) == 2
        assert "--deadline is for --realtime" in one_line(capsys)


class TestThroughput:
    def test_labels_are_the_ordinary_ones(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=20)
        assert run("road.mp4", "-o", "one/", "--threads", 1, "-q") == 0
        assert run("road.mp4", "-o", "two/", "--threads", 2, "--throughput", "--json", "-q") == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["lanes"], report["frames"]) == (2, 20)
        assert report["bound_by"] in report["busy"] and set(report["busy"]) == {"decode", "inference", "sink"}
        assert run("road.mp4", "-o", "ahead/", "--threads", 1, "--ahead", "-q") == 0
        names = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert len(names) == 20
        for name in names:
            expected = (tmp_path / "one" / name).read_bytes()
            assert (tmp_path / "two" / name).read_bytes() == expected
            assert (tmp_path / "ahead" / name).read_bytes() == expected

    def test_as_many_lanes_as_memory_allows(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of a machine of 64 cores, with 20 frames an interval; more, asked for, are refused."""
        monkeypatch.setattr(machine, "cores", lambda: 64)
        media.write_video(tmp_path / "road.mp4", frames=3)
        given = ("road.mp4", "-o", "o.jsonl", "--throughput", "--interval", 20, "--json", "--force")
        assert run(*given) == 0
        assert json.loads(capsys.readouterr().out)["lanes"] == 2
        assert run(*given, "--threads", 3) == 2
        assert "choose at most 2 (--threads)" in capsys.readouterr().out

    def test_a_live_source_has_the_threads(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        opened: dict[Segmenter, tuple[int | None, int]] = {}
        make, warm = Segmenter.__init__, Segmenter.warm
        warmed: list[tuple[int | None, int]] = []

        def made(self: Segmenter, *given: Any, **options: Any) -> None:
            make(self, *given, **options)
            opened[self] = options["threads"], options["lanes"]

        def warms(self: Segmenter, height: int, width: int) -> None:
            warmed.append(opened[self])
            warm(self, height, width)

        monkeypatch.setattr(Segmenter, "__init__", made)
        monkeypatch.setattr(Segmenter, "warm", warms)
        url, _ = TestLive().serve(TestLive().pieces(tmp_path, 4), 0.0, times=1)
        media.write_video(tmp_path / "road.mp4", frames=4)
        assert run(url, "--throughput", "--threads", 2, "--json", "-q", "-o", "o.jsonl") == 0
        assert json.loads(capsys.readouterr().out)["lanes"] == 1
        assert run("road.mp4", "--throughput", "--threads", 2, "--json", "-q", "-o", "p.jsonl") == 0
        assert json.loads(capsys.readouterr().out)["lanes"] == 2
        assert warmed == [(2, 1), (1, 2)]

    def test_a_comparison_takes_no_lanes(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        media.write_video(tmp_path / "road.mp4", frames=4)
        given = "road.mp4", "--throughput", "--threads", 2, "--compare", 30, "-o", "o.jsonl", "--json"
        assert run(*given) == 0
        assert json.loads(capsys.readouterr().out)["agreement"] is not None

    @pytest.mark.parametrize("two", list(combinations(["--throughput", "--realtime", "--ahead"], 2)))
    def test_excludes(self, run: Run, capsys: pytest.CaptureFixture[str], two: tuple[str, str]) -> None:
        assert run("road.mp4", *two) == 2
        assert "exclude each other" in one_line(capsys)
