"""The runtime's promises, one class each: what README says of the GPU, on a stand-in for one."""

import ctypes
import gc
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt import runtime, uploads
from gsvnet_engine.backends.tensorrt.backend import TensorRT
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.backends.tensorrt.picture import Layout
from gsvnet_engine.backends.tensorrt.runtime import Video
from gsvnet_engine.backends.tensorrt.session import GpuSession
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.graphs import Graph
from gsvnet_engine.errors import BackendError, UsageError
from gsvnet_engine.frames import DevicePlane, Frame, Plane
from gsvnet_engine.schedule import Next
from gsvnet_engine.sources.layout import LAYOUTS, Orientation, frame_of, raw_sizes
from tests import toy_bundle
from tests.cuda import standin
from tests.cuda.outside import DLPackArray, OutsideArray
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, frames, on_cpu, on_gpu, pictures, wrong


@pytest.fixture
def video(driver: standin.Driver, folder: Path, gpu: GpuOptions) -> Any:
    """A Video of the toy bundle, and its session closed in the end."""
    backend = TensorRT(replace(gpu, ahead=True))
    bundle = Bundle.open(folder)
    session = backend.open(bundle, bundle.plan(HEIGHT, WIDTH), None)
    yield session.video
    session.close()
    backend.close()


def overlaps(driver: standin.Driver, video: Video) -> bool:
    """Whether a picture arrives on the device while the networks are busy with the one before it."""
    first, second = frames(pictures(2))
    video.submit(replace(first, staged=video.stage(first)), keyframe=True)
    driver.hold(video.stream.handle)
    staged = video.stage(second)
    driver.run()
    assert staged is not None
    size = second.planes[0].data.size
    on_device = np.frombuffer((ctypes.c_uint8 * size).from_address(staged.planes[0].address), np.uint8)  # type: ignore[call-overload]
    arrived = np.array_equal(on_device, second.planes[0].data.ravel())
    driver.hold(video.stream.handle, False)
    video.let_go()
    return arrived


class TestStreams:
    """1. Three streams (upload, compute, download), ordered by events."""

    def test_uploads_go_on_while_networks_run(self, driver: standin.Driver, video: Video) -> None:
        assert overlaps(driver, video)

    def test_labels_come_down_while_the_next_frame_is_computed(
        self, driver: standin.Driver, video: Video
    ) -> None:
        first, second = frames(pictures(2))
        pending = video.submit(first, keyframe=True)
        with video._context.current():
            pending._parity.computed.settle()
        driver.hold(video.stream.handle)
        video.submit(second, keyframe=False)
        assert pending.labels().shape == (HEIGHT, WIDTH)
        driver.hold(video.stream.handle, False)

    def test_none_of_them_is_the_default_stream(self, video: Video) -> None:
        handles = {int(stream.handle) for stream in video._streams()}
        assert len(handles) == 4 and min(handles) > 2


