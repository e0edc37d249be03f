"""Which interval to take: a pure decision from the mIoU and the speed of each, no clock and no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gsvnet_engine.bundle import Manifest

MOST_POINTS = 1.0
_ROUNDING = 1e-9  # 71.1 - 70.1 is a point, whatever binary fractions say


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An interval, what it costs in points of average mIoU, and how many times as fast as interval 1 it runs."""

    interval: int
    points: float
    speed_up: float

    def sentence(self) -> str:
        return f"l={self.interval} costs {_points(self.points)} and runs {self.speed_up:.1f} times faster"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """`chosen`, of `choices` by interval, for a loss of `most_points` at most. `basis`: where the speed comes from."""

    chosen: Choice
    choices: tuple[Choice, ...]
    most_points: float
    dataset: str
    basis: str

    def sentence(self) -> str:
        """One line: what is recommended and why."""
        if self.chosen.interval == 1:
            return f"l=1: {self._why_none()}"
        return f"{self.chosen.sentence()} (on {self.dataset}; speed {self.basis})"

    def _why_none(self) -> str:
        """Why no longer interval is chosen."""
        longer = self.choices[1:]
        faster = [choice for choice in longer if choice.speed_up > 1]
        if not longer:
            return "no longer interval is measured, in both mIoU and speed"
        if not faster:
            return f"no longer interval runs faster (speed {self.basis})"
        which = (
            ""
            if all(_costs_more(choice.points, self.most_points) for choice in longer)
            else " that runs faster"
        )
        return f"every longer interval{which} costs more than {_points(self.most_points)} on {self.dataset}"

    @property
    def limit(self) -> str:
        return f"a loss of {_points(self.most_points)} of mIoU at most"

    def others(self) -> str:
        """The other intervals in a line; empty where there are none."""
        rest = [choice for choice in self.choices if choice not in (self.chosen, self.choices[0])]
        return "; ".join(choice.sentence() for choice in rest)


def recommend(
    average_miou: Mapping[int, float],
    speed_up: Mapping[int, float],
    *,
    most_points: float = MOST_POINTS,
    dataset: str = "its data",
    basis: str = "measured",
) -> Recommendation:
    """The largest interval that loses at most `most_points` of mIoU (percent) against interval 1, and gains speed.

    average_miou: by interval, 1 among them; speed_up: by interval, as a multiple of interval 1's frames/s. Intervals
    that only one of them knows are left out. Raises ValueError without interval 1.
    """
    if 1 not in average_miou:
        raise ValueError("average_miou must hold interval 1, which the others are compared with")
    speeds = {**speed_up, 1: 1.0}
    choices = tuple(
        Choice(interval=n, points=average_miou[1] - average_miou[n], speed_up=speeds[n])
        for n in sorted(set(average_miou) & set(speeds))
    )
    allowed = [c for c in choices[1:] if not _costs_more(c.points, most_points) and c.speed_up > 1]
    return Recommendation(
        chosen=(allowed or choices[:1])[-1],
        choices=choices,
        most_points=most_points,
        dataset=dataset,
        basis=basis,
    )


def speed_ups(keyframe: float, propagate: float, intervals: Iterable[int]) -> dict[int, float]:
    """By interval: how many times as many frames/s as interval 1, from the cost (ms or MACs) of both networks."""
    return {n: n * keyframe / (keyframe + (n - 1) * propagate) for n in intervals}


def of_manifest(
    manifest: "Manifest", measured_ms: tuple[float, float] | None = None, *, most_points: float = MOST_POINTS
) -> Recommendation | None:
    """What a bundle's manifest, with the (keyframe, propagate) times of a run if there are, recommends.

    None where the manifest states no accuracy by interval, or nothing to tell the speed from.
    """
    known = manifest.interval_accuracy
    if known is None:
        return None
    if measured_ms is not None:
        speeds, basis = speed_ups(*measured_ms, known.average_miou), "of this run's networks"
    elif known.speed_up:
        speeds, basis = dict(known.speed_up), "as measured for the manifest"
    elif manifest.cost is not None and manifest.cost.macs["keyframe"] > 0:
        macs = manifest.cost.macs
        speeds = speed_ups(macs["keyframe"], macs["propagate"], known.average_miou)
        basis = "by multiply-accumulates"
    else:
        return None
    return recommend(known.average_miou, speeds, most_points=most_points, dataset=known.dataset, basis=basis)


def for_run(manifest: "Manifest", interval: int, measured_ms: tuple[float, float] | None) -> list[str]:
    """The lines that end a run at `interval`: what it gained and cost, and what is recommended, as far as known.

    measured_ms: median times of the run's keyframe and propagate stages, None where one of them did not run.
    """
    lines, found = list[str](), of_manifest(manifest, measured_ms)
    if measured_ms is not None and interval > 1:
        gained = speed_ups(*measured_ms, [interval])[interval]
        cost = next((c for c in found.choices if c.interval == interval), None) if found else None
        costs = f"; on {found.dataset} that costs {_points(cost.points)}" if found and cost else ""
        lines.append(
            f"at interval {interval} this run's networks were {gained:.1f} times as fast as per frame{costs}"
        )
    if found is not None and (not lines or found.chosen.interval != interval):
        lines.append(f"recommended for {found.limit}: {found.sentence()}")
    return lines


def _costs_more(points: float, most_points: float) -> bool:
    return points > most_points + _ROUNDING


def _points(points: float) -> str:
    shown = f"{round(points, 1) + 0.0:.1f}"  # + 0.0: no "-0.0"
    return f"{shown} point" if shown == "1.0" else f"{shown} points"
