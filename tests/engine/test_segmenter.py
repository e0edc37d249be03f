from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import gsvnet_engine
from gsvnet_engine import Bundle, BundleError, Frame, Segmentation, Segmenter, UsageError
from gsvnet_engine.backends import CPU_BACKENDS
from gsvnet_engine.backends.base import Session
from gsvnet_engine.geometry import Sizes
from tests import toy_bundle

HEIGHT, WIDTH = 64, 96
GRID = (8, 12)
Picture = NDArray[np.uint8]


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[Picture]:
    """RGB [H,W,3] of constant 8x8 blocks: their areas and their means are exact, and neighbours differ."""
    blocks = np.random.default_rng(3).integers(0, 256, (count, height // 8, width // 8, 3), np.uint8)
    return list(blocks.repeat(8, 1).repeat(8, 2))


def at_grid(picture: Picture) -> toy_bundle.Float32:
    """i_t of such a picture: [1,3,h,w]."""
    return (picture[4::8, 4::8].transpose(2, 0, 1)[None] / 255).astype(np.float32)


def by_numpy(frames: list[Picture], keyframes: set[int]) -> Iterator[toy_bundle.Float32]:
    """S_t of each frame, by the arithmetic of the toy bundle. Its keyframe picture is the frame itself."""
    scores = previous = np.empty(0, np.float32)
    for number, picture in enumerate(frames):
        current = at_grid(picture)
        if number in keyframes:
            full = (picture.transpose(2, 0, 1)[None] / 255).astype(np.float32)
            scores = toy_bundle.keyframe_scores(full, GRID)
        else:
            scores = toy_bundle.propagated_scores(current, previous, scores)
        previous = current
        yield scores


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_bundle.write(tmp_path / "toy", keyframe_size={"scale": [1, 1], "multiple": 8})


@pytest.fixture
def segmenter(folder: Path) -> Segmenter:
    return Segmenter(folder, backend="onnxruntime", threads=1)


def flags(segmentations: "list[Segmentation]") -> list[int]:
    return [number for number, segmentation in enumerate(segmentations) if segmentation.is_keyframe]


class TestPush:
    @pytest.mark.parametrize("backend", CPU_BACKENDS)
    @pytest.mark.parametrize("interval", [1, 2, 3])
    def test_scores_are_those_of_numpy(self, folder: Path, backend: str, interval: int) -> None:
        frames = pictures(7)
        segmenter = Segmenter(folder, backend=backend, interval=interval)
        expected = by_numpy(frames, set(range(0, 7, interval)))
        for number, (picture, scores) in enumerate(zip(frames, expected, strict=True)):
            segmentation = segmenter.push(picture)
            assert segmenter.scores is not None
            np.testing.assert_allclose(segmenter.scores, scores, atol=1e-3)
            assert segmentation.is_keyframe == (number % interval == 0)
            assert segmentation.index == number

    def test_labels_are_the_best_class_of_the_enlarged_scores(self, segmenter: Segmenter) -> None:
        (picture,) = pictures(1)
        labels = segmenter.push(picture).labels
        assert segmenter.scores is not None
        full = toy_bundle._resize(segmenter.scores, (HEIGHT, WIDTH))[0]
        best_two = np.sort(full, axis=0)[-2:]
        sure = best_two[1] - best_two[0] > 1e-4
        assert labels.dtype == np.uint8 and labels.shape == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(labels[sure], full.argmax(0)[sure])

    def test_backends_agree(self, folder: Path) -> None:
        frames = pictures(6)
        runs = [
            [s.push(f).labels for f in frames]
            for s in (Segmenter(folder, backend=name) for name in CPU_BACKENDS)
        ]
        for one, other in zip(*runs, strict=True):
            assert np.mean(one != other) <= 0.0005

    def test_threads_do_not_change_the_labels(self, folder: Path) -> None:
        frames = pictures(4)
        one, two = (
            [s.push(f).labels for f in frames] for s in (Segmenter(folder, threads=n) for n in (1, 2))
        )
        np.testing.assert_array_equal(one, two)

    def test_the_manifest_gives_the_interval(self, segmenter: Segmenter) -> None:
        assert segmenter.interval == 3
        assert flags([segmenter.push(picture) for picture in pictures(7)]) == [0, 3, 6]

    def test_reset_and_request(self, segmenter: Segmenter) -> None:
        frames = pictures(8)
        found = []
        for number, picture in enumerate(frames):
            if number == 2:
                segmenter.request_keyframe()
            if number == 6:
                segmenter.reset()
                assert segmenter.scores is None
            found.append(segmenter.push(picture))
        assert flags(found) == [0, 2, 5, 6]
        assert found[6].index == 0

    def test_warming_opens_the_networks_before_the_first_frame(
        self, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segmenter.warm(HEIGHT, WIDTH)
        monkeypatch.setattr(segmenter._backend, "open", None)  # a second opening would call it
        assert segmenter.push(pictures(1)[0]).is_keyframe

    def test_frames_that_break_the_chain(self, segmenter: Segmenter) -> None:
        times_s = [0.0, 0.1, 0.2, 1.0, 1.1, 0.9, 1.0, 1.1]
        frames = [Frame.from_rgb(p, index=i, pts_s=times_s[i]) for i, p in enumerate(pictures(8))]
        frames[7] = replace(frames[7], forces_keyframe=True)
        assert flags([segmenter.push(frame) for frame in frames]) == [0, 3, 5, 7]

    def test_a_new_size_starts_anew(self, segmenter: Segmenter) -> None:
        small, large = pictures(2), pictures(2, 2 * HEIGHT, WIDTH)
        found = [segmenter.push(picture) for picture in (*small, *large, small[0])]
        assert flags(found) == [0, 2, 4]
        assert found[2].labels.shape == (2 * HEIGHT, WIDTH)
        np.testing.assert_array_equal(found[0].labels, found[4].labels)

    def test_networks_of_recent_sizes_are_kept(
        self, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = []
        open_session = segmenter._backend.open

        def counted(bundle: Bundle, sizes: Sizes, threads: int | None) -> Session:
            opened.append(sizes.grid)
            return open_session(bundle, sizes, threads)

        monkeypatch.setattr(segmenter._backend, "open", counted)
        for height in (64, 72, 64, 80, 88, 64, 72):
            segmenter.push(pictures(1, height)[0])
        assert opened == [(8, 12), (9, 12), (10, 12), (11, 12), (9, 12)]

    def test_a_failed_frame_leaves_the_state(
        self, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = pictures(3)
        expected = list(by_numpy([frames[0], frames[2]], {0}))
        segmenter.push(frames[0])
        with monkeypatch.context() as broken:
            broken.setattr("gsvnet_engine.host.upsample_labels", lambda *a, **k: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                segmenter.push(frames[1])
        assert not segmenter.push(frames[2]).is_keyframe
        assert segmenter.scores is not None
        np.testing.assert_allclose(segmenter.scores, expected[1], atol=1e-3)

    def test_scores_cannot_be_spoilt(self, segmenter: Segmenter) -> None:
        segmenter.push(pictures(1)[0])
        assert segmenter.scores is not None
        with pytest.raises(ValueError, match="read-only"):
            segmenter.scores[:] = 0

    def test_not_a_picture(self, segmenter: Segmenter) -> None:
        with pytest.raises(ValueError, match=r"a picture must be uint8 \[H,W,3\]"):
            segmenter.push(np.zeros((4, 4), np.uint8))

    def test_stages(self, segmenter: Segmenter) -> None:
        first, second = (segmenter.push(picture).stages_ms for picture in pictures(2))
        assert list(first) == ["prepare", "keyframe", "labels"]
        assert list(second) == ["prepare", "propagate", "labels"]
        assert all(ms > 0 for ms in (*first.values(), *second.values()))


class TestSegmentation:
    def test_class_shares(self, segmenter: Segmenter) -> None:
        segmentation = segmenter.push(pictures(1)[0])
        shares = segmentation.class_shares()
        assert shares.shape == (toy_bundle.CLASSES,) and shares.dtype == np.float64
        assert shares.sum() == pytest.approx(1)
        assert shares[2] == np.mean(segmentation.labels == 2)

    def test_repr_shows_no_data(self, segmenter: Segmenter) -> None:
        segmentation = segmenter.push(pictures(1)[0])
        assert repr(segmentation) == "Segmentation(index=0, pts_s=0.000, labels=64x96 uint8, keyframe)"


class TestStream:
    def frames(self, count: int = 7) -> list[Frame]:
        return [Frame.from_rgb(p, index=i, pts_s=i / 10) for i, p in enumerate(pictures(count))]

    def test_interval_holds_for_the_stream(self, segmenter: Segmenter) -> None:
        assert flags(list(segmenter.stream(self.frames(), interval=2))) == [0, 2, 4, 6]
        assert flags(list(segmenter.stream(self.frames()))) == [0, 3, 6]

    def test_each_stream_starts_anew(self, segmenter: Segmenter) -> None:
        segmenter.push(pictures(1)[0])
        segmenter.request_keyframe()
        assert flags(list(segmenter.stream(self.frames(5)))) == [0, 3]

    def test_the_source_is_read_no_further_than_needed(self, segmenter: Segmenter) -> None:
        taken: list[Frame] = []

        def source() -> Iterator[Frame]:
            for frame in self.frames():
                taken.append(frame)
                yield frame

        stream = segmenter.stream(source())
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert len(taken) <= 5

    def test_an_error_of_the_source_arrives(self, segmenter: Segmenter) -> None:
        def source() -> Iterator[Frame]:
            yield self.frames(1)[0]
            raise OSError("unplugged")

        stream = segmenter.stream(source())
        next(stream)
        with pytest.raises(OSError, match="unplugged"):
            next(stream)

    def test_options_are_for_what_it_opens(self, segmenter: Segmenter) -> None:
        with pytest.raises(UsageError, match="are for sources"):
            next(segmenter.stream(self.frames(), max_frames=2))


class TestEvaluationSteps:
    def test_each_step_alone(self, segmenter: Segmenter) -> None:
        frames = pictures(3)
        expected = list(by_numpy(frames, {0}))
        scores = segmenter.keyframe_scores(frames[0])
        np.testing.assert_allclose(scores, expected[0], atol=1e-3)
        scores = segmenter.propagate_scores(frames[1], frames[0], scores)
        np.testing.assert_allclose(scores, expected[1], atol=1e-3)
        warped, flow = segmenter.warp_scores(frames[2], frames[1], scores)
        wanted = toy_bundle.warped_scores(at_grid(frames[2]), at_grid(frames[1]), expected[1])
        np.testing.assert_allclose(warped, wanted[0], atol=1e-3)
        np.testing.assert_allclose(flow, wanted[1], atol=1e-4)
        assert segmenter.scores is None


class TestConstruction:
    @pytest.mark.parametrize(
        "make",
        [
            lambda folder: Segmenter(folder, interval=0),
            lambda folder: Segmenter(folder, threads=0),
            lambda folder: Segmenter(folder, backend="tpu"),
            lambda folder: Segmenter(folder, cpu_precision="f8"),
        ],
    )
    def test_options_out_of_range(self, folder: Path, make: Callable[[Path], Segmenter]) -> None:
        with pytest.raises(UsageError):
            make(folder)

    def test_a_damaged_graph_is_found_before_the_first_frame(self, folder: Path) -> None:
        (folder / "keyframe.onnx").write_bytes(b"damaged")
        with pytest.raises(BundleError, match="sha256"):
            Segmenter(folder)

    def test_an_open_bundle_can_be_shared(self, folder: Path) -> None:
        bundle = Bundle.open(folder)
        assert Segmenter(bundle).bundle is bundle


class TestPackage:
    def test_every_public_name_is_there(self) -> None:
        for name in gsvnet_engine.__all__:
            assert getattr(gsvnet_engine, name) is not None
        assert set(gsvnet_engine.__all__) == set(dir(gsvnet_engine))

    def test_other_names_are_not(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'torch'"):
            getattr(gsvnet_engine, "torch")  # noqa: B009
