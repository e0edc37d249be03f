"""Videos as users run them on a GPU, each compared with the CPU's labels: `wrong` frames, by scene.

Together they cross every edge of order.py.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.frames import Frame, Plane
from gsvnet_engine.schedule import Next
from tests.cuda.outside import OutsideArray, OutsideStream

UInt8 = NDArray[np.uint8]
HEIGHT, WIDTH = 24, 40
Scene = Callable[[Path, Path], int]


def pictures(count: int, *, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> list[UInt8]:
    """RGB [H,W,3]: large patches of random colours, so that neighbouring frames have other labels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return list(small.repeat(8, 1).repeat(8, 2)[:, :height, :width])


def frames(given: list[UInt8]) -> list[Frame]:
    return [Frame.from_rgb(picture, index=i, pts_s=i / 25) for i, picture in enumerate(given)]


def on_cpu(
    folder: Path, given: list[Frame], interval: int | None = None, asked: tuple[int, ...] = ()
) -> list[UInt8]:
    """The labels that are right. asked: frames before which a keyframe is requested."""
    segmenter = Segmenter(folder, backend="onnxruntime", interval=interval, threads=1)
    labels = []
    for i, frame in enumerate(given):
        if i in asked:
            segmenter.request_keyframe()
        labels.append(segmenter.push(frame).labels)
    return labels


