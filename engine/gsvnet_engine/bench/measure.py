"""Runs that alternate: each round lets every variant segment the same frames, so that a busy spell hits all alike."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Protocol

from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench.clip import Clip
from gsvnet_engine.errors import BackendError
from gsvnet_engine.frames import Frame
from gsvnet_engine.segmenter import Segmenter
from gsvnet_engine.telemetry import StageTimes
from gsvnet_engine.video import SourceOptions, open_source

NETWORKS = ("keyframe", "propagate")
_FIRST_FRAME = """
import json, sys
from pathlib import Path
from gsvnet_engine import Segmenter
from gsvnet_engine.backends.model_cache import ModelCache
from gsvnet_engine.backends.tensorrt.options import GpuOptions
job = json.loads(sys.argv[1])
folders = {name: path and Path(path) for name, path in job.pop("folders").items()}
kept = folders.pop("kept")
gpu = GpuOptions(**job.pop("gpu"), **folders)
clip = job.pop("clip")
segmenter = Segmenter(**job, gpu=gpu, models=ModelCache(kept) if kept else None)
next(segmenter.stream(clip))
print("segmented", flush=True)
"""


class Side(Protocol):
    """What segments: this engine, or what it is compared with."""

    def frames(self, source: Iterable[Frame], interval: int) -> Iterator[Mapping[str, float]]:
        """Segment each frame to labels of its own size; its milliseconds by stage. Decodes in a thread."""
        ...


@dataclass(frozen=True)
class Engine:
    """This engine as a Side."""

    segmenter: Segmenter

    def frames(self, source: Iterable[Frame], interval: int) -> Iterator[Mapping[str, float]]:
        for segmentation in self.segmenter.stream(source, interval=interval):
            yield segmentation.stages_ms


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is measured: a row of the table. precision: "f32", "bf16", "int8", "int8+bf16"."""

    bundle: str
    precision: str
    backend: str
    interval: int


@dataclass(kw_only=True)
class Run:
    """One variant over some frames. network_ms: of keyframe and propagation together."""

    frames: int = 0
    seconds: float = 0.0
    network_ms: float = 0.0

    @property
    def fps(self) -> float:
        return self.frames / self.seconds


