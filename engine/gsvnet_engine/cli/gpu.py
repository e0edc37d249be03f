"""Options of the backends on a GPU that several verbs share. Not a verb itself."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

BACKEND_HELP = "auto, tensorrt, onnxruntime-cuda, onnxruntime-tensorrt, openvino or onnxruntime."
GPU: Any = typer.Option("--gpu", min=0, help="Number of the GPU.")
PLAN_CACHE: Any = typer.Option(
    "--plan-cache",
    envvar="GSVNET_PLAN_CACHE",
    metavar="DIR",
    help="Where TensorRT's plans, and of `run` OpenVINO's networks, are kept. Default: ~/.cache/gsvnet-engine.",
    show_default=False,
)
PLUGIN: Any = typer.Option(
    "--plugin", metavar="FILE", help="The TensorRT plugin library (see README, GPU).", show_default=False
)
NO_BUILD: Any = typer.Option("--no-build", help="Build no TensorRT plan: fail where one is missing.")


def gpu_options(
    *,
    device: int,
    plan_cache: Path | None,
    plugin: Path | None,
    build: bool = True,
    ahead: bool = False,
    quiet: bool = False,
) -> "GpuOptions":
    """The options, with notes and progress on stderr."""
    from gsvnet_engine.backends.tensorrt.options import GpuOptions
    from gsvnet_engine.errors import UsageError

    if plugin is not None and not plugin.is_file():
        raise UsageError(f"--plugin {plugin}: no such file")
    return GpuOptions(
        device=device,
        build=build,
        ahead=ahead,
        cache=plan_cache,
        plugin=plugin,
        say=lambda line: print(line, file=sys.stderr),
        progress=None if quiet or not sys.stderr.isatty() else show_progress,
    )


def show_progress(what: str, done: int, of: int) -> None:
    """One line on stderr that is written over as steps are done, and gone in the end."""
    share = done / of if of else 1.0
    line = f"  building {Path(what).name}: {share:4.0%}"
    end = "\r" + " " * len(line) + "\r" if done >= of else "\r"
    print(line, end=end, file=sys.stderr, flush=True)
