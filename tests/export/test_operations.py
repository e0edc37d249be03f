"""The three operations against what the paper says of them."""

import pytest
import torch
import torch.nn.functional as F

from gsvnet_export.networks import operations
from gsvnet_export.networks.layers import ConvOfTwo
from gsvnet_export.networks.propagation import Guide, Match

SIZES = [(1, 1), (1, 9), (8, 2), (17, 33), (45, 135)]


class TestSegmentationWarp:
    @pytest.mark.parametrize("size", SIZES)
    def test_zero_flow_is_the_identity(self, size: tuple[int, int]) -> None:
        scores = torch.randn(2, 5, *size) * 10
        warped, _ = operations.segmentation_warp(scores, torch.zeros(2, 2, *size))
        assert (warped - scores).abs().max() <= 1e-5 * (scores.max() - scores.min())

    def test_whole_cells_move_towards_the_source(self) -> None:
        scores = torch.randn(1, 3, 6, 8)
        flow = torch.zeros(1, 2, 6, 8)
        flow[:, 0], flow[:, 1] = 2.0, -1.0  # cell (y, x) of t was at (y - 1, x + 2) in t-1
        warped, _ = operations.segmentation_warp(scores, flow)
        torch.testing.assert_close(warped[:, :, 1:, :6], scores[:, :, :5, 2:], rtol=0, atol=1e-5)

    def test_outside_repeats_the_border_and_odd_flow_is_defined(self) -> None:
        scores = torch.randn(1, 3, 4, 5)
        for value, expected in ((1e30, scores[..., -1:, -1:]), (-1e30, scores[..., :1, :1])):
            warped, _ = operations.segmentation_warp(scores, torch.full((1, 2, 4, 5), value))
            torch.testing.assert_close(warped, expected.expand_as(scores), rtol=0, atol=1e-5)
        warped, edges = operations.segmentation_warp(scores, torch.full((1, 2, 4, 5), float("nan")))
        torch.testing.assert_close(warped, scores, rtol=0, atol=1e-4)
        assert edges.isfinite().all()

    def test_edges_are_the_sigmoid_of_the_signed_laplacian_of_class_numbers(self) -> None:
        classes = torch.tensor([[0, 0, 2], [0, 0, 2], [0, 0, 2]])
        scores = F.one_hot(classes, 3).permute(2, 0, 1)[None].float()
        _, edges = operations.segmentation_warp(scores, torch.zeros(1, 2, 3, 3))
        # column 1 has three neighbours of class 2: 8*0 - 6; column 2 keeps six of class 2, three of class 0: 8*2 - 10.
        laplacian = torch.tensor([[0.0, -6.0, 6.0]]).expand(3, 3)
        torch.testing.assert_close(edges[0, 0], torch.sigmoid(laplacian))

    def test_ties_go_to_the_lowest_class_and_the_argmax_has_no_gradient(self) -> None:
        scores = torch.zeros(1, 3, 4, 4, requires_grad=True)
        warped, edges = operations.segmentation_warp(scores, torch.zeros(1, 2, 4, 4))
        assert (edges == 0.5).all()
        assert not edges.requires_grad
        assert warped.requires_grad


class TestGuidedFilter:
    @pytest.mark.parametrize("window", [3, 5])
    @pytest.mark.parametrize("size", SIZES)
    def test_equals_the_papers_formulation(self, window: int, size: tuple[int, int]) -> None:
        """Delay convolutions, chunks of one kernel each, and a 1x1 product with the guide (section 3.3)."""
        kernels = operations.delay_kernels(window)
        warped, intra = torch.randn(2, 2, 4, *size)
        weights = torch.rand(2, len(kernels) + 1, *size).softmax(1)
        got = operations.guided_filter(warped, intra, weights)
        expected = operations.delay_convolution_filter(warped, intra, weights, kernels)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)

    def test_unity_gain(self) -> None:
        weights = torch.randn(1, 10, 7, 5).softmax(1)
        constant = torch.full((1, 3, 7, 5), 4.0)
        torch.testing.assert_close(operations.guided_filter(constant, constant, weights), constant)

    def test_offsets_of_the_larger_window(self) -> None:
        offsets = operations.OFFSETS[5]
        assert len(set(offsets)) == 17
        assert all(max(abs(dy), abs(dx)) <= 1 or {abs(dy), abs(dx)} <= {0, 2} for dy, dx in offsets)

    def test_guide_sums_to_one_and_is_not_negative(self) -> None:
        features = torch.randn(2, 4, 9, 6)
        weights, intra, gains = Guide(4, 10).eval()([features])
        assert intra is features and gains is None
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 9, 6))


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_matching_is_a_softmax_over_offsets(radius: int, size: tuple[int, int]) -> None:
    """Of how far 3x3 neighbourhoods lie apart, each offset's picture cut out by itself."""
    now, before = torch.rand(2, 2, 3, *size)
    height, width = size
    padded = F.pad(before, (radius,) * 4, mode="replicate")
    costs = []
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            apart = (padded[..., dy : dy + height, dx : dx + width] - now).abs().mean(1, keepdim=True)
            costs.append(F.avg_pool2d(F.pad(apart, (1,) * 4, mode="replicate"), 3, 1))
    expected = (-30 * torch.cat(costs, 1)).softmax(1)
    torch.testing.assert_close(Match(radius)(now, before), expected, rtol=1e-4, atol=1e-6)


