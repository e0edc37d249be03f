"""One `bench`: which variants, measured in alternating rounds, and what they come to."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from gsvnet_engine import backends, machine
from gsvnet_engine.backends.base import Backend, DeviceSession, GpuBackend, Profiled
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench import paper, parts
from gsvnet_engine.bench.clip import Clip, scaled
from gsvnet_engine.bench.measure import (
    Effort,
    Engine,
    Series,
    Side,
    Variant,
    alternate,
    device_fps,
    first_frame_s,
    latencies_ms,
    sustained_fps,
)
from gsvnet_engine.bench.ratios import TARGETS, Ratios, compute
from gsvnet_engine.bundle import Bundle, distinct_names
from gsvnet_engine.cuda.device import DeviceInfo
from gsvnet_engine.errors import BackendError, GsvnetError
from gsvnet_engine.geometry import Size, Sizes
from gsvnet_engine.segmenter import Segmenter
from gsvnet_engine.telemetry import StageSummary
from gsvnet_engine.video import SourceOptions, open_source

GROUP = "gsvnet_engine.bench"  # entry points: name -> function (Bundle, threads, checkpoint or None) -> Side
TORCH = "torch"
TORCH_BACKEND = "torch eager"
FULL, QUICK = (
    Effort(frames=24, rounds=7, budget_s=600, sustained_s=10),
    Effort(frames=8, rounds=5, budget_s=15, sustained_s=1),
)
_INTERVALS = {"full": (1, 2, 3, 4, 5, 8), "quick": (1, 4, 8), "quick, faster precisions": (4, 5)}
_GPU_INTERVALS = (1, 2, 3, 4, 5)
_PROFILED_RUNS = {"full": 40, "quick": 10}


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What `bench` is asked for. intervals: None for those that the ratios need, or all where not `quick`.
    checkpoint: the keyframe network for torch (None: the repository's, by the bundle's name). gpu: for a GPU's."""

    bundles: tuple[Path | str, ...]
    video: Path
    size: Size
    cache: Path
    backend: str = "auto"
    threads: int = 2
    intervals: tuple[int, ...] | None = None
    quick: bool = False
    checkpoint: Path | None = None
    gpu: GpuOptions = field(default_factory=GpuOptions)

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else FULL


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Of one frame: its planes to the GPU, and its labels back; milliseconds of each alone, on an idle GPU."""

    upload_bytes: int
    upload: StageSummary
    download_bytes: int
    download: StageSummary


@dataclass(kw_only=True)
class OnGpu:
    """What a `bench` on a GPU came to beside the rest. propagation_ms: PF alone, of each bundle and precision.

    latency_ms: from a decoded frame to its labels on the host, copies included, by "keyframe" and "propagate".
    sustained_fps: frames/s of frames that lie decoded in memory, copies included.
    """

    device: DeviceInfo
    runtime: str
    copies: dict[tuple[str, str], Copies] = field(default_factory=dict)
    propagation_ms: dict[tuple[str, str], StageSummary] = field(default_factory=dict)
    latency_ms: dict[tuple[str, str], dict[str, StageSummary]] = field(default_factory=dict)
    sustained_fps: dict[Variant, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "device": asdict(self.device),
            "runtime": self.runtime,
            "latency_ms": _listed(
                {
                    key: {kind: asdict(summary) for kind, summary in each.items()}
                    for key, each in self.latency_ms.items()
                }
            ),
            "copies_ms": _listed({key: asdict(each) for key, each in self.copies.items()}),
            "propagation_ms": _listed({key: asdict(each) for key, each in self.propagation_ms.items()}),
        }


@dataclass(kw_only=True)
class Bench:
    """What a `bench` came to. propagation: PF by part, of each bundle and precision. gpu: None on a CPU.

    bundles: by the names that rows have.
    """

    clip: Clip
    threads: int
    measured: dict[Variant, Series]
    torch: Variant | None
    propagation: dict[tuple[str, str], parts.Breakdown]
    first_frame_s: dict[tuple[str, str], float]
    notes: list[str]
    load: tuple[float | None, float | None]
    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    gpu: OnGpu | None = None

    @property
    def ratios(self) -> Ratios:
        plain = [each for (_, precision), each in self.propagation.items() if precision == "f32"]
        return compute(self.measured, self.torch, plain[0].over_its_convolutions if plain else None)

    def as_json(self) -> dict[str, Any]:
        ratios = self.ratios
        return {
            "machine": {
                **machine.cpu(),
                "cores": machine.cores(),
                "threads": self.threads,
                "load_before_and_after": list(self.load),
                "packages": machine.packages(),
            },
            "gpu": None if self.gpu is None else self.gpu.as_json(),
            "clip": self.clip.as_json(),
            "rows": [
                {
                    **asdict(variant),
                    "fps": series.fps,
                    **self._on_gpu(variant, series),
                    "rounds": len(series.runs),
                    "stages_ms": {stage: asdict(s) for stage, s in series.times.summary().items()},
                }
                for variant, series in self.measured.items()
            ],
            "propagation": [
                {"bundle": bundle, "precision": precision, **asdict(each)}
                for (bundle, precision), each in self.propagation.items()
            ],
            "first_frame_s": [
                {"bundle": bundle, "precision": precision, "seconds": seconds}
                for (bundle, precision), seconds in self.first_frame_s.items()
            ],
            "ratios": ratios,
            "targets": {
                name: {target.kind: target.bound, "met": None if value is None else target.met(value)}
                for name, target in TARGETS.items()
                for value in [ratios[name]]
                if self.gpu is None  # they are a CPU's
            },
            "published": {
                "on": paper.GPU,
                "speed": [asdict(each) for each in paper.SPEED],
                "cost": [asdict(each) for each in paper.COST],
            },
            "notes": self.notes,
        }

    def _on_gpu(self, variant: Variant, series: Series) -> dict[str, float | None]:
        if self.gpu is None:
            return {}
        return {
            "sustained_fps": self.gpu.sustained_fps.get(variant),
            "device_fps": device_fps(series, variant.interval),
        }


def _listed(by: Mapping[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"bundle": bundle, "precision": precision, **each} for (bundle, precision), each in by.items()]


def run(options: BenchOptions, say: Callable[[str], None]) -> Bench:
    """Measure; `say` gets a line for whoever waits."""
    opened = [Bundle.open(name) for name in options.bundles]
    for bundle in opened:
        bundle.verify()
    bundles = dict(zip(distinct_names(opened, options.bundles), opened, strict=True))
    clip = scaled(options.video, options.size, options.cache, say)
    clip.check(max(options.intervals or (1,)))
    backend, found, gpu = resolve(options)
    job = _Job(options, backend, clip, gpu)
    before = machine.load()
    with ExitStack() as stack:
        for name, bundle in bundles.items():
            for cpu_precision in found:
                job.add(name, bundle, cpu_precision, stack)
        torch = _add_torch(options, *next(iter(bundles.items())), job) if gpu is None else None
        measured = alternate(
            job.sides,
            clip,
            options.effort,
            after_round=lambda done: say(f"round {done} of at most {options.effort.rounds}"),
        )
        if gpu is not None:
            job.sustain(say)
    for line in job.notes:
        say(line)
    return Bench(
        clip=clip,
        threads=options.threads,
        measured=measured,
        torch=torch,
        propagation=job.propagation,
        first_frame_s=job.first,
        notes=job.notes,
        load=(before, machine.load()),
        bundles=bundles,
        gpu=gpu,
    )


def resolve(options: BenchOptions) -> tuple[str, tuple[str, ...], OnGpu | None]:
    """The backend's name, what it computes float graphs in here (f32 first), and the GPU where it is on one."""
    backend = backends.choose(options.backend, "f32", options.gpu)
    try:
        if isinstance(backend, GpuBackend):
            return backend.name, ("f32",), OnGpu(device=backend.device, runtime=backend.title)
    finally:
        backend.close()
    return backend.name, precisions(backend.name), None


