"""Networks -> the six ONNX graphs of a bundle (opset 17). Names and shapes are the contract of gsvnet_engine.bundle.

The graphs name three operations of the domain `gsvnet`; each is a node with a local function whose body is standard
operators (onnx_functions.py). The `.plain` graphs are the same with the bodies inlined. torch's TorchScript exporter is
used because it writes opset 17, keeps shapes symbolic with integer arithmetic, and lets a custom node stand for an
operation.
"""

import io
import re
import warnings
from collections.abc import Sequence

import onnx
import torch
import torch.nn.functional as F
from onnx import FunctionProto, GraphProto, ModelProto, helper
from onnx.inliner import inline_local_functions
from torch import Tensor, nn

from gsvnet_export.networks import operations
from gsvnet_export.networks.propagation import Propagation
from gsvnet_export.onnx_functions import functions

OPSET = 17
DOMAIN = "gsvnet"

# name -> (element type, dimensions); a string is a symbol, an int is fixed
Signature = dict[str, tuple[int, Sequence[str | int]]]
_CALL_AGAIN = re.compile(r"^(\w+)_(\d+)/")  # a module's second call: warp_1/... -> warp/1/...
_FLOAT, _INT64, _UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.UINT8


class _Keyframe(nn.Module):
    """frame [N,3,H',W'], grid [2] -> scores [N,C,h,w]: the network, its scores brought to the grid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, grid: Tensor) -> Tensor:
        size = (grid[0], grid[1])
        return F.interpolate(self.network(frame), size=size, mode="bilinear", align_corners=False)  # type: ignore[arg-type]


class _Warp(nn.Module):
    """current, previous [N,3,h,w], scores [N,C,h,w] -> warped [N,C,h,w], flow [N,2,h,w]."""

    def __init__(self, propagation: Propagation) -> None:
        super().__init__()
        self.flow, self.warp = propagation.flow, propagation.warp

    def forward(self, current: Tensor, previous: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        flow = self.flow(current, previous)
        return self.warp(scores, flow)[0], flow


class _LabelUpsample(nn.Module):
    """scores [N,C,h,w], size [2] -> labels uint8 [N,H,W]."""

    def forward(self, scores: Tensor, size: Tensor) -> Tensor:
        return operations.label_upsample(scores, size)


def build_graphs(keyframe: nn.Module, propagation: Propagation, classes: int) -> dict[str, ModelProto]:
    """All six graphs by file name, each checked by onnx.checker (full_check)."""
    key: tuple[Signature, Signature] = (
        {"frame": (_FLOAT, ("N", 3, "frame_h", "frame_w")), "grid": (_INT64, (2,))},
        {"scores": (_FLOAT, ("N", classes, "h", "w"))},
    )
    return {
        "keyframe.onnx": _graph("keyframe", _Keyframe(keyframe), *key),
        **propagation_graphs(propagation, classes),
    }


def propagation_graphs(propagation: Propagation, classes: int) -> dict[str, ModelProto]:
    """All graphs but the keyframe network's, by file name."""
    c = classes
    cells = ("N", c, "h", "w")
    picture = (_FLOAT, ("N", 3, "h", "w"))
    scores = (_FLOAT, cells)
    step: tuple[Signature, Signature] = (
        {"current": picture, "previous": picture, "scores": scores},
        {"propagated": scores},
    )
    labels: tuple[Signature, Signature] = (
        {"scores": scores, "size": (_INT64, (2,))},
        {"labels": (_UINT8, ("N", "H", "W"))},
    )
    warp: tuple[Signature, Signature] = (
        {"current": picture, "previous": picture, "scores": scores},
        {"warped": scores, "flow": (_FLOAT, ("N", 2, "h", "w"))},
    )
    bodies = functions(propagation.config.window)
    propagate = _graph("propagate", propagation, *step, functions=bodies)
    upsample = _graph("labels", _LabelUpsample(), *labels, functions=bodies)
    return {
        "propagate.onnx": propagate,
        "labels.onnx": upsample,
        "propagate.plain.onnx": _plain(propagate),
        "labels.plain.onnx": _plain(upsample),
        "warp.plain.onnx": _plain(_graph("warp", _Warp(propagation), *warp, functions=bodies)),
    }


def _plain(model: ModelProto) -> ModelProto:
    """The same graph with the bodies of its local functions in place of their nodes."""
    plain = inline_local_functions(model)
    del plain.opset_import[1:]
    onnx.checker.check_model(plain, full_check=True)
    return plain


def _graph(
    name: str,
    module: nn.Module,
    inputs: Signature,
    outputs: Signature,
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    """Trace `module`; the operations stay single nodes, defined by `functions`. Same input, same bytes."""
    traced = _trace(module, inputs, list(outputs))
    _rename(traced.graph)
    used = {node.op_type for node in traced.graph.node if node.domain == DOMAIN}
    bodies = [function for function in functions if function.name in used]
    graph = helper.make_graph(
        traced.graph.node,
        name,
        [helper.make_tensor_value_info(n, *what) for n, what in inputs.items()],
        [helper.make_tensor_value_info(n, *what) for n, what in outputs.items()],
        sorted(traced.graph.initializer, key=lambda tensor: tensor.name),
    )
    imports = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(DOMAIN, 1)] if bodies else [])
    model = helper.make_model(
        graph, opset_imports=imports, functions=bodies, producer_name="gsvnet-engine", ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _trace(module: nn.Module, inputs: Signature, outputs: Sequence[str]) -> ModelProto:
    symbols = {"N": 2, "h": 12, "w": 16, "frame_h": 96, "frame_w": 128}
    examples = []
    for element, dimensions in inputs.values():
        shape = [d if isinstance(d, int) else symbols[d] for d in dimensions]
        examples.append(torch.rand(shape) if element == _FLOAT else torch.tensor([24, 32]))
    dynamic = {
        name: {axis: symbol for axis, symbol in enumerate(dimensions) if isinstance(symbol, str)}
        for name, (_, dimensions) in inputs.items()
    }
    buffer = io.BytesIO()
    with warnings.catch_warnings(), operations.named_operations():
        warnings.simplefilter("ignore")  # the exporter's own notices; checker and verify.py judge the result
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic,
        )
    return onnx.load_from_string(buffer.getvalue())


def _rename(graph: GraphProto) -> None:
    """Readable, stable names: nodes after the module's path, weights after the node that uses them."""
    tensors: dict[str, str] = {}
    initialisers = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        node.doc_string = ""
        node.ClearField("metadata_props")
        node.name = _CALL_AGAIN.sub(r"\1/\2/", node.name.lstrip("/").removeprefix("network/"))
        parts = ("", "weight", "bias", "mean", "variance") if node.op_type != "BatchNormalization" else (
            "", "scale", "bias", "mean", "variance"
        )  # fmt: skip
        for position, source in enumerate(node.input):
            if source in initialisers and source not in tensors:
                part = parts[position] if 0 < position < len(parts) else f"constant{position}"
                tensors[source] = f"{node.name}.{part}"
    for tensor in graph.initializer:
        tensor.doc_string = ""
        tensor.name = tensors.get(tensor.name, tensor.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = tensors.get(name, name)
