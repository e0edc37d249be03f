"""ONNX Runtime on a GPU: its sessions bound to the stand-in's memory, and every way in which it falls back."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from gsvnet_engine import Segmenter, backends
from gsvnet_engine.backends import onnxruntime_gpu
from gsvnet_engine.backends.onnxruntime_gpu import PROVIDERS, BoundNetwork, OnnxRuntimeGpu
from gsvnet_engine.backends.tensorrt.cache import PlanCache
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda.driver import call
from gsvnet_engine.cuda.memory import PinnedBuffer
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError, BundleError, UsageError
from tests import toy_bundle
from tests.cuda import standin
from tests.cuda.outside import OutsideArray
from tests.engine.backends.tensorrt import standin_onnxruntime as runtime
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, frames, on_cpu, pictures, wrong

KINDS = ("onnxruntime-cuda", "onnxruntime-tensorrt")


@pytest.fixture
def onnx(driver: standin.Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """onnxruntime-gpu in onnxruntime's place, and no TensorRT beside it."""
    from gsvnet_engine.backends.tensorrt import generation

    runtime.reset()
    monkeypatch.setattr(generation, "installed", dict)
    monkeypatch.setattr(onnxruntime_gpu, "import_module", lambda name: runtime)
    yield
    runtime.reset()


def came_down(driver: standin.Driver, folder: Path, gpu: GpuOptions) -> int:
    """Bytes that nine frames bring to the host."""
    with Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter:
        segmenter.warm(HEIGHT, WIDTH)
        before = driver.copied("DtoH")
        assert len(list(segmenter.stream(frames(pictures(9)), interval=3))) == 9
        return driver.copied("DtoH") - before