@dataclass(kw_only=True)
class Series:
    """All runs of one variant, a round each, and the times of all their frames."""

    runs: list[Run] = field(default_factory=list)
    times: StageTimes = field(default_factory=StageTimes)

    @property
    def fps(self) -> float:
        """Over all rounds."""
        return sum(run.frames for run in self.runs) / sum(run.seconds for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """frames: at least so many a run, in whole intervals. budget_s: no further round is begun after it.
    sustained_s: on a GPU, how long each interval runs without a pause."""

    frames: int
    rounds: int
    budget_s: float
    sustained_s: float = 0.0


def alternate(
    sides: Mapping[Variant, Side],
    clip: Clip,
    effort: Effort,
    *,
    after_round: Callable[[int], None] = lambda done: None,
) -> dict[Variant, Series]:
    """Rounds of all variants until the effort is spent, at least one; a warm-up before them does not count.

    No interval may be longer than the clip.
    """
    for variant, side in sides.items():
        _run(side, clip.path, variant.interval, 1, StageTimes())
    measured = {variant: Series() for variant in sides}
    started = perf_counter()
    for done in range(effort.rounds):
        if done and perf_counter() - started > effort.budget_s:
            break
        for variant, side in sides.items():
            own = measured[variant]
            frames = whole_intervals(effort.frames, variant.interval, clip.frames)
            own.runs.append(_run(side, clip.path, variant.interval, frames, own.times))
        after_round(done + 1)
    return measured


def whole_intervals(frames: int, interval: int, most: int) -> int:
    """The least multiple of the interval that is `frames` or more, or else the largest up to `most`: keyframes count
    with their right share."""
    return min(-(-frames // interval), most // interval) * interval


def _run(side: Side, clip: Path, interval: int, frames: int, times: StageTimes) -> Run:
    run = Run()
    with open_source(clip, SourceOptions(max_frames=frames)) as source:
        started = perf_counter()
        for stages_ms in side.frames(times.each("decode", source), interval):
            times.add_all(stages_ms)
            kind = "propagated frame" if "propagate" in stages_ms else "keyframe frame"
            times.add(kind, sum(stages_ms.values()))
            run.network_ms += sum(stages_ms.get(stage, 0.0) for stage in NETWORKS)
            run.frames += 1
        run.seconds = perf_counter() - started
    return run


def sustained_fps(segmenter: Segmenter, frames: Sequence[Frame], interval: int, seconds: float) -> float:
    """Frames/s over whole intervals for at least so long, of frames that lie decoded in memory, again and again."""
    going, done, started = True, 0, 0.0

    def endless() -> Iterator[Frame]:
        for number, frame in enumerate(cycle(frames)):
            if not going and number % interval == 0:
                return
            yield replace(frame, index=number, pts=None, pts_s=number / 25, forces_keyframe=False)

    for number, _ in enumerate(segmenter.stream(endless(), interval=interval)):
        if number == interval - 1:
            started = perf_counter()  # the first interval warms up
        elif number >= interval:
            done += 1
            going = going and perf_counter() - started < seconds
    return done / (perf_counter() - started)


def latencies_ms(segmenter: Segmenter, frames: Sequence[Frame], runs: int) -> dict[str, list[float]]:
    """Milliseconds from a decoded frame to its labels on the host, one frame at a time: `runs` keyframes and as many
    propagated. For a Segmenter of interval 2."""
    found: dict[str, list[float]] = {"keyframe": [], "propagate": []}
    segmenter.reset()
    for number, frame in zip(range(2 * (runs + 1)), cycle(frames), strict=False):
        given = replace(frame, index=number, pts=None, pts_s=number / 25, forces_keyframe=False)
        started = perf_counter()
        is_keyframe = segmenter.push(given).is_keyframe
        elapsed = (perf_counter() - started) * 1e3
        if number > 1:  # the first of each warms up
            found["keyframe" if is_keyframe else "propagate"].append(elapsed)
    return found


def device_fps(series: Series, interval: int) -> float | None:
    """Frames/s by the median times of the steps on a GPU alone, copies left out; None where none propagated."""
    stages = series.times.summary()
    if "keyframe" not in stages or (interval > 1 and "propagate" not in stages):
        return None
    rest = (interval - 1) * stages["propagate"].p50 if interval > 1 else 0.0
    return 1e3 * interval / (stages["keyframe"].p50 + rest)


def first_frame_s(
    clip: Path,
    bundle: Path,
    backend: str,
    cpu_precision: str,
    threads: int,
    gpu: GpuOptions,
    kept: Path | None = None,
) -> float:
    """Seconds from the start of a new process to its first labels; on a GPU, its plans being built where they are
    missing. kept: where OpenVINO's compiled networks are read, or left.

    Raises BackendError where the process fails.
    """
    folders = {"cache": gpu.cache, "plugin": gpu.plugin, "kept": kept}
    job = {
        "clip": str(clip),
        "bundle": str(bundle),
        "backend": backend,
        "cpu_precision": cpu_precision,
        "threads": threads,
        "gpu": {"device": gpu.device, "build": gpu.build},
        "folders": {name: path and str(path) for name, path in folders.items()},
    }
    started = perf_counter()
    command = [sys.executable, "-c", _FIRST_FRAME, json.dumps(job)]
    # In a session of its own: Ctrl-C reaches this process alone, which then ends it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as other:
        assert other.stdout is not None
        try:
            answer = other.stdout.readline()
        except BaseException:
            other.kill()
            raise
        elapsed = perf_counter() - started
    if answer.strip() != "segmented":
        raise BackendError("the process that should time the first frame failed; `run` on the clip says why")
    return elapsed
