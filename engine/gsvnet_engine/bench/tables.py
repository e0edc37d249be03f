"""What `bench` prints for a reader."""

from collections.abc import Iterator

from gsvnet_engine import machine
from gsvnet_engine.bench import paper
from gsvnet_engine.bench.job import Bench, OnGpu
from gsvnet_engine.bench.measure import device_fps
from gsvnet_engine.bench.parts import NAMES
from gsvnet_engine.bench.ratios import TARGETS
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.geometry import Size
from gsvnet_engine.telemetry import StageSummary

_PERCENTILES = ("p50", "p90", "p95", "p99")


def lines(bench: Bench) -> Iterator[str]:
    processor = machine.cpu()
    height, width = bench.clip.size
    found = ", ".join(f"{name} {version}" for name, version in machine.packages().items() if version)
    if bench.gpu is not None:
        yield from _device(bench.gpu)
    yield f"{processor['model']}, {machine.cores()} cores, {bench.threads} threads: {found}"
    yield f"clip {bench.clip.source} at {width}x{height}; load {_load(bench)}"
    yield ""
    yield from _rates(bench)
    yield ""
    yield from _stages(bench)
    yield ""
    yield from _propagation(bench)
    if bench.gpu is not None:
        yield from _on_gpu(bench.gpu)
    for (bundle, precision), seconds in bench.first_frame_s.items():
        yield f"first frame out  {bundle} {precision}  {seconds:.2f} s after the start of a process"
    yield ""
    if bench.gpu is None:
        yield from _targets(bench)
    else:
        yield from _published(bench, bench.gpu)
    yield from bench.notes


def _device(gpu: OnGpu) -> Iterator[str]:
    device = gpu.device
    capability, driver = (".".join(map(str, pair)) for pair in (device.capability, device.driver))
    memory = device.memory_bytes / 2**30
    yield f"{device.name}, compute capability {capability}, {memory:.0f} GiB, driver for CUDA {driver}; {gpu.runtime}"


def _load(bench: Bench) -> str:
    before, after = ("?" if load is None else f"{load:.1f}" for load in bench.load)
    return f"{before} before, {after} after"


def _rates(bench: Bench) -> Iterator[str]:
    """frames/s: decoding included. On a GPU also sustained: from memory, copies included; device: steps alone."""
    gpu = bench.gpu
    more = "" if gpu is None else f" {'sustained':>10} {'device':>8}"
    yield f"{'bundle':<16} {'precision':<10} {'backend':<20} {'interval':>8} {'frames/s':>9} {'rounds':>7}{more}"
    for v, series in bench.measured.items():
        rate = f"{series.fps:>9.2f} {len(series.runs):>7}"
        if gpu is not None:
            rate += f" {_number(gpu.sustained_fps.get(v)):>10} {_number(device_fps(series, v.interval)):>8}"
        yield f"{v.bundle:<16} {v.precision:<10} {v.backend:<20} {v.interval:>8} {rate}"
    if gpu is not None:
        yield "frames/s: with decoding. sustained: frames in memory, copies included. device: by p50, copies excluded."


def _stages(bench: Bench) -> Iterator[str]:
    """Each stage of the longest interval of each setting, which has all of them."""
    yield f"{'ms':<46} {'stage':<17}" + "".join(f"{name:>8}" for name in _PERCENTILES)
    longest = {
        (v.bundle, v.precision, v.backend): v for v in sorted(bench.measured, key=lambda v: v.interval)
    }
    for v in longest.values():
        setting = f"{v.bundle} {v.precision} {v.backend}, interval {v.interval}"
        for stage, summary in bench.measured[v].times.summary().items():
            yield _percentiles(setting, stage, summary)


def _propagation(bench: Bench) -> Iterator[str]:
    yield f"{'PF by part, ms':<28}" + "".join(f"{name:>10}" for name in (*NAMES, "convs", "whole"))
    for (bundle, precision), each in bench.propagation.items():
        values = (*(each.parts[name] for name in NAMES), each.convolutions, each.whole)
        yield f"{bundle + ' ' + precision:<28}" + "".join(f"{value:>10.2f}" for value in values)
        flow, warp, features = (each.parts[name] for name in ("flow", "warp", "features"))
        fusion = each.parts["guide"] + each.parts["filter"]
        yield f"  as in Fig. A9: flow {flow:.2f}, warp {warp:.2f}, features {features:.2f}, fusion {fusion:.2f}"


