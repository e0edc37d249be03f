"""Which data set a folder holds."""

from pathlib import Path

from gsvnet_engine.errors import UsageError
from gsvnet_engine.evaluation.camvid import CamVid
from gsvnet_engine.evaluation.cityscapes import Cityscapes, is_layout
from gsvnet_engine.evaluation.dataset import Dataset

DATASETS = ("auto", "camvid", "cityscapes")


def open_dataset(root: Path, split: str, kind: str = "auto") -> Dataset:
    """The split of the data set in that folder; "auto": Cityscapes where its folders are there, else CamVid.

    Raises UsageError for a kind that is not known, InputError for another layout.
    """
    return Cityscapes.open(root, split) if is_cityscapes(root, kind) else CamVid.open(root, split)


def is_cityscapes(root: Path, kind: str = "auto") -> bool:
    """Whether the folder is to be read as Cityscapes, else as CamVid. Raises UsageError for a kind not known."""
    if kind not in DATASETS:
        raise UsageError(f"--dataset must be one of {', '.join(DATASETS)}, not {kind!r}")
    return kind == "cityscapes" or (kind == "auto" and is_layout(root))
