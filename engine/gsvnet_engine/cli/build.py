"""build: plans for a bundle and a size, ahead of the first run."""

from pathlib import Path
from typing import Annotated

import typer

from gsvnet_engine.cli.gpu import GPU, PLAN_CACHE, PLUGIN, gpu_options


def command(
    bundle: Annotated[str, typer.Argument(help="A shipped bundle's name, or a bundle's folder.")],
    size: Annotated[
        list[str],
        typer.Option("--size", metavar="WxH", help="Size of the videos, like 1280x720. Repeatable."),
    ],
    gpu: Annotated[int, GPU] = 0,
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    plugin: Annotated[Path | None, PLUGIN] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Build the TensorRT plans that videos of these sizes need on this GPU, unless they are there."""
    import json

    from gsvnet_engine.backends.tensorrt.backend import TensorRT
    from gsvnet_engine.bundle import Bundle
    from gsvnet_engine.cli.sizes import parse_size

    sizes = [parse_size(text) for text in size]
    opened = Bundle.open(bundle)
    opened.verify()
    options = gpu_options(device=gpu, plan_cache=plan_cache, plugin=plugin, quiet=as_json)
    backend = TensorRT(options)
    try:
        keys = [key for height, width in sizes for key in backend.build(opened, opened.plan(height, width))]
    finally:
        backend.close()
    stems = list(dict.fromkeys(key.stem for key in keys))
    if as_json:
        folder = str(options.cache_folder / "plans")
        print(json.dumps({"folder": folder, "plans": stems, "tensorrt": backend.choice.title}))
    else:
        print("\n".join(str(options.cache_folder / "plans" / f"{stem}.plan") for stem in stems))
