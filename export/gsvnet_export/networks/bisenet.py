"""BiSeNet (Yu et al., ECCV 2018): a shallow spatial path beside a deep context path, fused at stride 8."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsvnet_export.networks.layers import IMAGENET_MEAN, IMAGENET_STD, ConvBNReLU, Normalise, resize


def _global_average(x: Tensor) -> Tensor:
    """[N,C,h,w] -> [N,C,1,1]."""
    return x.mean((2, 3), keepdim=True)


class SpatialPath(nn.Sequential):
    """[N,3,H,W] (normalised RGB) -> [N,128,H/8,W/8]."""

    def __init__(self) -> None:
        super().__init__(
            ConvBNReLU(3, 64, 7, 2),
            ConvBNReLU(64, 64, 3, 2),
            ConvBNReLU(64, 64, 3, 2),
            ConvBNReLU(64, 128, 1),
        )


class AttentionRefinement(nn.Module):
    """[N,i,h,w] -> [N,128,h,w]: 3x3 features, each channel scaled by a gate of its own average (ARM)."""

    def __init__(self, inputs: int, outputs: int = 128) -> None:
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs, 3)
        self.gate = nn.Sequential(nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gated: Tensor = x * torch.sigmoid(self.gate(_global_average(x)))
        return gated


class ContextPath(nn.Module):
    """RGB [N,3,H,W] -> [N,128,H/8,W/8]: strides 16 and 32 refined by attention, a global branch added at stride 32."""

    def __init__(self, trunk: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.trunk = trunk
        self.arm16 = AttentionRefinement(channels[2])
        self.arm32 = AttentionRefinement(channels[3])
        self.head16 = ConvBNReLU(128, 128, 3)
        self.head32 = ConvBNReLU(128, 128, 3)
        self.average = ConvBNReLU(channels[3], 128, 1)

    def forward(self, frame: Tensor, like: Tensor) -> Tensor:
        _, _, x16, x32 = self.trunk(frame)
        x16, x32 = F.relu(x16), F.relu(x32)
        x = self.arm32(x32) + self.average(_global_average(x32))
        x = self.head32(resize(x, x16)) + self.arm16(x16)
        context: Tensor = self.head16(resize(x, like))
        return context


class FeatureFusion(nn.Module):
    """(spatial, context: [N,128,h,w]) -> [N,256,h,w]: f + f * gate (FFM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = ConvBNReLU(256, 256, 1)
        self.gate = nn.Sequential(
            nn.Conv2d(256, 64, 1, bias=False), nn.ReLU(), nn.Conv2d(64, 256, 1, bias=False)
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        f: Tensor = self.conv(torch.cat([spatial, context], 1))
        return f + f * torch.sigmoid(self.gate(_global_average(f)))


class BiSeNet(nn.Module):
    """RGB [N,3,H,W] float32 in 0..1 -> raw class scores [N,C,ceil(H/8),ceil(W/8)]."""

    def __init__(self, trunk: nn.Module, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.spatial = SpatialPath()
        self.context = ContextPath(trunk, channels)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.fusion = FeatureFusion()
        self.head = nn.Sequential(ConvBNReLU(256, 64, 3), nn.Conv2d(64, classes, 1))

    def forward(self, frame: Tensor) -> Tensor:
        spatial = self.spatial(self.normalise(frame))
        context = self.context(frame, spatial)
        scores: Tensor = self.head(self.fusion(spatial, context))
        return scores
