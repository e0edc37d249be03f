"""PF by part: the runtime's layer profile, summed by the prefixes that node names keep in every bundle."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import cast

import numpy as np

from gsvnet_engine.backends.base import Backend, DeviceSession, Float32, Layer, Profiled, Session
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.geometry import Sizes

# Prefix of a node's name -> part. A graph's last node bears its output's name: the filter's.
PARTS = {
    "flow": "flow",
    "warp": "warp",
    "intra": "features",
    "guide": "guide",
    "filter": "filter",
    "propagated": "filter",
}
NAMES = (*dict.fromkeys(PARTS.values()), "other")
# What ONNX Runtime puts before the name of a node: of a function's body, of a layout of its own.
_BEFORE = re.compile(r"^/?(_inlfunc_[A-Za-z]+_(token_\d+_)?)?")
_PIECES = re.compile(r"\.\.\.|[\s+,|()\[\]{}]+")  # what stands between the nodes of one layer of TensorRT
# The plain graph's Laplacian, in warp/, is none of the network's.
_WITH_CONVOLUTIONS = ("flow", "features", "guide", "filter")
_CONVOLUTIONS = (
    "Convolution",
    "GroupConvolution",
    "Conv",
    "FusedConv",
)  # as OpenVINO and ONNX Runtime call them


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Milliseconds of one step of PF: `whole` unprofiled, by part and the convolutions alone by the layer profile."""

    whole: float
    parts: dict[str, float]
    convolutions: float

    @property
    def over_its_convolutions(self) -> float | None:
        """None where they are too small for the runtime's clock."""
        return self.whole / self.convolutions if self.convolutions else None


def part_of(name: str) -> str:
    """ "_inlfunc_GuidedFilter_filter/sum1" -> "filter"; "flow/Conv + flow/Relu", as TensorRT names what it fused, ->
    "flow". What was fused across parts is of none: "other"."""
    found = {_part_of_one(piece) for piece in _PIECES.split(name)} - {"other"}
    return found.pop() if len(found) == 1 else "other"


def _part_of_one(name: str) -> str:
    return PARTS.get(_BEFORE.sub("", name).partition("/")[0].removesuffix("_1"), "other")


def sum_parts(
    layers: Sequence[Layer], typical: Callable[[Sequence[float]], float] = median
) -> tuple[dict[str, float], float]:
    """(ms by part, ms of the network's convolutions) of one run, from the layers of several: each `typical` for it."""
    times: dict[tuple[str, str], list[float]] = {}
    for layer in layers:
        times.setdefault((layer.name, layer.kind), []).append(layer.ms)
    parts = dict.fromkeys(NAMES, 0.0)
    convolutions = 0.0
    for layer in (Layer(*key, typical(ms)) for key, ms in times.items()):
        part = part_of(layer.name)
        parts[part] += layer.ms
        if layer.kind in _CONVOLUTIONS and part in _WITH_CONVOLUTIONS:
            convolutions += layer.ms
    return parts, convolutions


def break_down(backend: Profiled, bundle: Bundle, sizes: Sizes, threads: int | None, runs: int) -> Breakdown:
    """Measure one step of PF on made inputs, on a GPU there alone, without the ways to it and back.

    Half of the unprofiled runs lie before the profiled ones, half after.
    """
    inputs = made_inputs(len(bundle.manifest.classes), sizes)
    session = backend.open(bundle, sizes, threads)
    try:
        steps_ms(backend, session, inputs, 1)
        times = steps_ms(backend, session, inputs, runs)
        parts, convolutions = sum_parts(backend.profile(bundle, sizes, threads, inputs, runs))
        times += steps_ms(backend, session, inputs, runs)
    finally:
        if backend.on_device:
            cast(DeviceSession, session).close()
    return Breakdown(whole=median(times), parts=parts, convolutions=convolutions)


def steps_ms(backend: Backend, session: Session, inputs: Mapping[str, Float32], runs: int) -> list[float]:
    """Milliseconds of each of `runs` steps of PF."""
    if backend.on_device:
        return cast(DeviceSession, session).propagation_ms(inputs, runs)
    times = []
    for _ in range(runs):
        started = perf_counter()
        session.propagate(**inputs)
        times.append((perf_counter() - started) * 1e3)
    return times


def made_inputs(classes: int, sizes: Sizes) -> dict[str, Float32]:
    """current, previous, scores of a grid: noise that moves by a cell, which has every cell on a boundary."""
    rng = np.random.default_rng(0)
    current = rng.random((1, 3, *sizes.grid), np.float32)
    scores = rng.normal(0, 3, (1, classes, *sizes.grid)).astype(np.float32)
    return {"current": current, "previous": np.roll(current, 1, axis=3), "scores": scores}
