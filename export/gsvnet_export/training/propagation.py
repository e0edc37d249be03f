"""Training of PF with N frozen, end to end, from cached windows (GSVNet, section 4, and distillation from N)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gsvnet_export.data.stills import IGNORE
from gsvnet_export.networks.propagation import Propagation, PropagationConfig
from gsvnet_export.training.loop import LoopOptions, cosine, train
from gsvnet_export.training.windows import FRAMES, ClipCache, Float32, StillWindows, Windows


@dataclass(frozen=True, kw_only=True)
class PropagationRecipe:
    """Everything that decides a training of PF besides N and the data."""

    steps: int = 1500
    batch: int = 8
    crop: tuple[int, int] = (72, 96)  # cells
    optimizer: str = "adamw"
    lr: float = 2e-3
    rates: tuple[float, float, float] = (1.0, 1.0, 0.5)  # of the guide, of φ, of the flow
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    longest: int = 4  # propagation steps of a window, drawn from 1..longest
    strides: tuple[int, ...] = (1, 2)  # distances of a clip window's frames
    clip_share: float = 0.5  # of a batch: clip windows, where there are clips
    supervise_every_step: bool = True  # the loss counts every step of the window, not its last alone
    colour: float = 1.0
    ema: float = 0.995
    seed: int = 0
    window: int = 3
    intra: bool = True
    learned_kernels: bool = False


PRESETS = {
    "best": PropagationRecipe(),
    # Section 4.1: SGD with momentum 0.9, 0.002 x 0.992 every 100 iterations, batch 8, weight decay 5e-4, crops of 3/4.
    "paper": PropagationRecipe(
        steps=20000,
        optimizer="sgd",
        lr=2e-3,
        rates=(1.0, 1.0, 1.0),
        weight_decay=5e-4,
        schedule="paper",
        strides=(1,),
        clip_share=0.0,
        supervise_every_step=False,
        colour=0.0,
        ema=0.0,
    ),
}
PRESETS["smoke"] = replace(PRESETS["best"], steps=6, batch=2, crop=(16, 24))


@dataclass(frozen=True)
class Batch:
    """pictures [K+1,N,3,h,w], first scores [N,C,h,w]; targets of the N_c clip windows (scores [K,N_c,C,h,w]) and of the
    N_s still windows behind them (labels [K,N_s,H,W], int64 with IGNORE)."""

    pictures: Tensor
    scores: Tensor
    teacher: Tensor
    labels: Tensor


def draw(step: int, recipe: PropagationRecipe, clips: list[ClipCache], stills: StillWindows | None) -> Batch:
    """The batch of one step: depends on the recipe's seed and the step alone."""
    rng = np.random.default_rng([recipe.seed, step])
    recipe = replace(recipe, crop=_common_crop(recipe.crop, clips, stills))
    length = int(rng.integers(1, recipe.longest + 1))
    of_clips = (round(recipe.batch * recipe.clip_share) if stills else recipe.batch) if clips else 0
    pictures, first, teacher, labels = [], [], [], []
    for _ in range(of_clips):
        window, scores = _clip_window(rng, recipe, clips, length)
        pictures.append(window)
        first.append(scores[0])
        teacher.append(scores[1:])
    for _ in range(recipe.batch - of_clips):
        assert stills is not None
        window, scores, moved = _still_window(rng, recipe, stills, length)
        pictures.append(window)
        first.append(scores)
        labels.append(moved)
    return Batch(
        torch.from_numpy(np.stack(pictures, 1)),
        torch.from_numpy(np.stack(first)),
        torch.from_numpy(np.stack(teacher, 1)) if teacher else torch.empty(length, 0),
        torch.from_numpy(np.stack(labels, 1)).long() if labels else torch.empty(length, 0),
    )


def _clip_window(
    rng: np.random.Generator, recipe: PropagationRecipe, clips: list[ClipCache], length: int
) -> tuple[Float32, Float32]:
    """A window of a clip drawn in proportion to the root of its length: pictures [K+1,3,h,w], scores [K+1,C,h,w]."""
    share = np.sqrt([len(clip) for clip in clips])
    clip = clips[int(rng.choice(len(clips), p=share / share.sum()))]
    stride = int(rng.choice([s for s in recipe.strides if s * length < len(clip)] or [1]))
    at = int(rng.integers(len(clip) - stride * length))
    taken = slice(at, at + stride * length + 1, stride)
    rows, columns = _crop(rng, clip.scores.shape[2:], recipe.crop)
    pictures = clip.pictures[taken, :, rows, columns].astype(np.float32) / np.float32(255)
    scores = clip.scores[taken, :, rows, columns].astype(np.float32)
    if rng.random() < 0.5:
        pictures, scores = pictures[..., ::-1].copy(), scores[..., ::-1].copy()
    return _relight(pictures, rng, recipe.colour), scores