class TestPinnedBuffers:
    """2. Two pinned buffers each way, filled by the decode thread."""

    def test_one_buffer_would_not_overlap(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uploads, "SLOTS", 1)
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            assert not overlaps(driver, session.video)

    def test_the_decode_thread_fills_them(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, pack = list[str](), Layout.pack

        def packed(self: Layout, frame: Frame, into: Any) -> None:
            seen.append(threading.current_thread().name)
            pack(self, frame, into)

        monkeypatch.setattr(Layout, "pack", packed)
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            assert len(list(segmenter.stream(frames(pictures(5))))) == 5
        assert seen == ["gsvnet-decode"] * 5

    def test_a_frame_is_given_before_the_last_ones_labels_are_waited_for(
        self, driver: standin.Driver, video: Video
    ) -> None:
        given = frames(pictures(3))
        video.submit(given[0], keyframe=True).labels()
        before = driver.calls("cuStreamSynchronize")
        driver.hold(video.stream.handle)
        for frame in given[1:]:  # a wait for the stream that is held would never end
            video.submit(frame, keyframe=False)
        driver.hold(video.stream.handle, False)
        assert driver.calls("cuStreamSynchronize") == before

    def test_both_pinned_buffers_of_labels_are_used(self, video: Video) -> None:
        assert runtime.PARITIES == 2
        assert len({parity.pinned.address for parity in video._parities}) == 2

    def test_a_closed_video_does_not_leave_the_decode_thread_waiting(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            for _ in segmenter.stream(frames(pictures(30))):
                break
            names = [thread.name for thread in threading.enumerate()]
            assert "gsvnet-decode" not in names
            assert len(list(segmenter.stream(frames(pictures(4))))) == 4


class TestScoresStay:
    """3. Scores stay on the device; only labels come down."""

    def test_bytes_that_come_down(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            before = driver.copied("DtoH")
            found = list(segmenter.stream(frames(pictures(9))))
            assert driver.copied("DtoH") - before == 9 * HEIGHT * WIDTH
            assert found[0].labels.dtype == np.uint8

    def test_scores_when_asked_for(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        given = frames(pictures(4))
        reference = Segmenter(folder, backend="onnxruntime")
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            assert segmenter.scores is None
            for frame, segmentation in zip(given, segmenter.segment(given), strict=True):
                reference.push(frame)
                assert segmentation.index == frame.index
                assert segmenter.scores is not None and reference.scores is not None
                np.testing.assert_allclose(segmenter.scores, reference.scores, atol=1e-4)


class TestGraphs:
    """4. One CUDA graph for the keyframe step and one for the propagation step."""

    def test_a_step_is_one_launch(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu, interval=3) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            segmenter.push(pictures(1)[0])
            before = driver.calls("cuGraphLaunch"), driver.calls("cuLaunchKernel")
            for frame in pictures(5)[:2]:
                segmenter.push(frame)
            after = driver.calls("cuGraphLaunch"), driver.calls("cuLaunchKernel")
        assert after[0] - before[0] == 2
        assert after[1] - before[1] == 2  # each frame's own preparation, whose addresses change

    def test_where_capture_fails_it_runs_piece_by_piece(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise BackendError("not capturable")

        said = list[str]()
        monkeypatch.setattr(Graph, "__init__", refuse)
        given = frames(pictures(6))
        with Segmenter(folder, backend="tensorrt", gpu=replace(gpu, say=said.append)) as segmenter:
            found = [segmenter.push(frame).labels for frame in given]
        assert wrong(found, on_cpu(folder, given)) == 0
        assert any("no CUDA graph can be made of it (not capturable)" in line for line in said)

    def test_a_capture_that_breaks_off_leaves_the_stream_usable(
        self, driver: standin.Driver, video: Video
    ) -> None:
        def work() -> None:
            raise RuntimeError("half-way")

        with video._context.current():
            with pytest.raises(RuntimeError, match="half-way"):
                Graph(video.stream, work)
            video.stream.settle()

    def test_capturing_minds_only_its_own_thread(self, driver: standin.Driver, video: Video) -> None:
        """The decode thread waits for events while the other captures: in global mode that would break it off."""
        frame = frames(pictures(1))[0]

        def work() -> None:
            thread = threading.Thread(target=lambda: staged.append(video.stage(frame)))
            thread.start()
            thread.join()
            video._parities[0].scores.clear(video.stream)

        staged = list[Any]()
        with video._context.current():
            Graph(video.stream, work).close()
        assert staged[0] is not None


class TestOutside:
    """6. External device pointers and streams accepted."""

    def test_a_picture_by_either_interface(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        picture = pictures(1)[0]
        expected = on_cpu(folder, [Frame.from_rgb(picture)])[0]
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            with segmenter._backend.context.current():  # type: ignore[attr-defined]
                memory = OutsideArray((HEIGHT, WIDTH, 3))
                np.copyto(memory.host(), picture)
                as_dlpack = DLPackArray(memory, (HEIGHT, WIDTH, 3))
                padded = OutsideArray((HEIGHT, WIDTH + 5, 4))
                padded.host()[:, 1 : 1 + WIDTH, :3] = picture
                view = DLPackArray(padded, (HEIGHT, WIDTH, 3), offset=4, strides=(4 * (WIDTH + 5), 4, 1))
                for given in (memory, as_dlpack, view):
                    segmenter.reset()
                    np.testing.assert_array_equal(segmenter.push(given).labels, expected)
                assert as_dlpack.asked == [1]
                del memory, padded, as_dlpack, view, given
                gc.collect()

    def test_what_cannot_be_read_is_refused(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            with segmenter._backend.context.current():  # type: ignore[attr-defined]
                memory, small = OutsideArray((HEIGHT, WIDTH, 3)), OutsideArray((HEIGHT, WIDTH - 1))
                with pytest.raises(
                    ValueError, match=r"a picture must be uint8 \[H,W,3\], not uint8 \[24, 39\]"
                ):
                    segmenter.push(small)
                with pytest.raises(UsageError, match=r"labels need uint8 \[24,40\], packed"):
                    segmenter.push_into(memory, small)
                with pytest.raises(UsageError, match="offers no device memory"):
                    segmenter.push_into(memory, np.zeros((HEIGHT, WIDTH), np.uint8))
                with pytest.raises(UsageError, match="host memory though it says otherwise"):
                    segmenter.push(_Lying((HEIGHT, WIDTH, 3), segmenter))
                del memory, small
        with pytest.raises(UsageError, match="with a backend there alone, not with onnxruntime"):
            Segmenter(folder, backend="onnxruntime").push_into(pictures(1)[0], None)

    def test_frames_on_a_gpu_are_not_for_cpus(self, folder: Path) -> None:
        frame = replace(frames(pictures(1))[0], planes=(), device_planes=(DevicePlane(1, 1, 1, 1, 1),))
        with pytest.raises(UsageError, match="this frame lies on a GPU: the onnxruntime backend cannot"):
            Segmenter(folder, backend="onnxruntime").push(frame)


class _Lying:
    """Pinned host memory that poses as the device's."""

    def __init__(self, shape: tuple[int, ...], segmenter: Segmenter) -> None:
        (session,) = segmenter._device_sessions()
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "|u1", "version": 2,
            "data": (session.video._parities[0].pinned.address, False),
        }  # fmt: skip


class TestAhead:
    """7. An option computes the next keyframe ahead on its own stream."""

    def test_frames_before_it_do_not_wait_for_it(self, driver: standin.Driver, video: Video) -> None:
        given = frames(pictures(4))
        video.submit(given[0], keyframe=True).labels()
        ahead = video._ahead
        assert ahead is not None
        driver.hold(ahead.stream.handle)
        video.compute_ahead(given[3], given[3])
        for frame in given[1:3]:
            assert video.submit(frame, keyframe=False).labels().shape == (HEIGHT, WIDTH)
        driver.hold(ahead.stream.handle, False)
        pending = video.submit(given[3], keyframe=True, token=given[3])
        pending.labels()
        assert pending.stage == "adopt"

    def test_the_image_network_runs_once_for_each_keyframe(
        self, driver: standin.Driver, folder: Path, tmp_path: Path
    ) -> None:
        given = frames(pictures(12))
        with on_gpu(folder, tmp_path / "cache", ahead=True, interval=4) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            found = list(segmenter.stream(given))
        stages = ["".join(segmentation.stages_ms) for segmentation in found]
        assert stages == ["keyframe", *["propagate"] * 3, *["adopt", *["propagate"] * 3] * 2]

    def test_without_the_option_nothing_is_shown_ahead(
        self, driver: standin.Driver, folder: Path, tmp_path: Path
    ) -> None:
        with on_gpu(folder, tmp_path / "cache") as segmenter:
            assert not any(isinstance(item, Next) for item in segmenter.feed(frames(pictures(9))))

    def test_its_stream_gives_way(self, driver: standin.Driver, video: Video) -> None:
        """Of the least priority: a frame's own work goes first where both could run."""
        assert video._ahead is not None
        assert driver.priority(int(video._ahead.stream.handle)) == 0
        assert driver.priority(int(video.stream.handle)) < 0


class TestPictures:
    """Whatever a source gives is prepared on the device as on the CPU, to the bit."""

    @pytest.mark.parametrize(
        "name", ["yuv420p", "nv12", "p010le", "yuv420p10le", "yuv444p", "gbrp", "gray", "bgr24"]
    )
    def test_formats(self, name: str, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        rng, layout, (height, width) = np.random.default_rng(3), LAYOUTS[name], (27, 45)
        given = []
        for i in range(4):
            most = (1 << layout.depth) - 1
            buffers: list[Any] = [
                (rng.integers(0, most + 1, size, np.uint16) << layout.shift).astype(layout.dtype)
                for size in raw_sizes(layout, height, width)
            ]
            given.append(replace(frame_of(layout, buffers, height, width), index=i, pts_s=i / 25))
        self._same(given, folder, gpu)

    def test_turned(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        rng, layout = np.random.default_rng(4), LAYOUTS["nv12"]
        buffers = [rng.integers(0, 256, size, np.uint8) for size in raw_sizes(layout, 26, 38)]
        for turned in (Orientation(True, True, False), Orientation(False, True, True)):
            self._same([frame_of(layout, buffers, 26, 38, turned=turned)], folder, gpu)

    def test_sizes_that_change(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        sizes = [(24, 40), (24, 41), (9, 9), (24, 40), (50, 30), (33, 17), (24, 40)]
        given = [
            Frame.from_rgb(pictures(1, height=h, width=w, seed=i)[0], index=i)
            for i, (h, w) in enumerate(sizes)
        ]
        self._same(given, folder, gpu)

    def _same(self, given: list[Frame], folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            found = [segmentation.labels for segmentation in segmenter.segment(given)]
        assert wrong(found, on_cpu(folder, given)) == 0

    def test_1d_planes_of_one_row(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        plane = Plane(np.arange(8, dtype=np.uint8)[None])
        self._same([Frame(planes=(plane,), kind="gray", height=1, width=8, full_range=True)], folder, gpu)


def test_auto_takes_the_gpu(driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
    with Segmenter(folder, gpu=gpu) as segmenter:
        assert (segmenter.backend, segmenter.precision) == ("tensorrt", "f32")
    assert Segmenter(folder, gpu=gpu, cpu_precision="f32", backend="onnxruntime").backend == "onnxruntime"


class TestSession:
    """The same session array by array, for `evaluate`."""

    def test_agrees_with_numpy(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        bundle, rng = Bundle.open(folder), np.random.default_rng(0)
        sizes = bundle.plan(32, 48)
        frame, current, previous = (
            rng.random((1, 3, *s), np.float32) for s in (sizes.keyframe, sizes.grid, sizes.grid)
        )
        scores = rng.normal(0, 3, (1, toy_bundle.CLASSES, *sizes.grid)).astype(np.float32)
        backend = TensorRT(gpu)
        session: GpuSession = backend.open(bundle, sizes, None)
        expected = toy_bundle.keyframe_scores(frame, sizes.grid)
        np.testing.assert_allclose(session.keyframe(frame), expected, atol=1e-4)
        expected = toy_bundle.propagated_scores(current, previous, scores)
        np.testing.assert_allclose(session.propagate(current, previous, scores), expected, atol=1e-4)
        both = zip(
            session.warp(current, previous, scores),
            toy_bundle.warped_scores(current, previous, scores),
            strict=True,
        )
        for found, wanted in both:
            np.testing.assert_allclose(found, wanted, atol=1e-5)
        with pytest.raises(ValueError, match="previous must be"):
            session.propagate(current, frame, scores)
        session.close()
        backend.close()


def test_nothing_leaks_over_ten_thousand_frames(
    driver: standin.Driver, folder: Path, gpu: GpuOptions
) -> None:
    """8. Nothing is made for a frame that outlives it: what lives after 100 frames lives after 10,000, and no more."""
    given = frames(pictures(4, height=8, width=8))
    with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
        made = (
            "cuMemAlloc",
            "cuMemHostAlloc",
            "cuEventCreate",
            "cuStreamCreateWithPriority",
            "cuGraphInstantiateWithFlags",
        )
        results = segmenter.segment(replace(given[i % 4], index=i, pts_s=i / 100) for i in range(10_000))
        for i, segmentation in enumerate(results):
            if i == 100:
                before = driver.alive, [driver.calls(name) for name in made]
            assert segmentation.index == i
        assert (driver.alive, [driver.calls(name) for name in made]) == before
