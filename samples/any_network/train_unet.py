"""A segmentation network with habits of its own, as somebody else's might have them, for `gsvnet-engine adapt`.

A U-Net of plain convolutions, trained from nothing on CamVid's `train` alone: 384x512 only, BGR in 0..255 less a mean,
softmax inside, at stride 4, tensors called `data` and `prob`. Nothing of this project is used.

    python samples/any_network/train_unet.py $GSVNET_DATA/camvid unet.onnx --minutes 10
    gsvnet-engine adapt --keyframe unet.onnx --videos clips/ -o my_bundle --normalise caffe \\
        --mean 104,117,123 --classes unet.classes.txt

An interrupted training goes on with --resume.
"""

import argparse
import math
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

HEIGHT, WIDTH = 384, 512
MEAN_BGR = (104.0, 117.0, 123.0)
UNLABELLED = 11
CLASSES = """Sky #4682b4
Building #464646
Pole #999999
Road #804080
Pavement #f423e8
Tree #6b8e23
SignSymbol #dcdc00
Fence #be9999
Car #00008e
Pedestrian #dc143c
Bicyclist #770b20
"""


class Block(nn.Sequential):
    """Two 3x3 convolutions with batch norm and ReLU, the first with a stride."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        layers: list[nn.Module] = []
        for i, s in ((inputs, stride), (outputs, 1)):
            layers += [nn.Conv2d(i, outputs, 3, s, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)


class UNet(nn.Module):
    """BGR [N,3,384,512] in 0..255 less the mean -> scores [N,11,96,128]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 192, 256)
        self.down = nn.ModuleList(Block(i, o, stride=2) for i, o in pairwise(widths))
        self.up = nn.ModuleList(Block(i + o, o) for i, o in ((256, 192), (192, 128), (128, 64)))
        self.head = nn.Conv2d(64, UNLABELLED, 1)

    def forward(self, picture: Tensor) -> Tensor:
        x, skips = picture / 64, []
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2:0:-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        scores: Tensor = self.head(x)
        return scores


class Deployed(nn.Module):
    """The network as it is exported: softmax inside."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, data: Tensor) -> Tensor:
        probabilities: Tensor = self.network(data).softmax(1)
        return probabilities


Picture = NDArray[np.uint8]
Labels = NDArray[np.uint8]


def read_train(root: Path) -> list[tuple[Picture, Labels]]:
    """(BGR [H,W,3], class ids [H,W]) of every still of CamVid's `train`."""
    pairs = []
    for path in sorted((root / "train/images").iterdir()):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        labels = cv2.imread(str(root / "train/labels" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        if picture is None or labels is None:
            raise SystemExit(f"{path}: it or its labels cannot be read; give the folder that holds train/")
        pairs.append((picture.astype(np.uint8), labels.astype(np.uint8)))
    return pairs


def view(picture: Picture, labels: Labels, rng: Generator) -> tuple[NDArray[np.float32], Labels]:
    """A random crop of 384x512, scaled, flipped and in another light: [3,384,512] less the mean, [384,512]."""
    factor = rng.uniform(1.07, 2.0)
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    scaled: NDArray[Any] = cv2.resize(picture, size)
    classes: NDArray[Any] = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    top, left = (int(rng.integers(n - c + 1)) for n, c in zip(classes.shape, (HEIGHT, WIDTH), strict=True))
    step = int(rng.choice([-1, 1]))
    scaled = scaled[top : top + HEIGHT, left : left + WIDTH][:, ::step].astype(np.float32)
    classes = classes[top : top + HEIGHT, left : left + WIDTH][:, ::step]
    lit = np.clip(scaled * rng.uniform(0.7, 1.4) * rng.uniform(0.9, 1.1, 3), 0, 255) - MEAN_BGR
    return np.ascontiguousarray(lit.transpose(2, 0, 1), np.float32), np.ascontiguousarray(classes)


def batch_at(step: int, stills: Sequence[tuple[Picture, Labels]], size: int) -> tuple[Tensor, Tensor]:
    """pictures [N,3,384,512], labels [N,384,512] int64: depends on the step alone."""
    rng = np.random.default_rng(step)
    views = [view(*stills[int(rng.integers(len(stills)))], rng) for _ in range(size)]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in views]))
    labels = torch.from_numpy(np.stack([labels for _, labels in views])).long()
    return pictures.contiguous(memory_format=torch.channels_last), labels


def class_weights(stills: Sequence[tuple[Picture, Labels]]) -> Tensor:
    """[11]: rare classes count more."""
    counts = np.sum([np.bincount(labels.ravel(), minlength=256)[:UNLABELLED] for _, labels in stills], 0)
    return torch.tensor(1 / np.log(1.1 + counts / counts.sum()), dtype=torch.float32)


def train(
    network: UNet, stills: list[tuple[Picture, Labels]], seconds: float, batch: int, state_path: Path
) -> None:
    """Train until `seconds` have gone, the rate falling to zero by then; the state is saved every minute."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    step, before = 0, 0.0
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["seconds"]
    weights, began, saved = class_weights(stills), time.monotonic(), time.monotonic()
    bf16 = torch.cpu._is_avx512_bf16_supported()  # elsewhere it is slower than float32
    network.train()
    while (elapsed := before + time.monotonic() - began) < seconds:
        rate = 3e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * elapsed / seconds))
        for group in optimizer.param_groups:
            group["lr"] = rate
        pictures, labels = batch_at(step, stills, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            scores = network(pictures)
        full = F.interpolate(scores.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(full, labels, weight=weights, ignore_index=UNLABELLED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step}, {elapsed:.0f} of {seconds:.0f} s, loss {loss.item():.3f}", flush=True)
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            save(state_path, network, optimizer, step, before + saved - began)
    save(state_path, network, optimizer, step, elapsed)


def save(path: Path, network: UNet, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Written whole or not at all."""
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def export(network: UNet, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own notices
        torch.onnx.export(
            Deployed(network).eval(),
            (torch.zeros(1, 3, HEIGHT, WIDTH),),
            str(path),
            dynamo=False,
            opset_version=13,
            input_names=["data"],
            output_names=["prob"],
        )
    path.with_suffix(".classes.txt").write_text(CLASSES)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Train a small U-Net on CamVid's train and export it to ONNX."
    )
    parser.add_argument("camvid", type=Path, help="the folder that holds train/images and train/labels")
    parser.add_argument(
        "output", type=Path, help="the .onnx file to write; names go to .classes.txt beside it"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT.state")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    state_path = options.output.with_suffix(".state")
    if not options.resume:
        state_path.unlink(missing_ok=True)
    network: UNet = UNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(network, read_train(options.camvid), 60 * options.minutes, options.batch, state_path)
    export(network, options.output)
    print(f"{options.output}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
