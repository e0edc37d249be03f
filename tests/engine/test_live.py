"""Live sources: what is dropped, what comes back, and how long labels take."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from gsvnet_engine import video
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import Frame
from gsvnet_engine.live import Newest, RealTime
from gsvnet_engine.pipeline import run_video
from gsvnet_engine.segmenter import Segmentation, Segmenter
from gsvnet_engine.sources.clock import Clock
from gsvnet_engine.sources.reconnect import Backoff
from gsvnet_engine.video import Source, SourceOptions, open_source
from tests import media, toy_bundle

FRAMES = 12


def frame(index: int, captured_s: float, *, forces_keyframe: bool = False) -> Frame:
    blank = Frame.from_rgb(np.zeros((8, 8, 3), np.uint8), index=index)
    return replace(blank, captured_s=captured_s, forces_keyframe=forces_keyframe)


class TestNewest:
    def taken(self, queue: Newest) -> list[Frame]:
        queue.finish()
        return list(queue.items())

    def test_what_is_older_than_the_deadline_goes(self) -> None:
        queue = Newest(0.2, clock=lambda: 1.0)
        for index, at_s in enumerate((0.5, 0.79, 0.81, 1.0)):
            queue.put(frame(index, at_s))
        assert [f.index for f in self.taken(queue)] == [2, 3]
        assert queue.dropped == 2

    def test_the_giver_never_waits(self) -> None:
        queue = Newest(10.0, slots=3, clock=lambda: 0.0)
        for index in range(8):
            assert queue.put(frame(index, 0.0))
        assert [f.index for f in self.taken(queue)] == [5, 6, 7]
        assert queue.dropped == 5

    def test_a_keyframe_that_was_due_is_not_lost(self) -> None:
        queue = Newest(0.2, clock=lambda: 1.0)
        queue.put(frame(0, 0.1, forces_keyframe=True))
        queue.put(frame(1, 1.0))
        queue.put(frame(2, 1.0))
        assert [(f.index, f.forces_keyframe) for f in self.taken(queue)] == [(1, True), (2, False)]

    def test_frames_of_unknown_age_stay(self) -> None:
        queue = Newest(0.2, clock=lambda: 1.0)
        queue.put(replace(frame(0, 0.0), captured_s=None))
        assert len(self.taken(queue)) == 1

    @pytest.mark.parametrize("deadline_s", [0, -1, 61, float("nan")])
    def test_deadlines_out_of_range(self, deadline_s: float) -> None:
        with pytest.raises(UsageError, match="deadline"):
            RealTime(deadline_s=deadline_s)


class TestBackoff:
    def test_waits_double_and_end(self) -> None:
        backoff, now_s, waits = Backoff(20.0), 100.0, []
        assert backoff.lost(now_s) and backoff.is_lost
        while (wait_s := backoff.wait_s(now_s)) is not None:
            waits.append(wait_s)
            now_s += wait_s
        assert waits == [0.25, 0.5, 1, 2, 4, 8, 4.25]
        assert now_s == 120

    def test_a_connection_without_a_picture_does_not_start_it_anew(self) -> None:
        backoff = Backoff(1.0)
        backoff.lost(0.0)
        assert not backoff.lost(0.9)
        assert backoff.wait_s(1.1) is None
        backoff.found()
        assert not backoff.is_lost and backoff.lost(1.2)
        assert backoff.wait_s(1.2) == 0.25


def test_a_clock_that_starts_anew_goes_on() -> None:
    clock = Clock(step=10, jump=100)
    assert [clock.next(pts) for pts in (50, 60)] == [(50, False), (60, False)]
    clock.restart(200)
    assert [clock.next(pts) for pts in (7, 17, None)] == [(260, False), (270, False), (280, False)]


class Paced(Source):
    """A live source of `count` frames, one every `pace_s`, or as fast as it is read."""

    def __init__(self, count: int, pace_s: float, *, live: bool = True) -> None:
        super().__init__(SourceOptions())
        self.name, self.live, self._count, self._pace_s = "paced", live, count, pace_s
        self.time_base, self.rate, self.height, self.width = media.TIME_BASE, media.RATE, 8, 8

    def _frames(self) -> Iterator[Frame]:
        for index in range(self._count):
            time.sleep(self._pace_s)
            yield replace(frame(index, 0.0), captured_s=None, pts_s=index * self._pace_s)


class Slow(media.Striped):
    """A segmenter that takes `ms` a frame."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self._ms = ms

    def push(self, frame: Frame) -> Segmentation:
        time.sleep(self._ms / 1e3)
        return super().push(frame)


