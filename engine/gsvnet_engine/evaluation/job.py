"""One `evaluate`: bundles by backends by precisions, measured on whatever is given; JSON values come out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from gsvnet_engine import backends
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import MEAN_CONFIDENCE, Bundle, distinct_names
from gsvnet_engine.errors import BackendError, UsageError
from gsvnet_engine.evaluation import agreement, curve, familiarity, machine_labels
from gsvnet_engine.evaluation.dataset import Dataset
from gsvnet_engine.evaluation.layouts import open_dataset
from gsvnet_engine.evaluation.networks import RuntimeOptions
from gsvnet_engine.evaluation.protocol import Evaluation, Measures, evaluate, usable_clips
from gsvnet_engine.familiarity import KEYFRAMES
from gsvnet_engine.sources.base import SourceError
from gsvnet_engine.video import STDIN, SourceOptions, is_url, open_source

INTERVALS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What `evaluate` is asked for. backends and cpu_precisions: each with each. intervals: None for all that the data
    has, up to 5. familiarity: videos; with them `data` is the known material, and no mIoU is measured."""

    bundles: tuple[str, ...] = ("street",)
    backends: tuple[str, ...] = ("auto",)
    cpu_precisions: tuple[str, ...] = ("f32",)
    threads: int | None = None
    gpu: GpuOptions = field(default_factory=GpuOptions)
    data: Path | None = None
    dataset: str = "auto"
    split: str = "val"
    intervals: tuple[int, ...] | None = None
    measures: Measures = field(default_factory=Measures)
    agreement: tuple[str, ...] = ()
    machine_labels: Path | None = None
    familiarity: tuple[str, ...] = ()
    max_frames: int | None = None
    curve: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A bundle with what runs it. `by`: as its rows name it."""

    bundle: Bundle
    runtime: RuntimeOptions
    by: dict[str, str]


def nothing() -> dict[str, Any]:
    """The result before anything is measured. "problems": lines about parts of videos that could not be read."""
    facts: dict[str, Any] = {"bundle": None, "dataset": None, "split": None, "frames": 0}
    facts |= {kind: [] for kind in ("rows", "distances", "agreement", "machine_labels", "familiarity")}
    return facts | {"per_class": {}, "absent": [], "problems": []}


def is_measured(facts: dict[str, Any]) -> bool:
    """Whether there is anything in it to show."""
    return any(facts[kind] for kind in ("rows", "agreement", "machine_labels", "familiarity"))


def run(options: EvaluateOptions, facts: dict[str, Any], *, say: Callable[[str], None]) -> None:
    """Measure it, into `facts` (from `nothing`), where everything measured before an error stays.

    `say` takes one-line notes. Raises GsvnetError, for what can be known beforehand before anything is measured.
    """
    _check(options)
    subjects = plan(options, say)
    facts["bundle"] = subjects[0].by["bundle"]
    data = None
    if options.data is not None and not options.familiarity:
        data = open_dataset(options.data, options.split, options.dataset)
    _look(options, subjects, data)
    if data is not None:
        if data.gap is not None and options.intervals is None:
            say(f"only interval 1 is measured: {data.gap}")
        for subject in subjects:
            _add_measured(facts, subject, data, options)
    if options.curve is not None:
        curve.draw(options.curve, facts["rows"], _title(facts))
    for subject in subjects:
        _add_videos(facts, subject, options)
        if options.familiarity and options.data is not None:
            facts["familiarity"].append(_surveyed(subject, options.data, options, facts["problems"]))
    if options.measures.consistency:
        for line in _unfollowed(facts):
            say(line)


def plan(options: EvaluateOptions, say: Callable[[str], None]) -> list[Subject]:
    """Every combination that this machine can run; `say` hears of the others.

    Raises BackendError where none remains.
    """
    opened = [Bundle.open(name) for name in options.bundles]
    for bundle in opened:
        bundle.verify()
    names = distinct_names(opened, options.bundles)
    runtimes = _runtimes(options, say)
    return [
        Subject(
            bundle=bundle,
            runtime=runtime,
            by={"bundle": name, **by, "precision": bundle.manifest.computed_in(by["precision"])},
        )
        for bundle, name in zip(opened, names, strict=True)
        for runtime, by in runtimes
    ]


def _runtimes(
    options: EvaluateOptions, say: Callable[[str], None]
) -> list[tuple[RuntimeOptions, dict[str, str]]]:
    found: dict[tuple[str, str], RuntimeOptions] = {}
    errors: list[BackendError] = []
    for name in options.backends:
        for precision in options.cpu_precisions:
            try:
                backend = backends.choose(name, precision, options.gpu)
            except BackendError as error:
                errors.append(error)
                continue
            runtime = RuntimeOptions(
                backend=backend.name,
                threads=options.threads,
                cpu_precision=backend.precision,
                gpu=options.gpu,
            )
            backend.close()
            found.setdefault((backend.name, backend.precision), runtime)
            if backend.on_device:
                say(
                    f"{backend.name}: frames/s include the ways of scores to the GPU and back; bench measures without"
                )
    if not found:
        raise errors[0]
    for reason in errors:
        say(f"left out: {reason}")
    return [
        (runtime, {"backend": backend, "precision": precision})
        for (backend, precision), runtime in found.items()
    ]


def _check(options: EvaluateOptions) -> None:
    if options.data is None and not options.agreement and not options.familiarity:
        raise UsageError(
            "nothing to measure: give --data DIR (CamVid or Cityscapes), --agreement VIDEO, or both"
        )
    for option, given in (("--agreement", options.agreement), ("--familiarity", options.familiarity)):
        if STDIN in given:
            raise UsageError(
                f"{option} {STDIN}: evaluate reads no raw frames from stdin: give a file, a folder of images or a URL"
            )
    if options.machine_labels is not None and not options.agreement:
        raise UsageError("--machine-labels: of which video? give it with --agreement VIDEO")
    videos, labels = options.agreement, options.machine_labels
    if labels is not None and len(videos) > 1 and any(labels.glob("*.png")):
        raise UsageError(
            f"--machine-labels {labels}: holds labels of one video, and {len(videos)} are given: "
            "give the folder that holds <video>/<frame number>.png"
        )
    if options.familiarity and options.data is None:
        raise UsageError("--familiarity: needs --data DIR, whose pictures are the known material")
    if options.curve is not None:
        if options.data is None or options.familiarity:
            raise UsageError("--curve: shows mIoU, so it needs --data DIR, and no --familiarity")
        curve.check(options.curve, force=options.force)


def _look(options: EvaluateOptions, subjects: Sequence[Subject], data: Dataset | None) -> None:
    """Raise for whatever of the input is known to fail later: other classes, missing frames, videos, labels."""
    if data is not None:
        for subject in subjects:
            usable_clips(subject.bundle, data, _intervals(options, data), options.max_frames)
    for video in (*options.agreement, *familiarity.videos_in(options.familiarity)):
        if not is_url(video) and not Path(video).is_fifo():  # these may be had once only
            open_source(video).close()
    if options.familiarity and options.data is not None:
        familiarity.known_material(options.data, options.dataset)
    if options.machine_labels is None:
        return
    for subject in subjects:
        for video in options.agreement:
            with closing(_labels_of(video, options.machine_labels, subject)) as labels:
                labels.check(max(options.intervals or INTERVALS), options.max_frames)


def _intervals(options: EvaluateOptions, data: Dataset) -> Sequence[int]:
    return options.intervals or (INTERVALS if data.is_video else INTERVALS[:1])


def _labels_of(video: str, folder: Path, subject: Subject) -> machine_labels.MachineLabels:
    classes = tuple(info.name for info in subject.bundle.manifest.classes)
    return machine_labels.MachineLabels.open(video, folder, classes)


def _add_measured(facts: dict[str, Any], subject: Subject, data: Dataset, options: EvaluateOptions) -> None:
    """The part of the result that comes from ground truth."""
    found = evaluate(
        subject.bundle,
        data,
        _intervals(options, data),
        options=subject.runtime,
        measures=options.measures,
        max_frames=options.max_frames,
    )
    facts["rows"] += [{**asdict(row), **subject.by} for row in found.rows]
    facts["distances"] += [{**row, **subject.by} for row in _distances(found, data.classes)]
    absent = [data.classes[index] for index in found.keyframes.absent()]
    if facts["dataset"] is None:
        facts |= {"dataset": data.name, "split": data.split, "frames": found.frames, "absent": absent}
        facts["per_class"] = facts["distances"][0]["per_class"]


def _distances(found: Evaluation, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """mIoU and IoU of each class with ground truth, in percent, at every distance."""
    absent = set(found.keyframes.absent())
    for each in found.distances:
        ious, boundary = each.propagated.iou(), None
        if each.boundary is not None:
            f = each.boundary.f_scores()
            boundary = {name: float(f[i]) for i, name in enumerate(classes) if f[i] == f[i]}
        yield {
            "distance": each.distance,
            "miou": each.propagated.miou(),
            "repeat_miou": each.repeated.miou(),
            "warp_miou": None if each.warped is None else each.warped.miou(),
            "per_class": {name: float(ious[i]) for i, name in enumerate(classes) if i not in absent},
            "boundary_f_per_class": boundary,
        }


def _add_videos(facts: dict[str, Any], subject: Subject, options: EvaluateOptions) -> None:
    """Agreement of every video with interval 1, or with its machine labels."""
    intervals = options.intervals or INTERVALS
    rows: Sequence[Any]
    for video in options.agreement:
        with open_source(video, SourceOptions(max_frames=options.max_frames)) as source:
            rows = agreement.agreement(
                subject.bundle,
                source,
                intervals,
                options=subject.runtime,
                consistency=options.measures.consistency,
            )
            _note(facts["problems"], source.name, source.errors)
        facts["agreement"] += [{"video": video, **asdict(row), **subject.by} for row in rows]
        if options.machine_labels is None:
            continue
        wanted = tuple(sorted({1, *intervals}))
        with closing(_labels_of(video, options.machine_labels, subject)) as data:
            rows = machine_labels.measure(
                subject.bundle, data, wanted, options=subject.runtime, max_frames=options.max_frames
            )
        facts["machine_labels"] += [{"video": video, **asdict(row), **subject.by} for row in rows]


def _note(problems: list[str], name: str, errors: Sequence[SourceError]) -> None:
    for error in errors:
        where = "" if error.pts_s is None else f" at {error.pts_s:.3f} s"
        line = f"{name}{where}: {error.text}"
        if line not in problems:
            problems.append(line)


def _unfollowed(facts: dict[str, Any]) -> Iterator[str]:
    """A line about each material on which temporal consistency was asked for, and is nowhere."""
    if facts["rows"] and all(row["consistency"] is None for row in facts["rows"]):
        of = f"of {facts['dataset']} {facts['split']}"
        yield f"--consistency: not measured {of}: no labelled frames of known motion follow one another there"
    for video in dict.fromkeys(row["video"] for row in facts["agreement"]):
        if all(row["consistency"] is None for row in facts["agreement"] if row["video"] == video):
            yield f"--consistency: not measured of {video}: no frames of known motion follow one another there"


def _surveyed(subject: Subject, root: Path, options: EvaluateOptions, problems: list[str]) -> dict[str, Any]:
    """The statistic on every material, and the manifest's entry that follows."""
    found = familiarity.survey(
        subject.bundle,
        root,
        options.familiarity,
        kind=options.dataset,
        options=subject.runtime,
        max_frames=options.max_frames,
        note=lambda name, errors: _note(problems, name, errors),
    )
    materials = [
        {
            "name": material.name,
            "known": material.is_known,
            "median": _rounded(median(material.values())),
            "lowest": _rounded(min(material.values())),
            "highest": _rounded(max(material.values())),
            "windows": len(material.windows),
            "warned": material.warned(found.threshold),
            "run_warns": not material.is_known and material.run_warns(found.threshold),
        }
        for material in found.materials
    ]
    judged = [row for row in materials if not row["known"]]
    entry = {
        "statistic": MEAN_CONFIDENCE,
        "threshold": _rounded(found.threshold),
        "usual": [_rounded(value) for value in found.usual],
        "measured": {
            "keyframes": KEYFRAMES,
            "known windows warned of": _rounded(found.false_alarms),
            "warned": [row["name"] for row in judged if row["run_warns"]],
            "not warned": [row["name"] for row in judged if not row["run_warns"]],
        },
    }
    return {**subject.by, "materials": materials, "manifest": entry}


def _rounded(value: float) -> float:
    return round(value, 4)


def _title(facts: dict[str, Any]) -> str:
    return f"{facts['dataset']} {facts['split']}, {facts['frames']} labelled frames"