def precisions(backend: str) -> tuple[str, ...]:
    """What that backend computes float graphs in here; f32 first. For a CPU's."""
    found = []
    for precision in backends.CPU_PRECISIONS:
        try:
            backends.choose(backend, precision).close()
        except BackendError:
            if precision == "f32":
                raise
            continue
        found.append(precision)
    return tuple(found)


class _Job:
    """What is being put together: sides to alternate, and what is measured beside them."""

    def __init__(self, options: BenchOptions, backend: str, clip: Clip, gpu: OnGpu | None) -> None:
        self._options, self._backend, self._clip, self._gpu = options, backend, clip, gpu
        self.sides: dict[Variant, Side] = {}
        self.propagation: dict[tuple[str, str], parts.Breakdown] = {}
        self.first: dict[tuple[str, str], float] = {}
        self.notes: list[str] = []

    def add(self, name: str, bundle: Bundle, cpu_precision: str, stack: ExitStack) -> None:
        """One bundle in one precision: a variant for each interval, PF by part, the first frame."""
        options = self._options
        precision = bundle.manifest.computed_in(cpu_precision)
        segmenter = stack.enter_context(
            Segmenter(
                bundle,
                interval=2,  # of what is pushed; streams bring their own
                backend=self._backend,
                threads=options.threads,
                cpu_precision=cpu_precision,
                gpu=options.gpu,
            )
        )
        self._look_inside(bundle, cpu_precision, (name, precision))
        if precision == "f32" or self._gpu is not None or not options.quick:
            self.first[name, precision] = first_frame_s(
                self._clip.path, bundle.path, self._backend, cpu_precision, options.threads, options.gpu
            )
        engine = Engine(segmenter)
        for interval in options.intervals or self._intervals(precision):
            self.sides[
                Variant(bundle=name, precision=precision, backend=self._backend, interval=interval)
            ] = engine

    def sustain(self, say: Callable[[str], None]) -> None:
        """Run each variant for a while, from frames in memory."""
        assert self._gpu is not None
        with open_source(self._clip.path, SourceOptions()) as source:
            frames = list(source)
        for variant, side in self.sides.items():
            assert isinstance(side, Engine)
            key = variant.bundle, variant.precision
            if key not in self._gpu.latency_ms:
                found = latencies_ms(side.segmenter, frames, self._runs)
                self._gpu.latency_ms[key] = {kind: StageSummary.of(ms) for kind, ms in found.items()}
            say(f"interval {variant.interval}, {self._options.effort.sustained_s:g} s without a pause")
            self._gpu.sustained_fps[variant] = sustained_fps(
                side.segmenter, frames, variant.interval, self._options.effort.sustained_s
            )

    @property
    def _runs(self) -> int:
        return _PROFILED_RUNS["quick" if self._options.quick else "full"]

    def _intervals(self, precision: str) -> tuple[int, ...]:
        if self._gpu is not None:
            return self._within(_GPU_INTERVALS)
        if self._options.quick:
            return self._within(_INTERVALS["quick" if precision == "f32" else "quick, faster precisions"])
        return self._within(_INTERVALS["full"])

    def _within(self, intervals: tuple[int, ...]) -> tuple[int, ...]:
        """Those that the clip has frames for."""
        return tuple(i for i in intervals if i <= self._clip.frames) or (1,)

    def _look_inside(self, bundle: Bundle, cpu_precision: str, key: tuple[str, str]) -> None:
        """PF by part; on a GPU also PF alone, and the copies."""
        options, sizes = self._options, bundle.plan(*self._clip.size)
        runs = self._runs
        backend = backends.choose(self._backend, cpu_precision, options.gpu)
        try:
            if isinstance(backend, Profiled):
                found = self.propagation[key] = parts.break_down(
                    backend, bundle, sizes, options.threads, runs
                )
                if found.parts["other"] > sum(found.parts.values()) / 4:
                    self.notes.append(
                        f"{key[0]}: more than a quarter of PF lies in layers of no single part: the runtime fused them"
                    )
            else:
                self.notes.append(f"{backend.name} tells no layer's time: PF by part is left out")
            if self._gpu is not None:
                self._measure_on_gpu(self._gpu, backend, bundle, sizes, runs, key)
        finally:
            backend.close()

    def _measure_on_gpu(
        self, gpu: OnGpu, backend: Backend, bundle: Bundle, sizes: Sizes, runs: int, key: tuple[str, str]
    ) -> None:
        with open_source(self._clip.path, SourceOptions(max_frames=1)) as source:
            size = sum(plane.data.nbytes for frame in source for plane in frame.planes)
        inputs = parts.made_inputs(len(bundle.manifest.classes), sizes)
        session = cast(DeviceSession, backend.open(bundle, sizes, None))
        try:
            session.propagation_ms(inputs, 1)
            gpu.propagation_ms[key] = StageSummary.of(session.propagation_ms(inputs, runs))
            upload, download = session.copies_ms(size, runs)
        finally:
            session.close()
        gpu.copies[key] = Copies(
            upload_bytes=size,
            upload=StageSummary.of(upload),
            download_bytes=sizes.source[0] * sizes.source[1],
            download=StageSummary.of(download),
        )