class TestRealTime:
    def test_a_slow_segmenter_drops_and_stays_young(self) -> None:
        segmenter = Slow(60)
        tally = run_video(Paced(40, 0.01), segmenter, [], realtime=RealTime(deadline_s=0.1))
        assert tally.dropped > 0
        assert tally.frames + tally.dropped == 40
        indices = [seen.index for seen in segmenter.seen]
        assert indices == sorted(indices)
        ages = tally.latency_ms.summary()
        assert ages.count == tally.frames
        assert ages.p50 >= 60

    def test_files_never_drop(self) -> None:
        tally = run_video(Paced(20, 0, live=False), Slow(20), [], realtime=RealTime(deadline_s=0.001))
        assert (tally.frames, tally.dropped) == (20, 0)
        assert tally.latency_ms.count == 20

    def test_stream_drops_too(self, tmp_path: Path) -> None:
        """Of a live source, given a deadline; without one every frame comes."""
        segmenter = Segmenter(toy_bundle.write(tmp_path / "toy"), interval=2, threads=1)
        some = []
        for segmentation in segmenter.stream(Paced(30, 0.01), deadline_s=0.05):
            some.append(segmentation.index)
            time.sleep(0.06)
        assert len(some) < 30 and some == sorted(some)
        assert len(list(segmenter.stream(Paced(10, 0.0)))) == 10
        assert len(list(segmenter.stream(Paced(10, 0.0, live=False), deadline_s=0.001))) == 10
        with pytest.raises(UsageError, match="deadline must be above 0"):
            next(segmenter.stream(Paced(1, 0.0), deadline_s=0.0))

    def test_stream_opens_for_latency_where_a_deadline_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = media.write_video(tmp_path / "a.mp4", frames=2)
        segmenter = Segmenter(toy_bundle.write(tmp_path / "toy"), threads=1)
        asked: list[bool] = []

        def opened(source: Path, options: SourceOptions) -> Source:
            asked.append(options.low_delay)
            return open_source(source, options)

        monkeypatch.setattr(video, "open_source", opened)
        for deadline_s in (None, 0.5):
            assert len(list(segmenter.stream(path, deadline_s=deadline_s))) == 2
        assert asked == [False, True]

    def test_without_it_live_sources_wait(self) -> None:
        tally = run_video(Paced(20, 0), Slow(5), [])
        assert (tally.frames, tally.dropped) == (20, 0)


