"""A bundle: a folder with a manifest and its ONNX graphs, checked in full before anything runs.

Nothing outside the folder is ever read, and a graph reaches a runtime only as the bytes whose hash the
manifest gives.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any, NoReturn

from gsvnet_engine.errors import BundleError, InputError
from gsvnet_engine.geometry import Fixed, Geometry, KeyframeSize, Scaled, ShortSide, Size, Sizes, WorkingSize
from gsvnet_engine.onnx_wire import has_external_data

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
KEYFRAME, PROPAGATE, LABELS = "keyframe.onnx", "propagate.onnx", "labels.onnx"
PROPAGATE_PLAIN, LABELS_PLAIN, WARP_PLAIN = "propagate.plain.onnx", "labels.plain.onnx", "warp.plain.onnx"
REQUIRED_GRAPHS = (KEYFRAME, PROPAGATE, LABELS, PROPAGATE_PLAIN, LABELS_PLAIN)
GRAPHS = (*REQUIRED_GRAPHS, WARP_PLAIN)  # warp: for evaluation only, so a bundle may leave it out
PRECISIONS = ("fp32", "fp16", "int8")
MEAN_CONFIDENCE = "mean_confidence"  # the statistic that familiarity.py knows

_MODELS = Path(__file__).parent / "models"
_LARGEST_MANIFEST = 1 << 20
_LARGEST_GRAPH = 2 << 30  # protobuf's own limit
LARGEST_SIDE = 8192
_LARGEST_AREA = LARGEST_SIDE * LARGEST_SIDE
_LARGEST_COUNT = 10**18  # of parameters or multiply-accumulates
_LONGEST_INTERVAL = 1000


@dataclass(frozen=True)
class ClassInfo:
    """A class: its name and its colour (red, green, blue) in 0..255."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters and multiply-accumulates (MACs) of "keyframe" and "propagate", for sources of size `at`."""

    at: Size
    parameters: Mapping[str, int]
    macs: Mapping[str, int]

    def scaled(self, geometry: Geometry, size: Size) -> "Cost":
        """The cost for sources of another size: MACs in proportion to the area that each network works on."""
        then, now = geometry.plan(*self.at), geometry.plan(*size)

        def scale(part: str, before: Size, after: Size) -> int:
            return self.macs[part] * after[0] * after[1] // (before[0] * before[1])

        macs = {
            "keyframe": scale("keyframe", then.keyframe, now.keyframe),
            "propagate": scale("propagate", then.grid, now.grid),
        }
        return Cost(at=size, parameters=self.parameters, macs=macs)

    def mean_macs(self, interval: int) -> float:
        """MACs of a frame on average: one keyframe, then interval - 1 propagated frames."""
        return (self.macs["keyframe"] + (interval - 1) * self.macs["propagate"]) / interval


