"""A bundle small enough to compute by hand: made with onnx.helper alone, and the same arithmetic in NumPy.

Its networks are 1x1 products, so that a wrong order of frames, a stale state or a channel mix-up shows as a
wrong number, while every test stays quick.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Float32 = NDArray[np.float32]

CLASSES = 4
NAMES = ("Road", "Sky", "Car", "Tree")
COLORS = ((128, 64, 128), (70, 130, 180), (0, 0, 142), (107, 142, 35))
_KEEP = 0.5  # of S_{t-1} in S_t

_rng = np.random.default_rng(7)
_KEY, _CURRENT, _PREVIOUS = (_rng.normal(0, 2, (CLASSES, 3)).astype(np.float32) for _ in range(3))
_BIAS = _rng.normal(0, 1, CLASSES).astype(np.float32)


def write(folder: Path, *, classes: int = CLASSES, **changes: Any) -> Path:
    """Write the bundle into `folder`; `changes` replace top-level entries of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {name: model.SerializeToString() for name, model in models(classes).items()}
    for name, data in graphs.items():
        (folder / name).write_bytes(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in graphs.items()}
    (folder / "manifest.json").write_text(json.dumps({**manifest(), "graphs": hashes, **changes}))
    return folder


def manifest() -> dict[str, Any]:
    """The manifest without its graphs."""
    return {
        "format_version": 1,
        "name": "toy",
        "classes": [{"name": n, "color": list(c)} for n, c in zip(NAMES, COLORS, strict=True)],
        "working_size": "source",
        "keyframe_size": {"scale": [1, 2], "multiple": 8},
        "precision": "fp32",
        "interval": 3,
        "license": "CC0-1.0",
        "trained_on": ["nothing at all"],
        "accuracy": {"camvid": {"test_miou": 12.5}},
        "cost": {
            "at": [64, 96],
            "parameters": {"keyframe": 16, "propagate": 24},
            "macs": {"keyframe": 18432, "propagate": 2304},
        },
    }


