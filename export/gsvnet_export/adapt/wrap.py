"""keyframe.onnx from a foreign network: its habits (channel order, values, layout, softmax) as nodes around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, version_converter
from torch import Tensor

from gsvnet_engine.backends.base import one_line
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_export.adapt.files import nodes_of, opset_of
from gsvnet_export.adapt.foreign import Foreign
from gsvnet_export.onnx_graphs import OPSET

Float32 = NDArray[np.float32]
Three = tuple[float, float, float]

FLOOR = 1e-6  # of a probability, so that its logarithm is finite: -13.8
_PREFIX = "network/"
_CONVERTED_WITHIN = 1e-4  # of the scores' spread
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What the network expects of a picture: (x * range - mean) / std for x in 0..1.

    mean, std: in the order of `channels`.
    """

    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    range: float = 1.0
    channels: str = "rgb"

    def __post_init__(self) -> None:
        if self.channels not in ("rgb", "bgr"):
            raise UsageError(f"--channels must be rgb or bgr, not {self.channels!r}")
        if (
            not 0 < self.range < float("inf")
            or min(self.std) <= 0
            or not np.isfinite(self.std + self.mean).all()
        ):
            raise UsageError("--range and --std must be above 0, and --mean finite")

    def apply(self, frame: Float32) -> Float32:
        """frame [N,3,H,W] RGB in 0..1 -> what the network expects [N,3,H,W]: the reference of the graph's nodes."""
        picture = frame.astype(np.float64) * self.range
        if self.channels == "bgr":
            picture = picture[:, ::-1]
        mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (self.mean, self.std))
        return np.ascontiguousarray((picture - mean) / std, np.float32)


NORMALISATIONS = {
    "zero-one": Normalisation(),
    "minus-one-one": Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "imagenet": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": Normalisation(mean=(103.939, 116.779, 123.68), range=255.0, channels="bgr"),
    "none255": Normalisation(range=255.0),
}


def reference_scores(network: Foreign, normalisation: Normalisation, frame: Tensor) -> Tensor:
    """frame [N,3,H',W'] RGB in 0..1 -> scores [N,C,a,b]: the original network as its author runs it, then logarithms.

    Shares nothing with `keyframe_graph`: verification holds one against the other.
    """
    pictures = normalisation.apply(frame.numpy())
    parts = [pictures] if network.any_batch else np.split(pictures, len(pictures))
    scores = np.concatenate([network.scores(part) for part in parts])
    if network.probabilities:
        scores = np.log(np.maximum(scores, FLOOR))
    return torch.from_numpy(scores)


def keyframe_graph(network: Foreign, normalisation: Normalisation) -> ModelProto:
    """frame [N,3,H',W'], grid [2] -> scores [N,C,h,w], opset 17, checked; N is 1 where the network takes no more."""
    inner = _prefixed(at_opset_17(network))
    before, weights = _nodes_before(network, normalisation)
    after, floor = _nodes_after(network)
    for node in nodes_of(inner.graph):
        node.doc_string = ""
        node.ClearField("metadata_props")
    for tensor in inner.graph.initializer:
        tensor.doc_string = ""
    tensors = [*inner.graph.initializer, *weights, *floor]
    batch: str | int = "N" if network.any_batch else 1
    height, width = network.size or ("frame_h", "frame_w")
    graph = helper.make_graph(
        [*before, *inner.graph.node, *after],
        "keyframe",
        [
            helper.make_tensor_value_info("frame", TensorProto.FLOAT, (batch, 3, height, width)),
            helper.make_tensor_value_info("grid", TensorProto.INT64, (2,)),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (batch, network.classes, "h", "w"))],
        sorted(tensors, key=lambda tensor: tensor.name),
        sparse_initializer=inner.graph.sparse_initializer,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="gsvnet-engine", ir_version=8
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker's and shape inference's own classes
        raise InputError(
            f"{network.path}: cannot be a keyframe graph of opset {OPSET} ({one_line(error)}); export it anew "
            f"with opset {OPSET}"
        ) from error
    return model


def _prefixed(model: ModelProto) -> ModelProto:
    """A copy whose names all begin with _PREFIX. onnx must be told the weights' new names beforehand: it looks into
    branches and loop bodies, which may use them, first."""
    copy = ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name: _PREFIX + tensor.name for tensor in copy.graph.initializer}
    weights |= {s.values.name: _PREFIX + s.values.name for s in copy.graph.sparse_initializer}
    onnx.compose.add_prefix_graph(copy.graph, _PREFIX, inplace=True, name_map=weights)
    return copy


