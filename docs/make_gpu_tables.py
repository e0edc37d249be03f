"""Writes docs/gpu.md: what each kernel takes of a GPU, and what that and the networks' arithmetic let one expect.

    python docs/make_gpu_tables.py --nvrtc PATH/libnvrtc.so.12    # of 12.9, for Pascal, which nvcc 13 does not know

Needs nvcc and the export extra (torch), and no GPU.

Registers and spills are the compiler's. Bytes and products are counted. Everything in seconds follows from those and
published figures of the cards: nothing here is a measurement.
"""

import argparse
import ctypes
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gpu.md"
PASCAL = "sm_61"
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
GOALS = {"GTX 1080 Ti": 284, "H100 SXM": 1000}

# The case of the paper's Table 1: Cityscapes, keyframe at 0.75.
CLASSES, GRID, KEYFRAME, SOURCE, INTERVAL = 19, (128, 256), (768, 1536), (1024, 2048), 4
CELLS, PIXELS = GRID[0] * GRID[1], SOURCE[0] * SOURCE[1]
SCORES, PICTURE = 4 * CLASSES * CELLS, PIXELS * 3 // 2  # bytes: of S_t, of a 4:2:0 frame of 8 bits


@dataclass(frozen=True, kw_only=True)
class Card:
    """Published figures. scalar_flops_per_s: float32 outside tensor cores; flops_per_s: of convolutions in `precision`,
    of which they are taken to reach `share`."""

    name: str
    bytes_per_s: float
    scalar_flops_per_s: float
    flops_per_s: float
    precision: str
    share: float

    @property
    def number_bytes(self) -> int:
        return 4 if self.precision == "fp32" else 2


# Of its peak, the paper's keyframe network reaches this on a GTX 1080 Ti: 58.5 G products in 15.8 ms.
_PAPER_SHARE = 2 * 58.5e9 / 15.8e-3 / 11.3e12
# Tensor cores are fed less well by layers of one picture; a guess.
_TENSOR_SHARE = 0.25

CARDS = (
    Card(
        name="GTX 1080 Ti",
        bytes_per_s=484e9,
        scalar_flops_per_s=11.3e12,
        flops_per_s=11.3e12,
        precision="fp32",
        share=_PAPER_SHARE,
    ),
    Card(
        name="T4",
        bytes_per_s=320e9,
        scalar_flops_per_s=8.1e12,
        flops_per_s=65e12,
        precision="fp16",
        share=_TENSOR_SHARE,
    ),
    Card(
        name="RTX 3090",
        bytes_per_s=936e9,
        scalar_flops_per_s=35.6e12,
        flops_per_s=71e12,
        precision="fp16",
        share=_TENSOR_SHARE,
    ),
    Card(
        name="H100 SXM",
        bytes_per_s=3350e9,
        scalar_flops_per_s=67e12,
        flops_per_s=989e12,
        precision="fp16",
        share=_TENSOR_SHARE,
    ),
)
LAUNCH_S = 3e-6  # from one kernel's start to the next one's, in a CUDA graph; a guess


@dataclass(frozen=True)
class Work:
    """What a kernel must do at least: bytes read and written once, float32 operations."""

    bytes: int
    operations: int

    def floor_s(self, card: Card) -> float:
        """Without fused multiply-add, which the kernels forgo, a card does half of its published operations."""
        return max(self.bytes / card.bytes_per_s, self.operations / (card.scalar_flops_per_s / 2))


