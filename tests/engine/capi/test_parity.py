"""Labels equal to the Python engine's, bit for bit: same bundle, frames, OpenVINO and threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import Frame, Segmenter, __version__
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError
from gsvnet_engine.frames import Matrix, Samples
from gsvnet_engine.sources.layout import LAYOUTS, frame_of, raw_sizes
from gsvnet_engine.video import SourceOptions, open_source
from samples.c import gsvnet_ctypes as c
from tests import toy_bundle
from tests.engine.capi.conftest import STREET

MATRICES: dict[Matrix, int] = {"bt601": 1, "bt709": 2, "bt2020": 3}
FORMATS = {
    "yuv420p": c.I420,
    "nv12": c.NV12,
    "yuv420p10le": c.I010,
    "p010le": c.P010,
    "rgb24": c.RGB,
    "bgr24": c.BGR,
    "bgra": c.BGRA,
}
CLIPS = ("udacity_vehdet_test_video", "orange_road", "udacity_solidWhiteRight")


def c_frame(frame: Frame, name: str, buffers: list[Samples]) -> c.Frame:
    """The same picture as libgsvnet takes it. buffers: its stored planes [rows, samples]."""
    out = c.Frame(
        format=FORMATS[name],
        width=frame.width,
        height=frame.height,
        matrix=MATRICES[frame.matrix],
        range=2 if frame.full_range else 1,
        pts_s=frame.pts_s,
    )
    for i, buffer in enumerate(buffers):
        out.planes[i] = buffer.ctypes.data
        out.strides[i] = buffer.strides[0]
    return out


def patches(
    rng: np.random.Generator, rows: int, samples: int, largest: int, dtype: type[np.uint8] | type[np.uint16]
) -> Samples:
    """[rows, samples] below `largest`: patches of one value each, so large that the means over cells still differ."""
    values = rng.integers(0, largest, (rows // 12 + 1, samples // 12 + 1), dtype)
    return np.ascontiguousarray(values.repeat(12, 0).repeat(12, 1)[:rows, :samples])


def check_frame(segmenter: Segmenter, engine: c.Engine, frame: Frame, given: c.Frame) -> bool:
    """Push it to both; True for a keyframe."""
    wanted = segmenter.push(frame)
    labels, counts, result = engine.push(given)
    found: NDArray[np.uint8] = np.frombuffer(labels, np.uint8).reshape(wanted.labels.shape)
    assert np.count_nonzero(found != wanted.labels) == 0
    assert counts == np.bincount(found.ravel(), minlength=len(counts)).tolist()
    assert bool(result.is_keyframe) == wanted.is_keyframe
    assert result.labels_ms > 0 and (result.keyframe_ms > 0) == wanted.is_keyframe
    return wanted.is_keyframe


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (37, 51)])
@pytest.mark.parametrize("full_range", [False, True])
def test_formats(library: str, tmp_path: Path, name: str, height: int, width: int, full_range: bool) -> None:
    """Every format, odd sizes, rows that lie apart, each matrix: five frames, so that keyframes and propagation mix."""
    folder = toy_bundle.write(tmp_path)
    rng, layout = np.random.default_rng(height), LAYOUTS[name]
    segmenter = Segmenter(folder, backend="openvino", threads=1)
    with c.Engine(library, str(folder), threads=1) as engine:
        for index, matrix in enumerate((*MATRICES, "bt709", "bt601")):
            largest = (1 << layout.depth) << layout.shift
            buffers: list[Samples] = [
                patches(rng, rows, samples + 7 * index, largest, layout.dtype)[:, :samples]
                for rows, samples in raw_sizes(layout, height, width)
            ]
            frame = frame_of(layout, buffers, height, width)
            if frame.kind == "yuv":
                frame = replace(frame, matrix=matrix, full_range=full_range)
            check_frame(segmenter, engine, replace(frame, pts_s=index / 25), c_frame(frame, name, buffers))


def test_the_library_tells_what_python_tells(library: str) -> None:
    manifest = Bundle.open(STREET).manifest
    with c.Engine(library, str(STREET / "manifest.json")) as engine:
        assert engine.library.gsvnet_version() == __version__.encode()
        assert engine.class_names() == [info.name for info in manifest.classes]
        assert (engine.info.name, engine.info.license) == (manifest.name.encode(), manifest.license.encode())
        assert engine.info.interval == manifest.interval
        assert (engine.info.backend, engine.info.cpu_precision) == (b"openvino", b"f32")


def test_untagged_matrix_goes_by_height(library: str, tmp_path: Path) -> None:
    folder = toy_bundle.write(tmp_path, keyframe_size={"size": [48, 64]})
    for height in (718, 720):
        sizes = raw_sizes(LAYOUTS["yuv420p"], height, 64)
        buffers: list[Samples] = [np.random.default_rng(1).integers(0, 256, size, np.uint8) for size in sizes]
        frame = frame_of(LAYOUTS["yuv420p"], buffers, height, 64)
        given = c_frame(frame, "yuv420p", buffers)
        given.matrix = given.range = 0
        with c.Engine(library, str(folder), threads=1) as engine:
            assert check_frame(Segmenter(folder, backend="openvino", threads=1), engine, frame, given)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_precision(library: str, tmp_path: Path, precision: str) -> None:
    """bf16 is equal too where the processor has it, and refused alike where it has not."""
    folder = toy_bundle.write(tmp_path)
    options = {"threads": 1, "cpu_precision": precision.encode()}
    try:
        segmenter = Segmenter(folder, backend="openvino", threads=1, cpu_precision=precision)
    except BackendError:
        with pytest.raises(c.GsvnetError, match="has no bf16 arithmetic") as caught:
            c.Engine(library, str(folder), **options)
        assert caught.value.status == BackendError.exit_code
        return
    with c.Engine(library, str(folder), **options) as engine:
        assert engine.info.cpu_precision == precision.encode()
        for picture in pictures(4):
            buffers: list[Samples] = [picture]
            frame = frame_of(LAYOUTS["rgb24"], buffers, 48, 64)
            check_frame(segmenter, engine, frame, c_frame(frame, "rgb24", buffers))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_bundle_precision(library: str, tmp_path: Path, precision: str) -> None:
    folder = toy_bundle.lower(toy_bundle.write(tmp_path), precision)
    segmenter = Segmenter(folder, backend="openvino", threads=1)
    with c.Engine(library, str(folder), threads=1) as engine:
        for picture in pictures(4):
            buffers: list[Samples] = [picture]
            frame = frame_of(LAYOUTS["rgb24"], buffers, 48, 64)
            check_frame(segmenter, engine, frame, c_frame(frame, "rgb24", buffers))


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """RGB of 64x48, [48, 192] uint8 each."""
    rng = np.random.default_rng(3)
    return [patches(rng, 48, 64 * 3, 256, np.uint8).astype(np.uint8) for _ in range(count)]


def test_engines_side_by_side(library: str, tmp_path: Path) -> None:
    """Three threads with an engine each (ctypes lets go of the interpreter's lock): all as one alone."""
    folder, clip = toy_bundle.write(tmp_path), pictures(30)

    def segment(_: int) -> list[bytes]:
        with c.Engine(library, str(folder), threads=1) as engine:
            results = []
            for picture in clip:
                frame = c.Frame(format=c.RGB, width=64, height=48)
                frame.planes[0] = picture.ctypes.data
                results.append(bytes(engine.push(frame)[0]))
            return results

    alone = segment(0)
    with ThreadPoolExecutor(3) as pool:
        assert all(result == alone for result in pool.map(segment, range(3)))


def check_clip(library: str, clip: Path, threads: int | None, frames: int | None) -> int:
    """How many frames of the clip were equal; the first that is not fails."""
    segmenter = Segmenter(STREET, backend="openvino", threads=threads)
    kinds = []
    with (
        open_source(str(clip), SourceOptions(max_frames=frames)) as source,
        c.Engine(library, str(STREET), threads=threads or 0) as engine,
    ):
        for frame in source:
            assert frame.kind == "yuv" and frame.chroma_shift == (1, 1) and frame.depth == 8
            given = c_frame(frame, "yuv420p", [plane.data for plane in frame.planes])
            kinds.append(check_frame(segmenter, engine, frame, given))
    assert any(kinds) and not all(kinds)
    return len(kinds)


@pytest.mark.parametrize("name", CLIPS)
def test_real_clip(library: str, data_dir: Path, name: str) -> None:
    assert check_clip(library, data_dir / "clips" / f"{name}.mp4", 2, 9) == 9


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, None])
@pytest.mark.parametrize("name", CLIPS)
def test_whole_real_clip(library: str, data_dir: Path, name: str, threads: int | None) -> None:
    print(
        name, threads, check_clip(library, data_dir / "clips" / f"{name}.mp4", threads, None), "frames equal"
    )


@pytest.fixture
def toy_engine(library: str, tmp_path: Path) -> Iterator[Callable[[], c.Engine]]:
    folder = toy_bundle.write(tmp_path)
    engines = []

    def make() -> c.Engine:
        engines.append(c.Engine(library, str(folder)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def test_closed(toy_engine: Callable[[], c.Engine]) -> None:
    engine = toy_engine()
    engine.close()
    engine.close()
    with pytest.raises(c.GsvnetError, match="engine is null: it was never opened, or is closed") as caught:
        engine.push(c.Frame(format=c.RGB, width=8, height=8))
    assert caught.value.status == 2
