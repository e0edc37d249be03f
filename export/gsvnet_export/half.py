"""float32 graphs -> the same with their trained convolutions, and what follows them, in float16; casts between.

Strong typing: what a tensor's type says is what every runtime computes in, or stores where it has no such arithmetic.
A library's converter is not used: ONNX Runtime's rounds to float16 whatever passes between two nodes that it was told
to leave alone, and sampling coordinates and S_t pass there.
"""

import re
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gsvnet_engine.errors import BundleError

# What goes on in float16 once all that comes in does: as good there as in float32, or of the convolution before it.
_FOLLOWERS = {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul",
    "Relu", "Resize", "Sigmoid",
}  # fmt: skip
# The flow, in cells, must resolve a hundredth of one: its last convolutions stay float32, as all that samples by it.
_STAYS = re.compile(r"flow/(.*/)?head/")


def to_half(model: ModelProto) -> ModelProto:
    """The same graph: weights and activations float16 from each trained convolution on; inputs and outputs float32.

    Left in float32: the convolutions that give the flow, matching, softmax, sampling, the three operations, and the
    node that gives an output. Raises BundleError for a weight that float16 cannot hold.
    """
    halved = ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    builder = _Builder(graph)
    nodes = [made for node in graph.node for made in builder.convert(node)]
    used = {name for node in nodes for name in node.input}
    outputs = {output.name for output in graph.output}
    kept = [n for n in nodes if n.op_type not in ("Constant", "Identity") or n.output[0] in used | outputs]
    used = {name for node in kept for name in node.input}
    weights = [t for t in (*graph.initializer, *builder.weights.values()) if t.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(sorted(weights, key=lambda tensor: tensor.name))
    onnx.checker.check_model(halved, full_check=True)
    return halved


def is_half(model: ModelProto) -> bool:
    """Whether any of its nodes computes in float16."""
    return any(
        n.op_type == "Cast" and helper.get_node_attr_value(n, "to") == TensorProto.FLOAT16
        for n in model.graph.node
    )


def rounding(model: ModelProto) -> ModelProto:
    """`to_half`'s graph for a CPU without float16 arithmetic, where ONNX Runtime drops casts that undo one another.

    A copy behind each float16 tensor keeps them apart: unoptimised, the graph rounds what a GPU would store, and
    overflows alike. Sums stay float32, as in tensor cores.
    """
    apart = ModelProto()
    apart.CopyFrom(model)
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in onnx.shape_inference.infer_shapes(apart).graph.value_info
    }
    nodes = []
    for node in apart.graph.node:
        nodes.append(node)
        for position, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT16:
                node.output[position] = f"{name}.kept"
                nodes.append(helper.make_node("Identity", [f"{name}.kept"], [name]))
    del apart.graph.node[:]
    apart.graph.node.extend(nodes)
    return apart


class _Builder:
    """Nodes one after the other, as they are or in float16; `weights`: the constants made for that, by name."""

    def __init__(self, graph: GraphProto) -> None:
        self.weights: dict[str, TensorProto] = {}
        self._outputs = {output.name for output in graph.output}
        self._floats = {
            n: tensor for n, tensor, _ in _constants(graph) if tensor.data_type == TensorProto.FLOAT
        }
        self._trained = {name for name, _, trained in _constants(graph) if trained}
        self._half: set[str] = set()  # tensors that are float16 already
        self._cast: set[str] = set()  # casts that are there

    def convert(self, node: NodeProto) -> Iterator[NodeProto]:
        """The node, after the casts that it needs."""
        becomes = self._becomes_half(node)
        for position, name in enumerate(node.input):
            if not name:
                continue
            if becomes and name in self._floats:
                node.input[position] = self._half_weight(name)
            elif becomes and position == 0 and name not in self._half:
                yield from self._casting(node, position, f"{name}.half", TensorProto.FLOAT16)
            elif not becomes and name in self._half and node.op_type != "Shape":
                yield from self._casting(node, position, f"{name}.float", TensorProto.FLOAT)
        if becomes:
            self._half.update(node.output)
        yield node

    def _becomes_half(self, node: NodeProto) -> bool:
        if _STAYS.match(node.name) or self._outputs.intersection(node.output):
            return False
        if node.op_type == "Conv":
            return node.input[1] in self._trained
        if (
            node.op_type not in _FOLLOWERS or "/" not in node.name
        ):  # of no part: it adds φ's correction, for S_t
            return False
        inputs = node.input[:1] if node.op_type == "Resize" else node.input  # a Resize's sizes are no data
        data = set(filter(None, inputs)) - self._floats.keys()
        return bool(data) and data <= self._half

    def _half_weight(self, name: str) -> str:
        half = f"{name}.half"
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(self._floats[name]).astype(np.float16)
        if not np.isfinite(values).all():
            raise BundleError(
                f"export: {name} holds values that float16 cannot (65504 at most); export in fp32 or int8"
            )
        self.weights[half] = numpy_helper.from_array(values, half)
        return half

    def _casting(self, node: NodeProto, position: int, name: str, to: int) -> Iterator[NodeProto]:
        """Make `name` the node's input; the cast itself where there is none yet."""
        source = node.input[position]
        node.input[position] = name
        if name not in self._cast:
            self._cast.add(name)
            yield helper.make_node("Cast", [source], [name], f"{node.name}/Cast.{len(self._cast)}", to=to)


def _constants(graph: GraphProto) -> Iterator[tuple[str, TensorProto, bool]]:
    """(name, value, whether that is an initialiser) of these and of Constant nodes; equal ones are one, by Identity."""
    found = {tensor.name: (tensor, True) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = node.attribute[0].t, False
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return ((name, *value) for name, value in found.items())
