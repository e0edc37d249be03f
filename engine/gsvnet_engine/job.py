"""One `run`: every input through one segmenter into its outputs, and a report of what came of it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from gsvnet_engine import machine
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import Bundle, Manifest
from gsvnet_engine.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
    BackendError,
    GsvnetError,
    InputError,
    UsageError,
)
from gsvnet_engine.familiarity import Doubt
from gsvnet_engine.live import RealTime
from gsvnet_engine.pipeline import Tally, Watch, interruptible, run_video
from gsvnet_engine.recommend import for_run
from gsvnet_engine.sinks import (
    STDOUT,
    SinkContext,
    SinkOptions,
    check_target,
    open_sink,
    shows_pictures,
)
from gsvnet_engine.telemetry import Progress, Samples, StageTimes, bound_by, busy_shares, stage_table
from gsvnet_engine.video import STDIN, Source, SourceError, SourceOptions, open_source, own_paths, stem_of

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation, Segmenter

    _Pair = tuple[Segmenter, Segmenter | None]

STEM = "{stem}"
DEFAULT_TARGET = f"{STEM}.gsvnet.mp4"
_WINDOW_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"
_WINDOW_WAIT_S = 60
_ERRORS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `run` is asked for. targets: {stem} stands for the input's name. compare: a second interval.

    throughput: of a file, `threads` intervals side by side, a thread each (None: as many as cores and memory allow).
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    source: SourceOptions = field(default_factory=SourceOptions)
    sink: SinkOptions = field(default_factory=SinkOptions)
    bundle: str = "street"
    interval: int | None = None
    backend: str = "auto"
    cpu_precision: str = "f32"
    threads: int | None = None
    throughput: bool = False
    gpu: GpuOptions = field(default_factory=GpuOptions)
    keep_models: bool = False  # compiled networks of the CPU, in the folder of the plans
    realtime: RealTime | None = None
    compare: int | None = None
    show: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class InputReport:
    """What one input came to."""

    name: str
    outputs: tuple[str, ...]
    tally: Tally
    size: tuple[int, int]
    lanes: int
    errors: tuple[SourceError, ...]
    realtime: RealTime | None = None
    unfamiliar: str | None = None  # why this input looks unlike what the bundle was trained on

    def as_json(self) -> dict[str, Any]:
        return {
            "input": self.name,
            "outputs": list(self.outputs),
            "frames": self.tally.frames,
            "keyframes": self.tally.keyframes,
            "dropped": self.tally.dropped,
            "fps": _fps(self.tally.frames, self.tally.seconds),
            "latency_ms": _summary(self.tally.latency_ms) if self.realtime else None,
            "size": list(self.size),
            "agreement": self.tally.agreement,
            "unfamiliar": self.unfamiliar,
            "errors": [asdict(error) for error in self.errors],
        }

    def latency_line(self) -> str:
        """What --realtime came to."""
        dropped = f"{self.name}: {self.tally.dropped} frames dropped before they were segmented"
        if not self.tally.latency_ms.count:
            return dropped
        ms = self.tally.latency_ms.summary()
        return (
            f"{dropped}; from arrival to labels p50 {ms.p50:.0f}, p90 {ms.p90:.0f}, p95 {ms.p95:.0f}, "
            f"p99 {ms.p99:.0f} ms"
        )


@dataclass(kw_only=True)
class RunReport:
    """What a run came to, as far as it got."""

    bundle: str
    backend: str
    precision: str
    interval: int
    manifest: Manifest
    inputs: list[InputReport] = field(default_factory=list)
    failures: list[tuple[str, GsvnetError]] = field(
        default_factory=list
    )  # inputs of several that came to nothing
    times: StageTimes = field(default_factory=StageTimes)
    interrupted: bool = False

    @property
    def lanes(self) -> int:
        """How many intervals were worked on side by side, at most."""
        return max((report.lanes for report in self.inputs), default=1)

    @property
    def errors(self) -> list[tuple[str, SourceError]]:
        """With the name of the input that each is of."""
        found = [(report.name, error) for report in self.inputs for error in report.errors]
        return found + [(spec, SourceError(None, _one_line(error))) for spec, error in self.failures]

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return EXIT_INTERRUPTED
        if self.failures:
            return self.failures[0][1].exit_code
        return EXIT_PARTIAL if self.errors else EXIT_OK

    def as_json(self) -> dict[str, Any]:
        tallies = [report.tally for report in self.inputs]
        compared = sum(tally.agreements.count for tally in tallies)
        frames, seconds = sum(tally.frames for tally in tallies), sum(tally.seconds for tally in tallies)
        in_lanes = sum(report.tally.seconds * report.lanes for report in self.inputs)
        busy = busy_shares(self.times.totals_ms(), seconds, in_lanes / seconds if seconds > 0 else 1)
        return {
            "frames": frames,
            "keyframes": sum(tally.keyframes for tally in tallies),
            "dropped": sum(tally.dropped for tally in tallies),
            "fps": _fps(frames, seconds),
            "busy": {part: round(share, 3) for part, share in busy.items()},
            "bound_by": bound_by(busy),
            "bundle": self.bundle,
            "backend": self.backend,
            "cpu_precision": self.precision,
            "interval": self.interval,
            "lanes": self.lanes,
            "stages_ms": {stage: asdict(summary) for stage, summary in self.times.summary().items()},
            "errors": [{"input": name, **asdict(error)} for name, error in self.errors],
            "agreement": sum(t.agreements.total for t in tallies) / compared if compared else None,
            "recommendation": self.recommendation(),
            "outputs": [output for report in self.inputs for output in report.outputs],
            "interrupted": self.interrupted,
            "inputs": [report.as_json() for report in self.inputs],
        }

    def recommendation(self) -> list[str]:
        """Lines: what this run's interval gained and cost, and which one is recommended, as far as that is known."""
        stages = self.times.summary()
        both = "keyframe" in stages and "propagate" in stages
        measured_ms = (stages["keyframe"].p50, stages["propagate"].p50) if both else None
        return for_run(self.manifest, self.interval, measured_ms)

    def problems(self) -> list[str]:
        """A line for each part of the input that could not be read, the first few of each input, and for each error."""
        lines = []
        for report in self.inputs:
            for error in report.errors[:_ERRORS_SHOWN]:
                at = "" if error.pts_s is None else f" at {error.pts_s:.2f} s"
                lines.append(f"{report.name}{at}: {error.text}")
            if len(report.errors) > _ERRORS_SHOWN:
                lines.append(f"{report.name}: and {len(report.errors) - _ERRORS_SHOWN} more such places")
        return lines + [f"error: {_one_line(error)}" for _, error in self.failures]

    def as_text(self) -> str:
        """The table that ends a run."""
        totals = self.as_json()
        lines = [stage_table(self.times.summary())] if totals["frames"] else []
        compared = "" if totals["agreement"] is None else f", agreement {totals['agreement']:.2%}"
        lines.append(
            f"{totals['frames']} frames ({totals['keyframes']} keyframes) at {totals['fps']:.1f} frames/s"
            f" by {self.bundle}, {self.backend} {self.precision}, interval {self.interval}{compared}"
        )
        if totals["frames"]:
            shares = ", ".join(f"{part} {share:.0%}" for part, share in totals["busy"].items())
            lines.append(f"the rate is bound by {totals['bound_by']} (busy: {shares})")
            lines.extend(totals["recommendation"])
        lines.extend(report.latency_line() for report in self.inputs if report.realtime)
        lines.extend(self.problems())
        lines.extend(output for report in self.inputs for output in report.outputs if output != STDOUT)
        return "\n".join(lines)


