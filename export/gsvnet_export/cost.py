"""Parameters and multiply-accumulates, counted the way the field does: weights, and the products of convolutions."""

from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

from gsvnet_engine.geometry import Size, Sizes


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


def graph_cost(keyframe: ModelProto, propagate: ModelProto, at: Size, sizes: Sizes) -> dict[str, Any]:
    """The manifest's `cost` from the graphs alone, for a source of size `at`."""
    (classes,) = (d.dim_value for d in keyframe.graph.output[0].type.tensor_type.shape.dim[1:2])
    picture, scores = (
        np.zeros((1, 3, *sizes.grid), np.float32),
        np.zeros((1, classes, *sizes.grid), np.float32),
    )
    feeds: dict[str, dict[str, Any]] = {
        "keyframe": {
            "frame": np.zeros((1, 3, *sizes.keyframe), np.float32),
            "grid": np.array(sizes.grid, np.int64),
        },
        "propagate": {"current": picture, "previous": picture, "scores": scores},
    }
    graphs = {"keyframe": keyframe, "propagate": propagate}
    return {
        "at": list(at),
        "parameters": {name: _graph_parameters(model) for name, model in graphs.items()},
        "macs": {name: _graph_macs(model, feeds[name]) for name, model in graphs.items()},
    }


def _graph_parameters(model: ModelProto) -> int:
    """Numbers in float weights of more than one value; a batch norm that was not folded counts with its statistics."""
    counts = [int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    return sum(count for count in counts if count > 1)


def _graph_macs(model: ModelProto, feeds: dict[str, Any]) -> int:
    """Of the convolutions of the main graph, whose sizes come from a run; those with computed weights are left out."""
    import onnxruntime

    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose") and n.input[1] in weights]
    made = {name for node in model.graph.node for name in node.output}
    sized = [n.output[0] if n.op_type == "Conv" else n.input[0] for n in nodes]
    shown = ModelProto()
    shown.CopyFrom(model)
    for name in dict.fromkeys(name for name in sized if name in made):
        shape = f"{name}/shape"
        shown.graph.node.append(helper.make_node("Shape", [name], [shape]))
        shown.graph.output.append(helper.make_tensor_value_info(shape, TensorProto.INT64, [4]))
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()[len(model.graph.output) :]]
    shapes = dict(zip(names, session.run(names, feeds), strict=True)) if names else {}
    total = 0
    for node, name in zip(nodes, sized, strict=True):
        if f"{name}/shape" in shapes:
            total += int(np.prod(shapes[f"{name}/shape"][1:])) * int(np.prod(weights[node.input[1]][1:]))
    return total
