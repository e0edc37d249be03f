"""`bench --sizes`: whether the cost of a frame grows with its pixels and no faster."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from gsvnet_engine import machine
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench.clip import scaled
from gsvnet_engine.bench.measure import Effort, Engine, Series, Side, Variant, alternate
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.geometry import Size
from gsvnet_engine.segmenter import Segmenter

SIZES: tuple[Size, ...] = ((360, 480), (480, 848), (720, 1280), (1024, 2048), (1440, 2560), (2160, 3840))
TARGET = 0.25  # how far each size may lie from the median
FULL, QUICK = Effort(frames=12, rounds=5, budget_s=300), Effort(frames=4, rounds=2, budget_s=20)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A frame of that size, (H, W), decoded and segmented: milliseconds, over whole intervals."""

    size: Size
    ms: float

    @property
    def ms_per_megapixel(self) -> float:
        return self.ms / (self.size[0] * self.size[1] / 1e6)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The costs of several sizes. load: the machine's, before and after."""

    bundle: str
    backend: str
    precision: str
    interval: int
    threads: int
    costs: tuple[Cost, ...]
    load: tuple[float | None, float | None]

    @property
    def median(self) -> float:
        """Milliseconds per megapixel."""
        return median(cost.ms_per_megapixel for cost in self.costs)

    @property
    def spread(self) -> float:
        """The largest distance from the median, as a share of it."""
        return max(abs(self.off(cost)) for cost in self.costs)

    def off(self, cost: Cost) -> float:
        return cost.ms_per_megapixel / self.median - 1

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": {**machine.cpu(), "cores": machine.cores(), "load_before_and_after": list(self.load)},
            "bundle": self.bundle,
            "backend": self.backend,
            "precision": self.precision,
            "interval": self.interval,
            "threads": self.threads,
            "sizes": [
                {**asdict(cost), "ms_per_megapixel": cost.ms_per_megapixel, "off_median": self.off(cost)}
                for cost in self.costs
            ],
            "median_ms_per_megapixel": self.median,
            "spread": self.spread,
            "target": {"at most": TARGET, "met": self.spread <= TARGET},
        }


def measure(
    bundle: Bundle,
    video: Path,
    cache: Path,
    *,
    sizes: tuple[Size, ...],
    backend: str,
    precision: str,
    interval: int,
    threads: int,
    gpu: GpuOptions,
    effort: Effort,
    say: Callable[[str], None],
) -> Scaling:
    """One size after another: the largest networks would not all fit in memory at once.

    The networks work at the source's own size, whatever the bundle's rule: a fixed working size costs the same for all.
    """
    own = replace(bundle, manifest=replace(bundle.manifest, working_size="source"))
    before = machine.load()
    costs = []
    for size in sizes:
        clip = scaled(video, size, cache, say)
        clip.check(interval)
        segmenter = Segmenter(own, backend=backend, threads=threads, cpu_precision=precision, gpu=gpu)
        variant = Variant(
            bundle=own.manifest.name,
            precision=segmenter.precision,
            backend=segmenter.backend,
            interval=interval,
        )
        side: dict[Variant, Side] = {variant: Engine(segmenter)}
        cost = Cost(size=size, ms=_typical_ms(alternate(side, clip, effort)[variant]))
        say(f"{size[1]}x{size[0]}: {cost.ms:.1f} ms a frame")
        costs.append(cost)
        segmenter.close()
    return Scaling(
        bundle=own.manifest.name,
        backend=segmenter.backend,
        precision=segmenter.precision,
        interval=interval,
        threads=threads,
        costs=tuple(costs),
        load=(before, machine.load()),
    )


def lines(found: Scaling) -> Iterator[str]:
    yield (
        f"{found.bundle} {found.precision} {found.backend}, interval {found.interval}, {found.threads} threads, "
        f"networks at the source's size; {machine.cpu()['model']}, load {_load(found)}"
    )
    yield f"{'size':>10} {'megapixels':>11} {'ms a frame':>11} {'ms/megapixel':>13} {'off the median':>15}"
    for cost in found.costs:
        height, width = cost.size
        size = f"{width}x{height}"
        yield (
            f"{size:>10} {height * width / 1e6:>11.2f} {cost.ms:>11.1f} {cost.ms_per_megapixel:>13.1f} "
            f"{found.off(cost):>+15.0%}"
        )
    verdict = "pass" if found.spread <= TARGET else "miss"
    yield f"median {found.median:.1f} ms/megapixel, spread {found.spread:.0%}  (at most {TARGET:.0%}: {verdict})"


def _load(found: Scaling) -> str:
    return " and ".join("?" if load is None else f"{load:.1f}" for load in found.load)


def _typical_ms(series: Series) -> float:
    """The median over the rounds."""
    return median(run.seconds / run.frames * 1e3 for run in series.runs)
