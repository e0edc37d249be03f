"""`gsvnet-engine export`: two checkpoints -> a verified bundle."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gsvnet_export.cli.options import (
    LARGEST_INTERVAL,
    LARGEST_SHORT_SIDE,
    bundle_name,
    geometry,
    line_of_text,
    one_of,
    tell,
)


def command(
    keyframe: Annotated[Path, typer.Option(help="Checkpoint of `train keyframe`.")],
    propagation: Annotated[Path, typer.Option(help="Checkpoint of `train propagation`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Bundle folder to write.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name; the folder's by default.")] = None,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=LARGEST_SHORT_SIDE,
            help="Working size: its short side in pixels; the source's own by default.",
        ),
    ] = None,
    keyframe_scale: Annotated[
        str, typer.Option(help="Keyframe size as a ratio of the working size.")
    ] = "3/4",
    interval: Annotated[
        int, typer.Option(min=1, max=LARGEST_INTERVAL, help="Keyframe interval that `run` uses by default.")
    ] = 4,
    license_id: Annotated[
        str, typer.Option("--license", help="SPDX licence of the weights, as their training data allows.")
    ] = "CC-BY-NC-4.0",
    accuracy: Annotated[
        Path | None, typer.Option(help="JSON file of measured accuracy, copied into the manifest.")
    ] = None,
    familiarity: Annotated[
        Path | None, typer.Option(help="What `evaluate --familiarity ... --json` printed, as a file.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32; fp16: convolutions in float16; int8: the keyframe network quantised, PF in float32. "
            "Below fp32, --data is needed, and what loses too much is refused."
        ),
    ] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="GSVNET_DATA",
            help="What the keyframe network was trained on: its train split calibrates, the slice held out judges.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the bundle in an existing folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Export checkpoints to a bundle. It is verified (torch against ONNX Runtime) before it is written."""
    from gsvnet_engine.bundle import PRECISIONS
    from gsvnet_engine.errors import UsageError
    from gsvnet_export.bundles import ExportOptions, export_bundle, open_material

    one_of("--precision", precision, PRECISIONS)
    if precision != "fp32" and data is None:
        raise UsageError(
            f"--precision {precision} is judged on real pictures: name the training data with --data or GSVNET_DATA"
        )
    sizes = geometry(short_side, keyframe_scale)
    measured_accuracy = _stated("accuracy", _json_of(accuracy), accuracy) if accuracy else None
    rule = _stated("familiarity", _surveyed(familiarity), familiarity) if familiarity else None
    options = ExportOptions(
        name=bundle_name(name, output),
        geometry=sizes,
        license=line_of_text("--license", license_id),
        precision=precision,
        interval=interval,
        accuracy=measured_accuracy,
        familiarity=rule,
    )
    material = open_material(keyframe, data) if data is not None and precision != "fp32" else None
    bundle, measured = export_bundle(
        keyframe,
        propagation,
        output,
        options,
        material=material,
        force=force,
        say=tell,
    )
    conversion = dict(bundle.manifest.conversion)
    size = sum(path.stat().st_size for path in output.glob("*.onnx"))
    if as_json:
        facts = {"bundle": str(bundle.path), "bytes": size, "verified": vars(measured)}
        print(json.dumps({**facts, "precision": precision, "conversion": conversion}))
    else:
        figures = ", ".join(f"{name} {value:.2g}" for name, value in vars(measured).items())
        print(f"{bundle.path}: {size / 1e6:.1f} MB, verified against torch ({figures})", file=sys.stderr)
        if conversion:
            print(_cost_of(precision, conversion), file=sys.stderr)


def _cost_of(precision: str, conversion: dict[str, Any]) -> str:
    """What the precision costs, in a line."""
    found = conversion["held_out"]
    miou = found["average_miou"]
    left = conversion.get("left_in_float", [])
    return (
        f"{precision}: average mIoU {miou['fp32']:.2f} -> {miou[precision]:.2f} on the held-out pictures, "
        f"{found['agreement']:.2f} % of the pixels labelled as in fp32"
        + (f"; left in float32: {', '.join(left)}" if left else "")
    )


def _json_of(path: Path) -> Any:
    """The file's value; InputError where it cannot be read."""
    from gsvnet_engine.errors import InputError

    try:
        return json.loads(path.read_text(), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file that can be read ({error})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _surveyed(path: Path) -> Any:
    """What the first survey of the file says for the manifest."""
    from gsvnet_engine.errors import InputError

    try:
        return _json_of(path)["familiarity"][0]["manifest"]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: is not what `evaluate --familiarity ... --json` prints") from error


def _stated(key: str, value: Any, path: Path) -> Any:
    """The value, which the manifest is to hold under `key`; InputError, naming its file, where it may not."""
    from gsvnet_engine.bundle import check_stated
    from gsvnet_engine.errors import BundleError, InputError

    try:
        check_stated(key, value, str(path))
    except BundleError as error:
        raise InputError(str(error)) from error
    return value