def test_a_convolution_of_two_is_that_of_their_concatenation() -> None:
    convolution = ConvOfTwo(7, 4, 3, stride=2, padding=1, first=3)
    first, second = torch.randn(2, 3, 9, 8), torch.randn(2, 4, 9, 8)
    together = F.conv2d(
        torch.cat([first, second], 1), convolution.weight, convolution.bias, stride=2, padding=1
    )
    torch.testing.assert_close(convolution(first, second), together, rtol=1e-4, atol=1e-5)


class TestLabelUpsample:
    def test_equals_interpolate_and_argmax(self) -> None:
        scores = torch.randn(2, 5, 7, 9)
        labels = operations.label_upsample(scores, torch.tensor([29, 50]))
        expected = F.interpolate(scores, size=(29, 50), mode="bilinear").argmax(1)
        assert labels.dtype == torch.uint8
        assert torch.equal(labels.long(), expected)


class TestCubicWeights:
    @staticmethod
    def sampled(scores: torch.Tensor, flow: torch.Tensor, gain: float) -> torch.Tensor:
        """The warp, and what the filter makes of it by these weights alone."""
        warped, _ = operations.segmentation_warp(scores, flow)
        weights = operations.cubic_weights(flow, torch.full_like(flow, gain))
        weights[:, 4] += 1  # the middle of the nine
        weights = torch.cat([weights, torch.zeros_like(weights[:, :1])], 1)
        return operations.guided_filter(warped, torch.zeros_like(warped), weights)

    def test_halfway_it_is_catmull_and_roms(self) -> None:
        scores = torch.randn(1, 2, 9, 12)
        flow = torch.zeros(1, 2, 9, 12)
        flow[:, 0] = 2.5
        found = self.sampled(scores, flow, 1.0)[..., 1:-5]
        before, left, right, behind = (scores[..., k : k + 6] for k in (2, 3, 4, 5))
        expected = (9 * (left + right) - before - behind) / 16
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    def test_halfway_up_and_down_with_a_gain_of_one_and_a_half_it_is_the_usual_bicubic(self) -> None:
        scores = torch.randn(1, 2, 12, 9)
        flow = torch.zeros(1, 2, 12, 9)
        flow[:, 1] = -1.5
        y, x = torch.meshgrid(torch.arange(12.0) - 1.5, torch.arange(9.0), indexing="ij")
        grid = torch.stack([(2 * x + 1) / 9 - 1, (2 * y + 1) / 12 - 1], -1)[None]
        expected = torch.nn.functional.grid_sample(
            scores, grid, mode="bicubic", padding_mode="border", align_corners=False
        )
        found = self.sampled(scores, flow, 1.5)
        torch.testing.assert_close(found[:, :, 4:-1], expected[:, :, 4:-1], atol=1e-5, rtol=1e-5)

    def test_elsewhere_it_is_nearer_to_a_smooth_field_than_bilinear(self) -> None:
        column = torch.arange(40.0)
        scores = torch.sin(column * 0.9).expand(1, 1, 8, 40).contiguous()
        for fraction in (0.2, 0.35, 0.8):
            flow = torch.zeros(1, 2, 8, 40)
            flow[:, 0] = fraction
            truth = torch.sin((column + fraction) * 0.9).expand(1, 1, 8, 40)
            off = [(self.sampled(scores, flow, gain) - truth)[..., 2:-3].abs().max() for gain in (0.0, 1.0)]
            assert off[1] < 0.45 * off[0]

    def test_whole_cells_and_sums(self) -> None:
        flow, gains = torch.randn(2, 2, 5, 7) * 3, torch.randn(2, 2, 5, 7)
        assert operations.cubic_weights(flow, gains).sum(1).abs().max() < 1e-6
        assert operations.cubic_weights(flow.round(), gains).abs().max() == 0
