"""`gsvnet-engine adapt`: somebody's ONNX segmentation network and unlabelled videos -> a verified bundle."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gsvnet_export.cli.options import (
    LARGEST_INTERVAL,
    LARGEST_SHORT_SIDE,
    bundle_name,
    geometry,
    line_of_text,
    tell,
)

if TYPE_CHECKING:
    from gsvnet_export.adapt.run import Adapted
    from gsvnet_export.adapt.wrap import Normalisation

_MOST = 1e6  # minutes, or gigabytes
_UNKNOWN_LICENSE = "LicenseRef-unknown"


def command(
    keyframe: Annotated[Path, typer.Option(help="The network: .onnx, one input, scores of every class out.")],
    videos: Annotated[Path, typer.Option(help="Folder of unlabelled videos of the kind to be segmented.")],
    bundle: Annotated[Path, typer.Option("-o", "--bundle", help="Bundle folder to write.")],
    work: Annotated[
        Path | None, typer.Option(help="Run folder; the bundle's name and .work by default.")
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            help="What the network expects: zero-one, minus-one-one, imagenet, caffe or none255; or give the next four."
        ),
    ] = None,
    mean: Annotated[str | None, typer.Option(help="As in 104,117,123, in the order of --channels.")] = None,
    std: Annotated[str | None, typer.Option(help="As in 58.4,57.1,57.4, or one number.")] = None,
    value_range: Annotated[
        float | None, typer.Option("--range", help="White before the mean is taken off: 1 or 255.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="rgb or bgr.")] = None,
    network_output: Annotated[
        str | None,
        typer.Option("--output", metavar="NAME", help="The network's output with the scores; any tensor."),
    ] = None,
    layout: Annotated[str, typer.Option(help="Of the input: auto, nchw or nhwc.")] = "auto",
    output_layout: Annotated[str, typer.Option(help="Of the scores: auto, nchw or nhwc.")] = "auto",
    scores: Annotated[str, typer.Option(help="What comes out: auto, logits or probabilities.")] = "auto",
    multiple: Annotated[
        int, typer.Option(min=1, max=512, help="A free input's sides are a multiple of this.")
    ] = 32,
    classes: Annotated[
        Path | None, typer.Option(help="Text file: a class name a line, then #rrggbb if you like.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; the folder's by default.")] = None,
    license_id: Annotated[
        str, typer.Option("--license", help="SPDX licence of the network's weights.")
    ] = _UNKNOWN_LICENSE,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=LARGEST_SHORT_SIDE,
            help="Working size: its short side; 720, or 4/3 of a fixed input's, by default.",
        ),
    ] = None,
    keyframe_scale: Annotated[
        str, typer.Option(help="Keyframe size as a ratio of the working size, for a free input size.")
    ] = "3/4",
    interval: Annotated[
        int, typer.Option(min=1, max=LARGEST_INTERVAL, help="Keyframe interval that `run` uses by default.")
    ] = 4,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to train.")] = 60.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps instead of minutes.")] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="VIDEO",
            help="Measure on this video, not on the last tenth of each clip. Repeatable.",
        ),
    ] = None,
    max_frames: Annotated[int, typer.Option(min=10, help="Frames to learn from, of each video.")] = 1500,
    cache_gb: Annotated[float, typer.Option(min=0.001, help="Disk for all frames' scores.")] = 4.0,
    backend: Annotated[str, typer.Option(help="auto, openvino or onnxruntime.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle and run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Adapt any segmentation network to video: train PF for it from unlabelled video, export, verify, measure."""
    from gsvnet_export.adapt import report
    from gsvnet_export.adapt.foreign import ForeignOptions
    from gsvnet_export.adapt.run import AdaptOptions, adapt
    from gsvnet_export.adapt.videos import CacheOptions

    named = bundle_name(name, bundle)
    scaled: Any = geometry(short_side, keyframe_scale).keyframe
    options = AdaptOptions(
        network=keyframe,
        videos=videos,
        bundle=bundle,
        work=work or bundle.resolve().with_name(bundle.resolve().name + ".work"),
        normalisation=_normalisation(normalise, mean, std, value_range, channels),
        foreign=ForeignOptions(
            output=network_output,
            layout=layout,
            output_layout=output_layout,
            scores=scores,
            multiple=multiple,
        ),
        name=named,
        class_names=classes,
        license=line_of_text("--license", license_id),
        interval=interval,
        short_side=short_side,
        keyframe_scale=scaled.scale,
        minutes=_bounded("--minutes", minutes),
        steps=steps,
        held_out=tuple(held_out or ()),
        cache=CacheOptions(frames=max_frames, bytes=int(_bounded("--cache-gb", cache_gb) * 1e9)),
        backend=backend,
        resume=resume,
        force=force,
    )
    try:
        adapted = adapt(options, tell)
    except KeyboardInterrupt:
        print(f"the same command with --resume goes on from {options.work}", file=sys.stderr)
        raise
    if license_id == _UNKNOWN_LICENSE:
        print("note: the manifest says the licence is unknown; --license names it", file=sys.stderr)
    print(json.dumps(_facts(adapted)) if as_json else "\n".join(report.lines(adapted.report)))


def _facts(adapted: "Adapted") -> dict[str, Any]:
    return {
        "bundle": str(adapted.bundle.path),
        "classes": adapted.network.classes,
        "probabilities": adapted.network.probabilities,
        "steps": adapted.steps,
        "verified": vars(adapted.verified),
        "report": adapted.report.facts(),
    }


def _normalisation(
    preset: str | None, mean: str | None, std: str | None, value_range: float | None, channels: str | None
) -> "Normalisation":
    """A preset, with whatever is given beside it in place of its own."""
    from dataclasses import replace

    from gsvnet_engine.errors import UsageError
    from gsvnet_export.adapt.wrap import NORMALISATIONS

    given: dict[str, Any] = {
        "mean": _three("--mean", mean),
        "std": _three("--std", std),
        "range": value_range,
        "channels": channels,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if preset is None and not given:
        raise UsageError(
            f"say what values the network expects: --normalise {', '.join(NORMALISATIONS)}; "
            "or --mean, --std, --range, --channels"
        )
    if preset is not None and preset not in NORMALISATIONS:
        raise UsageError(f"--normalise must be one of {', '.join(NORMALISATIONS)}, not {preset!r}")
    return replace(NORMALISATIONS[preset or "zero-one"], **given)


def _bounded(option: str, value: float) -> float:
    """The same; UsageError for what is not finite, or beyond all reason."""
    from gsvnet_engine.errors import UsageError

    if not value <= _MOST:
        raise UsageError(f"{option} must be a number of at most {_MOST:,.0f}, not {value}")
    return value


def _three(option: str, text: str | None) -> tuple[float, float, float] | None:
    """ "1,2,3" -> (1, 2, 3); "1" -> (1, 1, 1)."""
    from gsvnet_engine.errors import UsageError

    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3:
        raise UsageError(
            f"{option} takes a number for each channel, as in 104,117,123, or one for all; not {text!r}"
        )
    return values[0], values[1], values[2]