@contextmanager
def connections(serve: Callable[[socket.socket, int], None], wanted: int) -> Iterator[str]:
    """The address of a server on loopback that hands `wanted` connections to `serve`, with their number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def accept() -> None:
            for number in range(wanted):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    serve(connection, number)

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
    thread.join(20)


def numbers(frames: list[Frame]) -> list[int]:
    return [media.number_of(f) for f in frames]


class TestReconnect:
    def options(self, said: list[str], **given: float) -> SourceOptions:
        return SourceOptions(timeout_s=2, say=said.append, reconnect_s=given.get("reconnect_s", 5.0))

    def test_a_stream_that_comes_back(self, tmp_path: Path) -> None:
        data = media.write_video(tmp_path / "a.ts", frames=FRAMES).read_bytes()
        said: list[str] = []
        with (
            connections(lambda connection, number: connection.sendall(data), 2) as address,
            open_source(f"tcp://{address}", self.options(said, reconnect_s=1.0)) as source,
        ):
            frames = list(source)
        assert numbers(frames) == [*range(FRAMES), *range(FRAMES)]
        times = [f.pts_s for f in frames]
        assert times == sorted(set(times))
        assert times[FRAMES] - times[FRAMES - 1] >= 0.25  # the time that it was away
        assert [f.index for f in frames if f.forces_keyframe] == [FRAMES]
        texts = [error.text for error in source.errors]
        assert texts.count("the connection was lost") == 2  # and once more at the end
        assert texts[-1] == "it did not come back within 1 s"
        name = f"tcp://{address}"
        assert said[0] == f"{name}: lost; trying again for 1 s"
        assert said[1].startswith(f"{name}: back after 0.") and said[1].endswith("at attempt 1")

    def test_http_without_a_length_is_live(self, tmp_path: Path) -> None:
        data = media.write_video(tmp_path / "a.ts", frames=FRAMES).read_bytes()

        class Stream(BaseHTTPRequestHandler):
            asked = 0

            def do_GET(self) -> None:
                type(self).asked += 1
                self.send_response(200 if self.asked < 3 else 404)
                self.send_header("Content-Type", "video/mp2t")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}/live"
            with open_source(url, self.options([], reconnect_s=1.0)) as source:
                assert source.live
                assert numbers(list(source)) == [*range(FRAMES), *range(FRAMES)]
            server.shutdown()

    def test_without_it_a_stream_ends(self, tmp_path: Path) -> None:
        data = media.write_video(tmp_path / "a.ts", frames=FRAMES).read_bytes()
        with (
            connections(lambda connection, number: connection.sendall(data), 1) as address,
            open_source(f"tcp://{address}", SourceOptions(timeout_s=2)) as source,
        ):
            assert len(list(source)) == FRAMES
            assert source.errors == []

    def stopped_when(self, lost: Event, stop: Event) -> list[float]:
        """Stops a while after the source was lost; where it will say when, in monotonic seconds."""
        stopped_s: list[float] = []

        def wait() -> None:
            assert lost.wait(10)
            time.sleep(1.5)  # into the longer waits
            stopped_s.append(time.monotonic())
            stop.set()

        Thread(target=wait, daemon=True).start()
        return stopped_s

    def test_stopping_ends_an_opening_at_once(self, tmp_path: Path) -> None:
        """That waits for a stream which was lost before the part that is asked for."""
        data = media.write_video(tmp_path / "a.ts", frames=FRAMES).read_bytes()
        stop, lost = Event(), Event()
        options = SourceOptions(
            timeout_s=2, start_s=100, reconnect_s=600, stop=stop, say=lambda line: lost.set()
        )
        with connections(lambda connection, number: connection.sendall(data), 1) as address:
            stopped_s = self.stopped_when(lost, stop)
            with pytest.raises(InputError):
                open_source(f"tcp://{address}", options)
            assert time.monotonic() - stopped_s[0] < 1

    def test_stopping_ends_a_wait_at_once(self, tmp_path: Path) -> None:
        data = media.write_video(tmp_path / "a.ts", frames=FRAMES).read_bytes()
        stop, lost = Event(), Event()
        options = SourceOptions(timeout_s=2, reconnect_s=600, say=lambda line: lost.set())
        with (
            connections(lambda connection, number: connection.sendall(data), 1) as address,
            open_source(f"tcp://{address}", options) as source,
        ):
            stopped_s = self.stopped_when(lost, stop)
            tally = run_video(source, media.Striped(), [], stop=stop)
            assert time.monotonic() - stopped_s[0] < 1
        assert tally.interrupted and tally.frames == FRAMES
        assert not [t for t in threading.enumerate() if t.name == "gsvnet-decode"]
