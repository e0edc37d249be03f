"""One `bench`: which variants, measured in alternating rounds, and what they come to."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gsvnet_engine import backends, machine
from gsvnet_engine.backends.base import Profiled
from gsvnet_engine.bench import parts
from gsvnet_engine.bench.clip import Clip, scaled
from gsvnet_engine.bench.measure import Effort, Engine, Series, Side, Variant, alternate, first_frame_s
from gsvnet_engine.bench.ratios import TARGETS, Ratios, compute
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError, GsvnetError
from gsvnet_engine.geometry import Size
from gsvnet_engine.segmenter import Segmenter

GROUP = "gsvnet_engine.bench"  # entry points: name -> function (Bundle, threads, checkpoint or None) -> Side
TORCH = "torch"
TORCH_BACKEND = "torch eager"
FULL, QUICK = (
    Effort(frames=24, rounds=7, budget_s=600),
    Effort(frames=8, rounds=5, budget_s=15),
)
_INTERVALS = {"full": (1, 2, 3, 4, 5, 8), "quick": (1, 4, 8), "quick, faster precisions": (4, 5)}
_PROFILED_RUNS = {"full": 40, "quick": 10}


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What `bench` is asked for. intervals: None for those that the ratios need, or all where not `quick`.
    checkpoint: the keyframe network for torch (None: the repository's, by the bundle's name)."""

    bundles: tuple[Path | str, ...]
    video: Path
    size: Size
    cache: Path
    backend: str = "auto"
    threads: int = 2
    intervals: tuple[int, ...] | None = None
    quick: bool = False
    checkpoint: Path | None = None

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else FULL


@dataclass(kw_only=True)
class Bench:
    """What a `bench` came to. propagation: PF by part, of each bundle and precision."""

    clip: Clip
    threads: int
    measured: dict[Variant, Series]
    torch: Variant | None
    propagation: dict[tuple[str, str], parts.Breakdown]
    first_frame_s: dict[tuple[str, str], float]
    notes: list[str]
    load: tuple[float | None, float | None]

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
            "clip": self.clip.as_json(),
            "rows": [
                {
                    **asdict(variant),
                    "fps": series.fps,
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
            },
            "notes": self.notes,
        }


def run(options: BenchOptions, say: Callable[[str], None]) -> Bench:
    """Measure; `say` gets a line for whoever waits."""
    bundles = {bundle.path: bundle for bundle in map(Bundle.open, options.bundles)}
    for bundle in bundles.values():
        bundle.verify()
    clip = scaled(options.video, options.size, options.cache, say)
    notes: list[str] = []
    before = machine.load()
    sides: dict[Variant, Side] = {}
    propagation: dict[tuple[str, str], parts.Breakdown] = {}
    first: dict[tuple[str, str], float] = {}
    for bundle in bundles.values():
        for cpu_precision in precisions(options.backend):
            _add(options, bundle, cpu_precision, clip, sides, propagation, first, notes)
    torch = _add_torch(options, next(iter(bundles.values())), sides, notes)
    measured = alternate(
        sides,
        clip.path,
        options.effort,
        after_round=lambda done: say(f"round {done} of at most {options.effort.rounds}"),
    )
    for line in notes:
        say(line)
    return Bench(
        clip=clip,
        threads=options.threads,
        measured=measured,
        torch=torch,
        propagation=propagation,
        first_frame_s=first,
        notes=notes,
        load=(before, machine.load()),
    )


def precisions(backend: str) -> tuple[str, ...]:
    """What that backend computes float graphs in here; f32 first."""
    found = []
    for precision in backends.CPU_PRECISIONS:
        try:
            backends.choose(backend, precision)
        except BackendError:
            if precision == "f32":
                raise
            continue
        found.append(precision)
    return tuple(found)


def precision_name(bundle: Bundle, cpu_precision: str) -> str:
    """ "f32", "bf16"; of an int8 bundle "int8", "int8+bf16"."""
    own = bundle.manifest.precision
    if own == "fp32":
        return cpu_precision
    return own if cpu_precision == "f32" else f"{own}+{cpu_precision}"


def _add(
    options: BenchOptions,
    bundle: Bundle,
    cpu_precision: str,
    clip: Clip,
    sides: dict[Variant, Side],
    propagation: dict[tuple[str, str], parts.Breakdown],
    first: dict[tuple[str, str], float],
    notes: list[str],
) -> None:
    """This engine on one bundle in one precision: a variant for each interval, PF by part, the first frame."""
    name, precision = bundle.manifest.name, precision_name(bundle, cpu_precision)
    backend = backends.choose(options.backend, cpu_precision)
    effort = "quick" if options.quick else "full"
    runs = _PROFILED_RUNS[effort]
    sizes = bundle.plan(*clip.size)
    if isinstance(backend, Profiled):
        propagation[name, precision] = parts.break_down(backend, bundle, sizes, options.threads, runs)
    else:
        notes.append(f"{backend.name} tells no layer's time: PF by part is left out")
    if precision == "f32" or not options.quick:
        first[name, precision] = first_frame_s(
            clip.path, bundle.path, backend.name, cpu_precision, options.threads
        )
    engine = Engine(
        Segmenter(bundle, backend=backend.name, threads=options.threads, cpu_precision=cpu_precision)
    )
    faster = options.quick and precision != "f32"
    for interval in options.intervals or _INTERVALS["quick, faster precisions" if faster else effort]:
        sides[Variant(bundle=name, precision=precision, backend=backend.name, interval=interval)] = engine


def _add_torch(
    options: BenchOptions, bundle: Bundle, sides: dict[Variant, Side], notes: list[str]
) -> Variant | None:
    """What a user would write with torch, where it and the network's weights are here; else a note."""
    try:
        side = torch_side(bundle, options.threads, options.checkpoint)
    except ImportError as error:
        missing = error.name or "torch"
        notes.append(f"no {missing}: ratios to torch are null; pip install 'gsvnet-engine[export]'")
        return None
    except GsvnetError as error:
        if options.checkpoint is not None:
            raise
        notes.append(f"ratios to torch are null: {error}")
        return None
    variant = Variant(bundle=bundle.manifest.name, precision="f32", backend=TORCH_BACKEND, interval=1)
    sides[variant] = side
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