# A blend of four takes nine operations, a comparison with the best class two, a neighbour's share two.
_WARP, _LABELS = 11 * CLASSES * CELLS, 11 * CLASSES * PIXELS
_FILTER = {d: (2 * (d + 1) - 1) * CLASSES * CELLS for d in (9, 17)}
_SHARES = {d: 4 * (d + 1) * CELLS for d in (9, 17)}
KERNELS = {
    "gsvnet_prepare": Work(PICTURE + 12 * CELLS, 2 * PICTURE),
    "gsvnet_warp": Work(2 * SCORES + 8 * CELLS + CELLS, _WARP),
    "gsvnet_edges": Work(CELLS + 4 * CELLS, 20 * CELLS),
    "gsvnet_filter_9": Work(3 * SCORES + _SHARES[9], _FILTER[9]),
    "gsvnet_filter_17": Work(3 * SCORES + _SHARES[17], _FILTER[17]),
    "gsvnet_labels": Work(SCORES + PIXELS, _LABELS),
    "gsvnet_warp_half": Work(SCORES + 4 * CELLS + CELLS, _WARP),
    "gsvnet_edges_half": Work(CELLS + 2 * CELLS, 20 * CELLS),
    "gsvnet_filter_9_half": Work((3 * SCORES + _SHARES[9]) // 2, _FILTER[9]),
    "gsvnet_filter_17_half": Work((3 * SCORES + _SHARES[17]) // 2, _FILTER[17]),
    "gsvnet_labels_half": Work(SCORES // 2 + PIXELS, _LABELS),
}
_KEYFRAME_PIXELS = KEYFRAME[0] * KEYFRAME[1]
# Bilinear, shrunk to 3/4: three taps each way for luma, two for each chroma.
_KEYFRAME_PREPARE = Work(PICTURE + 12 * _KEYFRAME_PIXELS, 2 * (9 + 4 + 4) * _KEYFRAME_PIXELS)


# What the compiler says


@dataclass(frozen=True)
class Use:
    """Of one kernel on one architecture."""

    registers: int
    spilled_bytes: int


def sources() -> list[Path]:
    return sorted((ROOT / "plugins" / "kernels").glob("*/*.cu"))


def kernels_of(source: Path) -> list[str]:
    """The names of the kernels that a .cu holds."""
    return re.findall(r"__global__ void (\w+)\(", source.read_text())


def compile_kernels(nvcc: str, source: Path) -> dict[tuple[str, str], Use]:
    """What nvcc says that each (kernel, architecture) of a .cu uses. Raises CalledProcessError where it fails."""
    targets = [f"-gencode=arch=compute_{a[3:]},code={a}" for a in ARCHITECTURES]
    with TemporaryDirectory() as folder:
        command = [
            nvcc,
            "-std=c++17",
            "-fmad=false",
            "--threads=2",
            *targets,
            "-Xptxas=-v",
            "-Werror=all-warnings",
        ]
        command += ["-fatbin", "-o", f"{folder}/kernels.fatbin", str(source)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return _uses(said)


def compile_for_pascal(nvrtc: Path, source: Path) -> dict[tuple[str, str], Use]:
    """What NVRTC 12.9 says that each kernel of a .cu uses on sm_61. Raises RuntimeError where it does not compile."""
    library = ctypes.CDLL(str(nvrtc))
    options = [f"--gpu-architecture={PASCAL}", "-fmad=false", "--std=c++17", "--ptxas-options=-v"]
    options.append(f"-I{source.parent}")
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(
        ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None
    )
    status = library.nvrtcCompileProgram(program, len(options), given)
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if status:
        raise RuntimeError(f"{source.name} does not compile for {PASCAL}:\n{log.value.decode()}")
    return _uses(log.value.decode())


def _uses(said: str) -> dict[tuple[str, str], Use]:
    """From what ptxas says with -v."""
    pattern = (
        r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers"
    )
    return {
        (kernel, architecture): Use(int(registers), int(stores) + int(loads))
        for kernel, architecture, stores, loads, registers in re.findall(pattern, said, re.DOTALL)
    }


# What the networks' arithmetic lets one expect


@dataclass(frozen=True)
class Layer:
    """A convolution: its products, and the numbers that it must read and write once."""

    macs: int
    numbers: int


def layers() -> tuple[list[Layer], list[Layer]]:
    """The convolutions of SwiftNet-R18 at KEYFRAME and of PF at GRID."""
    import torch

    from gsvnet_export.networks import Propagation, build_keyframe
    from gsvnet_export.networks.propagation import PropagationConfig

    def convolutions(module: torch.nn.Module, *inputs: torch.Tensor) -> list[Layer]:
        found: list[Layer] = []

        def note(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            assert isinstance(layer, torch.nn.Conv2d)
            macs = output.numel() * layer.weight[0].numel()
            found.append(Layer(macs, given[0].numel() + layer.weight.numel() + output.numel()))

        for each in module.modules():
            if isinstance(each, torch.nn.Conv2d):
                each.register_forward_hook(note)
        with torch.inference_mode():
            module.eval()(*inputs)
        return found

    keyframe = build_keyframe("swiftnet", "resnet18", CLASSES).to("meta")  # shapes alone
    propagation = Propagation(PropagationConfig(classes=CLASSES))
    small = torch.zeros(1, 3, *GRID)
    return (
        convolutions(keyframe, torch.zeros(1, 3, *KEYFRAME, device="meta")),
        convolutions(propagation, small, small, torch.zeros(1, CLASSES, *GRID)),
    )


def network_s(card: Card, network: Iterable[Layer], *, share: float, launch_s: float) -> float:
    """Seconds: each layer takes its arithmetic or its memory, whichever is longer, and a start."""
    return sum(
        max(2 * layer.macs / (share * card.flops_per_s), card.number_bytes * layer.numbers / card.bytes_per_s)
        + launch_s
        for layer in network
    )


def kernels_s(card: Card, kernels: Iterable[Work], launch_s: float) -> float:
    return sum(work.floor_s(card) + launch_s for work in kernels)


@dataclass(frozen=True)
class Step:
    """Seconds of the parts, preparation and labels included in each."""

    keyframe_s: float
    propagation_s: float

    @property
    def fps(self) -> float:
        return INTERVAL / (self.keyframe_s + (INTERVAL - 1) * self.propagation_s)


def step(card: Card, networks: tuple[list[Layer], list[Layer]], *, share: float, launch_s: float) -> Step:
    """A keyframe also needs its 1/8 picture, which the next frame's flow starts from."""
    both = [KERNELS["gsvnet_prepare"], KERNELS["gsvnet_labels"]]
    three = [KERNELS[name] for name in ("gsvnet_warp", "gsvnet_edges", "gsvnet_filter_9")]
    times = [network_s(card, network, share=share, launch_s=launch_s) for network in networks]
    return Step(
        times[0] + kernels_s(card, [*both, _KEYFRAME_PREPARE], launch_s),
        times[1] + kernels_s(card, [*both, *three], launch_s),
    )


# The page


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def resources_section(nvcc: str, nvrtc: Path) -> str:
    used: dict[tuple[str, str], Use] = {}
    for source in sources():
        used |= compile_for_pascal(nvrtc, source) | compile_kernels(nvcc, source)
    version = re.findall(r"release [\d.]+, (V[\d.]+)", _output(nvcc, "--version"))[0]

    def cell(kernel: str, architecture: str) -> str:
        use = used[kernel, architecture]
        return f"{use.registers}" + (f" ({use.spilled_bytes} B spilled)" if use.spilled_bytes else "")

    spilled = sum(use.spilled_bytes for use in used.values())
    verdict = "No kernel spills one." if not spilled else "Spilled bytes stand beside."
    rows = [[f"`{k}`", *(cell(k, a) for a in (PASCAL, *ARCHITECTURES))] for k in KERNELS]
    return f"""## Registers

A thread, as nvcc {version} (NVRTC 12.9 for {PASCAL}) compiles with `-fmad=false`. {verdict} Blocks are of 256 threads.

{table(["kernel", PASCAL, *ARCHITECTURES], rows)}"""


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def work_section() -> str:
    done = {
        **{f"`{name}`": work for name, work in KERNELS.items()},
        "`gsvnet_prepare`, keyframe": _KEYFRAME_PREPARE,
    }
    rows = [
        [
            name,
            f"{work.bytes / 1e6:.2f}",
            f"{work.operations / 1e6:.0f}",
            *(f"{1e6 * work.floor_s(card):.1f}" for card in CARDS),
        ]
        for name, work in done.items()
    ]
    head = ["kernel", "MB", "M operations", *(f"{card.name}, µs" for card in CARDS)]
    return f"""## Memory and arithmetic

What each kernel must read and write at least once and compute in float32, and how long a card takes for the longer of
the two: no kernel can be faster, unless its input still lies in a cache. C = {CLASSES}, grid {_size(GRID)}, source
{_size(SOURCE)} in 4:2:0 of 8 bits, one item. Multiplications and additions are not fused (results are equal to the bit
everywhere), which halves a card's rate; addresses and conversions come on top.

{table(head, rows)}"""


def prediction_section(networks: tuple[list[Layer], list[Layer]]) -> str:
    def row(card: Card) -> list[str]:
        bound = step(card, networks, share=1.0, launch_s=0.0)
        likely = step(card, networks, share=card.share, launch_s=LAUNCH_S)
        parts = [f"{1e3 * likely.keyframe_s:.2f}", f"{1e3 * likely.propagation_s:.2f}"]
        goal = str(GOALS.get(card.name, "–"))
        return [card.name, card.precision, f"{bound.fps:.0f}", *parts, f"{likely.fps:.0f}", goal]

    head = [
        "card",
        "precision",
        "bound, FPS",
        "keyframe, ms",
        "propagation, ms",
        "predicted FPS",
        "goal, FPS",
    ]
    keyframe, propagation = (sum(layer.macs for layer in network) / 1e9 for network in networks)
    counts = " and ".join(str(len(network)) for network in networks)
    numbers = [sum(layer.numbers for layer in network) / 1e6 for network in networks]
    return f"""## Whole steps: predicted, not measured

SwiftNet-R18 with {CLASSES} classes at {_size(KEYFRAME)} and PF at {_size(GRID)}, interval {INTERVAL}:
{keyframe:.1f} and {propagation:.2f} G products in {counts} convolutions, which read and write
{numbers[0]:.0f} and {numbers[1]:.0f} million numbers. A convolution takes as long as its arithmetic or its memory,
whichever is longer; preparation, the three operations and labels as long as the table above says.
*Bound*: at the card's full published rates, nothing lost
between kernels. *Predicted*: {_PAPER_SHARE:.0%} of the arithmetic in fp32, which is what the paper's keyframe network
reached on its GTX 1080 Ti (58.5 G products in 15.8 ms), {_TENSOR_SHARE:.0%} on tensor cores and {1e6 * LAUNCH_S:.0f} µs
a kernel, which are guesses.
Left out: element-wise layers that do not fuse, resizing within the networks, decoding, copies, sinks.

{table(head, [row(card) for card in CARDS])}
The GTX 1080 Ti's goal is twice the paper's 142 FPS.
{_verdict(networks)}
"""


def _verdict(networks: tuple[list[Layer], list[Layer]]) -> str:
    """A line a goal."""
    said: list[str] = []
    for card in CARDS:
        if card.name in GOALS:
            goal = GOALS[card.name]
            bound = step(card, networks, share=1.0, launch_s=0.0).fps
            likely = step(card, networks, share=card.share, launch_s=LAUNCH_S).fps
            reach = "reaches" if likely >= goal else "misses"
            needed = f"{goal / bound:.0%} of what its {card.precision} arithmetic and its memory allow"
            said.append(f"{card.name}: the prediction {reach} {goal} FPS, which is {needed}.")
    return "\n".join(said)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


INTRODUCTION = """# GPUs: what the kernels take, and what to expect

Written by `python docs/make_gpu_tables.py`. **Nothing on this page was measured on a GPU**
(gpu-install.md says what was). Registers are the compiler's; the rest is counted, and divided by published figures.
What to install for which card, and how to measure it: [gpu-install.md](gpu-install.md).

"""

SOURCES = """## The cards' figures

| card | memory, GB/s | float32, TFLOPS | convolutions, TFLOPS | published in |
|---|---|---|---|---|
| GTX 1080 Ti | 484 | 11.3 (3584 cores, 1582 MHz) | the same: fp16 is slower | NVIDIA's specification (vortez.net) |
| T4 | 320 | 8.1 | 65, fp16 on tensor cores | NVIDIA's T4 data sheet |
| RTX 3090 | 936 | 35.6 | 71, fp16 on tensor cores: half of 142, for fp32 sums | specifications; the half assumed |
| H100 SXM | 3350 | 67 | 989, fp16 on tensor cores, dense | NVIDIA's H100 data sheet |
"""


def page(nvcc: str, nvrtc: Path) -> str:
    parts = [resources_section(nvcc, nvrtc), work_section(), prediction_section(layers()), SOURCES]
    return INTRODUCTION + "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes docs/gpu.md.")
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument(
        "--nvrtc", type=Path, required=True, help="libnvrtc.so.12 of nvidia-cuda-nvrtc-cu12 12.9"
    )
    options = parser.parse_args()
    PAGE.write_text(page(options.nvcc, options.nvrtc))
    print(PAGE)


if __name__ == "__main__":
    main()
