"""cache: what TensorRT plans there are, and away with them."""

from pathlib import Path
from typing import Annotated

import typer

from gsvnet_engine.cli.gpu import PLAN_CACHE

command = typer.Typer(help="The TensorRT plans on this machine: ls, clear.")


@command.command("ls")
def ls(
    plan_cache: Annotated[Path | None, PLAN_CACHE] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the plans, the most recently used first."""
    import json
    from dataclasses import asdict

    from gsvnet_engine.backends.tensorrt.cache import PlanCache
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

    options = GpuOptions(cache=plan_cache)
    entries = PlanCache(options.cache_folder, options.cache_bytes).entries()
    if as_json:
        print(json.dumps({"folder": str(options.cache_folder), "plans": [asdict(e) for e in entries]}))
        return
    for entry in entries:
        made_by = f"{entry.key.get('tensorrt', '?')}, {entry.key.get('gpu', '?')}"
        print(f"{entry.bytes / 2**20:8.1f} MiB  {entry.stem}  {made_by}, {entry.key.get('precision', '?')}")
    total = sum(entry.bytes for entry in entries)
    print(f"{len(entries)} plans, {total / 2**20:.1f} MiB, in {options.cache_folder}")


@command.command("clear")
def clear(plan_cache: Annotated[Path | None, PLAN_CACHE] = None) -> None:
    """Remove every plan and timing cache; they are built again when they are needed."""
    from gsvnet_engine.backends.tensorrt.cache import PlanCache
    from gsvnet_engine.backends.tensorrt.options import GpuOptions

    options = GpuOptions(cache=plan_cache)
    count, freed = PlanCache(options.cache_folder, options.cache_bytes).clear()
    print(f"{count} plans removed, {freed / 2**20:.1f} MiB, from {options.cache_folder}")
