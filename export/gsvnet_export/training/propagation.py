"""Training of PF with N frozen, end to end, from cached windows (GSVNet, section 4, and distillation from N)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gsvnet_engine.errors import InputError
from gsvnet_engine.evaluation.confusion import Confusion
from gsvnet_export.data.stills import class_frequencies
from gsvnet_export.networks.layers import load_matching
from gsvnet_export.networks.operations import label_upsample
from gsvnet_export.networks.propagation import Propagation, PropagationConfig
from gsvnet_export.outputs import Say
from gsvnet_export.training.keyframe import class_weights, scores_loss
from gsvnet_export.training.loop import (
    CPU,
    LoopOptions,
    bf16_where_fast,
    cosine,
    load_checkpoint,
    on,
    train,
    workers_beside,
)
from gsvnet_export.training.windows import FRAMES, STRIDES, ClipCache, Float32, StillWindows, Windows


@dataclass(frozen=True, kw_only=True)
class PropagationRecipe:
    """Everything that decides a training of PF besides N and the data."""

    steps: int = 2400
    batch: int = 8
    crop: tuple[int, int] = (72, 96)  # cells
    optimizer: str = "adamw"
    lr: float = 2e-3
    rates: tuple[float, float, float] = (1.0, 1.0, 0.5)  # of the guide, of φ, of the flow
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    longest: int = 4  # propagation steps of a window, drawn from 1..longest
    strides: tuple[int, ...] = STRIDES  # distances of a clip window's frames, some of STRIDES
    clip_share: float = 0.5  # of a batch: clip windows, where there are clips
    supervise_every_step: bool = True  # the loss counts every step of the window, not its last alone
    flow_weight: float = 0.5  # of the flow's own loss: exact motion of stills, DIS on clips
    intra_weight: float = 0.25  # of f's own loss as a segmentation of the frame
    class_weighted: bool = True  # the cross entropy on stills, as in N's own training
    lovasz: float = 0.5  # on stills, as in N's own training
    colour: float = 1.0
    ema: float = 0.995
    seed: int = 0
    window: int = 3
    intra: bool = True
    learned_kernels: bool = False
    refined: bool = True
    residual: bool = True
    flow_refinements: int = 2
    sharpened: bool = True
    cubic: bool = True
    gated: bool = True
    flow_steps: int = 0  # the first steps teach the flow alone, on pairs of frames
    drift: int = 16  # half of the windows start from scores propagated so far, to the window's end and back


def network_config(recipe: PropagationRecipe, classes: int) -> PropagationConfig:
    """The network that a recipe is about."""
    own = [field.name for field in fields(PropagationConfig) if field.name != "classes"]
    return PropagationConfig(classes=classes, **{name: getattr(recipe, name) for name in own})


def _of_papers_network(recipe: PropagationRecipe) -> PropagationRecipe:
    """The recipe for the paper's network, without what is ours."""
    return replace(
        recipe, refined=False, residual=False, flow_refinements=0, sharpened=False, cubic=False, gated=False
    )


PRESETS = {
    "best": PropagationRecipe(),
    # The paper's network trained as "best" is.
    "plain": _of_papers_network(PropagationRecipe(steps=1600)),
    # Section 4.1: SGD with momentum 0.9, 0.002 x 0.992 every 100 iterations, batch 8, weight decay 5e-4, crops of 3/4.
    "paper": _of_papers_network(
        PropagationRecipe(
            steps=20000,
            optimizer="sgd",
            lr=2e-3,
            rates=(1.0, 1.0, 1.0),
            weight_decay=5e-4,
            schedule="paper",
            strides=(1,),
            clip_share=0.0,
            supervise_every_step=False,
            flow_weight=0.0,
            intra_weight=0.0,
            class_weighted=False,
            lovasz=0.0,
            colour=0.0,
            ema=0.0,
            drift=0,
        )
    ),
    # Flow alone: cheap, and what propagation stands on. Then "best" or "finetune" from its checkpoint (--init).
    "flow": PropagationRecipe(steps=4000, flow_steps=4000, rates=(1.0, 1.0, 1.0)),
    # From a checkpoint of "best" (--init), which may lack the parts that are ours.
    "finetune": PropagationRecipe(steps=1200, lr=1.5e-3, rates=(0.5, 0.5, 1.0), flow_weight=1.0),
}
PRESETS["smoke"] = replace(PRESETS["best"], steps=6, batch=2, crop=(16, 24))