@dataclass(frozen=True, kw_only=True)
class IntervalAccuracy:
    """accuracy.intervals and accuracy.speed_up: mIoU in percent by interval on `dataset`, and frames/s by interval as
    a multiple of those at interval 1 (empty where not stated)."""

    dataset: str
    average_miou: Mapping[int, float]
    minimum_miou: Mapping[int, float]
    speed_up: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Familiarity:
    """When a video counts as unlike the training data: its median `statistic` is below `threshold`. `usual`: the
    statistic's lowest and highest tenth on known material."""

    statistic: str
    threshold: float
    usual: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json, format version 1.

    `graphs`: file name -> sha256; `license`: SPDX; `accuracy`: free form but for what `interval_accuracy` reads;
    `conversion`: free form, how graphs of a precision below fp32 came about and what that cost (empty: not stated).
    """

    format_version: int
    name: str
    classes: tuple[ClassInfo, ...]
    working_size: WorkingSize
    keyframe_size: KeyframeSize
    precision: str
    conversion: Mapping[str, Any]
    interval: int
    license: str
    trained_on: tuple[str, ...]
    accuracy: Mapping[str, Any]
    interval_accuracy: IntervalAccuracy | None
    familiarity: Familiarity | None  # None: not stated, or with a statistic that this version does not know
    cost: Cost | None
    graphs: Mapping[str, str]

    @property
    def geometry(self) -> Geometry:
        return Geometry(working=self.working_size, keyframe=self.keyframe_size)

    def computed_in(self, precision: str) -> str:
        """By a backend that computes float graphs in that: "f32", "bf16"; of an int8 bundle "int8", "int8+bf16"."""
        if self.precision == "fp32":
            return precision
        return self.precision if precision == "f32" else f"{self.precision}+{precision}"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest has been checked. Graphs are read, hashed and kept on first use."""

    path: Path
    manifest: Manifest
    _bytes: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, bundle: "str | Path | Bundle") -> "Bundle":
        """The bundle shipped under that name ("street"), or the one in that folder (or manifest.json).

        Raises BundleError where anything about it is wrong, except for the graphs' bytes: `graph` checks
        those.
        """
        if isinstance(bundle, Bundle):
            return bundle
        folder = _folder(bundle)
        manifest = read_manifest(folder / MANIFEST)
        for name in manifest.graphs:
            _checked_path(folder, name)
        return cls(folder, manifest)

    def graph(self, name: str) -> bytes:
        """The graph's bytes, self-contained and with the hash that the manifest gives."""
        if name not in self._bytes:
            self._bytes[name] = self._read(name)
        return self._bytes[name]

    def verify(self) -> None:
        """Read and check every graph now."""
        for name in self.manifest.graphs:
            self.graph(name)

    def plan(self, height: int, width: int) -> Sizes:
        """All sizes for a source of height x width pixels.

        Raises InputError for a shape that no working size suits.
        """
        sizes = self.manifest.geometry.plan(height, width)
        for h, w in (sizes.working, sizes.keyframe):
            if h < 1 or w < 1 or h * w > _LARGEST_AREA:
                raise InputError(
                    f"a picture of {width}x{height} would be worked on at {w}x{h} by bundle "
                    f"{self.manifest.name}: crop it, or use a bundle with another working size"
                )
        return sizes

    def _read(self, name: str) -> bytes:
        expected = self.manifest.graphs.get(name)
        if expected is None:
            raise BundleError(
                f"{self.path / MANIFEST}: graphs: {name} is not listed; export the bundle again to have it"
            )
        path = _checked_path(self.path, name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise BundleError(
                f"{path}: its sha256 is not the one in {MANIFEST}; the file was changed or damaged: "
                "copy the bundle anew or export it again"
            )
        try:
            external = has_external_data(data)
        except ValueError as error:
            raise BundleError(f"{path}: is not an ONNX graph ({error}); export the bundle again") from error
        if external:
            raise BundleError(
                f"{path}: keeps weights in other files; export the bundle again with them inside"
            )
        return data


def shipped_bundles() -> list[str]:
    """Names of the bundles inside this package."""
    return sorted(path.parent.name for path in _MODELS.glob(f"*/{MANIFEST}"))


def distinct_names(bundles: Sequence[Bundle], given: Sequence[str | Path]) -> list[str]:
    """What to call bundles that stand side by side: their own names, or, where two are alike, what was given."""
    names = [bundle.manifest.name for bundle in bundles]
    return names if len(set(names)) == len(names) else [str(each) for each in given]


def read_manifest(path: Path) -> Manifest:
    """The checked content of a manifest.json. Keys that this version does not know are left alone."""
    top = _Reader(str(path), _load_json(path))
    version = top.integer("format_version", 1, _LARGEST_COUNT)
    if version > FORMAT_VERSION:
        top.fail(
            "format_version",
            f"is {version} and this gsvnet-engine reads up to {FORMAT_VERSION}; update gsvnet-engine",
        )
    return Manifest(
        format_version=version,
        name=top.text("name"),
        classes=_classes(top),
        working_size=_working_size(top),
        keyframe_size=_keyframe_size(top.object("keyframe_size")),
        precision=top.choice("precision", PRECISIONS),
        conversion=top.object("conversion").mapping() if "conversion" in top.mapping() else {},
        interval=top.integer("interval", 1, _LONGEST_INTERVAL),
        license=top.text("license"),
        trained_on=tuple(item.whole_text() for item in top.array("trained_on", 0, 1000)),
        accuracy=top.object("accuracy").mapping(),
        interval_accuracy=_interval_accuracy(top.object("accuracy")),
        familiarity=_familiarity(top.object("familiarity")) if "familiarity" in top.mapping() else None,
        cost=_cost(top.object("cost")) if "cost" in top.mapping() else None,
        graphs=_graphs(top.object("graphs")),
    )


def check_stated(key: str, value: Any, where: str) -> None:
    """BundleError, naming `where`, unless a manifest may hold `value` as its "accuracy" or "familiarity"."""
    stated = _Reader(where, value, mend="measure it again")
    stated.mapping()
    if key == "accuracy":
        _interval_accuracy(stated)
    else:
        _familiarity(stated)


def _classes(top: "_Reader") -> tuple[ClassInfo, ...]:
    classes = tuple(
        ClassInfo(item.text("name"), _three(item.integers("color", 3, 0, 255)))
        for item in top.array("classes", 2, 256)
    )
    names = [c.name for c in classes]
    for name in names:
        if names.count(name) > 1:
            top.fail("classes", f"names {name!r} twice; each class needs a name of its own")
    return classes


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    return values[0], values[1], values[2]


def _working_size(top: "_Reader") -> WorkingSize:
    rule = top.mapping().get("working_size", {})
    if rule == "source":
        return "source"
    if not isinstance(rule, dict):
        top.fail("working_size", f'must be "source" or {{"short_side": pixels}}, not {_shown(rule)}')
    return ShortSide(top.object("working_size").integer("short_side", 8, LARGEST_SIDE))


def _keyframe_size(rule: "_Reader") -> KeyframeSize:
    if "size" in rule.mapping():
        height, width = rule.integers("size", 2, 8, LARGEST_SIDE)
        return Fixed((height, width))
    numerator, denominator = rule.integers("scale", 2, 1, 10000)
    if numerator > 4 * denominator:
        rule.fail("scale", f"is {numerator}/{denominator}; at most 4 is allowed")
    return Scaled((numerator, denominator), rule.integer("multiple", 1, 512))


def _cost(cost: "_Reader") -> Cost:
    height, width = cost.integers("at", 2, 1, LARGEST_SIDE)
    parts = ("keyframe", "propagate")
    parameters, macs = cost.object("parameters"), cost.object("macs")
    return Cost(
        at=(height, width),
        parameters={part: parameters.integer(part, 0, _LARGEST_COUNT) for part in parts},
        macs={part: macs.integer(part, 0, _LARGEST_COUNT) for part in parts},
    )


def _interval_accuracy(accuracy: "_Reader") -> IntervalAccuracy | None:
    if "intervals" not in accuracy.mapping():
        return None
    stated = accuracy.object("intervals")
    average = stated.by_interval("average_miou", 0, 100)
    if 1 not in average:
        stated.fail("average_miou", 'lacks interval "1", which the others are compared with')
    has_minimum, has_speed = "minimum_miou" in stated.mapping(), "speed_up" in accuracy.mapping()
    return IntervalAccuracy(
        dataset=stated.text("dataset"),
        average_miou=average,
        minimum_miou=stated.by_interval("minimum_miou", 0, 100) if has_minimum else {},
        speed_up=accuracy.by_interval("speed_up", 0, 1000) if has_speed else {},
    )


def _familiarity(stated: "_Reader") -> Familiarity | None:
    """None for a statistic of a later version, whose numbers may mean anything."""
    statistic = stated.text("statistic")
    if statistic != MEAN_CONFIDENCE:
        return None
    low, high = (value.only_number(0, 1) for value in stated.array("usual", 2, 2))
    if low > high:
        stated.fail("usual", f"must be [lowest, highest], not {_shown([low, high])}")
    return Familiarity(statistic=statistic, threshold=stated.number("threshold", 0, 1), usual=(low, high))


def _graphs(graphs: "_Reader") -> Mapping[str, str]:
    hashes: dict[str, str] = {}
    for name in graphs.mapping():
        if name not in GRAPHS:
            graphs.fail(None, f"names {name!r}; only these may stand there: {', '.join(GRAPHS)}")
        hashes[name] = graphs.text(name).lower()
        if len(hashes[name]) != 64 or not set(hashes[name]) <= set("0123456789abcdef"):
            graphs.fail(name, "must be a sha256 (64 hexadecimal digits)")
    for name in REQUIRED_GRAPHS:
        if name not in hashes:
            graphs.fail(None, f"lacks {name}; export the bundle again")
    return hashes


@dataclass(frozen=True)
class _Reader:
    """Typed access to one JSON value.

    `where` is the file and the keys that led to it: each failure starts with it. `mend`: what helps where a key lacks.
    """

    where: str
    value: Any
    mend: str = "export the bundle again"

    def fail(self, key: str | None, problem: str) -> NoReturn:
        raise BundleError(f"{self.where}{'' if key is None else f': {key}'}: {problem}")

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            self.fail(None, f"must be an object {{...}}, not {_shown(self.value)}")
        return self.value

    def _inner(self, place: str, value: Any) -> "_Reader":
        return _Reader(self.where + place, value, self.mend)

    def object(self, key: str) -> "_Reader":
        inner = self._inner(f": {key}", self._get(key))
        inner.mapping()
        return inner

    def array(self, key: str, fewest: int, most: int) -> "list[_Reader]":
        values = self._get(key)
        if not isinstance(values, list) or not fewest <= len(values) <= most:
            self.fail(key, f"must be a list of {fewest} to {most} entries, not {_shown(values)}")
        return [self._inner(f": {key}[{i}]", value) for i, value in enumerate(values)]

    def text(self, key: str) -> str:
        return self._inner(f": {key}", self._get(key)).whole_text()

    def whole_text(self) -> str:
        text = self.value
        if not isinstance(text, str) or not text.strip() or len(text) > 10000 or not text.isprintable():
            self.fail(None, f"must be a line of text, not {_shown(text)}")
        return text

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self._get(key)
        if value not in allowed:
            self.fail(key, f"must be one of {', '.join(allowed)}, not {_shown(value)}")
        return str(value)

    def integer(self, key: str, least: int, most: int) -> int:
        return self._whole(key, self._get(key), least, most)

    def integers(self, key: str, count: int, least: int, most: int) -> tuple[int, ...]:
        values = self._get(key)
        if not isinstance(values, list) or len(values) != count:
            self.fail(key, f"must be a list of {count} whole numbers, not {_shown(values)}")
        return tuple(self._whole(key, value, least, most) for value in values)

    def number(self, key: str, least: float, most: float) -> float:
        return self._inner(f": {key}", self._get(key)).only_number(least, most)

    def only_number(self, least: float, most: float) -> float:
        if type(self.value) not in (int, float) or not least <= self.value <= most:
            self.fail(None, f"must be a number in {least}..{most}, not {_shown(self.value)}")
        return float(self.value)

    def by_interval(self, key: str, least: float, most: float) -> dict[int, float]:
        """An object of numbers by interval, as in {"1": 71.1, "4": 68.6}; in the order of the intervals."""
        values = self.object(key)
        for name in values.mapping():
            is_number = name.isascii() and name.isdigit() and name[0] != "0" and len(name) <= 4
            if not is_number or int(name) > _LONGEST_INTERVAL:
                values.fail(
                    name,
                    f"is no interval; the keys must be whole numbers in 1..{_LONGEST_INTERVAL}, "
                    'as in {"1": 71.1}',
                )
        names = sorted(values.mapping(), key=int)
        return {int(name): values.number(name, least, most) for name in names}

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            self.fail(key, f"must be a whole number in {least}..{most}, not {_shown(value)}")
        return value

    def _get(self, key: str) -> Any:
        if key not in self.mapping():
            self.fail(None, f"lacks {key!r}; {self.mend}")
        return self.value[key]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _folder(bundle: str | Path) -> Path:
    """The bundle's folder: a shipped name first, so that `street` means the same wherever one stands."""
    if str(bundle) in shipped_bundles():
        return _MODELS / str(bundle)
    path = Path(bundle)
    if path.name == MANIFEST:
        path = path.parent
    if not path.is_dir():
        known = ", ".join(shipped_bundles()) or "none"
        raise BundleError(
            f"{bundle}: no such bundle; give its folder, or a name shipped with this version ({known})"
        )
    return path


def _load_json(path: Path) -> Any:
    if path.exists() and not path.is_file():  # a pipe would wait for ever
        raise BundleError(f"{path}: is not a file; copy the bundle anew or export it again")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_MANIFEST + 1)
    except FileNotFoundError:
        raise BundleError(f"{path.parent}: has no {MANIFEST}; give the folder that `export` wrote") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > _LARGEST_MANIFEST:
        raise BundleError(f"{path}: is larger than 1 MiB; this is no bundle's manifest")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path}: is not JSON ({error}); copy the bundle anew or export it again"
        ) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _checked_path(folder: Path, name: str) -> Path:
    """The path of a graph: a regular file of this very folder, of a size that a graph may have."""
    path = folder / name
    try:
        if path.resolve(strict=True).parent != folder.resolve():
            raise BundleError(f"{path}: is a link that leaves the bundle; put the file itself there")
        status = path.stat()
    except OSError:
        raise BundleError(f"{path}: is missing; copy the bundle anew or export it again") from None
    if not S_ISREG(status.st_mode):
        raise BundleError(f"{path}: is not a file; copy the bundle anew or export it again")
    if not 0 < status.st_size <= _LARGEST_GRAPH:
        raise BundleError(
            f"{path}: is {status.st_size} bytes; a graph has 1 byte to 2 GiB; export the bundle again"
        )
    return path
