"""The one training loop: steps, EMA weights, metrics, and a run folder from which an interrupted training goes on.

A run folder holds `config.json`, `metrics.jsonl`, `curve.png`, `checkpoint.safetensors` (EMA weights with the whole
configuration in the header) and, until the run is done, `resume.pt`. What step n does depends on the seed and on n
alone, so a resumed run repeats nothing and skips nothing.
"""

import copy
import io
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from queue import Queue
from threading import Thread, current_thread, main_thread
from typing import Any, TypeVar

import cv2
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gsvnet_engine import machine
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_export.outputs import Say, whole, writing

CPU = torch.device("cpu")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How long and how fast. `lr_at(step)` multiplies every group's own rate. `workers`: processes that make
    batches; 0: a thread does."""

    steps: int
    lr_at: Callable[[int], float]
    ema: float
    validate_every: int = 200
    save_every: int = 100
    workers: int = 0


def cosine(steps: int, warmup: int = 50) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine down to zero at `steps`."""
    return lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def train(
    folder: Path,
    model: nn.Module,
    config: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Any], Tensor],
    batch_at: Callable[[int], Any],
    validate: Callable[[nn.Module], dict[str, float]],
    options: LoopOptions,
    *,
    resume: bool = False,
    say: Say = lambda note: None,
) -> nn.Module:
    """Train `model` in place for `options.steps`; returns the EMA model, which is also in `checkpoint.safetensors`.

    `loss(batch)` is differentiated as it stands (autocast is its own affair); `batch_at(step)` runs ahead,
    in a thread or in processes.
    A finished run that is resumed stays as it is: `say` hears so, and its EMA weights are returned.
    An interruption comes between steps, and what was learned is saved before it goes on; a second one does not wait.
    Raises UsageError when `folder` holds another run, or any and `resume` is not set; OutputError where it cannot be
    written.
    """
    ema, checkpoint = copy.deepcopy(model).eval().requires_grad_(False), folder / "checkpoint.safetensors"
    _check_settings(folder / "config.json", config, resume)
    if resume and not (folder / "resume.pt").exists() and is_done(checkpoint, options.steps):
        say(f"{folder}: its {options.steps} steps are done already; to train anew, name another folder")
        ema.load_state_dict(load_checkpoint(checkpoint)[0])
        return ema
    first, last = _start(folder, model, ema, config, optimizer, resume)
    base = [group["lr"] for group in optimizer.param_groups] if first == 0 else config_rates(optimizer)
    clock, running = time.monotonic() - last.get("seconds", 0.0), last.get("loss")
    done = saved = first
    between = True

    def save_run() -> None:
        save_checkpoint(checkpoint, ema, config | {"steps_done": done})
        measured = {"loss": running, "seconds": time.monotonic() - clock}
        _save_resume(folder, model, ema, optimizer, base, done, measured)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar, _held_back() as let_through:
            task = bar.add_task("", total=options.steps, completed=first, text="")
            for step, batch in _batches(batch_at, range(first, options.steps), options.workers):
                let_through()
                between = False
                for group, rate in zip(optimizer.param_groups, base, strict=True):
                    group["lr"] = rate * options.lr_at(step)
                model.train()
                value = loss(batch)
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                optimizer.step()
                _follow(ema, model, min(options.ema, (step + 1) / (step + 10)))
                running = value.item() if running is None else 0.98 * running + 0.02 * value.item()
                done = step + 1
                row: dict[str, float] = {}
                if done % options.validate_every == 0 or done == options.steps:
                    row |= validate(ema)
                if row or done % 20 == 0:
                    row = {"step": done, "loss": running, "seconds": time.monotonic() - clock, **row}
                    with writing(folder), (folder / "metrics.jsonl").open("a") as metrics:
                        metrics.write(json.dumps(row) + "\n")
                    text = " ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "seconds"))
                    bar.update(task, completed=done, text=text)
                if done % options.save_every == 0 or done == options.steps:
                    save_run()
                    saved = done
                between = True
            let_through()
    except KeyboardInterrupt:
        if between and done > saved:
            save_run()
            say(f"{folder}: {done} of {options.steps} steps are done and saved; --resume goes on from there")
        raise
    draw_curve(folder)
    (folder / "resume.pt").unlink(missing_ok=True)
    return ema


