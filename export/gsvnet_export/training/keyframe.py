"""Training of a keyframe network N on labelled stills."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gsvnet_export.data.datasets import LabelledData
from gsvnet_export.data.stills import IGNORE, Labels, Stills, class_frequencies
from gsvnet_export.networks import build_keyframe
from gsvnet_export.networks.pretrained import initialise
from gsvnet_export.outputs import Say
from gsvnet_export.training.augment import random_view
from gsvnet_export.training.loop import CPU, LoopOptions, bf16_where_fast, cosine, on, train, workers_beside


@dataclass(frozen=True, kw_only=True)
class KeyframeRecipe:
    """Everything that decides a training of N besides the data."""

    network: str = "swiftnet"
    trunk: str = "efficientnet_lite0"
    steps: int = 2200
    batch: int = 8
    crop: tuple[int, int] = (320, 448)
    scale: tuple[float, float] = (0.6, 2.0)
    lr: float = 1e-3
    trunk_lr_factor: float = 0.25  # of a trunk that starts trained; one that starts random learns at lr
    weight_decay: float = 1e-2
    colour: float = 1.0  # strength of photometric augmentation
    other_sky: float = 0.0  # share of the views that get another sky
    markings: float = 0.0  # share of the views whose road gets more lines and dashes
    shadows: float = 0.0  # share of the views into which a shadow falls
    drives_alike: bool = False  # every drive of `train` gives as many views, however many stills it has
    auxiliary_share: float = 0.125  # of the draws, from the machine-labelled stills
    lovasz: float = 0.0  # weight of the Lovász-softmax term beside the cross entropy's 1
    frozen_to_stride_4: bool = False  # the trunk's layers up to there keep their weights and statistics
    measured_at: float = 1.0  # the held-out slice is measured at this many times its own size
    ema: float = 0.998
    seed: int = 0


# "swiftnet": the recipe of the SwiftNet paper (section 4.1) as far as the loop knows it, 250 epochs of CamVid.
PRESETS = {
    "best": KeyframeRecipe(),
    "swiftnet": KeyframeRecipe(
        trunk="resnet18",
        steps=7500,
        batch=12,
        crop=(448, 448),
        scale=(0.5, 2.0),
        lr=4e-4,
        weight_decay=1e-4,
        colour=0.0,
        auxiliary_share=0.0,
        ema=0.0,
    ),
    # From a checkpoint of "best" (--init): larger views, as keyframes at 3/4 of the working size are; other skies,
    # markings and shadows; every drive alike; the measure itself in the loss. Frozen early layers halve the time of a
    # step. Several runs with other seeds, one after another or side by side, and `train average` of them go further
    # than one longer run.
    "finetune": KeyframeRecipe(
        steps=900,
        crop=(384, 528),
        scale=(0.9, 2.4),
        lr=7e-4,
        colour=0.6,
        other_sky=0.3,
        markings=0.2,
        shadows=0.2,
        drives_alike=True,
        lovasz=1.0,
        frozen_to_stride_4=True,
        measured_at=1.5,
    ),
    "smoke": replace(KeyframeRecipe(), steps=20, batch=2, crop=(96, 128)),
}


@dataclass(frozen=True)
class Batch:
    """pictures [N,3,h,w] float32 in 0..1, labels [N,h,w] uint8 with IGNORE; which step they are for."""

    pictures: Tensor
    labels: Tensor
    step: int


def draw(step: int, recipe: KeyframeRecipe, data: LabelledData) -> Batch:
    """The batch of one step: depends on the recipe's seed and the step alone."""
    auxiliary, names = data.auxiliary, [c["name"].lower() for c in data.description["classes"]]
    rng = np.random.default_rng([recipe.seed, step])
    views: list[tuple[NDArray[np.float32], Labels]] = []
    for _ in range(recipe.batch):
        source = auxiliary if auxiliary is not None and rng.random() < recipe.auxiliary_share else data.train
        if recipe.drives_alike and source is data.train:
            index = int(rng.choice(len(source), p=source.shares_by_drive))
        else:
            index = int(rng.integers(len(source)))
        image, labels = source[index]
        sky = names.index("sky") if "sky" in names and rng.random() < recipe.other_sky else None
        road = names.index("road") if "road" in names and _one_of(recipe.markings, rng) else None
        shadow = _one_of(recipe.shadows, rng)
        views.append(
            random_view(image, labels, rng, recipe.crop, recipe.scale, recipe.colour, sky, road, shadow)
        )
    pictures = torch.from_numpy(np.stack([v[0] for v in views]))
    labels_ = torch.from_numpy(np.stack([v[1] for v in views]))
    return Batch(pictures.contiguous(memory_format=torch.channels_last), labels_, step)


def _one_of(share: float, rng: np.random.Generator) -> bool:
    """Whether this view is one of the share. Draws nothing for a share of 0: recipes without it stay what they were."""
    return share > 0 and rng.random() < share


def class_weights(frequencies: NDArray[np.float64]) -> Tensor:
    """[C] float32: 1 / ln(1.1 + frequency), so that poles and signs count beside the road (ENet, section 5.2)."""
    return torch.tensor(1 / np.log(1.1 + frequencies), dtype=torch.float32)