def run(options: RunOptions, *, say: Callable[[str], None]) -> RunReport:
    """Do it. `say` takes one-line notes. Raises GsvnetError; Ctrl-C and SIGTERM end it in good order.

    Of several inputs, one that cannot be read is reported, and the others are gone through; any other error of one
    ends the run, and is reported, too.
    """
    plan = plan_outputs(options)
    if options.show:
        check_window()
    if any(shows_pictures(target) for _, targets in plan for target in targets):
        from gsvnet_engine.sinks import encoder

        encoder.choose(options.sink.encoder, options.sink.crf, options.sink.encoder_preset)
    with interruptible() as stop, ExitStack() as stack:
        files = live = _open_pair(options, stack, say, throughput=options.throughput)
        if options.throughput:
            live = _open_pair(options, stack, say, throughput=False)
        segmenter, _ = files
        report = RunReport(
            bundle=segmenter.bundle.manifest.name,
            backend=segmenter.backend,
            precision=segmenter.precision,
            interval=segmenter.interval,
            manifest=segmenter.bundle.manifest,
        )
        if (segmenter.backend, report.manifest.precision) == ("onnxruntime", "int8"):
            say("int8 is slow on ONNX Runtime: use --backend openvino (install gsvnet-engine[cpu] for it)")
        for spec, targets in plan:
            if stop.is_set():
                break
            try:
                report.inputs.append(_run_one(spec, targets, options, files, live, report.times, stop, say))
            except GsvnetError as error:
                unreadable = isinstance(error, InputError)
                if unreadable and stop.is_set():
                    break  # it was given up while it was being opened
                if len(plan) == 1:
                    raise
                report.failures.append((spec, error))
                if not unreadable:
                    break
        report.interrupted = stop.is_set()
    return report


