"""The other side of `bench`: what one would write today with torch alone, frame by frame."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import nn

from gsvnet_engine import prepare
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import InputError
from gsvnet_engine.frames import Frame
from gsvnet_engine.pipeline import background
from gsvnet_export.bundles import load_keyframe

_CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"


class Eager:
    """The keyframe network in eager mode, float32, channels_last, on every frame; then interpolate and argmax.

    Decoding and preparation are this engine's own, as on the other side.
    """

    def __init__(self, network: nn.Module, bundle: Bundle, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._bundle, self._threads = bundle, threads

    def frames(self, source: Iterable[Frame], interval: int) -> Iterator[Mapping[str, float]]:
        """Milliseconds of prepare, keyframe and labels of each frame; there is no interval but 1."""
        with closing(background(source)) as ahead:
            for frame in ahead:
                yield self._segment(frame)

    @torch.inference_mode()
    def _segment(self, frame: Frame) -> dict[str, float]:
        started = perf_counter()
        sizes = self._bundle.plan(frame.height, frame.width)
        picture = prepare.keyframe(frame, sizes.keyframe, threads=self._threads)
        prepared = perf_counter()
        scores = self._network(torch.from_numpy(picture).contiguous(memory_format=torch.channels_last))
        segmented = perf_counter()
        full = F.interpolate(scores, size=(frame.height, frame.width), mode="bilinear", align_corners=False)
        full.argmax(1).to(torch.uint8).numpy()
        labelled = perf_counter()
        return {
            "prepare": (prepared - started) * 1e3,
            "keyframe": (segmented - prepared) * 1e3,
            "labels": (labelled - segmented) * 1e3,
        }


def side(bundle: Bundle, threads: int, checkpoint: Path | None) -> Eager:
    """InputError where there is no checkpoint of that bundle's keyframe network, or it is of another."""
    path = checkpoint or _CHECKPOINTS / bundle.manifest.name / "keyframe.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint of {bundle.manifest.name}; name it with --checkpoint")
    network, config = load_keyframe(path)
    found, wanted = len(config["data"]["classes"]), len(bundle.manifest.classes)
    if found != wanted:
        raise InputError(f"{path}: has {found} classes and the bundle {wanted}; give its own checkpoint")
    return Eager(network, bundle, threads)