def wrong(found: list[UInt8], expected: list[UInt8]) -> int:
    """How many frames differ; the toy network's numbers are the same everywhere, so its labels are too."""
    assert len(found) == len(expected)
    return sum(not np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@contextmanager
def on_gpu(
    folder: Path, cache: Path, *, ahead: bool = False, interval: int | None = None
) -> Iterator[Segmenter]:
    gpu = GpuOptions(cache=cache, ahead=ahead)
    with Segmenter(folder, backend="tensorrt", interval=interval, gpu=gpu) as segmenter:
        yield segmenter


def streamed(folder: Path, cache: Path) -> int:
    """A decode thread fills the pinned buffers; frame by frame, one ahead."""
    given = frames(pictures(12))
    with on_gpu(folder, cache) as segmenter:
        found = [s.labels for s in segmenter.stream(given)]
    return wrong(found, on_cpu(folder, given))


def grown(folder: Path, cache: Path) -> int:
    """Pictures of changing formats in one size: buffers grow."""
    rgb = pictures(8, seed=1)
    grey = [Frame(planes=(Plane(p[:, :, 0].copy()),), kind="gray", height=HEIGHT, width=WIDTH, pts_s=0.04 * i)
            for i, p in enumerate(rgb)]  # fmt: skip
    given = [*grey[:3], *[replace(f, pts_s=0.04 * i) for i, f in enumerate(frames(rgb)[3:], 3)]]
    expected = on_cpu(folder, given)
    with on_gpu(folder, cache) as segmenter:
        found = [s.labels for s in segmenter.segment(given)]
    with on_gpu(folder, cache) as segmenter:
        segmenter.warm(HEIGHT, WIDTH)
        staged = [s.labels for s in segmenter.stream(given)]
    return wrong(found, expected) + wrong(staged, expected)


def ahead(folder: Path, cache: Path) -> int:
    """The next keyframe on its own stream, at several intervals, and keyframes that nobody foresaw."""
    given = frames(pictures(14, seed=2))
    return sum(
        _ahead(folder, cache, given, interval, asked)
        for interval in (1, 2, 3, 4)
        for asked in ((), (4, 5), (2, 9))
    )


def _ahead(folder: Path, cache: Path, given: list[Frame], interval: int, asked: tuple[int, ...]) -> int:
    """Keyframes asked for when one is under way ahead already: the image network runs on two streams by turns."""
    with on_gpu(folder, cache, ahead=True, interval=interval) as segmenter:

        def fed() -> Iterator[Frame | Next[Frame]]:
            number = 0
            for item in segmenter.feed(given):
                if isinstance(item, Frame):
                    if number in asked:
                        segmenter.request_keyframe()
                    number += 1
                yield item

        found = [s.labels for s in segmenter.segment(fed())]
    return wrong(found, on_cpu(folder, given, interval, asked))


def outside(folder: Path, cache: Path) -> int:
    """A caller's own stream writes one picture's memory again and again, and reads labels in memory of its own."""
    given, found = pictures(10, seed=3), list[UInt8]()
    with on_gpu(folder, cache) as segmenter:
        segmenter.warm(HEIGHT, WIDTH)
        with segmenter._backend.context.current(), closing(OutsideStream()) as stream:  # type: ignore[attr-defined]
            picture, labels = OutsideArray((HEIGHT, WIDTH, 3)), OutsideArray((HEIGHT, WIDTH))
            for each in given:
                stream.write(picture, each)
                segmenter.push_into(picture, labels, stream=stream.handle)
                stream.read(labels, found)
            stream.settle()
            segmenter.reset()

            on_host = [s.labels for s in segmenter.segment(_written(given, picture, stream))]
            del picture, labels
            gc.collect()
    expected = on_cpu(folder, [Frame.from_rgb(each) for each in given])
    return wrong(found, expected) + wrong(on_host, expected)


def _written(given: list[UInt8], picture: OutsideArray, stream: OutsideStream) -> Iterator[Frame]:
    for each in given:
        stream.write(picture, each)
        yield Frame.from_device(picture, stream=stream.handle)


def let_go(folder: Path, cache: Path) -> int:
    """Pictures on the device that nobody but us holds on to, and labels that are looked at in the end."""
    given = pictures(8, seed=4)
    with on_gpu(folder, cache) as segmenter:
        segmenter.warm(HEIGHT, WIDTH)
        with segmenter._backend.context.current():  # type: ignore[attr-defined]
            labels = [OutsideArray((HEIGHT, WIDTH)) for _ in given]
            for each, out in zip(given, labels, strict=True):
                picture = OutsideArray((HEIGHT, WIDTH, 3))
                np.copyto(picture.host(), each)
                segmenter.push_into(picture, out)
                del picture
            for session in segmenter._device_sessions():
                session.video.settle()
            found = [out.host().copy() for out in labels]
            del labels, out
            gc.collect()
    return wrong(found, on_cpu(folder, [Frame.from_rgb(picture) for picture in given]))


def evaluated(folder: Path, cache: Path) -> int:
    """Networks run on single arrays, and scores are looked at, while frames are under way ahead and behind."""
    given, bad = frames(pictures(12, seed=5)), 0
    reference = Segmenter(folder, backend="onnxruntime", threads=1)
    with on_gpu(folder, cache, ahead=True, interval=3) as segmenter:
        results = segmenter.segment(segmenter.feed(given))
        expected = on_cpu(folder, given, 3)
        for i, segmentation in enumerate(results):
            bad += not np.array_equal(segmentation.labels, expected[i])
            seen, scores = given[(5 * i + 1) % 12], segmenter.scores
            reference_scores = reference.keyframe_scores(seen)
            bad += not np.allclose(segmenter.keyframe_scores(seen), reference_scores, atol=1e-4)
            assert scores is not None
            again = reference.propagate_scores(seen, given[i], scores)
            bad += not np.allclose(segmenter.propagate_scores(seen, given[i], scores), again, atol=1e-4)
            bad += not np.array_equal(np.asarray(_labels(scores)), segmentation.labels)
    return bad


def _labels(scores: NDArray[np.float32]) -> UInt8:
    from gsvnet_engine.labels import upsample_labels

    return upsample_labels(scores[0], HEIGHT, WIDTH)


def left(folder: Path, cache: Path) -> int:
    """Everything is closed with work still under way."""
    given = frames(pictures(9, seed=6))
    with (
        on_gpu(folder, cache, ahead=True, interval=2) as segmenter,
        closing(segmenter.segment(segmenter.feed(given))) as results,
    ):
        for _ in range(4):
            next(results)
    return 0


SCENES: tuple[Scene, ...] = (streamed, grown, ahead, outside, let_go, evaluated, left)