def config_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """The groups' own learning rates, kept in the optimizer's state beside the rate of the moment."""
    return [group["base_lr"] for group in optimizer.param_groups]


def on(device: torch.device, batch: B) -> B:
    """A batch (a dataclass) with its tensors on the device."""
    given = {field.name: getattr(batch, field.name) for field in fields(batch)}  # type: ignore[arg-type]
    moved = {name: value.to(device) for name, value in given.items() if isinstance(value, Tensor)}
    return replace(batch, **moved)  # type: ignore[type-var]


def workers_beside(device: torch.device) -> int:
    """How many processes make batches: none beside a CPU that trains, else one for each core but the training's."""
    return 0 if device.type == "cpu" else max(1, machine.cores() - 1)


def bf16_where_fast(device: torch.device = CPU) -> torch.autocast:
    """Autocast to bf16 where the device computes in it, float32 elsewhere.

    Without bf16 instructions a training step in bf16 is many times slower than in float32 (SwiftNet on
    EfficientNet-Lite0, 8 views of 528x384, one AVX2 core: 54 s against 6.5 s; a 3x3 convolution of 64 channels on a
    core with AVX-512 but not AVX512-BF16: five times); with AVX512-BF16 it is 5 to 8 times faster.
    """
    on_gpu = device.type != "cpu"
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else machine.computes_bf16()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def save_checkpoint(path: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """`save_state` of the model's weights."""
    save_state(path, model.state_dict(), config)


def save_state(path: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Weights as float32 safetensors, `config` as JSON in the header under "config"; written whole or not at all."""
    tensors = {name: value.detach().contiguous() for name, value in state.items()}
    data = save(tensors, metadata={"config": json.dumps(config, sort_keys=True)})
    with whole(path) as file:
        file.write(data)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict, configuration) of a checkpoint that `train` wrote; InputError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            return {name: file.get_tensor(name) for name in file.keys()}, config  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such checkpoint; `train` writes checkpoint.safetensors") from error
    except (KeyError, ValueError, OSError, RuntimeError, Exception) as error:
        raise InputError(
            f"{path}: not a checkpoint of this project ({error}); give a checkpoint.safetensors"
        ) from error


def is_done(checkpoint: Path, steps: int) -> bool:
    """Whether it is there, after so many steps."""
    return checkpoint.exists() and load_checkpoint(checkpoint)[1].get("steps_done") == steps


def _check_settings(stored: Path, config: dict[str, Any], resume: bool) -> None:
    """UsageError where the folder's run is not to be resumed, or was begun with another configuration."""
    if not stored.exists():
        return
    if not resume:
        raise UsageError(f"{stored.parent}: holds a run already; go on with --resume, or name another folder")
    try:
        begun = json.loads(stored.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{stored}: cannot be read ({error}); restore it, or train anew in another folder"
        ) from error
    if begun != json.loads(json.dumps(config)):
        raise UsageError(
            f"{stored.parent}: was begun with other settings ({stored}); repeat those, or name another folder"
        )


def _start(
    folder: Path,
    model: nn.Module,
    ema: nn.Module,
    config: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    resume: bool,
) -> tuple[int, dict[str, float]]:
    """Make or take up the run folder; returns the step to go on from, and the last measurements up to there."""
    state, metrics = folder / "resume.pt", folder / "metrics.jsonl"
    if resume and state.exists():
        saved = _saved(state)
        model.load_state_dict(saved["model"])
        ema.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        for group, rate in zip(optimizer.param_groups, saved["rates"], strict=True):
            group["base_lr"] = rate
        rows = [row for row in _rows(metrics) if row["step"] <= saved["step"]]
        with whole(metrics) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        last = saved.get("measured") or (rows[-1] if rows else {})
        return int(saved["step"]), {name: value for name, value in last.items() if value is not None}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        metrics.write_text("")
    with whole(folder / "config.json") as file:
        file.write(json.dumps(config, indent=1, sort_keys=True).encode() + b"\n")
    return 0, {}


def _saved(state: Path) -> dict[str, Any]:
    """What `_save_resume` wrote; InputError for any other file."""
    try:
        saved: dict[str, Any] = torch.load(state, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch raise each their own
        raise InputError(
            f"{state}: cannot be read ({type(error).__name__}); remove it and train anew from checkpoint.safetensors "
            "beside it (--init, in another folder)"
        ) from error
    return saved


def _rows(metrics: Path) -> Iterator[dict[str, float]]:
    """The measurements of a run, up to a line that was cut off as the run was."""
    for line in metrics.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _save_resume(
    folder: Path,
    model: nn.Module,
    ema: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: list[float],
    step: int,
    measured: dict[str, float | None],
) -> None:
    state = {
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rates": rates,
        "step": step,
        "measured": measured,
    }
    data = io.BytesIO()  # torch's own writing fails with a RuntimeError that does not say why
    torch.save(state, data)
    with whole(folder / "resume.pt") as file:
        file.write(data.getbuffer())


@contextmanager
def _held_back() -> Iterator[Callable[[], None]]:
    """Ctrl-C inside waits until what this yields is called; a second one does not. Where somebody else looks after
    Ctrl-C, or in another thread, nothing is held back."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def let_through() -> None:
        if asked:
            raise KeyboardInterrupt

    is_ours = (
        current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, ask)
    try:
        yield let_through
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@torch.no_grad()
def _follow(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * model; running statistics likewise, counters copied."""
    for slow, fast in zip(ema.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def _batches(batch_at: Callable[[int], B], steps: range, workers: int) -> Iterator[tuple[int, B]]:
    """(step, batch) in order, made ahead: by one thread, or by `workers` processes."""
    if not workers:
        yield from _ahead(batch_at, steps)
        return
    made = DataLoader(
        _Made(batch_at),
        sampler=steps,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",  # nothing is pickled on the way there, and arrays stay mapped
        worker_init_fn=_begin_worker,
    )
    yield from zip(steps, made, strict=True)


class _Made(Dataset[Any]):
    """Batches by their steps."""

    def __init__(self, batch_at: Callable[[int], Any]) -> None:
        self._batch_at = batch_at

    def __getitem__(self, step: int) -> Any:
        return self._batch_at(step)


def _begin_worker(number: int) -> None:
    """Ctrl-C is for the process that trains; OpenCV's threads do not outlive a fork."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _ahead(batch_at: Callable[[int], Any], steps: range) -> Iterator[tuple[int, Any]]:
    """(step, batch) in order, made by one thread up to three batches ahead; its exceptions are raised here."""
    queue: Queue[Any] = Queue(3)
    stop = False

    def work() -> None:
        try:
            for step in steps:
                if stop:
                    return
                queue.put((step, batch_at(step)))
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    Thread(target=work, daemon=True, name="batches").start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop = True
        while not queue.empty():
            queue.get_nowait()


def draw_curve(folder: Path) -> None:
    """`curve.png` from `metrics.jsonl`: the loss, and what validation measured, over steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = list(_rows(folder / "metrics.jsonl"))
    names = sorted({name for row in rows for name in row} - {"step", "seconds"})
    figure, axes = plt.subplots(
        len(names), 1, figsize=(7, 2.2 * len(names)), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[:, 0], names, strict=True):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points, strict=True))
        axis.set(ylabel=name, xlabel="step")
    with whole(folder / "curve.png") as file:
        figure.savefig(file, format="png", dpi=90)
    plt.close(figure)
