"""Parameters and multiply-accumulates, counted the way the field does: weights, and the products of convolutions."""

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Learned numbers; batch norm's running statistics are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.inference_mode()
def count_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of all convolutions for one item of the batch (what the paper calls FLOPS)."""
    total = 0

    def count(convolution: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(convolution, nn.Conv2d)
        total += output[0].numel() * convolution.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d)]
    training = module.training
    try:
        module.eval()(*inputs)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return total