def _run_one(
    spec: str,
    targets: Sequence[str],
    options: RunOptions,
    files: "_Pair",
    live: "_Pair",
    times: StageTimes,
    stop: Event,
    say: Callable[[str], None],
) -> InputReport:
    with open_source(spec, _source_options(options, targets, files[0].backend, stop, say)) as source:
        segmenter, other = live if source.live else files
        captions = None if other is None else (f"interval {segmenter.interval}", f"interval {other.interval}")
        for each in (segmenter, other):  # what cannot be segmented shows before any output is touched
            if each is not None:
                each.reset()
                each.warm(source.height, source.width)
        context = SinkContext(
            classes=segmenter.bundle.manifest.classes,
            source=source,
            options=options.sink,
            captions=captions,
            times=times,
            say=say,
        )
        sinks = []
        try:
            for target in targets:
                sinks.append(open_sink(target, context))
        except BaseException:
            for sink in sinks:
                with suppress(Exception):
                    sink.close()
            raise
        doubts = _Doubts(source.name, segmenter, say)
        with _watching(source, options, context, doubts) as watch:
            tally = run_video(
                source,
                segmenter,
                sinks,
                compare=other,
                watch=watch,
                times=times,
                stop=stop,
                realtime=options.realtime,
            )
        return InputReport(
            name=source.name,
            outputs=tuple(target for target in targets if target == STDOUT or Path(target).exists()),
            tally=tally,
            size=(source.height, source.width),
            lanes=segmenter.lanes,
            errors=tuple(source.errors),
            realtime=options.realtime,
            unfamiliar=doubts.finish(),
        )


def _source_options(
    options: RunOptions, targets: Sequence[str], backend: str, stop: Event, say: Callable[[str], None]
) -> SourceOptions:
    """Pictures decoded on the GPU stay there where nothing but TensorRT looks at them, and few are held at a time."""
    drawn = options.show or any(map(shows_pictures, targets))
    keep = backend == "tensorrt" and not drawn and not options.gpu.ahead
    return replace(
        options.source,
        device=options.gpu.device,
        keep_on_device=keep,
        low_delay=options.realtime is not None,
        say=say,
        stop=stop,
    )


class _Doubts:
    """Warns once where an input looks unlike what the bundle was trained on."""

    def __init__(self, name: str, segmenter: "Segmenter", say: Callable[[str], None]) -> None:
        manifest = segmenter.bundle.manifest
        self._doubt = Doubt(manifest.name, manifest.familiarity)
        self._name, self._segmenter, self._say = name, segmenter, say
        self._found: str | None = None

    def see(self, segmentation: "Segmentation") -> None:
        """The segmenter's last result, while its scores are still there."""
        if not segmentation.is_keyframe or not self._doubt.is_open:
            return  # on a GPU, scores come down for the few keyframes that decide, and no more
        scores = self._segmenter.scores
        if scores is not None:
            self._tell(self._doubt.see(scores))

    def finish(self) -> str | None:
        """The warning that was given, if any."""
        self._tell(self._doubt.finish())
        return self._found

    def _tell(self, warning: str | None) -> None:
        if warning is not None:
            self._found = warning
            self._say(f"warning: {self._name}: {warning}")