def scores_loss(
    scores: Tensor, labels: Tensor, weights: Tensor | None, lovasz: float = 0.0, phase: int = 0
) -> Tensor:
    """Cross entropy of scores [N,C,a,b], brought to the labels' size [N,h,w] as at run time.

    0 where no pixel is labelled. weights: [C], of the classes. lovasz: weight of the Lovász-softmax term, of every
    fourth pixel each way; `phase` 0..15 says of which.
    """
    full = F.interpolate(scores.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
    if not (labels != IGNORE).any():
        return full.sum() * 0  # the mean over no pixels would be NaN
    loss = F.cross_entropy(full, labels, weight=weights, ignore_index=IGNORE)
    if lovasz:
        rows, columns = slice(phase // 4 % 4, None, 4), slice(phase % 4, None, 4)
        loss = loss + lovasz * lovasz_softmax(full[:, :, rows, columns], labels[:, rows, columns])
    return loss


def lovasz_softmax(scores: Tensor, labels: Tensor) -> Tensor:
    """Lovász extension of 1 - mean IoU over the batch's classes (Berman et al., CVPR 2018, algorithm 1).

    scores [N,C,h,w], labels [N,h,w] int64 with IGNORE -> scalar in 0..1; 0 where no pixel is labelled.
    """
    valid = labels != IGNORE
    shares, truth = scores.softmax(1).permute(0, 2, 3, 1)[valid], labels[valid]  # [P,C], [P]
    losses = []
    for index in torch.bincount(truth).nonzero().flatten().tolist():
        foreground = (truth == index).float()
        errors, order = (foreground - shares[:, index]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(foreground[order]))
    return torch.stack(losses).mean() if losses else scores.sum() * 0


def _jaccard_steps(foreground: Tensor) -> Tensor:
    """[P] 0/1, in order of falling error -> how much each pixel, got wrong after those before it, adds to 1 - IoU."""
    total = foreground.sum()
    jaccard = 1 - (total - foreground.cumsum(0)) / (total + (1 - foreground).cumsum(0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


@torch.inference_mode()
def miou(model: nn.Module, stills: Stills, classes: int, scale: float = 1.0) -> float:
    """Mean IoU in percent at the stills' own size, the network given them `scale` times as large.

    Classes without ground truth are left out.
    """
    device = next(model.parameters()).device
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    for index in range(len(stills)):
        image, labels = stills[index]
        picture = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
        if scale != 1.0:
            picture = F.interpolate(picture, scale_factor=scale, mode="bilinear", antialias=True)
        with bf16_where_fast(device):
            scores = model(picture.contiguous(memory_format=torch.channels_last))
        predicted = F.interpolate(scores.float(), size=labels.shape, mode="bilinear").argmax(1)[0].cpu()
        truth = torch.from_numpy(labels).long()
        valid = truth < classes
        confusion += torch.bincount(truth[valid] * classes + predicted[valid], minlength=classes * classes)
    table = confusion.view(classes, classes).double()
    union = table.sum(0) + table.sum(1) - table.diagonal()
    present = table.sum(1) > 0
    return float((table.diagonal() / union)[present].mean() * 100)


def trunk_to_stride_4(model: nn.Module) -> list[nn.Module]:
    """The layers of the trunk up to stride 4."""
    trunk: nn.Module = next(
        module for name, module in model.named_modules() if name.split(".")[-1] == "trunk"
    )
    names: tuple[str, ...] = trunk.to_stride_4  # type: ignore[assignment]
    return [trunk.get_submodule(name) for name in names]


def train_keyframe(
    folder: Path,
    recipe: KeyframeRecipe,
    data: LabelledData,
    init: Path | None = None,
    *,
    resume: bool = False,
    device: torch.device = CPU,
    say: Say = lambda note: None,
) -> nn.Module:
    """Train N into `folder`; returns its EMA weights, on `device`. The held-out slice is only measured.

    `init`: a checkpoint of a trunk or of a whole network, ours or published; None: the trunk's packaged ImageNet
    weights where there are any, else random ones.
    """
    torch.manual_seed(recipe.seed)
    model = build_keyframe(recipe.network, recipe.trunk, data.classes)
    started_from = initialise(model, recipe.trunk, init)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = class_weights(class_frequencies(data.train, data.classes)).to(device)
    frozen = trunk_to_stride_4(model) if recipe.frozen_to_stride_4 else []
    for part in frozen:
        part.requires_grad_(False)
    trunk = {id(p) for name, p in model.named_parameters() if "trunk." in name}
    trained = [p for p in model.parameters() if p.requires_grad]
    trunk_lr = recipe.lr * (1.0 if started_from == "random" else recipe.trunk_lr_factor)
    groups = [
        {"params": [p for p in trained if id(p) in trunk], "lr": trunk_lr},
        {"params": [p for p in trained if id(p) not in trunk], "lr": recipe.lr},
    ]

    def loss(batch: Batch) -> Tensor:
        for part in frozen:
            part.eval()
        batch = on(device, batch)
        with bf16_where_fast(device):
            scores = model(batch.pictures)
        return scores_loss(scores, batch.labels.long(), weights, recipe.lovasz, batch.step % 16)

    config = {
        "kind": "keyframe",
        "recipe": asdict(recipe),
        "classes": data.classes,
        "data": data.description,
        "init": started_from,
    }
    return train(
        folder,
        model,
        config,
        torch.optim.AdamW(groups, weight_decay=recipe.weight_decay),
        loss,
        lambda step: draw(step, recipe, data),
        lambda ema: {"slice_miou": miou(ema, data.held_out, data.classes, recipe.measured_at)},
        LoopOptions(
            steps=recipe.steps,
            lr_at=cosine(recipe.steps),
            ema=recipe.ema,
            workers=workers_beside(device),
        ),
        resume=resume,
        say=say,
    )
