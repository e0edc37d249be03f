"""What the torch verbs share: presets with overrides, size rules as options, the report of a run."""

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gsvnet_engine.errors import UsageError
from gsvnet_engine.geometry import Geometry, Scaled, ShortSide

if TYPE_CHECKING:
    import torch

# What a manifest may state, for the options that end up in it.
LARGEST_SHORT_SIDE, LARGEST_SCALE, LARGEST_INTERVAL = 8192, 4, 1000

Recipe = TypeVar("Recipe")


def choose_preset(presets: dict[str, Recipe], name: str, overrides: dict[str, Any]) -> Recipe:
    """The named recipe with every override that is not None; UsageError for an unknown name."""
    one_of("--preset", name, presets)
    chosen: Any = presets[name]
    return replace(chosen, **{key: value for key, value in overrides.items() if value is not None})  # type: ignore[no-any-return]


def one_of(option: str, name: str, known: Iterable[str]) -> None:
    """UsageError, naming what there is, unless the name is known."""
    if name not in known:
        raise UsageError(f"{option} {name}: there are {', '.join(known)}")


def tell(note: str) -> None:
    """A line on stderr, at once."""
    print(note, file=sys.stderr, flush=True)


def geometry(short_side: int | None, keyframe_scale: str, multiple: int = 8) -> Geometry:
    """Size rules from options: short_side None means the source's own size; keyframe_scale is "n/d"."""
    numerator, _, denominator = keyframe_scale.partition("/")
    try:
        scale = (int(numerator), int(denominator or 1))
    except ValueError:
        scale = (0, 0)
    if not 1 <= min(scale) <= max(scale) <= 10_000 or scale[0] > LARGEST_SCALE * scale[1]:
        raise UsageError(
            f"--keyframe-scale {keyframe_scale}: give a ratio of whole numbers such as 1/2 or 3/4, at most "
            f"{LARGEST_SCALE}"
        )
    return Geometry(
        working=ShortSide(short_side) if short_side else "source", keyframe=Scaled(scale, multiple)
    )


def torch_device(name: str | None) -> "torch.device":
    """The device to train on; None: the GPU that torch sees, else the CPU. UsageError for what is not there."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: give cpu, cuda, or cuda: and a GPU's number")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; a GPU needs a CUDA "
            "build of torch (pytorch.org)"
        )
    return device


def line_of_text(option: str, text: str) -> str:
    """The same; UsageError for what a manifest could not state as a line of text."""
    if not text.strip() or not text.isprintable() or len(text) > 1000:
        raise UsageError(f"{option} {text[:60]!r}: give a line of text")
    return text


def bundle_name(name: str | None, folder: Path) -> str:
    """The name given, or the folder's own; UsageError where that is none."""
    if not folder.resolve().name:
        raise UsageError(f"-o {folder}: is no place for a bundle; name a folder in it")
    if name is None and not folder.resolve().name.isprintable():
        raise UsageError(f"-o {str(folder)!r}: its name cannot be printed; give the bundle one with --name")
    return line_of_text("--name", folder.resolve().name if name is None else name)


def print_run(folder: Path, as_json: bool) -> None:
    """The run's last measurements and where its checkpoint lies; JSON on stdout, a line on stderr."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last: dict[str, Any] = {}
    for row in rows:
        last |= row
    checkpoint = folder / "checkpoint.safetensors"
    if as_json:
        print(json.dumps({"checkpoint": str(checkpoint), **last}))
    else:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        print(f"{checkpoint}: {figures}", file=sys.stderr)