@pytest.mark.usefixtures("onnx")
class TestFrames:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("name", KINDS)
    def test_labels_are_the_cpus(
        self, name: str, seed: int, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        driver.reset(seed)
        given = frames(pictures(12))
        with Segmenter(folder, backend=name, gpu=gpu) as segmenter:
            found = [s.labels for s in segmenter.stream(given)]
            assert (segmenter.backend, segmenter.precision) == (name, "f32")
        assert wrong(found, on_cpu(folder, given)) == 0

    def test_scores_stay(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        assert came_down(driver, folder, gpu) == 9 * HEIGHT * WIDTH

    def test_scores_that_go_by_the_host_are_noticed(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueue = BoundNetwork.enqueue

        def by_the_host(self: BoundNetwork, stream: Stream, addresses: Mapping[str, int]) -> None:
            if "scores" in self._expected.inputs:
                size = 4 * int(np.prod(self._expected.inputs["scores"]))
                scores = PinnedBuffer(size, "scores")
                call("cuMemcpyDtoHAsync", scores.address, addresses["scores"], size, stream.handle)
                stream.settle()
                scores.close()
            enqueue(self, stream, addresses)

        monkeypatch.setattr(BoundNetwork, "enqueue", by_the_host)
        assert came_down(driver, folder, gpu) > 9 * HEIGHT * WIDTH

    def test_each_step_reads_what_the_one_before_wrote(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen, enqueue = list[dict[str, int]](), BoundNetwork.enqueue

        def noted(self: BoundNetwork, stream: Stream, addresses: Mapping[str, int]) -> None:
            seen.append(dict(addresses))
            enqueue(self, stream, addresses)

        with Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            monkeypatch.setattr(BoundNetwork, "enqueue", noted)
            list(segmenter.stream(frames(pictures(4)), interval=4))
        keyframe, *propagated = seen
        assert propagated[0]["scores"] == keyframe["scores"]
        for before, after in pairwise(propagated):
            assert after["scores"] == before["propagated"] and after["previous"] == before["current"]

    def test_its_work_goes_on_our_stream_and_nobody_waits(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        with Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            (session,) = segmenter._device_sessions()
            video = session.video
            assert {each._stream for each in runtime.sessions} == {int(video.stream.handle)}
            driver.hold(video.stream.handle)  # a wait for it would never end
            given = frames(pictures(2))
            waiting = [video.submit(frame, keyframe=not i) for i, frame in enumerate(given)]
            driver.hold(video.stream.handle, False)
            found = [pending.labels() for pending in waiting]
        assert wrong(found, on_cpu(folder, given, 2)) == 0

    def test_pictures_and_labels_on_the_gpu(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        (given,) = pictures(1)
        with Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            with segmenter._backend.context.current():  # type: ignore[attr-defined]
                picture, labels = OutsideArray((HEIGHT, WIDTH, 3)), OutsideArray((HEIGHT, WIDTH))
                np.copyto(picture.host(), given)
                assert segmenter.push_into(picture, labels)
                segmenter._device_sessions()[0].video.settle()
                found = labels.host().copy()
                del picture, labels
        assert wrong([found], on_cpu(folder, [*frames([given])])) == 0

    def test_array_by_array(self, folder: Path, gpu: GpuOptions) -> None:
        bundle, rng = Bundle.open(folder), np.random.default_rng(0)
        sizes = bundle.plan(32, 48)
        frame, current, previous = (
            rng.random((1, 3, *s), np.float32) for s in (sizes.keyframe, sizes.grid, sizes.grid)
        )
        scores = rng.normal(0, 3, (1, toy_bundle.CLASSES, *sizes.grid)).astype(np.float32)
        backend = OnnxRuntimeGpu("cuda", gpu)
        session = backend.open(bundle, sizes, None)
        np.testing.assert_allclose(
            session.keyframe(frame), toy_bundle.keyframe_scores(frame, sizes.grid), atol=1e-4
        )
        expected = toy_bundle.propagated_scores(current, previous, scores)
        np.testing.assert_allclose(session.propagate(current, previous, scores), expected, atol=1e-4)
        np.testing.assert_allclose(
            session.warp(current, previous, scores)[0],
            toy_bundle.warped_scores(current, previous, scores)[0],
            atol=1e-5,
        )
        session.close()
        backend.close()

    def test_a_lost_device_is_one_error(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter:
            segmenter.push(pictures(1)[0])
            driver.fail(0, standin.ILLEGAL_ADDRESS)
            with pytest.raises(BackendError, match="the GPU was lost"):
                segmenter.push(pictures(1)[0])


@pytest.mark.usefixtures("onnx")
class TestTensorRTPlans:
    def test_lie_apart_by_graph_and_in_the_cache(self, folder: Path, gpu: GpuOptions) -> None:
        said = list[str]()
        with Segmenter(
            folder, backend="onnxruntime-tensorrt", gpu=replace(gpu, say=said.append)
        ) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
        folders = [
            session._options[PROVIDERS["tensorrt"]]["trt_engine_cache_path"] for session in runtime.sessions
        ]
        assert len(set(folders)) == 2 and all(Path(each).is_dir() for each in folders)
        assert [line for line in said if "builds its TensorRT plans" in line] == said and len(said) == 2
        (Path(folders[0]) / "x.engine").write_bytes(bytes(100))
        cache = PlanCache(gpu.cache_folder, gpu.cache_bytes)
        assert sum(entry.bytes for entry in cache.entries()) == 100
        assert {entry.key["tensorrt"] for entry in cache.entries()} == {"ONNX Runtime 1.31.1 (TensorRT)"}
        assert cache.clear()[1] == 100 and not any(Path(each).exists() for each in folders)

    def test_no_build(self, folder: Path, gpu: GpuOptions) -> None:
        gpu = replace(gpu, build=False)
        with (
            Segmenter(folder, backend="onnxruntime-tensorrt", gpu=gpu) as segmenter,
            pytest.raises(
                BackendError, match=r"toy keyframe\.onnx: there is no plan .* leave out --no-build"
            ),
        ):
            segmenter.warm(HEIGHT, WIDTH)
        assert not any(gpu.cache_folder.rglob("*.json"))

    def test_options(self, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="onnxruntime-tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
        assert list(runtime.sessions[0]._options) == runtime.available
        assert runtime.sessions[0]._options[PROVIDERS["cuda"]]["use_tf32"] == "0"


@pytest.mark.usefixtures("onnx")
class TestFallbacks:
    """Never silent: one line says what is missing and how to mend it."""

    @pytest.mark.parametrize("name", KINDS)
    def test_a_build_without_the_provider(self, name: str, folder: Path) -> None:
        runtime.available[:] = ["CPUExecutionProvider"]
        with pytest.raises(
            BackendError, match=rf"{name}: this onnxruntime 1.31.1 is built without .* exclude"
        ) as caught:
            Segmenter(folder, backend=name)
        assert caught.value.exit_code == 6 and "ort-gpu" in str(caught.value)

    @pytest.mark.parametrize("name", KINDS)
    def test_a_provider_that_does_not_load(
        self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runtime.working[:] = ["CPUExecutionProvider"]
        monkeypatch.setattr(
            onnxruntime_gpu, "missing_library", lambda *_, kind: f"lib{kind}.so.13: not there"
        )
        with pytest.raises(
            BackendError, match=r"its CUDA provider does not load: libcuda\.so\.13: not there; install"
        ):
            Segmenter(folder, backend=name)

    @pytest.mark.parametrize(
        ("name", "left"),
        [("onnxruntime-cuda", "CPUExecutionProvider"), ("onnxruntime-tensorrt", PROVIDERS["cuda"])],
    )
    def test_a_session_that_fell_back(
        self, name: str, left: str, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Segmenter(folder, backend=name, gpu=gpu) as segmenter:
            wanted = runtime.available[0 if name == "onnxruntime-tensorrt" else 1]
            monkeypatch.setattr(runtime, "working", [each for each in runtime.available if each != wanted])
            with pytest.raises(
                BackendError, match=rf"onnxruntime 1.31.1 fell back from {wanted} to .*{left}"
            ) as caught:
                segmenter.warm(HEIGHT, WIDTH)
        assert "keyframe.onnx" in str(caught.value) and "\n" not in str(caught.value)

    def test_tensorrt_that_is_not_there(
        self, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ONNX Runtime raises then, though nothing is wrong with the bundle."""

        def refuse(*_: object, **options: object) -> None:
            raise RuntimeError("Please install TensorRT libraries")

        with Segmenter(folder, backend="onnxruntime-tensorrt", gpu=gpu) as segmenter:
            monkeypatch.setattr(runtime.InferenceSession, "__init__", refuse)
            with pytest.raises(BundleError, match="Please install TensorRT"):
                segmenter.warm(HEIGHT, WIDTH)
            monkeypatch.setattr(
                onnxruntime_gpu, "missing_library", lambda *_, kind: "libnvinfer.so.10: not there"
            )
            with pytest.raises(BackendError, match=r"fell back from Tensorrt\w+ to nothing: libnvinfer"):
                segmenter.warm(HEIGHT, WIDTH)

    def test_no_kernels_for_the_card(
        self, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available")

        monkeypatch.setattr(runtime.InferenceSession, "run_with_iobinding", refuse)
        with (
            Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu) as segmenter,
            pytest.raises(BackendError, match=r"has no kernels for this card: install .*\[ort-gpu-pascal\]"),
        ):
            segmenter.warm(HEIGHT, WIDTH)

    def test_no_gpu(self, driver: standin.Driver, folder: Path) -> None:
        driver.device(number=0)
        with pytest.raises(BackendError, match="no NVIDIA GPU"):
            Segmenter(folder, backend="onnxruntime-cuda")

    def test_not_installed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()  # the real import
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(BackendError, match=r"onnxruntime-cuda: is not installed: install .*ort-gpu"):
            onnxruntime_gpu.load("cuda")

    def test_ahead_and_bf16(self, folder: Path, gpu: GpuOptions) -> None:
        with pytest.raises(UsageError, match="--ahead is for the tensorrt backend"):
            Segmenter(folder, backend="onnxruntime-cuda", gpu=replace(gpu, ahead=True))
        with pytest.raises(BackendError, match="use the openvino backend for bf16"):
            Segmenter(folder, backend="onnxruntime-cuda", gpu=gpu, cpu_precision="bf16")


@pytest.mark.usefixtures("onnx")
def test_auto(folder: Path, gpu: GpuOptions) -> None:
    with Segmenter(folder, gpu=gpu) as segmenter:
        assert segmenter.backend == "onnxruntime-cuda"
    runtime.working[:] = ["CPUExecutionProvider"]
    said = list[str]()
    with Segmenter(folder, gpu=replace(gpu, say=said.append)) as segmenter:
        assert segmenter.backend in backends.CPU_BACKENDS
    assert len(said) == 1 and "its CUDA provider does not load" in said[0] and "the CPU computes" in said[0]
    with pytest.warns(RuntimeWarning, match="the CPU computes"):
        Segmenter(folder).close()


class TestRealModule:
    def test_it_is_refused_on_a_cpu_build(self, driver: standin.Driver) -> None:
        if PROVIDERS["cuda"] in onnxruntime.get_available_providers():
            pytest.skip("onnxruntime-gpu is installed")
        with pytest.raises(BackendError, match="is built without CUDAExecutionProvider"):
            onnxruntime_gpu.load("cuda")

    def test_the_loaders_word_on_a_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime, "__file__", str(tmp_path / "__init__.py"))
        assert onnxruntime_gpu.missing_library(runtime, kind="cuda") is None
        library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
        library.parent.mkdir()
        library.write_bytes(b"no library")
        found = onnxruntime_gpu.missing_library(runtime, kind="cuda")
        assert found is not None and library.name in found

    @pytest.mark.parametrize("name", runtime.__all__)
    def test_the_stand_in_has_no_names_of_its_own(self, name: str) -> None:
        stand_in, real = getattr(runtime, name), getattr(onnxruntime, name)
        if stand_in is real or inspect.isfunction(stand_in):
            return
        for member, value in vars(stand_in).items():
            if member.startswith("_") and member != "__init__":
                continue
            original = getattr(real, member)
            function = value.__func__ if isinstance(value, staticmethod) else value
            promised = [each for each in inspect.signature(function).parameters if each != "self"]
            found = [each for each in inspect.signature(original).parameters if each != "self"]
            assert promised == found[: len(promised)], f"{name}.{member}"
