"""From planes to RGB: ranges, matrices, depths and layouts, odd sizes; nothing rounded in between."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gsvnet_engine import prepare
from gsvnet_engine.frames import Frame, Matrix, Plane
from plugins.kernels.frame import reference

WHITE, RED, GREEN, BLUE, BLACK = (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)


def flat(y: int, u: int, v: int, **colour: object) -> Frame:
    """A 4:2:0 frame of one colour, 6x10."""
    dtype = np.uint16 if colour.get("depth", 8) != 8 else np.uint8
    planes = (np.full((6, 10), y, dtype), np.full((3, 5), u, dtype), np.full((3, 5), v, dtype))
    return Frame(
        planes=tuple(Plane(p) for p in planes),
        kind="yuv",
        height=6,
        width=10,
        chroma_shift=(1, 1),
        **colour,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("matrix", "yuv", "rgb"),
    [
        # limited range code values of saturated colours, rounded to 8 bits as the standards tabulate them
        ("bt601", (81, 90, 240), RED),
        ("bt601", (145, 54, 34), GREEN),
        ("bt601", (41, 240, 110), BLUE),
        ("bt709", (63, 102, 240), RED),
        ("bt709", (173, 42, 26), GREEN),
        ("bt709", (32, 240, 118), BLUE),
        ("bt2020", (74, 97, 240), RED),
        ("bt709", (235, 128, 128), WHITE),
        ("bt709", (16, 128, 128), BLACK),
    ],
)
def test_colour_bars(matrix: Matrix, yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    picture = prepare.current(flat(*yuv, matrix=matrix), (1, 2))
    assert picture.shape == (1, 3, 1, 2) and picture.dtype == np.float32
    np.testing.assert_allclose(picture[0, :, 0, 0], rgb, atol=2.5 / 255)


def test_full_range_and_ten_bits() -> None:
    for frame in (
        flat(255, 128, 128, full_range=True),
        flat(940, 512, 512, depth=10),
        flat(1023, 512, 512, depth=10, full_range=True),
    ):
        np.testing.assert_allclose(prepare.current(frame, (2, 2)), 1.0, atol=1e-5)
    np.testing.assert_allclose(
        prepare.current(flat(502, 512, 512, depth=10), (1, 1)), (502 / 4 - 16) / 219, atol=1e-5
    )


def test_overshoots_are_clipped() -> None:
    assert prepare.current(flat(255, 128, 128), (2, 2)).max() == 1
    assert prepare.current(flat(0, 128, 128), (2, 2)).min() == 0


def random_planes(height: int, width: int, shift: tuple[int, int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(height * 100 + width)
    chroma = (-(-height // 2 ** shift[0]), -(-width // 2 ** shift[1]))
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((height, width), chroma, chroma)]


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (90, 31), (64, 96)])
def test_equals_the_reference_at_any_size_and_subsampling(
    size: tuple[int, int], shift: tuple[int, int]
) -> None:
    planes = random_planes(*size, shift)
    frame = Frame(
        planes=tuple(Plane(p) for p in planes), kind="yuv", height=size[0], width=size[1], chroma_shift=shift
    )
    offset, matrix = prepare.conversion("yuv", "bt709", False, 8)
    extents = [(float(size[0]), float(size[1]))] + [(size[0] / 2 ** shift[0], size[1] / 2 ** shift[1])] * 2
    for prepared, filter, target in (
        (prepare.current, "area", (5, 6)),
        (prepare.keyframe, "bilinear", (24, 40)),
    ):
        expected = reference.prepare(
            planes, extents, target, filter, offset.astype(float), matrix.astype(float)
        )
        np.testing.assert_allclose(prepared(frame, target)[0], expected, atol=1e-5)


def test_semiplanar_and_packed_layouts_equal_planar_ones() -> None:
    y, u, v = random_planes(8, 12, (1, 1))
    planar = Frame(planes=(Plane(y), Plane(u), Plane(v)), kind="yuv", height=8, width=12, chroma_shift=(1, 1))
    both = np.stack([u, v], 2)
    nv12 = Frame(
        planes=(Plane(y), Plane(both[..., 0]), Plane(both[..., 1])),
        kind="yuv",
        height=8,
        width=12,
        chroma_shift=(1, 1),
    )
    np.testing.assert_array_equal(prepare.keyframe(planar, (9, 13)), prepare.keyframe(nv12, (9, 13)))

    wide = [(p.astype(np.uint16) << 2) for p in (y, u, v)]
    p010 = Frame(
        planes=tuple(Plane((p << 6).astype(np.uint16), shift=6) for p in wide),
        kind="yuv", height=8, width=12, chroma_shift=(1, 1), depth=10,
    )  # fmt: skip
    np.testing.assert_allclose(prepare.keyframe(planar, (9, 13)), prepare.keyframe(p010, (9, 13)), atol=1e-6)


def test_rgb_bgr_and_gray() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    same = prepare.keyframe(Frame.from_rgb(rgb), (10, 14))
    np.testing.assert_allclose(same[0], rgb.transpose(2, 0, 1) / 255, atol=1e-6)
    swapped = np.ascontiguousarray(rgb[..., ::-1])
    np.testing.assert_array_equal(same, prepare.keyframe(Frame.from_bgr(swapped), (10, 14)))
    gray = Frame(planes=(Plane(rgb[..., 0]),), kind="gray", height=10, width=14, full_range=True)
    np.testing.assert_allclose(
        prepare.keyframe(gray, (10, 14))[0], np.repeat(rgb[None, ..., 0] / 255, 3, 0), atol=1e-6
    )


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_pictures_of_another_kind_are_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H,W,3\]"):
        Frame.from_rgb(picture)
