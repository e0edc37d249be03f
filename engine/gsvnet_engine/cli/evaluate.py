"""gsvnet-engine evaluate: mIoU by the paper's protocol, and agreement with interval 1 on videos without labels."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gsvnet_engine.errors import EXIT_OK, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from gsvnet_engine.bundle import Bundle
    from gsvnet_engine.evaluation.protocol import RuntimeOptions

SPLITS = ("train", "val", "test")
_INTERVALS = (1, 2, 3, 4, 5)
_LONGEST = 1000
_MIOUS = ("average", "minimum", "repeat_average", "repeat_minimum", "warp_average", "warp_minimum")


def command(
    bundle: Annotated[str, typer.Argument(help="A shipped name, or a bundle's folder.")] = "street",
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="CamVid: the folder that holds val/, or camvid/ with it."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="train, val or test. Only consecutive video has intervals.")
    ] = "val",
    intervals: Annotated[
        str | None,
        typer.Option(help="Keyframe intervals, as in 1,4. Default: 1,2,3,4,5 on video, 1 on stills."),
    ] = None,
    agreement: Annotated[
        list[str] | None,
        typer.Option(metavar="VIDEO", help="Also compare with interval 1 on this video. Repeatable."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames to read, of the split and of each video.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    cpu_precision: Annotated[
        str, typer.Option(help="f32 or bf16 (OpenVINO, on processors that have it).")
    ] = "f32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for the networks. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Measure a bundle: mIoU (percent) on CamVid, and agreement with interval 1 on any video."""
    wanted = None if intervals is None else parse_intervals(intervals)
    if split not in SPLITS:
        raise UsageError(f"--split must be one of {', '.join(SPLITS)}, not {split!r}")
    if data is None and not agreement:
        raise UsageError("nothing to measure: give --data DIR (CamVid), --agreement VIDEO, or both")

    from gsvnet_engine.bundle import Bundle
    from gsvnet_engine.evaluation.protocol import RuntimeOptions

    opened = Bundle.open(bundle)
    opened.verify()
    options = RuntimeOptions(backend=backend, threads=threads, cpu_precision=cpu_precision)
    facts: dict[str, Any] = {"bundle": opened.manifest.name, "split": None, "frames": 0, "rows": []}
    facts |= {"per_class": {}, "absent": [], "agreement": []}
    if data is not None:
        facts |= _measured(opened, data, split, wanted, options, max_frames)
    problems: list[str] = []
    for video in agreement or ():
        facts["agreement"] += _agreements(opened, video, wanted or _INTERVALS, options, max_frames, problems)
    for line in problems:
        print(f"warning: {line}", file=sys.stderr)
    print(json.dumps(facts) if as_json else "\n".join(_lines(facts)))
    return EXIT_PARTIAL if problems else EXIT_OK


def parse_intervals(text: str) -> tuple[int, ...]:
    """ "4,1,2" -> (1, 2, 4)."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= _LONGEST for part in parts):
        raise UsageError(f"--intervals must be whole numbers of 1..{_LONGEST}, as in 1,2,4, not {text!r}")
    return tuple(sorted({int(part) for part in parts}))


def _measured(
    bundle: "Bundle",
    root: Path,
    split: str,
    wanted: tuple[int, ...] | None,
    options: "RuntimeOptions",
    max_frames: int | None,
) -> dict[str, Any]:
    """The part of the result that comes from ground truth."""
    from dataclasses import asdict

    from gsvnet_engine.evaluation.camvid import CLASSES, CamVid
    from gsvnet_engine.evaluation.protocol import evaluate

    data = CamVid.open(root, split)
    intervals = wanted or (_INTERVALS if data.is_run else _INTERVALS[:1])
    found = evaluate(bundle, data, intervals, options=options, max_frames=max_frames)
    by = {"bundle": bundle.manifest.name, "backend": found.backend, "precision": found.precision}
    absent = [CLASSES[index] for index in found.keyframes.absent()]
    ious = zip(CLASSES, found.keyframes.iou().tolist(), strict=True)
    return {
        "split": split,
        "frames": found.frames,
        "rows": [{**asdict(row), **by} for row in found.rows],
        "per_class": {name: iou for name, iou in ious if name not in absent},
        "absent": absent,
    }


def _agreements(
    bundle: "Bundle",
    video: str,
    intervals: Sequence[int],
    options: "RuntimeOptions",
    max_frames: int | None,
    problems: list[str],
) -> list[dict[str, Any]]:
    """The rows of one video; `problems` gets a line for each part of it that could not be read."""
    from dataclasses import asdict

    from gsvnet_engine.evaluation.protocol import agreement
    from gsvnet_engine.video import SourceOptions, open_source

    with open_source(video, SourceOptions(max_frames=max_frames)) as source:
        rows = agreement(bundle, source, intervals, options=options)
        for error in source.errors:
            where = "" if error.pts_s is None else f" at {error.pts_s:.3f} s"
            problems.append(f"{source.name}{where}: {error.text}")
    return [{"video": video, **asdict(row)} for row in rows]


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    rows = facts["rows"]
    if rows:
        by = "{bundle}, {backend} {precision}".format(**rows[0])
        yield f"CamVid {facts['split']}, {facts['frames']} labelled frames, by {by}; mIoU in percent"
        yield "            propagated          keyframe repeated   warp only           networks"
        yield "interval    average   minimum   average   minimum   average   minimum   frames/s"
        for row in rows:
            mious = "".join(f"{_percent(row[name + '_miou']):>7}   " for name in _MIOUS)
            yield f"{row['interval']:>8}    {mious}{row['fps']:>8.1f}"
        yield "IoU at interval 1"
        width = max(map(len, facts["per_class"]))
        for name, iou in facts["per_class"].items():
            yield f"  {name:<{width}}  {iou:6.2f}"
    if facts["absent"]:
        yield f"no ground truth, so not in any mean: {', '.join(facts['absent'])}"
    if facts["agreement"]:
        yield "agreement with interval 1, percent of pixels"
        yield "interval    propagated   keyframe repeated   video"
    for row in facts["agreement"]:
        shares = f"{100 * row['agreement']:>10.2f}   {100 * row['repeat_agreement']:>17.2f}"
        yield f"{row['interval']:>8}    {shares}   {row['video']}"


def _percent(miou: float | None) -> str:
    return "-" if miou is None else f"{miou:.2f}"