@dataclass(frozen=True)
class Batch:
    """Of one training step: pictures [K+1,N,3,h,w]; first scores [N,C,h,w] (none where the flow alone is taught);
    flows [K,N,2,h,w] in cells, NaN where unknown; targets of the N_c clip windows (scores [K,N_c,C,h,w]) and of the N_s
    still windows behind them (labels [K,N_s,H,W], uint8 with IGNORE)."""

    step: int
    pictures: Tensor
    scores: Tensor
    flows: Tensor
    teacher: Tensor
    labels: Tensor


def draw(step: int, recipe: PropagationRecipe, clips: list[ClipCache], stills: StillWindows | None) -> Batch:
    """The batch of one step: depends on the recipe's seed and the step alone."""
    rng = np.random.default_rng([recipe.seed, step])
    recipe = replace(recipe, crop=_common_crop(recipe.crop, clips, stills))
    length = int(rng.integers(1, recipe.longest + 1))
    pairs = step < recipe.flow_steps
    if pairs:  # more of them, most from stills, whose motion is exact
        recipe, length = replace(recipe, batch=2 * recipe.batch, clip_share=recipe.clip_share / 2), 1
    of_clips = (round(recipe.batch * recipe.clip_share) if stills else recipe.batch) if clips else 0
    pictures, first, flows, teacher, labels = [], [], [], [], []
    for _ in range(of_clips):
        window, scores, motion = _clip_window(rng, recipe, clips, length)
        pictures.append(window)
        first.append(scores[0])
        flows.append(motion)
        teacher.append(scores[1:])
    for _ in range(recipe.batch - of_clips):
        assert stills is not None
        first_frame = int(rng.integers(FRAMES - 1)) if pairs else 0
        window, scores, moved, motion = _still_window(rng, recipe, stills, length, first_frame)
        pictures.append(window)
        first.append(scores)
        flows.append(motion)
        labels.append(moved)
    return Batch(
        step,
        torch.from_numpy(np.stack(pictures, 1)),
        torch.empty(0) if pairs else torch.from_numpy(np.stack(first)),
        torch.from_numpy(np.stack(flows, 1)),
        torch.from_numpy(np.stack(teacher, 1)) if teacher else torch.empty(length, 0),
        torch.from_numpy(np.stack(labels, 1)) if labels else torch.empty(length, 0),
    )


def _clip_window(
    rng: np.random.Generator, recipe: PropagationRecipe, clips: list[ClipCache], length: int
) -> tuple[Float32, Float32, Float32]:
    """A window of a clip drawn in proportion to the root of its length.

    pictures [K+1,3,h,w], scores [K+1,C,h,w], flows [K,2,h,w].
    """
    share = np.sqrt([len(clip) for clip in clips])
    clip = clips[int(rng.choice(len(clips), p=share / share.sum()))]
    stride = int(rng.choice([s for s in recipe.strides if s * length < len(clip)] or [1]))
    at = int(rng.integers(len(clip) - stride * length))
    taken = slice(at, at + stride * length + 1, stride)
    rows, columns = _crop(rng, clip.scores.shape[2:], recipe.crop)
    pictures = clip.pictures[taken, :, rows, columns].astype(np.float32) / np.float32(255)
    scores = clip.scores[taken, :, rows, columns].astype(np.float32)
    flows = clip.flows[taken, STRIDES.index(stride), :, rows, columns][1:].astype(np.float32)
    if rng.random() < 0.5:
        pictures, scores, flows = pictures[..., ::-1].copy(), scores[..., ::-1].copy(), _mirrored(flows)
    return _relight(pictures, rng, recipe.colour), scores, flows


