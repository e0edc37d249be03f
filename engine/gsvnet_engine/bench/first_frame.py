"""`bench --first-frame`: how soon a new process has labels, with nothing compiled before and with everything."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from gsvnet_engine import backends, machine
from gsvnet_engine.backends.base import KeepsModels
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bench.measure import first_frame_s
from gsvnet_engine.bundle import Bundle

TARGET_S = 1.5  # of a bundle whose networks are kept


@dataclass(frozen=True, kw_only=True)
class FirstFrame:
    """Seconds from the start of a process to its first labels, medians of `runs`. kept: where networks are kept."""

    bundle: str
    backend: str
    precision: str
    compiled_s: float
    kept_s: float | None
    runs: int

    def as_json(self) -> dict[str, Any]:
        met = None if self.kept_s is None else self.kept_s <= TARGET_S
        return {**asdict(self), "target": {"at most": TARGET_S, "met": met}}


def measure(
    clip: Path, bundle: Bundle, backend: str, precision: str, threads: int, gpu: GpuOptions, runs: int
) -> FirstFrame:
    """Runs that alternate: without kept networks, with. On a GPU the plans are there, from a run before."""
    chosen = backends.choose(backend, precision, gpu)

    def seconds(kept: Path | None = None) -> float:
        return first_frame_s(clip, bundle.path, chosen.name, precision, threads, gpu, kept)

    keeps = isinstance(chosen, KeepsModels)
    compiled_s, kept_s = [], []
    with TemporaryDirectory() as folder:
        if keeps or chosen.on_device:
            seconds(Path(folder) if keeps else None)
        for _ in range(runs):
            compiled_s.append(seconds())
            if keeps:
                kept_s.append(seconds(Path(folder)))
    return FirstFrame(
        bundle=bundle.manifest.name,
        backend=chosen.name,
        precision=precision,
        compiled_s=median(compiled_s),
        kept_s=median(kept_s) if keeps else None,
        runs=runs,
    )


def lines(found: FirstFrame, load: float | None) -> Iterator[str]:
    busy = "?" if load is None else f"{load:.1f}"
    yield f"{machine.cpu()['model']}, {machine.cores()} cores; load {busy}"
    setting = f"{found.bundle} {found.precision} {found.backend}"
    made = "plans there" if found.backend in backends.GPU_BACKENDS else "networks compiled"
    yield f"first frame out  {setting}  {found.compiled_s:.2f} s, {made}"
    if found.kept_s is not None:
        verdict = "pass" if found.kept_s <= TARGET_S else "miss"
        yield f"first frame out  {setting}  {found.kept_s:.2f} s, networks kept  (at most {TARGET_S:g}: {verdict})"
