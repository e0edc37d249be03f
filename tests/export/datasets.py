"""Tiny data sets in the official layouts, made on the spot."""

from pathlib import Path

import cv2
import numpy as np


def write_camvid(root: Path, split: str = "train", count: int = 4, size: tuple[int, int] = (48, 64)) -> Path:
    """`root/camvid/<split>/{images,labels}` with two sequences of `count` stills; returns root."""
    rng = np.random.default_rng(0)
    for sequence in ("0001TP", "0016E5"):
        for index in range(count):
            folder = root / "camvid" / split
            for kind in ("images", "labels"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            labels = np.full(size, 3, np.uint8)
            labels[: size[0] // 2] = 0
            labels[10:30, 10 + index : 30 + index] = 8
            labels[-2:] = 11
            image = np.stack([labels * 20 + channel * 5 for channel in range(3)], 2).astype(np.uint8)
            image += rng.integers(0, 10, image.shape, dtype=np.uint8)
            stem = f"{sequence}_{index:06d}"
            cv2.imwrite(str(folder / "images" / f"{stem}.png"), image)
            cv2.imwrite(str(folder / "labels" / f"{stem}.png"), labels)
    return root


def write_cityscapes(root: Path, split: str = "train") -> Path:
    """Cityscapes' official layout: two cities, two stills each, labelIds that cover road, sky, car and unlabelled."""
    for city in ("aachen", "zurich"):
        images, labels = (root / kind / split / city for kind in ("leftImg8bit", "gtFine"))
        for folder in (images, labels):
            folder.mkdir(parents=True)
        for index in range(2):
            ids = np.full((32, 64), 7, np.uint8)
            ids[:12], ids[20:26, 8:20], ids[-3:] = 23, 26, 0
            stem = f"{city}_{index:06d}_000019"
            cv2.imwrite(str(images / f"{stem}_leftImg8bit.png"), np.repeat(ids[..., None] * 7, 3, 2))
            cv2.imwrite(str(labels / f"{stem}_gtFine_labelIds.png"), ids)
    return root


def write_clip(path: Path, frames: int = 14, size: tuple[int, int] = (64, 96)) -> None:
    """A short mp4 of a bright square that moves over a gradient."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            picture = np.tile(np.linspace(0, 120, size[1]).astype(np.uint8)[None, :, None], (size[0], 1, 3))
            picture[20:44, 10 + 2 * index : 30 + 2 * index] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
