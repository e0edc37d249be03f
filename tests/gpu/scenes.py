"""The scenes of tests/engine/backends/tensorrt/scenes.py on a real GPU, with memory that the host cannot see."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.frames import Frame
from tests.engine.backends.tensorrt import scenes
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, UInt8, on_cpu, pictures
from tests.gpu.outside import Outside

Scene = scenes.Scene


def right(found: UInt8, expected: UInt8) -> bool:
    """But for pixels whose two best scores are a rounding apart; a frame or a state mistaken changes many."""
    return found.shape == expected.shape and bool(np.mean(found != expected) <= 2e-3)


def wrong(found: list[UInt8], expected: list[UInt8]) -> int:
    """How many frames differ."""
    assert len(found) == len(expected)
    return sum(not right(a, b) for a, b in zip(found, expected, strict=True))


def put(monkeypatch: pytest.MonkeyPatch, outside: Outside | None, backend: str, *, ahead: bool) -> None:
    """Let the scenes run on `backend`, with memory of others' that is real. ahead: whether it can."""

    @contextmanager
    def on_gpu(
        folder: Path, cache: Path, *, ahead: bool = False, interval: int | None = None
    ) -> Iterator[Segmenter]:
        gpu = GpuOptions(cache=cache, ahead=ahead and can)
        with Segmenter(folder, backend=backend, interval=interval, gpu=gpu) as segmenter:
            yield segmenter

    can = ahead
    monkeypatch.setattr(scenes, "on_gpu", on_gpu)
    monkeypatch.setattr(scenes, "wrong", wrong)
    if outside is not None:
        monkeypatch.setattr(scenes, "OutsideArray", outside.array)
        monkeypatch.setattr(scenes, "OutsideStream", outside.queue)


def let_go(folder: Path, cache: Path, outside: Outside) -> int:
    """Pictures that nobody but us holds on to: whoever asks for memory next writes another into the same place."""
    given, found = pictures(8, seed=4), list[UInt8]()
    with scenes.on_gpu(folder, cache) as segmenter:
        segmenter.warm(HEIGHT, WIDTH)
        with segmenter._backend.context.current():  # type: ignore[attr-defined]
            labels = [outside.array((HEIGHT, WIDTH)) for _ in given]
            for each, out in zip(given, labels, strict=True):
                picture = outside.array((HEIGHT, WIDTH, 3))
                picture.write(each)
                segmenter.push_into(picture, out)
                del picture
            for session in segmenter._device_sessions():
                session.video.settle()
            found.extend(out.read().copy() for out in labels)
            del labels, out
    return wrong(found, on_cpu(folder, [Frame.from_rgb(picture) for picture in given]))


PLAIN: tuple[Scene, ...] = (scenes.streamed, scenes.grown, scenes.evaluated, scenes.left)
OUTSIDE: tuple[Callable[[Path, Path, Outside], int], ...] = (
    lambda folder, cache, outside: scenes.outside(folder, cache),
    let_go,
)