def _on_gpu(gpu: OnGpu) -> Iterator[str]:
    yield ""
    heads = "".join(f"{name:>8}" for name in _PERCENTILES)
    yield f"{'picture to labels on the host, ms':<46} {'':<17}{heads}"
    for (bundle, precision), by_kind in gpu.latency_ms.items():
        for kind, summary in by_kind.items():
            yield _percentiles(f"{bundle} {precision}", kind, summary)
    yield f"{'on the GPU, ms':<46} {'':<17}{heads}"
    for (bundle, precision), summary in gpu.propagation_ms.items():
        yield _percentiles(f"{bundle} {precision}", "PF alone", summary)
    for (bundle, precision), each in gpu.copies.items():
        for what, size, summary in (
            ("picture up", each.upload_bytes, each.upload),
            ("labels down", each.download_bytes, each.download),
        ):
            yield _percentiles(f"{bundle} {precision}, {size / 1e6:.2f} MB", what, summary)


def _percentiles(setting: str, stage: str, summary: StageSummary) -> str:
    values = "".join(f"{getattr(summary, name):>8.2f}" for name in _PERCENTILES)
    return f"{setting:<46} {stage:<17}{values}"


def _published(bench: Bench, gpu: OnGpu) -> Iterator[str]:
    """The paper's lines, and beside those of its own method what the first bundle reached here."""
    (name, bundle), (height, width) = next(iter(bench.bundles.items())), bench.clip.size
    here = {v.interval: fps for v, fps in gpu.sustained_fps.items() if v.bundle == name}
    yield f"published, {paper.GPU} (arXiv 2103.08834); here: {name} at {width}x{height} on {gpu.device.name}, sustained"
    yield f"{'data':<26} {'network':<22} {'scale':>5} {'interval':>8} {'mIoU':>6} {'frames/s':>9} {'here':>8}"
    for line in paper.SPEED:
        measured = here.get(line.interval) if line.ours and line.interval is not None else None
        interval = "-" if line.interval is None else line.interval
        yield (
            f"{line.data:<26} {line.network:<22} {line.scale:>5g} {interval:>8} {line.miou:>6.1f} {line.fps:>9g} "
            f"{_number(measured):>8}"
        )
    yield "like with like only where the bundle is SwiftNet-R18 at scale 0.75 and the clip 2048x1024"
    yield ""
    yield f"{'published cost':<26} {'interval':>8} {'MB':>8} {'GMAC':>8}"
    for cost in (*paper.COST, *_costs(bundle, bench.clip.size)):
        yield f"{cost.network:<26} {cost.interval:>8} {cost.megabytes:>8.1f} {cost.gmac:>8.1f}"


def _costs(bundle: Bundle, size: Size) -> Iterator[paper.Cost]:
    """The bundle's own lines, as the paper counts: megabytes of 4 bytes a parameter, MACs a frame on average."""
    cost = bundle.manifest.cost
    if cost is None:
        return
    macs = cost.scaled(bundle.manifest.geometry, size).macs
    for interval in (1, 4):
        parameters = cost.parameters["keyframe"] + (cost.parameters["propagate"] if interval > 1 else 0)
        total = macs["keyframe"] + (interval - 1) * macs["propagate"]
        yield paper.Cost(
            network=f"here: {bundle.manifest.name}",
            interval=interval,
            megabytes=4 * parameters / 1e6,
            gmac=total / interval / 1e9,
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _targets(bench: Bench) -> Iterator[str]:
    for name, value in bench.ratios.items():
        target = TARGETS[name]
        wanted = f"{target.kind} {target.bound:g}"
        if value is None:
            yield f"{name:<26} {'-':>8}  {wanted:<14} not measured"
        else:
            yield f"{name:<26} {value:>8.2f}  {wanted:<14} {'pass' if target.met(value) else 'miss'}"