def _add_torch(options: BenchOptions, name: str, bundle: Bundle, job: _Job) -> Variant | None:
    """What a user would write with torch, where it and the network's weights are here; else a note."""
    try:
        side = torch_side(bundle, options.threads, options.checkpoint)
    except ImportError as error:
        missing = error.name or "torch"
        job.notes.append(f"no {missing}: ratios to torch are null; pip install 'gsvnet-engine[export]'")
        return None
    except GsvnetError as error:
        if options.checkpoint is not None:
            raise
        job.notes.append(f"ratios to torch are null: {error}")
        return None
    variant = Variant(bundle=name, precision="f32", backend=TORCH_BACKEND, interval=1)
    job.sides[variant] = side
    return variant


def torch_side(bundle: Bundle, threads: int, checkpoint: Path | None) -> Side:
    """Raises ImportError without torch, GsvnetError without the network's weights."""
    for entry in entry_points(group=GROUP, name=TORCH):
        make: Callable[[Bundle, int, Path | None], Side] = entry.load()
        return make(bundle, threads, checkpoint)
    raise BackendError("this installation has no torch side; install gsvnet-engine anew")


def rows_by_bundle(measured: Mapping[Variant, Series]) -> dict[tuple[str, str, str], dict[int, Series]]:
    """(bundle, precision, backend) -> interval -> series."""
    found: dict[tuple[str, str, str], dict[int, Series]] = {}
    for v, series in measured.items():
        found.setdefault((v.bundle, v.precision, v.backend), {})[v.interval] = series
    return found