@contextmanager
def _watching(source: Source, options: RunOptions, context: SinkContext, doubts: _Doubts) -> Iterator[Watch]:
    """The progress bar, the window where one is asked for, and whether the input looks familiar."""
    viewer = None
    if options.show:
        from gsvnet_engine.viewer import Viewer

        viewer = Viewer(context)
    with Progress(source.name, source.frames_estimate, quiet=options.quiet) as progress:

        def watch(segmentation: Any, comparison: Any, frames: int) -> bool:
            progress.step(frames)
            doubts.see(segmentation)
            return viewer is None or viewer.show(segmentation, comparison)

        try:
            yield watch
        finally:
            if viewer is not None:
                viewer.close()


def plan_outputs(options: RunOptions) -> list[tuple[str, tuple[str, ...]]]:
    """The outputs of every input. Refuses, before any work, whatever is bound to fail."""
    several = len(options.inputs) > 1
    targets = options.targets or (() if options.show else (DEFAULT_TARGET,))
    for target in targets:
        if several and STEM not in target and target != STDOUT:
            raise UsageError(
                f"-o {target}: {len(options.inputs)} inputs need {STEM} in it, as in {DEFAULT_TARGET}"
            )
    plan = [
        (spec, tuple(target.replace(STEM, stem_of(spec)) for target in targets)) for spec in options.inputs
    ]
    if options.inputs.count(STDIN) > 1:
        raise UsageError("stdin (-) can be read only once")
    own = [path for spec in options.inputs for path in own_paths(spec)]
    seen: dict[str, str] = {}
    for spec, outputs in plan:
        for output in outputs:
            check_target(output, force=options.sink.force, inputs=own)
            key = output if output == STDOUT else os.path.realpath(output)
            if key in seen and not (output == STDOUT and seen[key] != spec):
                raise UsageError(
                    f"-o {output}: would be written twice ({seen[key]} and {spec}): give each its own name"
                )
            seen[key] = spec
    return plan


def check_window() -> None:
    """Raise BackendError where no window can be opened.

    Tried in a process of its own, since Qt aborts where it has no screen.
    """
    probe = [sys.executable, "-c", _WINDOW_PROBE]
    try:
        opened = (
            subprocess.run(probe, capture_output=True, check=False, timeout=_WINDOW_WAIT_S).returncode == 0
        )
    except subprocess.TimeoutExpired:
        raise BackendError(
            f"--show: no window opened within {_WINDOW_WAIT_S} s: is the display reachable? Else write a file"
        ) from None
    if not opened:
        raise BackendError(
            "--show: no window can be opened here (no display, or an OpenCV without windows): write a file"
        )


def _open_pair(
    options: RunOptions, stack: ExitStack, say: Callable[[str], None], *, throughput: bool
) -> "_Pair":
    """What inputs go through, and what they are compared with, a frame at a time."""
    from gsvnet_engine.backends.model_cache import ModelCache
    from gsvnet_engine.segmenter import Segmenter, most_lanes

    bundle = Bundle.open(options.bundle)

    def opened(interval: int | None, lanes: int) -> Segmenter:
        segmenter = Segmenter(
            bundle,
            interval=interval,
            backend=options.backend,
            threads=1 if throughput else options.threads,
            lanes=lanes,
            cpu_precision=options.cpu_precision,
            gpu=options.gpu,
            models=ModelCache(options.gpu.cache_folder, say=say) if options.keep_models else None,
        )
        return stack.enter_context(segmenter)

    lanes = 1
    if throughput:
        most = most_lanes(options.interval or bundle.manifest.interval)
        lanes = options.threads or min(machine.cores(), most)
    first = opened(options.interval, lanes)
    return first, None if options.compare is None else opened(options.compare, 1)


def _summary(samples: Samples) -> dict[str, float] | None:
    return asdict(samples.summary()) if samples.count else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fps(frames: int, seconds: float) -> float:
    return round(frames / seconds, 3) if seconds > 0 else 0.0
