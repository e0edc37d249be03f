"""5. Optional NVDEC (PyAV's hwaccel, frames staying on the device), with software fallback.

FFmpeg's own CUDA code needs a real GPU: what it hands over is imitated here.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.frames import DevicePlane, Frame
from gsvnet_engine.job import RunOptions, run
from gsvnet_engine.sources.layout import LAYOUTS, Orientation, frame_of, from_av, raw_sizes
from gsvnet_engine.sources.nvdec import turn
from gsvnet_engine.video import SourceOptions, open_source
from tests import media
from tests.cuda import standin
from tests.cuda.outside import DLPackArray, OutsideArray
from tests.engine.backends.tensorrt.scenes import on_cpu, wrong

PADDED = 64  # bytes of a row on the device: FFmpeg pads them


class Picture:
    """What PyAV hands over where pictures stay on the device: NV12, planes by DLPack that takes no stream."""

    format = SimpleNamespace(name="cuda")
    sw_format = SimpleNamespace(name="nv12")
    side_data = ()
    colorspace, color_range = 1, 2

    def __init__(self, buffers: list[Any], height: int, width: int) -> None:
        self.height, self.width = height, width
        luma, chroma = (self._plane(buffer) for buffer in buffers)
        self.planes = (
            DLPackArray(luma, (height, width), strides=(PADDED, 1), takes_stream=False),
            DLPackArray(chroma, (height // 2, width // 2, 2), strides=(PADDED, 2, 1), takes_stream=False),
        )

    def _plane(self, buffer: Any) -> OutsideArray:
        memory = OutsideArray((buffer.shape[0], PADDED))
        memory.host()[:, : buffer.shape[1]] = buffer
        return memory


@pytest.mark.parametrize("size", [(24, 40), (25, 41)], ids=["even", "odd"])
@pytest.mark.parametrize("turned", [Orientation(), Orientation(True, False, True)], ids=["upright", "turned"])
def test_pictures_stay_on_the_device(
    size: tuple[int, int], turned: Orientation, driver: standin.Driver, folder: Path, gpu: GpuOptions
) -> None:
    rng, (height, width) = np.random.default_rng(5), size
    decoded = [
        [rng.integers(0, 256, each, np.uint8) for each in raw_sizes(LAYOUTS["nv12"], height, width)]
        for _ in range(5)
    ]
    on_host = [
        replace(
            frame_of(LAYOUTS["nv12"], buffers, height, width, turned=turned), matrix="bt709", full_range=True
        )
        for buffers in decoded
    ]
    with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
        segmenter.warm(on_host[0].height, on_host[0].width)
        with segmenter._backend.context.current():  # type: ignore[attr-defined]
            before = driver.copied("HtoD")
            given = [from_av(Picture(buffers, height, width), turned=turned) for buffers in decoded]  # type: ignore[arg-type]
            found = [segmentation.labels for segmentation in segmenter.segment(given)]
            assert given[0].device_stream == 1  # FFmpeg copies on the default stream
            tables = 20_000  # resampling tables, and no picture
            assert driver.copied("HtoD") - before < tables
            del given
    assert wrong(found, on_cpu(folder, on_host)) == 0


def test_turning_is_the_same_as_on_the_host() -> None:
    memory = np.arange(24, dtype=np.uint8).reshape(4, 6)
    plane = DevicePlane(0, 4, 6, 6, 1)
    for turned in (Orientation(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True)):
        got = turn(plane, turned)
        rows, columns = np.mgrid[: got.rows, : got.columns]
        seen = memory.ravel()[got.address + rows * got.row_stride + columns * got.pixel_stride]
        np.testing.assert_array_equal(seen, turned.turn(memory))


def test_a_format_that_is_not_known() -> None:
    picture: Any = SimpleNamespace(
        sw_format=SimpleNamespace(name="gbrpf32le"),
        format=Picture.format,
        colorspace=1,
        color_range=1,
        height=4,
    )
    with pytest.raises(
        InputError, match=r"the GPU decodes to gbrpf32le, which is not known: leave out --hwaccel"
    ):
        from_av(picture, turned=Orientation())


def test_without_a_gpu_software_decodes(tmp_path: Path) -> None:
    """The real PyAV, on a machine without a GPU: it raises although fallback is allowed."""
    path = media.write_video(tmp_path / "a.mp4")
    with open_source(path, SourceOptions(hwaccel="cuda", keep_on_device=True)) as source:
        frames = list(source)
    assert [media.number_of(frame) for frame in frames] == list(range(12))


def _refused(error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let av.open raise `error` where it is asked for hardware; what it was asked for, call by call."""
    asked, real = list[Any](), av.open

    def opened(*arguments: Any, hwaccel: Any = None, **options: Any) -> Any:
        asked.append(hwaccel)
        if hwaccel is not None:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(av, "open", opened)
    return asked


@pytest.mark.parametrize(
    "error", [av.error.PermissionError(1, "no driver"), av.error.ExternalError(1, "cuInit")]
)
def test_whatever_ffmpeg_makes_of_it(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = media.write_video(tmp_path / "a.mp4")
    asked = _refused(error, monkeypatch)
    with open_source(path, SourceOptions(hwaccel="cuda", device=0)) as source:
        assert len(list(source)) == 12
    assert asked[0] is not None and asked[1] is None
    assert not asked[0].is_hw_owned


@pytest.mark.parametrize(
    ("targets", "ahead", "kept"),
    [
        (("labels/",), False, True),
        (("out.jsonl", "out.json"), False, True),
        (("out.jsonl", "out.mp4"), False, False),
        (("labels/",), True, False),
    ],
)
def test_pictures_are_kept_there_where_nobody_draws_on_them(
    targets: tuple[str, ...], ahead: bool, kept: bool, driver: standin.Driver, folder: Path, gpu: GpuOptions,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = media.write_video(tmp_path / "a.mp4")
    asked = _refused(av.error.PermissionError(1, "no driver"), monkeypatch)
    options = RunOptions(
        inputs=(str(path),),
        targets=tuple(f"{tmp_path}/{target}" for target in targets),
        source=SourceOptions(hwaccel="cuda"),
        bundle=str(folder),
        backend="tensorrt",
        gpu=replace(gpu, ahead=ahead),
        quiet=True,
    )
    report = run(options, say=lambda line: None)
    assert report.as_json()["frames"] == 12 and report.backend == "tensorrt"
    assert next(hwaccel for hwaccel in asked if hwaccel is not None).is_hw_owned is kept


def test_another_accelerator_is_refused() -> None:
    with pytest.raises(UsageError, match="hwaccel must be cuda, or left out, not 'vaapi'"):
        SourceOptions(hwaccel="vaapi")


def test_frames_know_nothing_of_it_by_default() -> None:
    frame = Frame.from_rgb(np.zeros((2, 2, 3), np.uint8))
    assert frame.device_planes == () and frame.device_stream is None and frame.staged is None
