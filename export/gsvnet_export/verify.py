"""Is an exported bundle the network that was trained? torch against ONNX Runtime, before anything is written.

The keyframe network may be anything that gives the expected scores: a torch module, or somebody's ONNX graph as its
author runs it (gsvnet_export.adapt). Such scores have a range of their own, and bounds are scaled in proportion.

The bounds are the engine's own for a backend against ONNX Runtime float32: each step alone, from the same inputs, flow
and warped scores within 1e-3; scores within 1e-3 on 99.9 % of an interval's cells, and every other cell within 16 cells
of a warped cell whose two best scores are under 1e-3 apart (the edge map is a steep function of an argmax: a tie that
rounding flips is no fault). Over an interval of five frames, run freely, labels differ on 0.05 % of the pixels at most.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from gsvnet_engine.errors import BundleError
from gsvnet_export.networks import operations
from gsvnet_export.networks.propagation import Propagation

TOLERANCE = 1e-3
CELLS_WITHIN = 0.999
REACH = 16  # cells that a flipped tie can touch
PIXELS_DIFFERENT = 5e-4
INTERVAL = 5
_OUR_SPREAD = 16.0  # of the scores that the bounds were made for
_FINEST_UNIT = 1e-3  # below, float32's own rounding inside PF would be out of bounds

Array = NDArray[Any]
Keyframe = Callable[
    [Tensor], Tensor
]  # frame [N,3,H',W'] in 0..1 -> scores [N,C,a,b] of any size: what is expected


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The worst of each quantity over all sizes and batches; `verify` raises when one is out of bounds."""

    keyframe_scores: float = 0.0
    flow: float = 0.0
    warped: float = 0.0
    step_scores: float = 0.0  # of the cells that no near tie excuses
    cells_beyond: float = 0.0  # share of an interval's
    labels_different: float = 0.0  # share of pixels over a freely run interval

    def worst(self, other: "Measured") -> "Measured":
        return Measured(**{name: max(value, getattr(other, name)) for name, value in vars(self).items()})


class Sessions:
    """The graphs of a bundle under ONNX Runtime on the CPU, float32."""

    def __init__(self, graphs: dict[str, ModelProto]) -> None:
        import onnxruntime

        self._sessions = {
            name: onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            for name, model in graphs.items()
        }

    def run(self, graph: str, *inputs: Tensor) -> list[Tensor]:
        session = self._sessions[graph]
        feed = {slot.name: value.numpy() for slot, value in zip(session.get_inputs(), inputs, strict=True)}
        return [torch.from_numpy(np.ascontiguousarray(output)) for output in session.run(None, feed)]


