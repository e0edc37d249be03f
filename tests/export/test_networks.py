"""Sizes and costs of the networks against the figures that describe them, and forward passes at awkward sizes."""

import pytest
import torch

from gsvnet_export.cost import count_macs, count_parameters
from gsvnet_export.networks import Propagation, build_keyframe
from gsvnet_export.networks.efficientnet import EfficientNetLite
from gsvnet_export.networks.layers import pool_to_rows
from gsvnet_export.networks.propagation import Match, PropagationConfig, half


@pytest.mark.parametrize(
    ("network", "parameters", "macs"), [("swiftnet", 11.797e6, 58.3e9), ("bisenet", 12.80e6, 58.3e9)]
)
def test_published_size_and_cost_at_768x1536(network: str, parameters: float, macs: float) -> None:
    model = build_keyframe(network, "resnet18", 19)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.02)
    assert count_macs(model, torch.zeros(1, 3, 768, 1536)) == pytest.approx(macs, rel=0.02)


def test_propagation_size_and_cost_at_128x256() -> None:
    model = Propagation(PropagationConfig(classes=19))
    assert count_parameters(model) == pytest.approx(0.396e6, rel=0.02)
    pictures, scores = torch.zeros(1, 3, 128, 256), torch.zeros(1, 19, 128, 256)
    assert count_macs(model, pictures, pictures, scores) == pytest.approx(2.69e9, rel=0.02)
    for part, parameters in {"flow": 0.186e6, "intra": 0.016e6, "guide": 0.194e6}.items():
        assert count_parameters(getattr(model, part)) == pytest.approx(parameters, rel=0.03)


@pytest.mark.parametrize("network", ["swiftnet", "bisenet"])
@pytest.mark.parametrize("trunk", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("size", [(64, 96), (33, 47), (1, 70), (90, 17)])
def test_keyframe_networks_take_any_size(network: str, trunk: str, size: tuple[int, int]) -> None:
    model = build_keyframe(network, trunk, 5).eval()
    with torch.inference_mode():
        scores = model(torch.rand(2, 3, *size))
    stride = 4 if network == "swiftnet" else 8
    assert scores.shape == (2, 5, -(-size[0] // stride), -(-size[1] // stride))
    assert scores.isfinite().all()


@pytest.mark.parametrize(("variant", "published"), [(0, 4.652e6), (1, 5.416e6), (2, 6.092e6)])
def test_efficientnet_lite_sizes(variant: int, published: float) -> None:
    trunk = EfficientNetLite(variant)
    last = trunk.channels[-1]
    classifier = last * 1280 + 2 * 1280 + 1280 * 1000 + 1000  # what classification adds to a trunk
    assert count_parameters(trunk) + classifier == pytest.approx(published, rel=0.001)


def test_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="swiftnet, bisenet"):
        build_keyframe("unet", "resnet18", 5)


@pytest.mark.parametrize("size", [(12, 24), (7, 5), (1, 1), (3, 40)])
@pytest.mark.parametrize("rows", [2, 4, 8])
def test_pooling_equals_adaptive_pooling(size: tuple[int, int], rows: int) -> None:
    x = torch.rand(1, 4, *size)
    h, w = size
    r = min(rows, h)
    columns = min(max(1, (2 * r * w + h) // (2 * h)), w)
    expected = torch.nn.functional.adaptive_avg_pool2d(x, (r, columns))
    torch.testing.assert_close(pool_to_rows(x, rows), expected)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"window": 5},
        {"intra": False},
        {"learned_kernels": True},
        {"window": 5, "intra": False},
        {"flow_refinements": 2},
        {"sharpened": True},
        {"cubic": True, "window": 5, "intra": False},
        {"gated": True, "residual": True, "window": 5},
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 7), (17, 33), (45, 1), (5, 135)])
def test_propagation_takes_any_size(variant: dict[str, int], size: tuple[int, int]) -> None:
    model = Propagation(PropagationConfig(classes=4, **variant)).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        propagated = model(torch.rand(2, 3, *size), torch.rand(2, 3, *size), torch.randn(2, 4, *size))
    assert propagated.shape == (2, 4, *size)
    assert propagated.isfinite().all()


def test_match_finds_where_a_picture_went() -> None:
    """Pictures that differ by a whole offset: that offset is the likeliest, away from the border."""
    torch.manual_seed(0)
    now = torch.rand(1, 3, 20, 24)
    before = torch.roll(now, (1, -2), (2, 3))  # what is at (y, x) now was at (y + 1, x - 2)
    found = Match(radius=3)(now, before)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 20, 24))
    assert (found.argmax(1)[:, 4:-4, 4:-4] == (3 + 1) * 7 + (3 - 2)).all()


def test_half_counts_the_last_row_and_column_twice_where_sizes_are_odd() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    expected = torch.tensor([[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]])
    torch.testing.assert_close(half(x), expected)
    assert half(torch.ones(1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_every_part_of_propagation_learns() -> None:
    model = Propagation(PropagationConfig(classes=3))
    pictures, scores = torch.rand(2, 1, 3, 16, 16), torch.randn(1, 3, 16, 16)
    model(pictures[0], pictures[1], scores).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
