"""What `bench` prints for a reader."""

from collections.abc import Iterator

from gsvnet_engine import machine
from gsvnet_engine.bench.job import Bench
from gsvnet_engine.bench.parts import NAMES
from gsvnet_engine.bench.ratios import TARGETS

_PERCENTILES = ("p50", "p90", "p95", "p99")


def lines(bench: Bench) -> Iterator[str]:
    processor = machine.cpu()
    height, width = bench.clip.size
    found = ", ".join(f"{name} {version}" for name, version in machine.packages().items() if version)
    yield f"{processor['model']}, {machine.cores()} cores, {bench.threads} threads: {found}"
    yield f"clip {bench.clip.source} at {width}x{height}; load {_load(bench)}"
    yield ""
    yield from _rates(bench)
    yield ""
    yield from _stages(bench)
    yield ""
    yield from _propagation(bench)
    for (bundle, precision), seconds in bench.first_frame_s.items():
        yield f"first frame out  {bundle} {precision}  {seconds:.2f} s after the start of a process"
    yield ""
    yield from _targets(bench)
    yield from bench.notes


def _load(bench: Bench) -> str:
    before, after = ("?" if load is None else f"{load:.1f}" for load in bench.load)
    return f"{before} before, {after} after"


def _rates(bench: Bench) -> Iterator[str]:
    yield f"{'bundle':<16} {'precision':<10} {'backend':<12} {'interval':>8} {'frames/s':>9} {'rounds':>7}"
    for v, series in bench.measured.items():
        rate = f"{series.fps:>9.2f} {len(series.runs):>7}"
        yield f"{v.bundle:<16} {v.precision:<10} {v.backend:<12} {v.interval:>8} {rate}"


def _stages(bench: Bench) -> Iterator[str]:
    """Each stage of the longest interval of each setting, which has all of them."""
    yield f"{'ms':<46} {'stage':<17}" + "".join(f"{name:>8}" for name in _PERCENTILES)
    longest = {
        (v.bundle, v.precision, v.backend): v for v in sorted(bench.measured, key=lambda v: v.interval)
    }
    for v in longest.values():
        setting = f"{v.bundle} {v.precision} {v.backend}, interval {v.interval}"
        for stage, summary in bench.measured[v].times.summary().items():
            values = "".join(f"{getattr(summary, name):>8.2f}" for name in _PERCENTILES)
            yield f"{setting:<46} {stage:<17}{values}"


def _propagation(bench: Bench) -> Iterator[str]:
    yield f"{'PF by part, ms':<28}" + "".join(f"{name:>10}" for name in (*NAMES, "convs", "whole"))
    for (bundle, precision), each in bench.propagation.items():
        values = (*(each.parts[name] for name in NAMES), each.convolutions, each.whole)
        yield f"{bundle + ' ' + precision:<28}" + "".join(f"{value:>10.2f}" for value in values)


def _targets(bench: Bench) -> Iterator[str]:
    for name, value in bench.ratios.items():
        target = TARGETS[name]
        wanted = f"{target.kind} {target.bound:g}"
        if value is None:
            yield f"{name:<26} {'-':>8}  {wanted:<14} not measured"
        else:
            yield f"{name:<26} {value:>8.2f}  {wanted:<14} {'pass' if target.met(value) else 'miss'}"