def _still_window(
    rng: np.random.Generator, recipe: PropagationRecipe, stills: StillWindows, length: int, at: int
) -> tuple[Float32, Float32, NDArray[np.uint8], Float32]:
    """A window of a moved still from its frame `at` on: pictures [K+1,3,h,w], the scores of the still's first frame
    [C,h,w], labels [K,H,W] and flows [K,2,h,w] of the window's frames but the first."""
    pictures, scores, labels, flows = stills[int(rng.integers(len(stills)))]
    rows, columns = _crop(rng, scores.shape[1:], recipe.crop)
    ratio = labels.shape[1] // scores.shape[1]  # pixels a cell: whole, as StillWindows has seen to
    fine = [slice(s.start * ratio, s.stop * ratio) for s in (rows, columns)]
    pictures, scores = pictures[at : at + length + 1, :, rows, columns], scores[:, rows, columns]
    labels = labels[at + 1 : at + length + 1, fine[0], fine[1]]
    flows = flows[at + 1 : at + length + 1, :, rows, columns]
    if rng.random() < 0.5:
        pictures, scores, labels, flows = (
            pictures[..., ::-1].copy(),
            scores[..., ::-1].copy(),
            labels[..., ::-1].copy(),
            _mirrored(flows),
        )
    return _relight(pictures, rng, recipe.colour), scores, labels, flows


def _mirrored(flows: Float32) -> Float32:
    """Flows [K,2,h,w] of the window seen in a mirror: x, channel 0, changes its sign."""
    return flows[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]


def _common_crop(
    crop: tuple[int, int], clips: list[ClipCache], stills: StillWindows | None
) -> tuple[int, int]:
    """The crop, or as much of it as the smallest grid has: the windows of a batch are of one size."""
    grids = [clip.scores.shape[2:] for clip in clips] + ([stills.scores.shape[2:]] if stills else [])
    height, width = (min(sides) for sides in zip(crop, *grids, strict=True))
    return height, width


def _crop(rng: np.random.Generator, size: tuple[int, ...], crop: tuple[int, int]) -> tuple[slice, slice]:
    taken = [min(n, c) for n, c in zip(size, crop, strict=True)]
    first = [int(rng.integers(n - t + 1)) for n, t in zip(size, taken, strict=True)]
    return slice(first[0], first[0] + taken[0]), slice(first[1], first[1] + taken[1])


def _relight(pictures: NDArray[Any], rng: np.random.Generator, strength: float) -> Float32:
    """The whole window in another light, with a little flicker and noise from frame to frame."""
    if strength <= 0:
        return pictures
    gamma = np.exp(rng.normal(0, 0.2 * strength))
    gain = np.exp(rng.normal(0, 0.15 * strength, (1, 3, 1, 1)))
    flicker = np.exp(rng.normal(0, 0.02 * strength, (len(pictures), 1, 1, 1)))
    noise = rng.normal(0, 0.01 * strength * rng.random(), pictures.shape)
    lit: Float32 = np.clip(pictures**gamma * gain * flicker + noise, 0, 1).astype(np.float32)
    return lit


@dataclass(frozen=True, kw_only=True)
class SegmentationLoss:
    """What S_t, and f, are measured by: distillation on clip windows plus N's own training loss on still windows."""

    class_weights: Tensor | None  # [C] float32
    lovasz: float

    def __call__(self, scores: Tensor, batch: Batch, k: int) -> Tensor:
        """Of scores [N,C,h,w] for frame k + 1."""
        of_clips = batch.teacher.shape[1]
        loss = scores.new_zeros(())
        if of_clips:
            loss = loss + _distillation(scores[:of_clips], batch.teacher[k])
        if of_clips < len(scores):
            labels, phase = batch.labels[k].long(), batch.step % 16
            loss = loss + scores_loss(scores[of_clips:], labels, self.class_weights, self.lovasz, phase)
        return loss


