"""The main loop and its threads."""

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gsvnet_engine.errors import OutputError
from gsvnet_engine.pipeline import background, interruptible, run_video
from gsvnet_engine.segmenter import Segmentation
from gsvnet_engine.sinks import Comparison, Sink
from gsvnet_engine.telemetry import Progress, Samples, StageTimes, bound_by, busy_shares, stage_table
from gsvnet_engine.video import open_source
from tests import media


class Notes(Sink):
    """Remembers what it is given."""

    target = "notes"

    def __init__(self, fail_at: int | None = None, fail_to_close: bool = False) -> None:
        self.indices: list[int] = []
        self.closed: list[bool] = []
        self.fail_at, self.fail_to_close = fail_at, fail_to_close

    def write(self, segmentation: Segmentation, comparison: Comparison | None = None) -> None:
        if segmentation.index == self.fail_at:
            raise OutputError("notes are full")
        self.indices.append(segmentation.index)

    def close(self, *, complete: bool = True) -> None:
        self.closed.append(complete)
        if self.fail_to_close:
            raise OutputError("notes cannot be closed")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("gsvnet-")}


class TestRunVideo:
    def run(self, tmp_path: Path, *sinks: Sink, **options: Any) -> Any:
        path = tmp_path / "a.mp4"
        if not path.exists():
            media.write_video(path)
        with open_source(path) as source:
            return run_video(source, options.pop("segmenter", media.Striped()), sinks, **options)

    def test_every_frame_reaches_every_sink(self, tmp_path: Path) -> None:
        one, other, times = Notes(), Notes(), StageTimes()
        tally = self.run(tmp_path, one, other, times=times)
        assert one.indices == other.indices == list(range(12))
        assert one.closed == [True]
        assert (tally.frames, tally.keyframes, tally.interrupted) == (12, 3, False)
        assert tally.seconds > 0
        counts = {stage: summary.count for stage, summary in times.summary().items()}
        assert counts == {"decode": 12, "prepare": 12, "keyframe": 3, "propagate": 9, "labels": 12}
        assert not threads()

    def test_compare(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, compare=media.Striped()).agreement == 1
        assert self.run(tmp_path, compare=media.Striped(shift=1)).agreement == 0
        assert self.run(tmp_path).agreement is None

    def test_watch_may_end_it(self, tmp_path: Path) -> None:
        notes = Notes()
        tally = self.run(tmp_path, notes, watch=lambda segmentation, comparison, frames: frames < 3)
        assert tally.frames == 3
        assert notes.indices == [0, 1, 2]
        assert notes.closed == [False]

    def test_a_sink_that_fails_stops_all_and_closes_all(self, tmp_path: Path) -> None:
        bad, good = Notes(fail_at=4), Notes()
        with pytest.raises(OutputError, match="full"):
            self.run(tmp_path, good, bad)
        assert good.closed == bad.closed == [False]
        assert good.indices == [0, 1, 2, 3, 4]
        assert not threads()

    def test_a_sink_that_cannot_be_closed(self, tmp_path: Path) -> None:
        bad, good = Notes(fail_to_close=True), Notes()
        with pytest.raises(OutputError, match="closed"):
            self.run(tmp_path, bad, good)
        assert good.closed == [True]

    def test_a_segmenter_that_fails_closes_the_sinks(self, tmp_path: Path) -> None:
        notes = Notes()
        with pytest.raises(RuntimeError, match="segmenter failed"):
            self.run(tmp_path, notes, segmenter=media.Striped(fail_at=3))
        assert notes.indices == [0, 1, 2]
        assert notes.closed == [False]
        assert not threads()

    def test_stop_ends_in_order(self, tmp_path: Path) -> None:
        stop, notes = Event(), Notes()

        def watch(segmentation: Segmentation, comparison: Comparison | None, frames: int) -> bool:
            if frames == 5:
                stop.set()
            return True

        tally = self.run(tmp_path, notes, stop=stop, watch=watch)
        assert tally.interrupted
        assert notes.indices == [0, 1, 2, 3, 4]
        assert notes.closed == [False]


