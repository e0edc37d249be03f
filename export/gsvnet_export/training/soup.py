"""The mean of several checkpoints that were fine-tuned apart from one start: a model soup.

Wortsman et al., "Model soups" (ICML 2022): the mean of such weights costs nothing at run time and is often better, on
data like the training's and on other, than each of them.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsvnet_engine.errors import UsageError
from gsvnet_export.training.loop import load_checkpoint, save_state

_SAME = ("kind", "network", "classes")  # of the configurations


def average(paths: Sequence[Path], output: Path, weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Write the mean of the checkpoints, with `weights` (None: equal ones), to `output`; its configuration.

    The configuration is the first's, with all of them under "mean_of". Raises InputError for what is no checkpoint,
    UsageError for networks that differ in kind, form or classes, or for weights that do not fit.
    """
    shares = [1.0] * len(paths) if weights is None else list(weights)
    fit = len(shares) == len(paths) >= 2 and all(0 <= share < math.inf for share in shares) and any(shares)
    if not fit:
        raise UsageError("a mean is of two checkpoints or more, each with a weight of 0 or more")
    shares = [share / sum(shares) for share in shares]
    loaded = [load_checkpoint(path) for path in paths]
    (first, config), *others = loaded
    for path, (state, other) in zip(paths[1:], others, strict=True):
        differing = [key for key in _SAME if other.get(key) != config.get(key)]
        if _class_names(other) != _class_names(config):
            differing.append("class names")
        if differing or _shapes(state) != _shapes(first):
            what = ", ".join(differing) or "shapes"
            raise UsageError(f"{path}: is no other training of {paths[0]}'s network: its {what} differ")
    mean = {
        name: sum(
            (share * state[name] for share, (state, _) in zip(shares, loaded, strict=True)), torch.zeros(())
        )
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }
    described = config | {
        "mean_of": [
            {"weight": share, "recipe": each["recipe"], "init": each["init"], "data": each["data"]}
            for share, (_, each) in zip(shares, loaded, strict=True)
        ]
    }
    save_state(output, mean, described)
    return described


def _class_names(config: dict[str, Any]) -> Any:
    """What a keyframe network's classes are called; None of PF, which does not know."""
    return config["data"].get("classes")


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
