"""ResNet-18 trunk (He et al., 2016) with torchvision's layer names; features before each stage's last ReLU."""

import torch.nn.functional as F
from torch import Tensor, nn

from gsvnet_export.networks.layers import IMAGENET_MEAN, IMAGENET_STD, Normalise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, [N,i,h,w] -> [N,o,ceil(h/s),ceil(w/s)]. The sum, *before* its ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        total: Tensor = self.bn2(self.conv2(y)) + self.downsample(x)
        return total


class ResNet18(nn.Module):
    """RGB [N,3,H,W] in 0..1 -> features at strides 4, 8, 16, 32 (64, 128, 256, 512 channels), before the last ReLU."""

    channels = (64, 128, 256, 512)
    to_stride_4 = ("conv1", "bn1", "layer1")

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.ModuleList([BasicBlock(64, 64, 1), BasicBlock(64, 64, 1)])
        self.layer2 = nn.ModuleList([BasicBlock(64, 128, 2), BasicBlock(128, 128, 1)])
        self.layer3 = nn.ModuleList([BasicBlock(128, 256, 2), BasicBlock(256, 256, 1)])
        self.layer4 = nn.ModuleList([BasicBlock(256, 512, 2), BasicBlock(512, 512, 1)])

    def forward(self, frame: Tensor) -> list[Tensor]:
        x = self.maxpool(F.relu(self.bn1(self.conv1(self.normalise(frame)))))
        features = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                before_relu = block(x)
                x = F.relu(before_relu)
            features.append(before_relu)
        return features