def _nodes_before(
    network: Foreign, normalisation: Normalisation
) -> tuple[list[NodeProto], list[TensorProto]]:
    """From `frame` to the network's own input."""
    n = normalisation
    chain: list[tuple[str, list[str], dict[str, Any]]] = []
    weights = []
    if n.channels == "bgr":
        weights.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "normalise/order"))
        chain.append(("Gather", ["normalise/order"], {"axis": 1}))
    mean, std = np.array(n.mean), np.array(n.std)
    for kind, values, neutral in (("Mul", n.range / std, 1.0), ("Sub", mean / std, 0.0)):
        if (values != neutral).any():
            name = f"normalise/{'factor' if kind == 'Mul' else 'offset'}"
            weights.append(numpy_helper.from_array(values.astype(np.float32).reshape(1, 3, 1, 1), name))
            chain.append((kind, [name], {}))
    if network.layout == "nhwc":
        chain.append(("Transpose", [], {"perm": _TO_NHWC}))
    return _chained("normalise", "frame", _PREFIX + network.input, chain or [("Identity", [], {})]), weights


def _nodes_after(network: Foreign) -> tuple[list[NodeProto], list[TensorProto]]:
    """From the network's own output to `scores` at `grid`."""
    chain: list[tuple[str, list[str], dict[str, Any]]] = []
    weights = []
    if network.output_layout == "nhwc":
        chain.append(("Transpose", [], {"perm": _TO_NCHW}))
    if network.probabilities:
        weights.append(numpy_helper.from_array(np.array(FLOOR, np.float32), "scores/floor"))
        chain += [("Max", ["scores/floor"], {}), ("Log", [], {})]
    nodes = _chained("scores", _PREFIX + network.output, "scores/whole", chain or [("Identity", [], {})])
    nodes += [
        helper.make_node("Shape", ["scores/whole"], ["scores/outer"], "scores/Shape", start=0, end=2),
        helper.make_node("Concat", ["scores/outer", "grid"], ["scores/size"], "scores/Concat", axis=0),
        helper.make_node(
            "Resize",
            ["scores/whole", "", "", "scores/size"],
            ["scores"],
            "scores/Resize",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    return nodes, weights


def _chained(
    part: str, source: str, target: str, chain: Sequence[tuple[str, list[str], dict[str, Any]]]
) -> list[NodeProto]:
    """Nodes (operator, further inputs, attributes), each fed by the one before."""
    names = [source, *(f"{part}/{kind}" for kind, _, _ in chain[:-1]), target]
    return [
        helper.make_node(kind, [names[at], *inputs], [names[at + 1]], f"{part}/{kind}", **attributes)
        for at, (kind, inputs, attributes) in enumerate(chain)
    ]


def at_opset_17(network: Foreign) -> ModelProto:
    """The network in opset 17, and tried: it gives what it gave before. InputError naming its opset otherwise.

    onnx's converter does not know the way down for every operator. Where it fails, the operators that the graph uses
    may still be the same in both versions: then a new number is all it takes, and running it shows.
    """
    given = opset_of(network.model)
    if given == OPSET:
        return network.model
    problems = []
    for convert in (lambda model: version_converter.convert_version(model, OPSET), _renumbered):
        try:
            converted = convert(network.model)
            onnx.checker.check_model(converted, full_check=True)
            apart = _apart(network, replace(network, model=converted))
            if apart <= _CONVERTED_WITHIN:
                return converted
            problems.append(f"it then gives other scores, {apart:.2g} of their spread apart")
        except Exception as error:  # the converter, checker and runtime have no common base of their own
            problems.append(one_line(error, longest=160))
    raise InputError(
        f"{network.path}: is of opset {given} and does not convert to {OPSET} ({problems[0]}); "
        f"export it with opset {OPSET} (torch.onnx.export: opset_version={OPSET})"
    )


def _renumbered(model: ModelProto) -> ModelProto:
    same = ModelProto()
    same.CopyFrom(model)
    del same.opset_import[:]
    same.opset_import.append(helper.make_opsetid("", OPSET))
    same.ir_version = min(same.ir_version, 8)
    return same


def _apart(one: Foreign, other: Foreign) -> float:
    """Largest difference of both networks' scores for a random picture, as a share of the scores' spread."""
    picture = np.random.default_rng(1).random((1, 3, *one.tried), np.float32)
    a, b = one.scores(picture), other.scores(picture)
    return float(np.abs(a - b).max() / max(np.ptp(a), 1e-6))
