"""cache: what has been compiled on this machine, and away with it."""

from pathlib import Path
from typing import Annotated

import typer

from gsvnet_engine.cli.gpu import PLAN_CACHE

command = typer.Typer(help="TensorRT plans and OpenVINO networks compiled on this machine: ls, clear.")


@command.command("ls")
def ls(
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the plans, then the networks, the most recently used first."""
    import json
    from dataclasses import asdict

    from gsvnet_engine.backends.model_cache import ModelCache
    from gsvnet_engine.backends.tensorrt.cache import PlanCache
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

    options = GpuOptions(cache=plan_cache)
    entries = PlanCache(options.cache_folder, options.cache_bytes).entries()
    models = ModelCache(options.cache_folder).entries()
    if as_json:
        found = {"plans": [asdict(e) for e in entries], "models": [asdict(e) for e in models]}
        print(json.dumps({"folder": str(options.cache_folder), **found}))
        return
    for entry in entries:
        made_by = f"{entry.key.get('tensorrt', '?')}, {entry.key.get('gpu', '?')}"
        print(f"{entry.bytes / 2**20:8.1f} MiB  {entry.stem}  {made_by}, {entry.key.get('precision', '?')}")
    for model in models:
        made_by = f"{model.key.get('runtime', '?')}, {model.key.get('precision', '?')}"
        print(
            f"{model.bytes / 2**20:8.1f} MiB  {model.stem}  {made_by}, {_threads(model.key.get('threads'))}"
        )
    total = sum(entry.bytes for entry in entries) + sum(model.bytes for model in models)
    print(
        f"{len(entries)} plans and {len(models)} compiled networks, {total / 2**20:.1f} MiB, "
        f"in {options.cache_folder}"
    )


@command.command("clear")
def clear(plan_cache: Annotated[Path | None, PLAN_CACHE] = None) -> None:
    """Remove every plan, timing cache and network; they are built again when they are needed."""
    from gsvnet_engine.backends.model_cache import ModelCache
    from gsvnet_engine.backends.tensorrt.cache import PlanCache
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

    options = GpuOptions(cache=plan_cache)
    count, freed = PlanCache(options.cache_folder, options.cache_bytes).clear()
    models, bytes_of_models = ModelCache(options.cache_folder).clear()
    print(
        f"{count} plans and {models} compiled networks removed, {(freed + bytes_of_models) / 2**20:.1f} MiB, "
        f"from {options.cache_folder}"
    )


def _threads(threads: int | None) -> str:
    return "threads by default" if threads is None else f"{threads} threads"
