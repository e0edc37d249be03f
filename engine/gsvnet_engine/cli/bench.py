"""gsvnet-engine bench: how fast this machine is, stage by stage and against torch."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gsvnet_engine.cli.gpu import BACKEND_HELP, GPU, NO_BUILD, PLAN_CACHE, PLUGIN, gpu_options
from gsvnet_engine.errors import InputError, UsageError

_ROOT = Path(__file__).resolve().parents[3]  # of the repository, where this runs from one
_BUNDLES = ("samples/bench/swiftnet_r18", "samples/bench/swiftnet_r18_int8")
_CLIP, _RENDERED = "clips/udacity_solidWhiteRight.mp4", "samples/street.mp4"
_SIZE = "2048x1024"


def command(
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            help="A shipped name, or a bundle's folder. Repeatable. Default: samples/bench/swiftnet_r18, "
            "where that is missing street.",
            show_default=False,
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="The clip. Default: udacity_solidWhiteRight.mp4 in $GSVNET_DATA/clips, else the rendered sample.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="What the clip is scaled to, once.")] = _SIZE,
    intervals: Annotated[
        str | None, typer.Option(help="Keyframe intervals, as in 1,4. Default: 1,2,3,4,5,8; on a GPU 1 to 5.")
    ] = None,
    backend: Annotated[str, typer.Option(help=BACKEND_HELP)] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads, on every side.")] = 2,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The keyframe network's weights, for torch. Default: the repository's own."),
    ] = None,
    gpu: Annotated[int, GPU] = 0,
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    plugin: Annotated[Path | None, PLUGIN] = None,
    no_build: Annotated[bool, NO_BUILD] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="The ratios alone: fewer intervals, frames and rounds.")
    ] = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Instead: milliseconds per megapixel from 480x360 to 3840x2160.")
    ] = False,
    first_frame: Annotated[
        bool, typer.Option("--first-frame", help="Instead: the first frame, networks compiled and kept.")
    ] = False,
    png: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw frames/s over intervals (needs matplotlib).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the PNG if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure speed: stages, intervals, PF by part; on a CPU ratios and targets, on a GPU the paper's tables.

    Runs that are compared alternate.
    """
    from gsvnet_engine.bench import chart
    from gsvnet_engine.bench.job import BenchOptions, run
    from gsvnet_engine.bench.tables import lines
    from gsvnet_engine.cli.evaluate import parse_intervals
    from gsvnet_engine.cli.sizes import parse_size

    height, width = parse_size(size)
    if height % 2 or width % 2:
        raise UsageError(f"--size must be even, as H.264 wants it, not {size}")
    if png is not None:
        chart.check(png, force=force)

    def say(note: str) -> None:
        print(note, file=sys.stderr, flush=True)

    given_gpu = gpu_options(
        device=gpu, plan_cache=plan_cache, plugin=plugin, build=not no_build, quiet=as_json
    )
    if sizes or first_frame:
        from gsvnet_engine.cli import bench_modes

        names = tuple(bundle) if bundle else default_bundles(say)[:1]
        if len(names) > 1 or (sizes and first_frame):
            raise UsageError("--sizes and --first-frame measure one bundle, one of them at a time")
        if any(given is not None for given in (intervals, checkpoint, png)):
            raise UsageError("--sizes and --first-frame know no --intervals, --checkpoint or --png")
        clip = video or default_clip(say)
        given = bench_modes.Given(
            bundle=names[0],
            clip=clip,
            cache=cache_folder(),
            backend=backend,
            threads=threads,
            gpu=given_gpu,
            quick=quick,
        )
        text, facts = (
            bench_modes.sizes(given, say) if sizes else bench_modes.first_frame(given, (height, width), say)
        )
        print(json.dumps(facts) if as_json else text, flush=True)
        return
    options = BenchOptions(
        bundles=tuple(bundle) if bundle else default_bundles(say),
        video=video or default_clip(say),
        size=(height, width),
        cache=cache_folder(),
        backend=backend,
        threads=threads,
        intervals=None if intervals is None else parse_intervals(intervals),
        quick=quick,
        checkpoint=checkpoint,
        gpu=given_gpu,
    )
    result = run(options, say)
    if png is not None:
        chart.draw(png, result)
    print(json.dumps(result.as_json()) if as_json else "\n".join(lines(result)), flush=True)


def default_bundles(say: Callable[[str], None]) -> tuple[str, ...]:
    """The bundle that the targets are about, as far as it is here; else the one that is always there."""
    found = tuple(str(_ROOT / name) for name in _BUNDLES if (_ROOT / name).is_dir())
    if not found:
        say(f"{_BUNDLES[0]} is not here: measuring street, which the targets are not about")
    return found or ("street",)


def default_clip(say: Callable[[str], None]) -> Path:
    """The real clip where GSVNET_DATA has it, else the rendered one."""
    data = os.environ.get("GSVNET_DATA")
    real, rendered = Path(data or "") / _CLIP, _ROOT / _RENDERED
    if data and real.is_file():
        return real
    if not rendered.is_file():
        raise InputError(
            "no clip to measure on: give --video FILE, or set GSVNET_DATA to a folder with clips/"
        )
    say(f"GSVNET_DATA has no {_CLIP}: measuring on the rendered {rendered.name}, whose outlines are simpler")
    return rendered


def cache_folder() -> Path:
    """Where scaled clips are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gsvnet-engine"
