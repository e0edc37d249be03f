"""Frames, streams, graphs and other people's memory on a real driver.

With the tensorrt backend, TensorRT's place taken by kernels (toy_tensorrt.py), and with ONNX Runtime's CUDA provider.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.device import Context, DeviceInfo
from gsvnet_engine.cuda.driver import DriverError, api, call
from gsvnet_engine.cuda.graphs import Graph
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Event, Stream
from gsvnet_engine.errors import UsageError
from tests import toy_bundle
from tests.engine.backends.tensorrt import scenes
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, frames, on_cpu, pictures
from tests.gpu import scenes as real
from tests.gpu.outside import Outside

pytestmark = pytest.mark.gpu

BACKENDS = ("tensorrt", "onnxruntime-cuda")
_NOT_READY, _TOO_LONG_S = 600, 15.0


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """A backend that can run here."""
    name: str = request.param
    request.getfixturevalue("toy_tensorrt" if name == "tensorrt" else "cuda_provider")
    return name


class TestScenes:
    @pytest.mark.parametrize("scene", real.PLAIN, ids=lambda scene: scene.__name__)
    def test_plain(
        self, scene: scenes.Scene, backend: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real.put(monkeypatch, None, backend, ahead=backend == "tensorrt")
        assert scene(folder, tmp_path / "cache") == 0

    @pytest.mark.usefixtures("toy_tensorrt")
    def test_ahead(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real.put(monkeypatch, None, "tensorrt", ahead=True)
        assert scenes.ahead(folder, tmp_path / "cache") == 0

    @pytest.mark.parametrize("scene", real.OUTSIDE, ids=["outside", "let_go"])
    def test_outside(
        self,
        scene: Callable[[Path, Path, Outside], int],
        backend: str,
        outside: Outside,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        real.put(monkeypatch, outside, backend, ahead=False)
        assert scene(folder, tmp_path / "cache", outside) == 0


class TestArrays:
    """Array by array, against NumPy."""

    def test_the_three_networks(self, backend: str, folder: Path, gpu: GpuOptions) -> None:
        bundle, rng = Bundle.open(folder), np.random.default_rng(0)
        sizes = bundle.plan(45, 61)
        frame, current, previous = (
            rng.random((1, 3, *s), np.float32) for s in (sizes.keyframe, sizes.grid, sizes.grid)
        )
        scores = rng.normal(0, 3, (1, toy_bundle.CLASSES, *sizes.grid)).astype(np.float32)
        with Segmenter(folder, backend=backend, gpu=gpu) as segmenter:
            session: Any = segmenter._session(sizes)
            np.testing.assert_allclose(
                session.keyframe(frame), toy_bundle.keyframe_scores(frame, sizes.grid), atol=1e-4
            )
            np.testing.assert_allclose(
                session.propagate(current, previous, scores),
                toy_bundle.propagated_scores(current, previous, scores),
                atol=1e-4,
            )
            expected = toy_bundle.warped_scores(current, previous, scores)
            for got, wanted in zip(session.warp(current, previous, scores), expected, strict=True):
                np.testing.assert_allclose(got, wanted, atol=1e-5)
            up, down = session.copies_ms(HEIGHT * WIDTH * 3, 5)
            steps = session.propagation_ms({"current": current, "previous": previous, "scores": scores}, 5)
            assert all(0 < ms < 1000 for ms in (*up, *down, *steps))


class TestOutside:
    """Pictures by either interface, and what is refused."""

    @pytest.mark.parametrize("way", ["interface", "dlpack"])
    def test_a_picture(
        self, way: str, outside: Outside, toy_tensorrt: Any, folder: Path, gpu: GpuOptions
    ) -> None:
        (given,) = pictures(1)

        class ByDLPack:
            def __init__(self, memory: Any) -> None:
                self._memory = memory

            def __dlpack__(self, **options: Any) -> Any:
                return self._memory.__dlpack__(**options)

            def __dlpack_device__(self) -> Any:
                return self._memory.__dlpack_device__()

        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            with segmenter._backend.context.current():  # type: ignore[attr-defined]
                picture = outside.array((HEIGHT, WIDTH, 3))
                picture.write(given)
                offered = ByDLPack(picture.memory) if way == "dlpack" else picture.memory
                found = segmenter.push(offered).labels
                del picture, offered
        assert real.wrong([found], on_cpu(folder, frames([given]))) == 0

    def test_host_memory_is_refused(self, card: DeviceInfo) -> None:
        from gsvnet_engine.cuda.external import device_array

        class Liar:
            def __init__(self, address: int) -> None:
                self.__cuda_array_interface__ = {
                    "shape": (4,), "typestr": "|u1", "data": (address, False), "version": 3, "strides": None,
                }  # fmt: skip

        with closing(Context(card)) as context, context.current():
            pinned = PinnedBuffer(4, "a test")
            with pytest.raises(UsageError, match="lies in host memory though it says otherwise"):
                device_array(Liar(pinned.address))
            pinned.close()


@contextmanager
def held(stream: Stream) -> Iterator[Callable[[], None]]:
    """What the stream is given waits until the function is called; at the latest until the test is over.

    Fails where that took so long that somebody must have waited for the stream.
    """
    flag = PinnedBuffer(4, "a test")
    word = flag.bytes.view(np.uint32)
    word[0] = 0
    late = list[str]()

    def give_up() -> None:
        late.append("the host waited for a stream that was held")
        word[0] = 1

    timer = threading.Timer(_TOO_LONG_S, give_up)

    def let_go() -> None:
        word[0] = 1

    at_least = api().CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
    call("cuStreamWaitValue32", stream.handle, flag.address, 1, int(at_least))
    timer.start()
    try:
        yield let_go
    finally:
        let_go()
        timer.cancel()
        timer.join()
        stream.settle()
        flag.close()
    assert not late, late[0]


def reached(event: Event) -> bool:
    try:
        call("cuEventQuery", event.handle)
    except DriverError as error:
        assert error.code == _NOT_READY
        return False
    return True


class TestAsynchronous:
    """Who waits for whom, by streams that are held: no clock is read."""

    def test_nobody_waits_while_networks_run(self, backend: str, folder: Path, gpu: GpuOptions) -> None:
        """Two frames are given and their pictures uploaded while the compute stream stands still."""
        given = frames(pictures(7, seed=8))
        expected = on_cpu(folder, given, 7)
        with Segmenter(folder, backend=backend, gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            video = session.video
            found = [video.submit(f, keyframe=i == 0).labels() for i, f in enumerate(given[:5])]
            with video._context.current(), held(video.stream) as let_go:
                pending = [video.submit(f, keyframe=False) for f in given[5:]]
                video._upload.settle()
                assert not any(reached(each._parity.computed) for each in pending)
                assert not any(reached(each._parity.downloaded) for each in pending)
                let_go()
                found.extend(each.labels() for each in pending)
        assert real.wrong(found, expected) == 0

    def test_a_keyframe_ahead_runs_beside_a_compute_stream_that_stands(
        self, toy_tensorrt: Any, folder: Path, tmp_path: Path
    ) -> None:
        given = frames(pictures(6, seed=9))
        gpu = GpuOptions(cache=tmp_path / "cache", ahead=True)
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            video, ahead = session.video, session.video._ahead
            assert ahead is not None
            found = [video.submit(f, keyframe=i == 0).labels() for i, f in enumerate(given[:5])]
            with video._context.current():
                video.compute_ahead(given[5], given[5])
                ahead.prepared.settle()
                with held(video.stream):
                    ahead.done.settle()
            last = video.submit(given[5], keyframe=True, token=given[5])
            assert last.stage == "adopt"
            found.append(last.labels())
        assert real.wrong(found[:5], on_cpu(folder, given[:5], 5)) == 0
        assert real.wrong(found[5:], on_cpu(folder, given[5:])) == 0

    def test_a_copy_on_another_stream_waits_for_an_event(self, card: DeviceInfo) -> None:
        with closing(Context(card)) as context, context.current(), closing(Scope()) as scope:
            one, two = scope.keep(Stream()), scope.keep(Stream(low_priority=True))
            source, target = (scope.keep(PinnedBuffer(1 << 20, "a test")) for _ in range(2))
            device = scope.keep(DeviceBuffer(1 << 20, "a test"))
            written, read = scope.keep(Event()), scope.keep(Event())
            source.bytes[:] = 7
            target.bytes[:] = 0
            device.clear(one)
            one.settle()
            with held(one) as let_go:
                device.upload(source, source.size, one)
                written.record(one)
                two.wait(written)
                device.download(target, target.size, two)
                read.record(two)
                assert not reached(read) and not target.bytes.any()
                let_go()
                read.settle()
            assert (target.bytes == 7).all()

    def test_capturing_minds_only_its_own_thread(
        self, toy_tensorrt: Any, folder: Path, gpu: GpuOptions
    ) -> None:
        """Another thread allocates pinned memory and copies while this one captures."""
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            video, staged = session.video, list[Any]()

            def work() -> None:
                thread = threading.Thread(target=lambda: staged.append(video.stage(frames(pictures(1))[0])))
                thread.start()
                thread.join()
                video._parities[0].scores.clear(video.stream)

            with video._context.current():
                Graph(video.stream, work).close()
                with pytest.raises(RuntimeError, match="half-way"):
                    Graph(video.stream, _fail)
                video.stream.settle()
            assert staged[0] is not None

    def test_every_step_is_a_graph(self, toy_tensorrt: Any, folder: Path, tmp_path: Path) -> None:
        said = list[str]()
        gpu = GpuOptions(cache=tmp_path / "cache", ahead=True, say=said.append)
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            kinds = sorted(kind for kind, _ in session.video._steps._graphs)
        assert kinds == ["adopt", "adopt", "ahead", "keyframe", "keyframe", "propagate", "propagate"]
        assert not [line for line in said if "no CUDA graph" in line]


def _fail() -> None:
    raise RuntimeError("half-way")


def test_memory_comes_back(card: DeviceInfo, toy_tensorrt: Any, folder: Path, tmp_path: Path) -> None:
    """What is free after the first video is free after the tenth; others on the card may take some meanwhile."""

    def free() -> int:
        with closing(Context(card)) as context, context.current():
            return int(call("cuMemGetInfo")[0])

    def video() -> None:
        gpu = GpuOptions(cache=tmp_path / "cache", ahead=True)
        with Segmenter(folder, backend="tensorrt", gpu=gpu, interval=2) as segmenter:
            assert len(list(segmenter.segment(frames(pictures(6, height=480, width=640))))) == 6

    with closing(Context(card)):  # kept: the primary context itself takes memory
        video()
        before = free()
        for _ in range(9):
            video()
        assert before - free() < 8 << 20


def test_the_callers_context_is_left_as_it_was(
    card: DeviceInfo, toy_tensorrt: Any, folder: Path, gpu: GpuOptions
) -> None:
    before = int(call("cuCtxGetCurrent") or 0)
    with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
        segmenter.push(pictures(1)[0])
        assert int(call("cuCtxGetCurrent") or 0) == before
    assert int(call("cuCtxGetCurrent") or 0) == before