def window_loss(
    model: Propagation, batch: Batch, recipe: PropagationRecipe, segmentation: SegmentationLoss
) -> Tensor:
    """Mean over supervised steps of the segmentation loss of S_t and (weighed) of f, and mean over all steps (weighed)
    of the flow's distance from the motion where that is known; the last alone where there are no scores."""
    device = batch.pictures.device
    if not len(batch.scores):
        with bf16_where_fast(device):
            flow = model.flow(batch.pictures[1], batch.pictures[0])
        return _flow_loss(flow.float(), batch.flows[0])
    length, losses = len(batch.pictures) - 1, []
    scores = _drifted(model, batch, recipe.drift)
    supervised = length if recipe.supervise_every_step else 1
    for k in range(length):
        with bf16_where_fast(device):
            step = model.step(batch.pictures[k + 1], batch.pictures[k], scores)
        scores = step.scores.float()
        if k >= length - supervised:
            losses.append(segmentation(scores, batch, k))
            if recipe.intra_weight and step.intra is not None:
                losses.append(recipe.intra_weight * segmentation(step.intra.float(), batch, k))
        if recipe.flow_weight:
            weight = recipe.flow_weight * supervised / length
            losses.append(weight * _flow_loss(step.flow.float(), batch.flows[k]))
    return torch.stack(losses).sum() / supervised