def replace_graph(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in place of a graph, and their hash in the manifest."""
    (folder / name).write_bytes(data)
    content = json.loads((folder / "manifest.json").read_text())
    content["graphs"][name] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(content))


def lower(folder: Path, precision: str) -> Path:
    """The same bundle in "fp16" or "int8", its graphs as `export` makes them."""
    from gsvnet_export import half, quantise

    for name in ("keyframe.onnx", "propagate.onnx", "propagate.plain.onnx"):
        model = onnx.load(folder / name)
        if precision == "fp16":
            replace_graph(folder, name, half.to_half(model).SerializeToString())
        elif name == "keyframe.onnx":
            frames = np.random.default_rng(1).random((4, 1, 3, 24, 32), np.float32)
            seen = quantise.observe(model, [{"frame": f, "grid": np.array([6, 8])} for f in frames])
            replace_graph(folder, name, quantise.quantise(model, seen).SerializeToString())
    content = json.loads((folder / "manifest.json").read_text())
    content |= {"precision": precision, "conversion": {"held_out": {"pictures": "none"}}}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def keyframe_scores(frame: Float32, grid: tuple[int, int]) -> Float32:
    """frame [1,3,H',W'] -> scores [1,C,h,w]."""
    return _resize(_mix(_KEY, frame) + _BIAS[None, :, None, None], grid)


def propagated_scores(current: Float32, previous: Float32, scores: Float32) -> Float32:
    """i_t, i_{t-1} [1,3,h,w], S_{t-1} [1,C,h,w] -> S_t."""
    return (np.float32(_KEEP) * scores + _mix(_CURRENT, current) - _mix(_PREVIOUS, previous)).astype(
        np.float32
    )


def warped_scores(current: Float32, previous: Float32, scores: Float32) -> tuple[Float32, Float32]:
    """warped [1,C,h,w], flow [1,2,h,w] of the warp graph."""
    return (np.float32(_KEEP) * scores).astype(np.float32), (current - previous)[:, :2]


def models(classes: int = CLASSES) -> dict[str, onnx.ModelProto]:
    """The six graphs by file name. More classes than CLASSES are made by repeating rows."""
    cells: list[int | str] = ["N", classes, "h", "w"]
    step: dict[str, Value] = {
        "current": _floats("N", 3, "h", "w"),
        "previous": _floats("N", 3, "h", "w"),
        "scores": _floats(*cells),
    }
    size: dict[str, Value] = {"scores": _floats(*cells), "size": (TensorProto.INT64, [2])}
    labels: dict[str, Value] = {"labels": (TensorProto.UINT8, ["N", "H", "W"])}
    weights = {"w_current": _rows(_CURRENT, classes), "w_previous": _rows(_PREVIOUS, classes)}
    mixes = [
        helper.make_node("Conv", ["current", "w_current"], ["a"], "intra/current"),
        helper.make_node("Conv", ["previous", "w_previous"], ["b"], "intra/previous"),
    ]
    named = [
        *mixes,
        helper.make_node("Blend", ["scores", "a", "b"], ["propagated"], "filter/blend", domain="gsvnet"),
    ]
    plain = [*mixes, *_blend_nodes()]
    scores = {"propagated": _floats(*cells)}
    return {
        "keyframe.onnx": _keyframe(classes),
        "propagate.onnx": _model(named, step, scores, weights, [_blend_function()]),
        "labels.onnx": _model(_label_nodes(), size, labels, {}),
        "propagate.plain.onnx": _model(plain, step, scores, weights),
        "labels.plain.onnx": _model(_label_nodes(), size, labels, {}),
        "warp.plain.onnx": _model(
            _warp_nodes(), step, {"warped": _floats(*cells), "flow": _floats("N", 2, "h", "w")}, {}
        ),
    }


def _keyframe(classes: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["frame", "w", "bias"], ["full"]),
        helper.make_node("Shape", ["full"], ["outer"], start=0, end=2),
        helper.make_node("Concat", ["outer", "grid"], ["size"], axis=0),
        helper.make_node("Resize", ["full", "", "", "size"], ["scores"], mode="linear"),
    ]
    inputs: dict[str, Value] = {"frame": _floats("N", 3, "H", "W"), "grid": (TensorProto.INT64, [2])}
    weights = {"w": _rows(_KEY, classes), "bias": np.resize(_BIAS, classes)}
    return _model(nodes, inputs, {"scores": _floats("N", classes, "h", "w")}, weights)


def _blend_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], ["keep"], value_float=_KEEP),
        helper.make_node("Mul", ["scores", "keep"], ["kept"]),
        helper.make_node("Add", ["kept", "a"], ["added"]),
        helper.make_node("Sub", ["added", "b"], ["propagated"]),
    ]


def _blend_function() -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function(
        "gsvnet", "Blend", ["scores", "a", "b"], ["propagated"], _blend_nodes(), opsets
    )


def _label_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Shape", ["scores"], ["outer"], start=0, end=2),
        helper.make_node("Concat", ["outer", "size"], ["full_size"], axis=0),
        helper.make_node("Resize", ["scores", "", "", "full_size"], ["full"], mode="linear"),
        helper.make_node("ArgMax", ["full"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["labels"], to=TensorProto.UINT8),
    ]


def _warp_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Constant", [], ["keep"], value_float=_KEEP),
        helper.make_node("Mul", ["scores", "keep"], ["warped"]),
        helper.make_node("Sub", ["current", "previous"], ["difference"]),
        helper.make_node("Constant", [], ["first"], value_ints=[0, 1]),
        helper.make_node("Gather", ["difference", "first"], ["flow"], axis=1),
    ]


Value = tuple[int, list[int | str]]


def _floats(*shape: int | str) -> Value:
    return TensorProto.FLOAT, list(shape)


def _rows(weights: Float32, classes: int) -> Float32:
    return np.resize(weights, (classes, 3))[:, :, None, None]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Value],
    outputs: dict[str, Value],
    weights: dict[str, Float32],
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, *value) for name, value in inputs.items()],
        [helper.make_tensor_value_info(name, *value) for name, value in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("gsvnet", 1)] if functions else [])
    model = helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _mix(weights: Float32, picture: Float32) -> Float32:
    mixed: Float32 = np.einsum("cd,ndhw->nchw", weights, picture).astype(np.float32)
    return mixed


def _resize(scores: Float32, size: tuple[int, int]) -> Float32:
    """Bilinear, half-pixel centres, no antialiasing: one axis after the other."""
    for axis, target in ((2, size[0]), (3, size[1])):
        n = scores.shape[axis]
        at = np.clip((np.arange(target) + 0.5) * n / target - 0.5, 0, n - 1)
        low = np.minimum(at.astype(np.int64), n - 1)
        high = np.minimum(low + 1, n - 1)
        shape = [1] * 4
        shape[axis] = target
        part = (at - low).reshape(shape)
        scores = (1 - part) * scores.take(low, axis) + part * scores.take(high, axis)
    return scores.astype(np.float32)