def _still_window(
    rng: np.random.Generator, recipe: PropagationRecipe, stills: StillWindows, length: int
) -> tuple[Float32, Float32, NDArray[np.uint8]]:
    """A window of a moved still: pictures [K+1,3,h,w], the first one's scores [C,h,w], the others' labels [K,H,W]."""
    pictures, scores, labels = stills[int(rng.integers(len(stills)))]
    rows, columns = _crop(rng, scores.shape[1:], recipe.crop)
    ratio = labels.shape[1] // scores.shape[1]  # pixels a cell: whole for CamVid's 480x360 on 90x120
    if labels.shape[1:] != tuple(ratio * n for n in scores.shape[1:]):
        raise ValueError(
            f"stills of {labels.shape[1:]} on a grid of {scores.shape[1:]}: no whole ratio to crop by"
        )
    fine = [slice(s.start * ratio, s.stop * ratio) for s in (rows, columns)]
    pictures, scores = pictures[: length + 1, :, rows, columns], scores[:, rows, columns]
    labels = labels[1 : length + 1, fine[0], fine[1]]
    if rng.random() < 0.5:
        pictures, scores, labels = (
            pictures[..., ::-1].copy(),
            scores[..., ::-1].copy(),
            labels[..., ::-1].copy(),
        )
    return _relight(pictures, rng, recipe.colour), scores, labels


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


def window_loss(model: Propagation, batch: Batch, every_step: bool) -> Tensor:
    """KL to the teacher's scores on clip windows plus cross entropy to the labels on still windows, mean over steps."""
    scores, losses = batch.scores, []
    of_clips = batch.teacher.shape[1]
    length = len(batch.pictures) - 1
    for k in range(length):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = model(batch.pictures[k + 1], batch.pictures[k], scores).float()
        if every_step or k == length - 1:
            losses.append(
                _distillation(scores[:of_clips], batch.teacher[k]) if of_clips else scores.new_zeros(())
            )
            if of_clips < len(scores):
                losses.append(_supervised(scores[of_clips:], batch.labels[k]))
    return torch.stack(losses).sum() / (length if every_step else 1)


def _distillation(scores: Tensor, teacher: Tensor) -> Tensor:
    """Mean over cells of KL(teacher || PF), in nats; scores, teacher: [N,C,h,w]."""
    divergence = F.kl_div(scores.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True)
    return divergence.sum(1).mean()


def _supervised(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy at the labels' own size, as accuracy is measured."""
    full = F.interpolate(scores, size=labels.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(full, labels, ignore_index=IGNORE)


@torch.inference_mode()
def agreement(model: nn.Module, clips: list[ClipCache], steps: int = 4, every: int = 8) -> dict[str, float]:
    """Percent of cells that PF, `steps` after a keyframe, labels as the teacher does; and the same for repeating."""
    ours = kept = cells = 0
    for clip in clips:
        for at in range(0, len(clip) - steps, every):
            pictures = torch.from_numpy(clip.pictures[at : at + steps + 1].astype(np.float32) / 255)
            teacher = torch.from_numpy(clip.scores[[at, at + steps]].astype(np.float32))
            scores = teacher[:1]
            for k in range(steps):
                scores = model(pictures[k + 1 : k + 2], pictures[k : k + 1], scores)
            truth = teacher[1].argmax(0)
            ours += int((scores[0].argmax(0) == truth).sum())
            kept += int((teacher[0].argmax(0) == truth).sum())
            cells += truth.numel()
    return {"agreement": 100 * ours / cells, "repeat_agreement": 100 * kept / cells}


def held_out_tail(clips: list[ClipCache], part: int = 10) -> tuple[list[ClipCache], list[ClipCache]]:
    """Each clip without its last tenth, and those tenths: the unlabelled slice that PF is watched on."""
    rest, tails = [], []
    for clip in clips:
        cut = len(clip) - max(FRAMES, len(clip) // part)
        rest.append(ClipCache(clip.name, clip.pictures[:cut], clip.scores[:cut]))
        tails.append(ClipCache(clip.name, clip.pictures[cut:], clip.scores[cut:]))
    return rest, tails


def train_propagation(
    folder: Path, recipe: PropagationRecipe, classes: int, windows: Windows, *, resume: bool = False
) -> nn.Module:
    """Train PF into `folder`; returns its EMA weights. The last tenth of each clip is only measured."""
    torch.manual_seed(recipe.seed)
    config = PropagationConfig(
        classes=classes, window=recipe.window, intra=recipe.intra, learned_kernels=recipe.learned_kernels
    )
    model = Propagation(config)
    rest, tails = held_out_tail(windows.clips)
    described = {
        "kind": "propagation",
        "network": model.describe(),
        "recipe": asdict(recipe),
        "classes": classes,
        "data": windows.description,
    }
    return train(
        folder,
        model,
        described,
        _optimizer(model, recipe),
        lambda batch: window_loss(model, batch, recipe.supervise_every_step),
        lambda step: draw(step, recipe, rest, windows.stills),
        lambda ema: agreement(ema, tails) if tails else {},
        LoopOptions(steps=recipe.steps, lr_at=_schedule(recipe), ema=recipe.ema),
        resume=resume,
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
