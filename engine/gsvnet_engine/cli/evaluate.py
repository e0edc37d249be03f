"""gsvnet-engine evaluate: mIoU by the paper's protocol, and what can be said of videos without labels."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gsvnet_engine.cli.gpu import BACKEND_HELP, GPU, NO_BUILD, PLAN_CACHE, PLUGIN, gpu_options
from gsvnet_engine.errors import EXIT_OK, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from gsvnet_engine.evaluation.job import EvaluateOptions

SPLITS = ("train", "val", "test")
_LONGEST = 1000


def command(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Shipped names, or bundles' folders. Default: street.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="CamVid (holds val/, or camvid/ with it), or Cityscapes (leftImg8bit_sequence/, gtFine/).",
        ),
    ] = None,
    dataset: Annotated[str, typer.Option(help="auto (told from DIR), camvid or cityscapes.")] = "auto",
    split: Annotated[
        str, typer.Option(help="train, val or test. Only consecutive video has intervals.")
    ] = "val",
    intervals: Annotated[
        str | None,
        typer.Option(help="Keyframe intervals, as in 1,4. Default: 1,2,3,4,5 on video, 1 on stills."),
    ] = None,
    boundary: Annotated[
        bool, typer.Option("--boundary/--no-boundary", help="Boundary F-scores beside mIoU.")
    ] = True,
    consistency: Annotated[
        bool, typer.Option("--consistency", help="Temporal consistency along the motion, of runs and videos.")
    ] = False,
    agreement: Annotated[
        list[str] | None,
        typer.Option(metavar="VIDEO", help="Also compare with interval 1 on this video. Repeatable."),
    ] = None,
    machine_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Labels by other networks, DIR/[<video>/]<frame number>.png, to compare with."
        ),
    ] = None,
    familiarity: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIDEO",
            help="Only measure when `run` should warn: known material is --data. A folder: its .mp4. Repeatable.",
        ),
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw mIoU over frames/s (needs matplotlib).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the PNG if it exists.")] = False,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames to read, of each split and of each video.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help=f"{BACKEND_HELP} Repeatable, or a,b.", show_default="auto"),
    ] = None,
    cpu_precision: Annotated[
        list[str] | None,
        typer.Option(help="f32 or bf16 (OpenVINO). Repeatable, or a,b.", show_default="f32"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for the networks. Default: all.")
    ] = None,
    gpu: Annotated[int, GPU] = 0,
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    plugin: Annotated[Path | None, PLUGIN] = None,
    no_build: Annotated[bool, NO_BUILD] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Measure bundles: mIoU (percent) on CamVid or Cityscapes, agreement with interval 1 on any video."""
    wanted = None if intervals is None else parse_intervals(intervals)
    if split not in SPLITS:
        raise UsageError(f"--split must be one of {', '.join(SPLITS)}, not {split!r}")
    if data is None and not agreement and not familiarity:
        raise UsageError(
            "nothing to measure: give --data DIR (CamVid or Cityscapes), --agreement VIDEO, or both"
        )

    from gsvnet_engine.evaluation.job import EvaluateOptions
    from gsvnet_engine.evaluation.protocol import Measures

    options = EvaluateOptions(
        bundles=tuple(dict.fromkeys(bundles or ("street",))),
        backends=parse_list(backend, "auto"),
        cpu_precisions=parse_list(cpu_precision, "f32"),
        threads=threads,
        gpu=gpu_options(device=gpu, plan_cache=plan_cache, plugin=plugin, build=not no_build, quiet=as_json),
        data=data,
        dataset=dataset,
        split=split,
        intervals=wanted,
        measures=Measures(boundary=boundary, consistency=consistency),
        agreement=tuple(agreement or ()),
        machine_labels=machine_labels,
        familiarity=tuple(familiarity or ()),
        max_frames=max_frames,
        curve=curve,
        force=force,
    )
    return _measured(options, as_json=as_json)


def _measured(options: "EvaluateOptions", *, as_json: bool) -> int:
    """Measure and print; the exit code. What was measured before an error is printed before it."""
    from gsvnet_engine.cli.app import explain
    from gsvnet_engine.evaluation.job import is_measured, nothing, run

    facts = nothing()
    try:
        run(options, facts, say=lambda note: print(note, file=sys.stderr))
    except (Exception, KeyboardInterrupt) as error:
        if not is_measured(facts):
            raise
        message, exit_code = explain(error)
        failure = {"error": " ".join(message.split()), "exit_code": exit_code}
        _print({**facts, **failure} if as_json else facts, as_json=as_json)
        if not as_json and isinstance(error, Exception):
            raise
        print(f"error: {failure['error']}", file=sys.stderr)  # with --json the one object has it, too
        return exit_code
    _print(facts, as_json=as_json)
    return EXIT_PARTIAL if facts["problems"] else EXIT_OK


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    from gsvnet_engine.evaluation.tables import lines

    for line in facts["problems"]:
        print(f"warning: {line}", file=sys.stderr)
    print(json.dumps(facts) if as_json else "\n".join(lines(facts)), flush=True)


def parse_intervals(text: str) -> tuple[int, ...]:
    """ "4,1,2" -> (1, 2, 4)."""
    parts = [part.strip() for part in text.split(",")]
    digits = [part.lstrip("0") for part in parts if part.isascii() and part.isdigit()]
    if len(digits) < len(parts) or not all(0 < len(each) <= 4 and int(each) <= _LONGEST for each in digits):
        raise UsageError(f"--intervals must be whole numbers of 1..{_LONGEST}, as in 1,2,4, not {text!r}")
    return tuple(sorted({int(each) for each in digits}))


def parse_list(given: list[str] | None, default: str) -> tuple[str, ...]:
    """["a,b", "a"] -> ("a", "b")."""
    words = [word.strip() for text in given or [default] for word in text.split(",")]
    return tuple(dict.fromkeys(words))
