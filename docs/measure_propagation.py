"""Measures PF on OpenVINO with the extension of plugins/openvino and without it, and the roofline of its convolutions.

    python docs/measure_propagation.py --rounds 100      # needs the extras cpu and export

With and without alternate, a step each a round, so that whatever else the machine does hits both alike. On a busy
machine only the least times say what a step takes, and the processor time of one thread (of more, it counts their
waiting). Layers: the least of each, by the runtime's profile. Prints the table of docs/performance.md.
"""

import argparse
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from gsvnet_engine import Bundle
from gsvnet_engine.backends.base import Float32, signature
from gsvnet_engine.backends.openvino import OpenVino
from gsvnet_engine.bench.parts import made_inputs, sum_parts
from gsvnet_engine.bundle import ClassInfo
from gsvnet_engine.geometry import Sizes
from gsvnet_export.cost import count_macs
from gsvnet_export.networks.propagation import Propagation, PropagationConfig
from gsvnet_export.onnx_graphs import propagation_graphs

_PROFILED = 60
_OWN = "Reference"  # what OpenVINO calls a layer whose operation an extension brings
_COLUMNS = (
    *("PF", "precision", "threads", "with, least ms", "without", "without / with"),
    *("with, median processor ms", "without", "without / with"),
    *("warp and filter with", "without", "convolutions", "whole / convolutions", "roofline"),
)
_HEAD = "| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|"


@dataclass(frozen=True)
class Case:
    """A PF on a grid; macs: of its convolutions, a step."""

    title: str
    bundle: Bundle
    grid: tuple[int, int]
    macs: int


def cases() -> Iterator[Case]:
    street = Bundle.open("street")
    grid = (90, 120)
    assert street.manifest.cost is not None
    macs = street.manifest.cost.scaled(street.manifest.geometry, (720, 960)).macs["propagate"]
    yield Case("`street`, C=11", street, grid, macs)

    grid, classes = (128, 256), 19
    torch.manual_seed(0)
    network = Propagation(PropagationConfig(classes=classes)).eval()
    with torch.no_grad():
        network.flow.head.weight.mul_(30)  # untrained, it would find nothing that moves
    graphs = {name: graph.SerializeToString() for name, graph in propagation_graphs(network, classes).items()}
    made = tuple(ClassInfo(f"class {k}", (k, k, k)) for k in range(classes))
    bundle = Bundle(Path("paper"), replace(street.manifest, classes=made), graphs)
    picture, scores = torch.rand(1, 3, *grid), torch.rand(1, classes, *grid)
    macs = count_macs(network, picture, picture, scores)
    yield Case("the paper's PF, random weights, C=19", bundle, grid, macs)


def measure(case: Case, precision: str, threads: int, rounds: int, peak: float) -> str:
    """A row of the table. peak: multiply-accumulates a second."""
    sizes = Sizes((0, 0), (0, 0), (8, 8), case.grid)
    inputs = made_inputs(len(case.bundle.manifest.classes), sizes)
    ours, plain = OpenVino(precision), OpenVino(precision, extension=False)
    assert ours.no_extension is None, ours.no_extension
    steps = [_step(backend, case, sizes, threads, inputs) for backend in (ours, plain)]
    walls: tuple[list[float], list[float]] = [], []
    used: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for step, wall, processor in zip(steps, walls, used, strict=True):
            started, before = time.perf_counter(), time.process_time()
            step()
            wall.append((time.perf_counter() - started) * 1e3)
            processor.append((time.process_time() - before) * 1e3)
    layers = ours.profile(case.bundle, sizes, threads, inputs, _PROFILED)
    _, convolutions = sum_parts(layers, min)
    own, _ = sum_parts([layer for layer in layers if layer.kind == _OWN], min)
    theirs, _ = sum_parts(plain.profile(case.bundle, sizes, threads, inputs, _PROFILED), min)
    operations = [
        sum(own.values()),
        theirs["warp"] + theirs["filter"],
    ]  # those in the flow bear the prefix warp/ there
    best = [min(wall) for wall in walls]
    ratio = median(b / a for a, b in zip(*used, strict=True))
    floor = case.macs / peak * 1e3
    return (
        f"| {case.title}, {case.grid[0]}x{case.grid[1]} | {precision} | {threads} | {best[0]:.1f} | {best[1]:.1f} "
        f"| {best[1] / best[0]:.2f} | {median(used[0]):.1f} | {median(used[1]):.1f} | {ratio:.2f} "
        f"| {operations[0]:.2f} | {operations[1]:.2f} | {convolutions:.1f} | {best[0] / convolutions:.2f} "
        f"| {floor:.1f} |"
    )


def _step(
    backend: OpenVino, case: Case, sizes: Sizes, threads: int, inputs: dict[str, Float32]
) -> Callable[[], object]:
    """One step of PF. The paper's PF comes without a keyframe network: no session is opened."""
    classes = len(case.bundle.manifest.classes)
    run = backend.load(case.bundle, signature(backend.propagate_graph(case.bundle), classes, sizes), threads)
    run(inputs)
    return lambda: run(inputs)


def peaks_macs_per_s() -> dict[str, float]:
    """What peak.cpp finds one thread to do: precision -> multiply-accumulates a second."""
    with TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        build = ["g++", "-O2", "-march=native", str(Path(__file__).with_name("peak.cpp")), "-o", str(program)]
        subprocess.run(build, check=True)
        found = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.split()
    return {name: float(peak) * 1e9 for name, peak in zip(("f32", "bf16"), found, strict=False)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    print(f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(_HEAD, flush=True)
    peaks = peaks_macs_per_s()
    for threads in options.threads:
        for case in cases():
            for precision, peak in peaks.items():
                print(measure(case, precision, threads, options.rounds, threads * peak), flush=True)
    shown = ", ".join(f"{name} {peak / 1e9:.0f} GMAC/s" for name, peak in peaks.items())
    print(f"most that a thread multiplies: {shown}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
