"""The made street scene: what it says about itself is what its pictures show."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from samples.street_scene import CAR, PAVEMENT, ROAD, SKY, StreetScene, encode_png, main

CLASSES = 11


def positions(flow: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each pixel was one frame earlier: x and y float64 [H, W]."""
    rows, columns = np.indices(flow.shape[1:])
    return columns + flow[0].astype(np.float64), rows + flow[1].astype(np.float64)


def warp(image: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float64]:
    """The picture before, read bilinearly where each pixel was: float64 [H, W, 3]."""
    height, width = image.shape[:2]
    x, y = positions(flow)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    a, b = (x - x0)[..., None], (y - y0)[..., None]
    above = image[y0, x0] * (1 - a) + image[y0, x1] * a
    below = image[y1, x0] * (1 - a) + image[y1, x1] * a
    warped: NDArray[np.float64] = above * (1 - b) + below * b
    return warped


def beside_an_edge(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether another label stands within 2 pixels, bool [H, W]."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(labels, 2, "edge"), (5, 5))
    near: NDArray[np.bool_] = windows.max((2, 3)) != windows.min((2, 3))
    return near


def test_the_same_seed_gives_the_same_street() -> None:
    one, two = StreetScene(48, 64, seed=3), StreetScene(48, 64, seed=3)
    two.render(90)  # frames may be asked for in any order
    first, again = one.render(7), two.render(7)
    for name in ("image", "labels", "flow", "occluded"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, StreetScene(48, 64, seed=4).render(7).image)


@pytest.mark.parametrize(("seed", "t"), [(0, 0), (1, 33), (2, 1000)])
def test_the_flow_leads_to_the_same_point_one_frame_earlier(seed: int, t: int) -> None:
    scene = StreetScene(180, 320, seed=seed)
    before, now = scene.render(t - 1), scene.render(t)
    seen = ~now.occluded
    assert 0.7 < seen.mean() < 1.0
    error = np.abs(warp(before.image, now.flow) - now.image).mean(axis=2)
    unmoved = np.abs(before.image.astype(float) - now.image).mean(axis=2)
    assert error[seen].mean() < 3
    assert error[seen].mean() < 0.5 * unmoved[seen].mean()
    x, y = positions(now.flow)
    column, row = np.rint(x[seen]).astype(int), np.rint(y[seen]).astype(int)
    earlier = before.labels[np.clip(row, 0, 179), np.clip(column, 0, 319)]
    same = earlier == now.labels[seen]
    assert same.mean() > 0.98
    assert same[~beside_an_edge(now.labels)[seen]].mean() > 0.995


def test_moving_things_have_a_motion_of_their_own() -> None:
    """A car ahead that keeps the camera's speed stays where it is in the picture; the road does not."""
    now = StreetScene(180, 320).render(20)
    ahead = np.zeros((180, 320), bool)
    ahead[90:110, 150:170] = True
    car = ahead & (now.labels == CAR)
    road = (now.labels == ROAD) & (np.arange(180)[:, None] > 150)
    assert car.any()
    assert np.hypot(*now.flow[:, car]).mean() < 2
    assert np.hypot(*now.flow[:, road]).mean() > 5


@pytest.mark.parametrize(("height", "width"), [(45, 81), (96, 64), (101, 57), (1, 1)])
def test_any_size(height: int, width: int) -> None:
    rendered = StreetScene(height, width).render(5)
    assert rendered.image.shape == (height, width, 3)
    assert rendered.image.dtype == rendered.labels.dtype == np.uint8
    assert rendered.labels.shape == rendered.occluded.shape == (height, width)
    assert rendered.flow.shape == (2, height, width)
    assert rendered.flow.dtype == np.float32
    assert np.isfinite(rendered.flow).all()


def test_sky_is_above_and_road_below() -> None:
    labels = StreetScene(120, 160).render(0).labels
    assert labels.max() < CLASSES
    assert (labels[:6] == SKY).mean() > 0.4
    assert not (labels[90:] == SKY).any()
    assert (labels[-6:] == ROAD).mean() > 0.5
    assert not np.isin(labels[:40], (ROAD, PAVEMENT)).any()


def test_every_class_turns_up() -> None:
    seen: set[int] = set()
    scene = StreetScene(90, 160)
    for t in range(0, 200, 20):
        seen |= set(np.unique(scene.render(t).labels).tolist())
    assert seen == set(range(CLASSES))


def test_sizes_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        StreetScene(0, 10)


def test_the_program_writes_a_video_and_labels(tmp_path: Path) -> None:
    video, labels = tmp_path / "street.mp4", tmp_path / "labels"
    assert main([str(video), "--frames", "3", "--size", "96x64", "--labels", str(labels)]) == 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 3
    expected = StreetScene(64, 96).render(2)
    assert np.abs(frames[2].astype(float) - expected.image).mean() < 12
    assert sorted(path.name for path in labels.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    assert (labels / "00002.png").read_bytes() == encode_png(expected.labels)
    with av.open(str(labels / "00002.png")) as container:
        (picture,) = container.decode(video=0)
    np.testing.assert_array_equal(picture.to_ndarray(), expected.labels)


def test_the_clip_beside_the_program_is_what_it_renders() -> None:
    with av.open(str(Path(__file__).parents[2] / "samples" / "street.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (640, 360, 100)
        assert stream.average_rate == 25
        frame = next(container.decode(stream))
        picture = frame.to_ndarray(format="rgb24").astype(float)
    assert np.abs(picture - StreetScene(360, 640).render(0).image).mean() < 4


@pytest.mark.parametrize("size", ["640", "0x10", "641x360", "axb"])
def test_the_program_refuses_sizes_it_cannot_write(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "street.mp4"), "--size", size])
    assert size in capsys.readouterr().err
