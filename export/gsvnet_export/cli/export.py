"""`gsvnet-engine export`: two checkpoints -> a verified bundle."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    keyframe: Annotated[Path, typer.Option(help="Checkpoint of `train keyframe`.")],
    propagation: Annotated[Path, typer.Option(help="Checkpoint of `train propagation`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle folder to write.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name; the folder's by default.")] = None,
    short_side: Annotated[
        int | None,
        typer.Option(min=8, help="Working size: its short side in pixels; the source's own by default."),
    ] = None,
    keyframe_scale: Annotated[
        str, typer.Option(help="Keyframe size as a ratio of the working size.")
    ] = "3/4",
    interval: Annotated[int, typer.Option(min=1, help="Keyframe interval that `run` uses by default.")] = 4,
    license_id: Annotated[
        str, typer.Option("--license", help="SPDX licence of the weights, as their training data allows.")
    ] = "CC-BY-NC-4.0",
    accuracy: Annotated[
        Path | None, typer.Option(help="JSON file of measured accuracy, copied into the manifest.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle in an existing folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Export checkpoints to a bundle. It is verified (torch against ONNX Runtime) before it is written."""
    from gsvnet_engine.errors import InputError
    from gsvnet_export.bundles import ExportOptions, export_bundle
    from gsvnet_export.cli.options import geometry

    sizes = geometry(short_side, keyframe_scale)
    try:
        measured_accuracy = json.loads(accuracy.read_text()) if accuracy else None
    except (OSError, ValueError) as error:
        raise InputError(f"{accuracy}: not a JSON file that can be read ({error})") from error
    options = ExportOptions(
        name=name or output.resolve().name,
        geometry=sizes,
        license=license_id,
        interval=interval,
        accuracy=measured_accuracy,
    )
    bundle, measured = export_bundle(keyframe, propagation, output, options, force=force)
    size = sum(path.stat().st_size for path in output.glob("*.onnx"))
    if as_json:
        print(json.dumps({"bundle": str(bundle.path), "bytes": size, "verified": vars(measured)}))
    else:
        figures = ", ".join(f"{name} {value:.2g}" for name, value in vars(measured).items())
        print(f"{bundle.path}: {size / 1e6:.1f} MB, verified against torch ({figures})", file=sys.stderr)
