"""8. Device lost or out of memory: one clear error, exit 6, nothing left over."""

from dataclasses import replace
from pathlib import Path

import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.cuda.device import Context, probe
from gsvnet_engine.cuda.driver import DriverError, call
from gsvnet_engine.errors import BackendError, GsvnetError
from tests.cuda import standin
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, frames, on_cpu, on_gpu, pictures, wrong

# Their failure is not reported: what they free is free, and on a lost device each of them fails.
_FREEING = {
    "cuMemFree", "cuMemFreeHost", "cuStreamDestroy", "cuEventDestroy", "cuModuleUnload", "cuGraphDestroy",
    "cuGraphExecDestroy", "cuDevicePrimaryCtxRelease", "cuCtxPopCurrent",
}  # fmt: skip


def run(folder: Path, cache: Path) -> None:
    """A short video with a keyframe ahead, and scores looked at."""
    with on_gpu(folder, cache, ahead=True, interval=2) as segmenter:
        for segmentation in segmenter.segment(segmenter.feed(frames(pictures(5)))):
            if segmentation.is_keyframe:
                assert segmenter.scores is not None


@pytest.mark.parametrize("code", [standin.OUT_OF_MEMORY, standin.ILLEGAL_ADDRESS], ids=["memory", "lost"])
def test_any_call_may_fail(code: int, machine: standin.Driver, folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path)
    total, silent = machine.calls(), set[str]()
    for number in range(total):
        machine.reset(number)
        machine.fail(number, code)
        try:
            run(folder, tmp_path)
        except GsvnetError as error:
            assert error.exit_code == 6, f"{machine.failed}: {error!r}"
            assert "\n" not in str(error)
        else:
            silent.add(machine.failed)
        assert machine.alive == "", f"call {number}, {machine.failed}: {machine.alive}"
        assert machine.violations == "", f"call {number}, {machine.failed}: {machine.violations}"
    # What may fail unseen: freeing, the last waits before it, and a graph, without which steps run piece by piece.
    graphs = {"cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"}
    assert silent <= _FREEING | graphs | {
        "cuStreamSynchronize",
        "cuCtxPushCurrent",
        "cuMemcpyDtoDAsync",
        "cuLaunchKernel",
    }


class TestMessages:
    def test_out_of_memory(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        driver.capacity(5000)
        with (
            Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter,
            pytest.raises(
                BackendError, match=r"cuMemAlloc \(.* MiB for .*\) failed: .*MEMORY: the GPU has no memory"
            ),
        ):
            segmenter.warm(HEIGHT, WIDTH)

    def test_device_lost(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.push(pictures(1)[0])
            driver.fail(0, standin.ILLEGAL_ADDRESS)
            with pytest.raises(DriverError, match=r"the GPU was lost .*; start anew") as caught:
                segmenter.push(pictures(1)[0])
            assert caught.value.lost and caught.value.exit_code == 6

    def test_a_frame_that_fails_leaves_the_state_as_it_was(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions
    ) -> None:
        given = frames(pictures(6))
        expected = on_cpu(folder, given)
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            found = [segmenter.push(frame).labels for frame in given[:2]]
            for number in range(3):
                driver.fail(number, standin.OUT_OF_MEMORY)
                with pytest.raises(BackendError):
                    segmenter.push(given[2])
            driver.fail(-1, 0)
            found += [segmenter.push(frame).labels for frame in given[2:]]
        assert wrong(found, expected) == 0

    def test_no_gpu(self, driver: standin.Driver, folder: Path) -> None:
        driver.device(number=0)
        with pytest.raises(BackendError, match="no NVIDIA GPU, or no driver for it"):
            Segmenter(folder, backend="tensorrt")
        with Segmenter(folder) as segmenter:
            assert segmenter.backend == "openvino"

    def test_a_gpu_that_is_not_there(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with pytest.raises(GsvnetError, match=r"GPU 3 is not there; there is 0 \(Stand-in GPU\)"):
            Segmenter(folder, backend="tensorrt", gpu=replace(gpu, device=3))

    def test_a_function_that_the_driver_lacks(self, driver: standin.Driver) -> None:
        with pytest.raises(DriverError, match=r"cuCtxGetLimit cannot be called .*; install gsvnet-engine"):
            call("cuCtxGetLimit", 0)


def test_probe_tells_what_is_there(driver: standin.Driver) -> None:
    driver.device(number=1, capability=(6, 1), name="GeForce GTX 1080 Ti")
    (info,) = probe()
    assert (info.name, info.capability, info.architecture) == ("GeForce GTX 1080 Ti", (6, 1), "sm_61")
    assert info.driver == (13, 0)


def test_calls_outside_of_a_context_are_refused(driver: standin.Driver) -> None:
    """The stand-in is as strict as the driver: what passes here has a context current wherever it needs one."""
    with Context(probe()[0]) as context:
        with pytest.raises(DriverError, match="INVALID_CONTEXT"):
            call("cuMemAlloc", 16)
        with context.current():
            call("cuMemFree", call("cuMemAlloc", 16))
