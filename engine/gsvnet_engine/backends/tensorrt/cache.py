"""Plans on disk. A plan is good for one graph, one TensorRT, one GPU and one set of shapes: all of it is in its key.

    <folder>/plans/street-keyframe-544x960-5f0c2a9be0d14c77.plan    the plan
    <folder>/plans/street-keyframe-544x960-5f0c2a9be0d14c77.json    its sidecar: the key in full, for people and checks
    <folder>/plans/street-keyframe-544x960-5f0c2a9be0d14c77.jit     what TensorRT-RTX has compiled to run it
    <folder>/timing/TensorRT-11.4.0-8.6.cache                       what builds have timed so far
    <folder>/onnxruntime/street-keyframe-5f0c2a9be0d14c77/          what ONNX Runtime keeps by itself, and key.json

The plan's sha256 stands in its sidecar and is checked before TensorRT sees a byte of it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from gsvnet_engine.errors import OutputError
from gsvnet_engine.whole_file import write_whole

_LENT = "onnxruntime"
SHAPES = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class PlanKey:
    """All that a plan depends on. shapes: every input's shape, and the value of every constant one."""

    bundle: str
    graph: str
    graph_sha256: str
    plugin_sha256: str  # "" without a plugin
    tensorrt: str
    road: str
    capability: tuple[int, int]
    gpu: str
    precision: str
    shapes: SHAPES

    @property
    def subject(self) -> str:
        """What it is a plan of, whatever made it: names that differ in this never replace one another."""
        stem = self.graph.removesuffix(".onnx").replace(".", "-")
        first = next(iter(self.shapes.values()))
        return f"{_file_safe(self.bundle)}-{stem}-{first[-2]}x{first[-1]}"

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of all of it."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def stem(self) -> str:
        return f"{self.subject}-{self.digest}"

    def as_json(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["capability"] = list(self.capability)
        plain["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        return plain


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A plan in the cache, or a folder of plans that was lent. key: its sidecar's, as JSON; used_s: when it was
    last used (seconds since the epoch)."""

    stem: str
    bytes: int
    used_s: float
    key: Mapping[str, Any]


class PlanCache:
    """The plans in a folder, which is made on the first `put`. Safe against other processes: files appear whole."""

    def __init__(self, folder: Path, largest_bytes: int) -> None:
        self.folder = folder
        self._plans, self._timing, self._lent = folder / "plans", folder / "timing", folder / _LENT
        self._largest = largest_bytes

    def get(self, key: PlanKey) -> bytes | None:
        """The plan of exactly this key; None where there is none, or where it is damaged (which is then removed)."""
        sidecar = _read_json(self._sidecar(key.stem))
        try:
            plan = self._plan(key.stem).read_bytes()
        except OSError:
            return None
        fits = sidecar.get("key") == key.as_json()
        if not fits or sidecar.get("plan_sha256") != hashlib.sha256(plan).hexdigest():
            self.remove(key.stem)
            return None
        with suppress(OSError):
            os.utime(self._plan(key.stem))
        return plan

    def why_stale(self, key: PlanKey) -> str | None:
        """What has changed since the newest plan of the same subject: "TensorRT 10.3.0, now 11.4.0"; None: no such."""
        others = [entry for entry in self.entries() if entry.stem.rpartition("-")[0] == key.subject]
        if not others:
            return None
        now, before = key.as_json(), max(others, key=lambda entry: entry.used_s).key
        changed = [name for name in now if before.get(name) != now[name]]
        shown = [
            name.replace("_sha256", "") + " changed"
            if name.endswith("_sha256") or name == "shapes"
            else f"{name} {_words(before.get(name))}, now {_words(now[name])}"
            for name in changed
        ]
        return "; ".join(shown) or "it was damaged"

    def put(self, key: PlanKey, plan: bytes) -> None:
        """Keep it, and drop those unused for longest while there is too much. Raises OutputError."""
        sidecar = {"key": key.as_json(), "plan_sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)}
        try:
            write_whole(self._plan(key.stem), plan)
            write_whole(self._sidecar(key.stem), (json.dumps(sidecar, indent=1) + "\n").encode())
        except OSError as error:
            raise self._unkept(self._plans, error) from error
        self._shrink(keep=key.stem)

    def compiled(self, key: PlanKey) -> bytes:
        """What TensorRT-RTX compiled when it last ran this plan; b"" where there is nothing."""
        try:
            return self._compiled(key.stem).read_bytes()
        except OSError:
            return b""

    def put_compiled(self, key: PlanKey, data: bytes) -> None:
        """Keep it beside its plan, and go with it. It is only time that is lost where it cannot be kept."""
        with suppress(OSError):
            if self._plan(key.stem).exists():
                write_whole(self._compiled(key.stem), data)
        self._shrink(keep=key.stem)

    def lent(self, key: PlanKey) -> Path:
        """Where `lend` makes the folder of that key."""
        return self._lent / key.stem

    def lend(self, key: PlanKey) -> Path:
        """A folder for what ONNX Runtime keeps of that key by itself. Raises OutputError."""
        folder = self.lent(key)
        try:
            write_whole(folder / "key.json", (json.dumps({"key": key.as_json()}, indent=1) + "\n").encode())
        except OSError as error:
            raise self._unkept(folder, error) from error
        self._shrink(keep=f"{_LENT}/{key.stem}")
        return folder

    def timing(self, tensorrt: str, capability: tuple[int, int]) -> bytes:
        """The timing cache for that TensorRT and card; b"" where there is none."""
        try:
            return self._timing_file(tensorrt, capability).read_bytes()
        except OSError:
            return b""

    def put_timing(self, tensorrt: str, capability: tuple[int, int], data: bytes) -> None:
        """Keep it if that can be done: without it the next build only takes longer."""
        with suppress(OSError):
            write_whole(self._timing_file(tensorrt, capability), data)

    def entries(self) -> list[Entry]:
        """What there is, the most recently used first."""
        found = []
        for path in self._plans.glob("*.plan"):
            with suppress(OSError):
                status = path.stat()
                size = status.st_size + sum(
                    each.stat().st_size for each in self._plans.glob(f"{path.stem}.jit")
                )
                key = _read_json(self._sidecar(path.stem)).get("key")
                found.append(_entry(path.stem, size, status.st_mtime, key))
        for path in self._lent.glob("*/key.json"):
            with suppress(OSError):
                size = sum(each.stat().st_size for each in path.parent.iterdir() if each != path)
                key = _read_json(path).get("key")
                found.append(_entry(f"{_LENT}/{path.parent.name}", size, path.stat().st_mtime, key))
        return sorted(found, key=lambda entry: -entry.used_s)

    def clear(self) -> tuple[int, int]:
        """Remove every plan and timing cache: how many plans, and how many bytes in all."""
        entries = self.entries()
        freed = sum(entry.bytes for entry in entries)
        for entry in entries:
            self.remove(entry.stem)
        for path in self._timing.glob("*.cache"):
            with suppress(OSError):
                freed += path.stat().st_size
                path.unlink()
        return len(entries), freed

    def remove(self, stem: str) -> None:
        """Remove a plan, its sidecar and what was compiled of it; or a folder that was lent."""
        if stem.startswith(f"{_LENT}/"):
            rmtree(self.folder / stem, ignore_errors=True)
            return
        for path in (self._plan(stem), self._sidecar(stem), self._compiled(stem)):
            with suppress(OSError):
                path.unlink()

    def _shrink(self, keep: str) -> None:
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        for entry in reversed(entries):
            if total <= self._largest:
                return
            if entry.stem != keep:
                self.remove(entry.stem)
                total -= entry.bytes

    def _plan(self, stem: str) -> Path:
        return self._plans / f"{stem}.plan"

    def _sidecar(self, stem: str) -> Path:
        return self._plans / f"{stem}.json"

    def _compiled(self, stem: str) -> Path:
        return self._plans / f"{stem}.jit"

    @staticmethod
    def _unkept(folder: Path, error: OSError) -> OutputError:
        return OutputError(
            f"{folder}: the plan cannot be kept: {error.strerror or error}; choose another folder with --plan-cache"
        )

    def _timing_file(self, tensorrt: str, capability: tuple[int, int]) -> Path:
        return self._timing / f"{_file_safe(tensorrt)}-{capability[0]}.{capability[1]}.cache"


def _entry(stem: str, size: int, used_s: float, key: Any) -> Entry:
    return Entry(stem=stem, bytes=size, used_s=used_s, key=key if isinstance(key, dict) else {})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _file_safe(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in name)


def _words(value: Any) -> str:
    return ".".join(map(str, value)) if isinstance(value, list) else str(value)
