"""`bench --first-frame`: how soon a new process has labels, with nothing compiled before and with everything."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from gsvnet_engine import backends, machine
from gsvnet_engine.backends.base import KeepsModels
from gsvnet_engine.bench.measure import until_segmented_s
from gsvnet_engine.bundle import Bundle

TARGET_S = 1.5  # of a bundle whose networks are kept
_PROCESS = """
import json, sys
from pathlib import Path
from gsvnet_engine import Segmenter
from gsvnet_engine.backends.model_cache import ModelCache
clip, kept, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
next(Segmenter(**options, models=ModelCache(Path(kept)) if kept else None).stream(clip))
print("segmented", flush=True)
"""


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


def measure(clip: Path, bundle: Bundle, backend: str, precision: str, threads: int, runs: int) -> FirstFrame:
    """Runs that alternate: without kept networks, with."""
    chosen = backends.choose(backend, precision)
    options = {
        "bundle": str(bundle.path),
        "backend": chosen.name,
        "cpu_precision": precision,
        "threads": threads,
    }
    compiled, kept = [], []
    with TemporaryDirectory() as folder:
        if isinstance(chosen, KeepsModels):
            _seconds(clip, folder, options)
        for _ in range(runs):
            compiled.append(_seconds(clip, "", options))
            if isinstance(chosen, KeepsModels):
                kept.append(_seconds(clip, folder, options))
    return FirstFrame(
        bundle=bundle.manifest.name,
        backend=chosen.name,
        precision=precision,
        compiled_s=median(compiled),
        kept_s=median(kept) if kept else None,
        runs=runs,
    )


def lines(found: FirstFrame, load: float | None) -> Iterator[str]:
    busy = "?" if load is None else f"{load:.1f}"
    yield f"{machine.cpu()['model']}, {machine.cores()} cores; load {busy}"
    setting = f"{found.bundle} {found.precision} {found.backend}"
    yield f"first frame out  {setting}  {found.compiled_s:.2f} s, networks compiled"
    if found.kept_s is not None:
        verdict = "pass" if found.kept_s <= TARGET_S else "miss"
        yield f"first frame out  {setting}  {found.kept_s:.2f} s, networks kept  (at most {TARGET_S:g}: {verdict})"


def _seconds(clip: Path, kept: str, options: dict[str, Any]) -> float:
    return until_segmented_s(_PROCESS, str(clip), kept, json.dumps(options))
