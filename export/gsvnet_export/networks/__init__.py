"""The networks, one readable file each. To add one: write its file, name it in `NETWORKS` or `TRUNKS`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from gsvnet_export.networks.bisenet import BiSeNet
from gsvnet_export.networks.efficientnet import EfficientNetLite
from gsvnet_export.networks.propagation import Propagation
from gsvnet_export.networks.resnet import ResNet18
from gsvnet_export.networks.swiftnet import SwiftNet

TRUNKS: dict[str, Callable[[], Any]] = {
    "resnet18": ResNet18,
    "efficientnet_lite0": partial(EfficientNetLite, 0),
    "efficientnet_lite1": partial(EfficientNetLite, 1),
    "efficientnet_lite2": partial(EfficientNetLite, 2),
}
NETWORKS: dict[str, Callable[..., nn.Module]] = {"swiftnet": SwiftNet, "bisenet": BiSeNet}

__all__ = ["NETWORKS", "TRUNKS", "Propagation", "build_keyframe"]


def build_keyframe(network: str, trunk: str, classes: int) -> nn.Module:
    """A keyframe network with random weights; RGB [N,3,H,W] float32 in 0..1 -> raw class scores [N,C,h',w'].

    `network`: swiftnet or bisenet; `trunk`: resnet18, efficientnet_lite0, 1 or 2. Raises ValueError for other names.
    """
    if network not in NETWORKS or trunk not in TRUNKS:
        raise ValueError(
            f"no keyframe network {network!r} over {trunk!r}: networks are {', '.join(NETWORKS)}; "
            f"trunks are {', '.join(TRUNKS)}"
        )
    body = TRUNKS[trunk]()
    return NETWORKS[network](body, body.channels, classes)