class TestBackground:
    def test_order_and_length(self) -> None:
        assert list(background(range(100))) == list(range(100))
        assert list(background([])) == []

    def test_it_stays_two_ahead(self) -> None:
        made: list[int] = []

        def numbers() -> Iterator[int]:
            for number in range(10):
                made.append(number)
                yield number

        items = background(numbers())
        assert next(items) == 0
        time.sleep(0.1)
        assert len(made) == 4  # one taken, two in the slots, one at the door
        items.close()

    def test_errors_come_through_after_the_items(self) -> None:
        def failing() -> Iterator[int]:
            yield 1
            raise ValueError("broken")

        items = background(failing())
        assert next(items) == 1
        with pytest.raises(ValueError, match="broken"):
            next(items)

    def test_closing_stops_the_thread_and_closes_the_iterator(self) -> None:
        closed = Event()

        def endless() -> Iterator[int]:
            try:
                while True:
                    yield 1
            finally:
                closed.set()

        items = background(endless())
        next(items)
        started = time.perf_counter()
        items.close()
        assert time.perf_counter() - started < 0.5
        assert closed.is_set()
        assert not threads()

    def test_dropping_it_stops_the_thread(self) -> None:
        items = background(iter(int, 1))
        next(items)
        del items
        gc.collect()
        assert not threads()

    def test_stop_is_seen_while_waiting(self) -> None:
        stop, release = Event(), Event()

        def silent() -> Iterator[int]:
            release.wait(5)
            yield 1

        threading.Timer(0.1, stop.set).start()
        threading.Timer(0.4, release.set).start()
        started = time.perf_counter()
        assert list(background(silent(), stop=stop)) == []
        assert time.perf_counter() - started < 2


class TestInterruptible:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_the_second_insists(self, number: int) -> None:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), interruptible() as stop:
            os.kill(os.getpid(), number)
            assert stop.wait(1)
            os.kill(os.getpid(), number)
            time.sleep(1)
        assert signal.getsignal(number) is before


class TestTelemetry:
    def test_summary(self) -> None:
        times = StageTimes()
        for ms in range(101):
            times.add("labels", float(ms))
        times.add("decode", 1.0)
        summary = times.summary()
        assert list(summary) == ["decode", "labels"]
        assert (summary["labels"].mean, summary["labels"].p50, summary["labels"].p95) == (50, 50, 95)
        assert "labels" in stage_table(summary)

    def test_long_series_stay_small_and_fair(self) -> None:
        samples = Samples()
        for value in range(100_000):
            samples.add(float(value))
        summary = samples.summary()
        assert (summary.count, summary.mean) == (100_000, 49_999.5)
        assert len(samples._kept) == 8192
        for found, share in ((summary.p50, 0.5), (summary.p90, 0.9), (summary.p99, 0.99)):
            assert found == pytest.approx(share * 100_000, abs=2000)  # 3.6 standard errors of the median

    def test_what_bounds_the_rate(self) -> None:
        totals = {"decode": 100.0, "keyframe": 600.0, "labels": 100.0, "overlay": 200.0, "encode": 500.0}
        busy = busy_shares(totals, 1.0)
        assert busy == pytest.approx({"decode": 0.1, "inference": 0.7, "sink": 0.5})
        assert bound_by(busy) == "inference"
        assert bound_by(busy_shares(totals, 1.0, lanes=2)) == "sink"
        assert busy_shares(totals, 0.0) == {"decode": 0, "inference": 0, "sink": 0}
        ahead = {"keyframe": 900.0, "adopt": 100.0, "propagate": 500.0, "labels": 100.0}  # in two threads
        assert busy_shares(ahead, 1.0)["inference"] == pytest.approx(0.9)

    def test_progress_only_on_a_terminal(self) -> None:
        import io

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        for file, quiet, seen in (
            (io.StringIO(), False, False),
            (Terminal(), True, False),
            (Terminal(), False, True),
        ):
            with Progress("a.mp4", 10, quiet=quiet, file=file) as progress:
                progress.step(3)
            assert bool(file.getvalue()) == seen