@torch.no_grad()
def _drifted(model: Propagation, batch: Batch, longest: int) -> Tensor:
    """The first frame's scores; for every second batch as they are after up to `longest` steps through the window and
    back. What a step adds must not grow over an interval longer than a window.

    Tried: drift for the clip windows alone; agreement after 4 and 16 frames fell by 0.4 and 1 points.
    """
    scores, there = batch.scores, range(len(batch.pictures))
    rounds = longest // (2 * (len(batch.pictures) - 1)) * (batch.step % 2)
    way = [*there, *there[-2::-1]]
    for _ in range(rounds and 1 + batch.step // 2 % rounds):
        for before, now in pairwise(way):
            with bf16_where_fast(scores.device):
                scores = model(batch.pictures[now], batch.pictures[before], scores).float()
    return scores


def _flow_loss(flow: Tensor, truth: Tensor) -> Tensor:
    """Mean Charbonnier distance in cells between flows [N,2,h,w] where the truth is not NaN; 0 where it is nowhere."""
    known = ~truth.isnan().any(1, keepdim=True)
    apart = ((flow - truth.nan_to_num()).square().sum(1, keepdim=True) + 1e-4).sqrt() * known
    return apart.sum() / known.sum().clamp(min=1)


def _distillation(scores: Tensor, teacher: Tensor) -> Tensor:
    """Mean over cells of KL(teacher || PF), in nats; scores, teacher: [N,C,h,w]."""
    divergence = F.kl_div(scores.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True)
    return divergence.sum(1).mean()


@torch.inference_mode()
def agreement(model: nn.Module, clips: list[ClipCache], steps: int = 4, every: int = 8) -> dict[str, float]:
    """Percent of cells that PF, `steps` after a keyframe, labels as the teacher does; and the same for repeating.

    Nothing where every clip is shorter.
    """
    ours = kept = cells = 0
    device = next(model.parameters()).device
    for clip in clips:
        for at in range(0, len(clip) - steps, every):
            pictures = torch.from_numpy(clip.pictures[at : at + steps + 1].astype(np.float32) / 255).to(
                device
            )
            teacher = torch.from_numpy(clip.scores[[at, at + steps]].astype(np.float32)).to(device)
            scores = teacher[:1]
            for k in range(steps):
                scores = model(pictures[k + 1 : k + 2], pictures[k : k + 1], scores)
            truth = teacher[1].argmax(0)
            ours += int((scores[0].argmax(0) == truth).sum())
            kept += int((teacher[0].argmax(0) == truth).sum())
            cells += truth.numel()
    return {"agreement": 100 * ours / cells, "repeat_agreement": 100 * kept / cells} if cells else {}


@torch.inference_mode()
def still_miou(model: Propagation, stills: StillWindows) -> dict[str, float]:
    """mIoU in percent of the last frame of moved held-out stills: propagated, and by warping alone."""
    device = next(model.parameters()).device
    confusions = {
        "still_miou": Confusion(model.config.classes),
        "still_warp_miou": Confusion(model.config.classes),
    }
    for index in range(len(stills)):
        pictures, first, labels, _ = stills[index]
        frames = torch.from_numpy(pictures)[:, None].to(device)
        scores = warped = torch.from_numpy(first)[None].to(device)
        for previous, current in pairwise(frames):
            step = model.step(current, previous, scores)
            scores, warped = step.scores, model.warp(warped, step.flow)[0]
        size = torch.tensor(labels[-1].shape)
        for name, found in zip(confusions, (scores, warped), strict=True):
            confusions[name].add(labels[-1], label_upsample(found, size)[0].cpu().numpy())
    return {name: confusion.miou() for name, confusion in confusions.items()}


def held_out_tail(clips: list[ClipCache], part: int = 10) -> tuple[list[ClipCache], list[ClipCache]]:
    """Each clip without its last tenth, and those tenths: the unlabelled slice that PF is watched on."""
    rest, tails = [], []
    for clip in clips:
        cut = len(clip) - max(FRAMES, len(clip) // part)
        rest.append(clip[:cut])
        tails.append(clip[cut:])
    return rest, tails


def train_propagation(
    folder: Path,
    recipe: PropagationRecipe,
    classes: int,
    windows: Windows,
    init: Path | None = None,
    *,
    resume: bool = False,
    device: torch.device = CPU,
    say: Say = lambda note: None,
) -> nn.Module:
    """Train PF into `folder`; returns its EMA weights, on `device`. The last tenth of each clip is only measured.

    `init`: a checkpoint of PF to start from; what refines the flow, sharpens, gates, or makes cubic samples may be
    missing there.
    """
    torch.manual_seed(recipe.seed)
    model = Propagation(network_config(recipe, classes))
    if init is not None:
        optional = ("flow.refine.", "filter.sharpen.", "guide.gate.", "guide.gains.")
        try:
            load_matching(model, load_checkpoint(init)[0], str(init), optional=optional)
        except ValueError as error:
            raise InputError(f"{error}; give a checkpoint of PF for the same {classes} classes") from error
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rest, tails = held_out_tail(windows.clips)
    weights = None
    if recipe.class_weighted and windows.stills is not None:
        weights = class_weights(class_frequencies(windows.stills.stills, classes)).to(device)
    segmentation = SegmentationLoss(class_weights=weights, lovasz=recipe.lovasz)

    def measure(ema: nn.Module) -> dict[str, float]:
        assert isinstance(ema, Propagation)
        far = agreement(ema, tails, steps=16)
        found = agreement(ema, tails) | {f"{name}_16": percent for name, percent in far.items()}
        return found | (still_miou(ema, windows.held_out_stills) if windows.held_out_stills else {})

    described = {
        "kind": "propagation",
        "network": model.describe(),
        "recipe": asdict(recipe),
        "classes": classes,
        "data": windows.description,
        "init": None if init is None else init.name,
    }
    return train(
        folder,
        model,
        described,
        _optimizer(model, recipe),
        lambda batch: window_loss(model, on(device, batch), recipe, segmentation),
        lambda step: draw(step, recipe, rest, windows.stills),
        measure,
        LoopOptions(
            steps=recipe.steps, lr_at=_schedule(recipe), ema=recipe.ema, workers=workers_beside(device)
        ),
        resume=resume,
        say=say,
    )


def _optimizer(model: Propagation, recipe: PropagationRecipe) -> torch.optim.Optimizer:
    parts = {"intra": recipe.rates[1], "flow": recipe.rates[2]}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(parts.get(name.split(".")[0], recipe.rates[0]), []).append(parameter)
    described = [{"params": members, "lr": recipe.lr * rate} for rate, members in groups.items()]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(described, weight_decay=recipe.weight_decay)


def _schedule(recipe: PropagationRecipe) -> Callable[[int], float]:
    if recipe.schedule == "paper":
        return lambda step: 0.992 ** (step // 100)
    return cosine(recipe.steps)
