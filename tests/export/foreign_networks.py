"""Tiny ONNX networks with other people's habits: a 3x3 convolution and what they put around it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CLASSES = 5
Dimension = int | str


def kernel(classes: int = CLASSES) -> Any:
    """[C,3,3,3] float32: every class likes a colour of its own, most of all in the middle."""
    rng = np.random.default_rng(0)
    colours = rng.normal(0, 1, (classes, 3, 1, 1)) * 4
    blur = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    return (colours * blur).astype(np.float32)


def network(
    *,
    layout: str = "nchw",
    output_layout: str | None = None,
    size: tuple[Dimension, Dimension] = ("rows", "columns"),
    batch: Dimension = 1,
    channels: Dimension = 3,
    softmax: bool = False,
    argmax: bool = False,
    branch: bool = False,
    stride: int = 2,
    classes: int = CLASSES,
    opset: int = 17,
    domain: str = "",
    kind: int = TensorProto.FLOAT,
    more: Sequence[str] = (),
    names: tuple[str, str] = ("pixels", "result"),
) -> ModelProto:
    """A network as described. more: operators (one in, one out) after the convolution. branch: doubled by an If.

    domain: of the standard operators, "" or "ai.onnx".
    """
    x, nodes = names[0], list[NodeProto]()

    def add(operator: str, *inputs: str, **attributes: Any) -> None:
        nonlocal x
        made = f"{operator.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(operator, [x, *inputs], [made], **attributes))
        x = made

    if kind != TensorProto.FLOAT:
        add("Cast", to=TensorProto.FLOAT)
    if layout == "nhwc":
        add("Transpose", perm=[0, 3, 1, 2])
    add("Conv", "kernel", pads=[1, 1, 1, 1], strides=[stride, stride])
    for operator in more:
        add(operator)
    if branch:
        ways = ((name, helper.make_node("Mul", [x, name], [name + "_way"])) for name in ("two", "one"))
        then, other = (
            helper.make_graph(
                [n], name, [], [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None)]
            )
            for name, n in ways
        )
        nodes.append(helper.make_node("If", ["always"], ["chosen"], then_branch=then, else_branch=other))
        x = "chosen"
    if softmax:
        add("Softmax", axis=1)
    if argmax:
        add("ArgMax", axis=1, keepdims=0)
    if (output_layout or layout) == "nhwc" and not argmax:
        add("Transpose", perm=[0, 2, 3, 1])
    nodes[-1].output[0] = names[1]
    shape = (batch, channels, *size) if layout == "nchw" else (batch, *size, channels)
    given = TensorProto.INT64 if argmax else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(names[0], kind, shape)],
        [helper.make_tensor_value_info(names[1], given, [None] * (3 if argmax else 4))],
        [numpy_helper.from_array(kernel(classes), "kernel")],
    )
    if branch:
        given_values = {"always": np.array(True), "two": np.float32(2), "one": np.float32(1)}
        graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in given_values.items())
    for node in graph.node:
        node.domain = domain
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=8 if opset <= 17 else 10
    )


def write(path: Path, **habits: Any) -> Path:
    """The network of those habits as a file."""
    path.write_bytes(network(**habits).SerializeToString())
    return path
