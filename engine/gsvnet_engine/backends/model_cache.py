"""Compiled networks of the CPU on disk, so that the next process need not compile them again.

    <folder>/models/street-keyframe-544x1080-5f0c2a9be0d14c77.model    a line of JSON (key, sha256), and the rest

They lie beside TensorRT's plans. The sha256 is checked before the runtime sees a byte of the rest.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gsvnet_engine.whole_file import write_whole

DEFAULT_BYTES = 512 << 20
_FOLDER, _SUFFIX = "models", ".model"


@dataclass(frozen=True, kw_only=True)
class ModelKey:
    """All that a compiled network depends on. shapes: every input's shape, and the value of every constant one.

    extension_sha256: of the library that knows the operations, "" without. int8: whether
    quantised layers are computed in 8 bits. threads: None where the runtime chose.
    """

    bundle: str
    graph: str
    graph_sha256: str
    extension_sha256: str
    runtime: str
    processor: str
    precision: str
    int8: bool
    threads: int | None
    streams: int
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def stem(self) -> str:
        """What it is of, and 16 hexadecimal digits of all of it."""
        first = next(iter(self.shapes.values()))
        subject = f"{self.bundle}-{self.graph.removesuffix('.onnx')}-{first[-2]}x{first[-1]}"
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in subject)
        return (
            f"{safe}-{hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]}"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "shapes": {name: list(shape) for name, shape in self.shapes.items()}}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A compiled network in the cache. used_s: when it was last used (seconds since the epoch)."""

    stem: str
    bytes: int
    used_s: float
    key: Mapping[str, Any]


def _silent(note: str) -> None:
    pass


class ModelCache:
    """The compiled networks in a folder, which is made on the first `put`. Safe against other processes: files appear
    whole. say: takes a line where an entry is damaged or cannot be kept."""

    def __init__(
        self, folder: Path, largest_bytes: int = DEFAULT_BYTES, say: Callable[[str], None] = _silent
    ) -> None:
        self.folder = folder / _FOLDER
        self._largest, self._say = largest_bytes, say

    def __contains__(self, key: ModelKey) -> bool:
        return self._path(key.stem).exists()

    def get(self, key: ModelKey) -> bytes | None:
        """The compiled network of exactly this key; None where there is none, or where it is damaged: then it is
        removed, and said."""
        path = self._path(key.stem)
        try:
            with path.open("rb") as file:
                head, data = file.readline(), file.read()
        except OSError:
            return None
        facts = _json(head)
        if facts.get("key") != key.as_json() or facts.get("sha256") != hashlib.sha256(data).hexdigest():
            self.reject(key)
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def reject(self, key: ModelKey) -> None:
        """Away with an entry that is of no use."""
        self._say(f"{self._path(key.stem)}: is damaged; it is compiled again")
        self.remove(key.stem)

    def put(self, key: ModelKey, data: bytes) -> None:
        """Keep it, and drop those unused for longest while there is too much. What cannot be kept is said."""
        facts = {"key": key.as_json(), "sha256": hashlib.sha256(data).hexdigest()}
        try:
            write_whole(self._path(key.stem), json.dumps(facts).encode() + b"\n" + data)
        except OSError as error:
            self._say(
                f"{self.folder}: compiled networks cannot be kept: {error.strerror or error}; "
                "choose another folder with --plan-cache"
            )
            return
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        for entry in reversed(entries):
            if total > self._largest and entry.stem != key.stem:
                self.remove(entry.stem)
                total -= entry.bytes

    def entries(self) -> list[Entry]:
        """What there is, the most recently used first."""
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):
                status = path.stat()
                with path.open("rb") as file:
                    key = _json(file.readline()).get("key")
                found.append(
                    Entry(
                        stem=path.stem,
                        bytes=status.st_size,
                        used_s=status.st_mtime,
                        key=key if isinstance(key, dict) else {},
                    )
                )
        return sorted(found, key=lambda entry: -entry.used_s)

    def clear(self) -> tuple[int, int]:
        """Remove all of them: how many, and how many bytes."""
        entries = self.entries()
        for entry in entries:
            self.remove(entry.stem)
        return len(entries), sum(entry.bytes for entry in entries)

    def remove(self, stem: str) -> None:
        with suppress(OSError):
            self._path(stem).unlink()

    def _path(self, stem: str) -> Path:
        return self.folder / f"{stem}{_SUFFIX}"


def _json(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
