"""Training off the CPU, as far as a machine without a GPU can tell: tests/gpu/test_training.py does the rest."""

import contextlib
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gsvnet_engine.errors import UsageError
from gsvnet_export.cli.options import torch_device
from gsvnet_export.networks import NETWORKS, build_keyframe
from gsvnet_export.networks.propagation import Propagation, PropagationConfig
from gsvnet_export.training import loop
from gsvnet_export.training.propagation import PRESETS, network_config

META = torch.device("meta")  # holds no numbers, and computes with none of the CPU's


@dataclass(frozen=True)
class Batch:
    pictures: Tensor
    step: int


def batch_at(step: int) -> Batch:
    return Batch(torch.full((2, 3), float(step)), step)


class TestBatches:
    def test_from_processes_they_are_those_of_the_thread(self) -> None:
        found = [list(loop._batches(batch_at, range(3, 12), workers)) for workers in (0, 2)]
        for steps in found:
            assert [step for step, _ in steps] == [batch.step for _, batch in steps] == list(range(3, 12))
        for (_, one), (_, other) in zip(*found, strict=True):
            assert torch.equal(one.pictures, other.pictures)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_exception_comes_through(self, workers: int) -> None:
        def broken(step: int) -> Batch:
            if step == 4:
                raise ValueError("no such picture")
            return batch_at(step)

        with pytest.raises(ValueError, match="no such picture"):
            list(loop._batches(broken, range(8), workers))

    def test_all_their_tensors_move(self) -> None:
        moved = loop.on(META, batch_at(5))
        assert moved.pictures.device == META and moved.step == 5


@pytest.fixture
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none for the meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.mark.usefixtures("no_autocast")
class TestNetworks:
    """Whatever they make beside their inputs lies where those lie."""

    def test_two_devices_are_noticed(self) -> None:
        with pytest.raises(RuntimeError, match="device"):
            torch.empty(2, device=META) + torch.ones(2)

    @pytest.mark.parametrize(
        "form",
        [
            {},
            asdict(network_config(PRESETS["best"], 11)),
            {"window": 5, "learned_kernels": True},
            {"intra": False},
        ],
    )
    def test_propagation(self, form: dict[str, Any]) -> None:
        model = Propagation(PropagationConfig(**{"classes": 11, **form})).to(META)
        pictures, scores = torch.empty(2, 3, 24, 32, device=META), torch.empty(2, 11, 24, 32, device=META)
        step = model.step(pictures, pictures, scores)
        assert step.scores.shape == scores.shape
        (step.scores.sum() + step.flow.sum()).backward()  # type: ignore[no-untyped-call]

    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("trunk", ["resnet18", "efficientnet_lite0"])
    def test_keyframe(self, network: str, trunk: str) -> None:
        model = build_keyframe(network, trunk, 11).to(META).train()
        assert model(torch.empty(2, 3, 96, 128, device=META)).shape[:2] == (2, 11)


class TestOption:
    def test_names(self) -> None:
        assert torch_device("cpu") == torch.device("cpu")
        assert torch_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")

    @pytest.mark.parametrize("name", ["gpu", "mps", "cuda:x", ""])
    def test_what_is_no_device_of_ours(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"give cpu, cuda, or cuda: and a GPU's number"):
            torch_device(name)

    def test_a_gpu_that_is_not_there(self) -> None:
        with pytest.raises(UsageError, match=r"--device cuda:97: torch .* sees \d+ GPUs"):
            torch_device("cuda:97")
