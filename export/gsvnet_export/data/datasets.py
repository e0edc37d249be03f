"""A data set as training takes it: stills to learn from, a held-out slice of the same split, classes, provenance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsvnet_engine.errors import UsageError
from gsvnet_export.data import camvid, cityscapes, clips
from gsvnet_export.data.stills import Stills


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """`held_out` is a fixed slice of the training split: it alone may choose checkpoints and hyper-parameters."""

    train: Stills
    held_out: Stills
    auxiliary: Stills | None  # machine-labelled frames of clips
    description: dict[str, Any]  # classes, sources, slice: goes into the checkpoint

    @property
    def classes(self) -> int:
        return len(self.description["classes"])


def load_labelled(dataset: str, root: Path) -> LabelledData:
    """`camvid`: root holds camvid/ and, where they exist, clips/ and pseudo/. `cityscapes`: its own root."""
    if dataset == "camvid":
        return _camvid(root)
    if dataset == "cityscapes":
        return _cityscapes(root)
    raise UsageError(f"no data set {dataset!r}; there are camvid and cityscapes")


def _camvid(root: Path) -> LabelledData:
    stills = camvid.load(root / "camvid", "train")
    held_out = camvid.slice_of_train(stills.names)
    train, slice_ = stills.split(held_out.__contains__)
    sources = ["CamVid train in SegNet's 11-class split (Brostow et al. 2008; CC BY-NC 4.0)"]
    auxiliary = None
    if (root / "clips").is_dir() and (root / "pseudo").is_dir():
        auxiliary = clips.machine_labelled(root / "clips", root / "pseudo", short_side=360)
        names = sorted({name.split("/")[0] for name in auxiliary.names})
        sources.append(f"machine-labelled frames of the clips {', '.join(names)} (MIT)")
    return LabelledData(
        train=train,
        held_out=slice_,
        auxiliary=auxiliary,
        description=_describe(
            "camvid", camvid.CLASSES, camvid.COLORS, sources, "the last fifteenth of each sequence of train"
        ),
    )


def _cityscapes(root: Path) -> LabelledData:
    stills = cityscapes.load(root, "train")
    cities = sorted({name.split("_")[0] for name in stills.names})
    train, slice_ = stills.split(lambda name: name.split("_")[0] == cities[-1])
    return LabelledData(
        train=train if len(cities) > 1 else stills,
        held_out=slice_,
        auxiliary=None,
        description=_describe(
            "cityscapes",
            cityscapes.CLASSES,
            cityscapes.COLORS,
            ["Cityscapes train, fine labels (Cordts et al. 2016; its own licence, research only)"],
            f"the city {cities[-1]} of train",
        ),
    )


def _describe(
    dataset: str, names: tuple[str, ...], colors: tuple[Any, ...], sources: list[str], held_out: str
) -> dict[str, Any]:
    classes = [{"name": name, "color": list(color)} for name, color in zip(names, colors, strict=True)]
    return {"dataset": dataset, "classes": classes, "sources": sources, "held_out": held_out}
