"""run: a video in, pictures out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gsvnet_engine.cli.gpu import BACKEND_HELP, GPU, NO_BUILD, PLAN_CACHE, PLUGIN, gpu_options

if TYPE_CHECKING:
    from gsvnet_engine.video import RawFormat

_INPUT_HELP = (
    "Videos, folders or quoted patterns of images, a webcam's number, a URL, or - for raw frames on stdin."
)
_OUTPUT_HELP = (
    "Where to write, by its form: name.mp4, .mkv or .mov (overlay), name.jsonl, name.json (COCO masks), "
    "folder/ (PNGs), - (raw labels). Repeatable; {stem} stands for the input's name. "
    "Default: {stem}.gsvnet.mp4 in this folder."
)


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=_INPUT_HELP, show_default=False)],
    output: Annotated[
        list[str] | None, typer.Option("-o", "--output", help=_OUTPUT_HELP, show_default=False)
    ] = None,
    bundle: Annotated[str, typer.Option(help="A shipped bundle's name, or a bundle's folder.")] = "street",
    interval: Annotated[
        int | None, typer.Option(min=1, help="A keyframe every so many frames. Default: the bundle's.")
    ] = None,
    backend: Annotated[str, typer.Option(help=BACKEND_HELP)] = "auto",
    cpu_precision: Annotated[
        str, typer.Option(help="f32 or bf16 (OpenVINO, on processors that have it).")
    ] = "f32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for the networks. Default: all.")
    ] = None,
    gpu: Annotated[int, GPU] = 0,
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    plugin: Annotated[Path | None, PLUGIN] = None,
    no_build: Annotated[bool, NO_BUILD] = False,
    ahead: Annotated[
        bool,
        typer.Option(
            "--ahead",
            help="Compute the next keyframe beside the frames before it: even pace, an interval late.",
        ),
    ] = False,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="Lowest latency: a live source's frames that are too old are dropped, and counted.",
        ),
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="MS", help="Too old for --realtime, in milliseconds. Default: 200."),
    ] = None,
    reconnect: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="S",
            help="Seconds that a lost live source is tried again for. Default: 30 with --realtime, else 0.",
        ),
    ] = None,
    throughput: Annotated[
        bool,
        typer.Option(
            "--throughput",
            help="As many intervals side by side as --threads, a thread each: for a busy machine, or many cores.",
        ),
    ] = False,
    hwaccel: Annotated[
        str | None,
        typer.Option(
            help="cuda: decode on the GPU where it can (NVDEC), else in software.", show_default=False
        ),
    ] = None,
    start: Annotated[
        float, typer.Option(min=0, help="Begin at the first frame at or after this second.")
    ] = 0.0,
    duration: Annotated[float | None, typer.Option(help="Seconds to read.", show_default=False)] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Frames to read.", show_default=False)] = None,
    compare: Annotated[
        int | None,
        typer.Option(min=1, help="Side by side with this interval; the agreement is shown and reported."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show a window; q quits. Writes no file unless -o is given.")
    ] = False,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the overlay is class colour.")
    ] = 0.5,
    no_legend: Annotated[bool, typer.Option("--no-legend", help="No legend in the overlay.")] = False,
    crf: Annotated[
        int, typer.Option(min=0, max=51, help="Quality of the overlay: less is better and larger.")
    ] = 23,
    encoder: Annotated[
        str,
        typer.Option(help="auto, libx264, mpeg4, h264_nvenc, h264_qsv or h264_amf, as FFmpeg names them."),
    ] = "auto",
    encoder_preset: Annotated[
        str | None,
        typer.Option(
            help="The encoder's: libx264 has ultrafast to veryslow, h264_nvenc p1 to p7. Default: a quick one.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite outputs that exist.")] = False,
    image_fps: Annotated[float, typer.Option(help="Frames/s of a folder of images.")] = 10.0,
    raw_size: Annotated[str | None, typer.Option(metavar="WxH", help="Size of the frames on stdin.")] = None,
    raw_format: Annotated[
        str, typer.Option(help="Their pixel format: yuv420p, nv12, rgb24, bgr24, gray, yuv420p10le...")
    ] = "yuv420p",
    raw_fps: Annotated[float, typer.Option(help="Their frames/s.")] = 25.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar and no table.")] = False,
) -> int:
    """Segment a video: an overlay video by default, with the source's own times and sound."""
    import json
    import sys

    from gsvnet_engine.errors import UsageError
    from gsvnet_engine.job import RunOptions, run
    from gsvnet_engine.live import DEADLINE_S, RECONNECT_S, RealTime
    from gsvnet_engine.sinks import STDOUT, SinkOptions
    from gsvnet_engine.video import SourceOptions

    if deadline is not None and not realtime:
        raise UsageError("--deadline is for --realtime, which drops what is older: give both, or neither")
    if throughput + realtime + ahead > 1:
        raise UsageError("--throughput, --realtime and --ahead exclude each other: choose one of them")
    targets = tuple(output or ())
    if as_json and STDOUT in targets:
        raise UsageError(
            "--json and -o - both want stdout: write the labels to a folder/, or leave out --json"
        )
    options = RunOptions(
        inputs=tuple(inputs),
        targets=targets,
        source=SourceOptions(
            start_s=start,
            duration_s=duration,
            max_frames=max_frames,
            image_fps=image_fps,
            hwaccel=hwaccel,
            reconnect_s=(RECONNECT_S if realtime else 0.0) if reconnect is None else reconnect,
            raw=_raw_format(raw_size, raw_format, raw_fps),
        ),
        sink=SinkOptions(
            force=force,
            alpha=alpha,
            legend=not no_legend,
            encoder=encoder,
            encoder_preset=encoder_preset,
            crf=crf,
        ),
        bundle=bundle,
        interval=interval,
        backend=backend,
        cpu_precision=cpu_precision,
        threads=threads,
        throughput=throughput,
        gpu=gpu_options(
            device=gpu, plan_cache=plan_cache, plugin=plugin, build=not no_build, ahead=ahead, quiet=quiet
        ),
        keep_models=True,
        realtime=RealTime(deadline_s=DEADLINE_S if deadline is None else deadline / 1e3)
        if realtime
        else None,
        compare=compare,
        show=show,
        quiet=quiet,
    )
    report = run(options, say=lambda note: print(note, file=sys.stderr))
    for line in report.problems() if quiet and not as_json else [] if quiet else [report.as_text()]:
        print(line, file=sys.stderr)
    if as_json:
        print(json.dumps(report.as_json()))
    return report.exit_code


def _raw_format(size: str | None, pixel_format: str, fps: float) -> "RawFormat | None":
    """RawFormat from "640x360"; None where no size is given."""
    from fractions import Fraction

    from gsvnet_engine.cli.sizes import parse_size
    from gsvnet_engine.errors import UsageError
    from gsvnet_engine.video import RawFormat

    if size is None:
        return None
    height, width = parse_size(size, "--raw-size")
    if not 0 < fps <= 1000:
        raise UsageError(f"--raw-fps must be above 0 and at most 1000, not {fps}")
    rate = Fraction(fps).limit_denominator(1001)
    return RawFormat(width=width, height=height, pixel_format=pixel_format, rate=rate)