def verify(
    graphs: dict[str, ModelProto],
    keyframe: Keyframe,
    propagation: Propagation,
    frame_sizes: tuple[tuple[int, int], ...] = ((352, 480), (232, 312)),
    batches: tuple[int, ...] = (1, 2),
    unit: float = 1.0,
) -> Measured:
    """Compare `graphs` with what is expected at keyframe sizes H', W'; BundleError where a bound is broken.

    `unit`: scores are compared after division by it, for networks whose scores do not lie as far apart as ours.
    """
    sessions = Sessions(graphs)
    worst = Measured()
    for height, width in frame_sizes:
        for batch in batches:
            grid = (-(-height // 4), -(-width // 4))
            frames = drifting_frames(batch, (height, width), seed=height + batch)
            worst = worst.worst(_verify_interval(sessions, keyframe, propagation, frames, grid, unit))
    faults = [
        f"{name} {value:.3g} (at most {bound:g})"
        for name, bound in (
            ("keyframe_scores", TOLERANCE),
            ("flow", TOLERANCE),
            ("warped", TOLERANCE),
            ("step_scores", TOLERANCE),
            ("cells_beyond", 1 - CELLS_WITHIN),
            ("labels_different", PIXELS_DIFFERENT),
        )
        if not (value := getattr(worst, name)) <= bound
    ]
    if faults:
        raise BundleError(
            f"export: the graphs differ from the trained network: {', '.join(faults)}; nothing was written"
        )
    return worst


def unit_of(spread: float) -> float:
    """The `unit` of a network whose scores lie within `spread`."""
    return max(_FINEST_UNIT, spread / _OUR_SPREAD)


def verify_keyframe(
    graph: ModelProto,
    keyframe: Keyframe,
    frame_sizes: tuple[tuple[int, int], ...],
    batches: tuple[int, ...] = (1, 2),
) -> float:
    """Compare keyframe.onnx alone with what is expected, within 1e-3 of the scores' spread; gives that spread."""
    sessions, spread, apart = Sessions({"keyframe.onnx": graph}), 0.0, 0.0
    for height, width in frame_sizes:
        for batch in batches:
            (frame,) = drifting_frames(batch, (height, width), seed=height + batch, count=1)
            grid = (-(-height // 4), -(-width // 4))
            whole = keyframe(frame)
            first = F.interpolate(whole, size=grid, mode="bilinear", align_corners=False)
            (scores,) = sessions.run("keyframe.onnx", frame, torch.tensor(grid))
            spread = max(spread, float(whole.max() - whole.min()))
            apart = max(apart, _distance(scores, first))
    if not apart <= TOLERANCE * spread:
        raise BundleError(
            f"the keyframe graph differs from the network: scores {apart:.3g} apart where they lie within "
            f"{spread:.3g}; nothing was written"
        )
    return spread


@torch.inference_mode()
def _verify_interval(
    sessions: Sessions,
    keyframe: Keyframe,
    propagation: Propagation,
    frames: list[Tensor],
    grid: tuple[int, int],
    unit: float,
) -> Measured:
    """One interval: every step alone from torch's inputs, then freely, each variant of the graphs."""
    small = [F.interpolate(frame, size=grid, mode="area") for frame in frames]
    first = F.interpolate(keyframe(frames[0]), size=grid, mode="bilinear", align_corners=False)
    (scores,) = sessions.run("keyframe.onnx", frames[0], torch.tensor(grid))
    worst = Measured(keyframe_scores=_distance(scores, first) / unit)

    expected = first
    free = dict.fromkeys(("", ".plain"), scores)
    beyond: dict[str, list[float]] = {variant: [] for variant in free}
    size = torch.tensor(frames[0].shape[2:])
    for previous, current in pairwise(small):
        flow = propagation.flow(current, previous)
        warped, _ = operations.segmentation_warp_body(expected, flow)
        after = propagation(current, previous, expected)
        got_warped, got_flow = sessions.run("warp.plain.onnx", current, previous, expected)
        worst = worst.worst(_compare_warp((got_warped, got_flow), (warped, flow), unit))
        for variant in free:
            (step,) = sessions.run(f"propagate{variant}.onnx", current, previous, expected)
            unexcused, share = _compare_step(step / unit, after / unit, warped / unit)
            worst = worst.worst(Measured(step_scores=unexcused))
            beyond[variant].append(share)
            (free[variant],) = sessions.run(f"propagate{variant}.onnx", current, previous, free[variant])
            (labels,) = sessions.run(f"labels{variant}.onnx", free[variant], size)
            different = (labels != operations.label_upsample_body(after, size)).float().mean()
            worst = worst.worst(Measured(labels_different=float(different)))
        expected = after
    return worst.worst(Measured(cells_beyond=max(sum(shares) / len(shares) for shares in beyond.values())))


def _compare_warp(got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], unit: float) -> Measured:
    return Measured(warped=_distance(got[0], expected[0]) / unit, flow=_distance(got[1], expected[1]))


def _compare_step(scores: Tensor, expected: Tensor, warped: Tensor) -> tuple[float, float]:
    """(largest difference where no near tie excuses one, share of the cells that differ beyond the tolerance).

    Where ties would excuse every cell none is excused: nothing would have been compared.
    """
    if not (scores.isfinite().all() and expected.isfinite().all()):
        return float("inf"), 1.0
    apart = (scores - expected).abs().amax(1, keepdim=True)
    best = warped.topk(2, dim=1).values
    tie = (best[:, :1] - best[:, 1:] < TOLERANCE).float()
    excused = F.max_pool2d(tie, 2 * REACH + 1, 1, REACH) > 0
    compared = apart if excused.all() else apart[~excused]
    return float(compared.max()), float((apart > TOLERANCE).float().mean())


def _distance(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite where either is not finite or the shapes differ."""
    if a.shape != b.shape or not (a.isfinite().all() and b.isfinite().all()):
        return float("inf")
    return float((a - b).abs().max())


def drifting_frames(batch: int, size: tuple[int, int], seed: int, count: int = INTERVAL) -> list[Tensor]:
    """`count` frames [N,3,H,W] in 0..1 of a smooth random picture that drifts: enough detail to move the labels."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    picture = torch.zeros(batch, 3, height + 64, width + 64)
    for cells in (4, 12, 40):
        noise = torch.rand(batch, 3, cells, cells, generator=generator)
        picture += F.interpolate(noise, size=picture.shape[2:], mode="bicubic") / 3

    def views() -> Iterator[Tensor]:
        for k in range(count):
            top, left = 4 * k, 11 * k
            yield picture[:, :, top : top + height, left : left + width].clamp(0, 1).contiguous()

    return list(views())
