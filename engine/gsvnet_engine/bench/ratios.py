"""The figures that the targets are about, from runs of one process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from gsvnet_engine.bench.measure import Run, Series, Variant

Ratios = dict[str, float | None]


@dataclass(frozen=True)
class Target:
    """A bound for one ratio."""

    bound: float
    kind: Literal["at least", "at most"]

    def met(self, value: float) -> bool:
        return value >= self.bound if self.kind == "at least" else value <= self.bound


# For the bundle `swiftnet_r18` on a 2048x1024 clip and two threads; None there: not measured.
TARGETS = {
    "network_l1_over_l4": Target(3.2, "at least"),
    "end_to_end_l1_over_l4": Target(2.8, "at least"),
    "end_to_end_l1_over_l8": Target(4.5, "at least"),
    "best_over_torch": Target(12, "at least"),
    "best_l5_fps": Target(25, "at least"),
    "labels_over_torch": Target(25, "at least"),
    "pf_over_its_convolutions": Target(1.5, "at most"),
}


def compute(
    measured: Mapping[Variant, Series], torch: Variant | None, pf_over_its_convolutions: float | None
) -> Ratios:
    """Every name of TARGETS; None where a side of it was not measured.

    In float32, of the first bundle; the best setting is the fastest of all bundles and precisions.
    A ratio of two variants is the median over the rounds of the two runs' ratio in each.
    """
    ours = {variant: series for variant, series in measured.items() if variant != torch}
    first = next(iter(ours)).bundle if ours else None
    base = {v.interval: s for v, s in ours.items() if v.precision == "f32" and v.bundle == first}
    best = {interval: _fastest(ours, interval) for interval in (4, 5)}
    eager = measured[torch] if torch else None
    return {
        "network_l1_over_l4": _over(base.get(1), base.get(4), _network_ms),
        "end_to_end_l1_over_l4": _over(base.get(1), base.get(4), _frame_s),
        "end_to_end_l1_over_l8": _over(base.get(1), base.get(8), _frame_s),
        "best_over_torch": _over(eager, best[4], _frame_s),
        "best_l5_fps": None if best[5] is None else best[5].fps,
        "labels_over_torch": _labels(eager, base.get(1)),
        "pf_over_its_convolutions": pf_over_its_convolutions,
    }


def _network_ms(run: Run) -> float:
    return run.network_ms / run.frames


def _frame_s(run: Run) -> float:
    return run.seconds / run.frames


def _over(slow: Series | None, fast: Series | None, cost: Callable[[Run], float]) -> float | None:
    if slow is None or fast is None:
        return None
    return median(cost(a) / cost(b) for a, b in zip(slow.runs, fast.runs, strict=True))


def _fastest(measured: Mapping[Variant, Series], interval: int) -> Series | None:
    at = [series for variant, series in measured.items() if variant.interval == interval]
    return max(at, key=lambda series: series.fps, default=None)


def _labels(torch: Series | None, ours: Series | None) -> float | None:
    if torch is None or ours is None:
        return None
    return torch.times.summary()["labels"].p50 / ours.times.summary()["labels"].p50
