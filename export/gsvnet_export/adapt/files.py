"""A foreign .onnx file -> a self-contained ModelProto of standard operators, or one line saying what is wrong with it.

A graph may keep weights in other files. They are read here alone, from the graph's own folder alone, and become part
of the model; no runtime ever sees a path.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.inliner import inline_local_functions

from gsvnet_engine.backends.base import one_line, translated
from gsvnet_engine.errors import InputError

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_STANDARD = ("", "ai.onnx")  # two names of one domain


def read_model(path: Path) -> ModelProto:
    """The checked model, all weights inside, no local functions left; InputError naming file and rule."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the network as an .onnx file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the network as an .onnx file")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: is larger than 2 GB, which one ONNX graph of a bundle cannot be")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors have no base class of their own
        raise InputError(f"{path}: is not an ONNX file, or is cut short ({one_line(error)})") from error
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path}: is not an ONNX file, or is cut short (it holds no graph)")
    _name_domain(model)
    _embed_weights(path, model)
    _check_operators(path, model)
    with translated(InputError, f"{path}: is not a valid ONNX graph; export it again"):
        if model.functions:
            model = inline_local_functions(model)
        onnx.checker.check_model(model)
    return model


def _name_domain(model: ModelProto) -> None:
    """Leave standard operators the one name that every tool knows, in place."""
    for owner in (model, *model.functions):
        versions = [entry.version for entry in owner.opset_import if entry.domain in _STANDARD]
        others = [entry for entry in owner.opset_import if entry.domain not in _STANDARD]
        del owner.opset_import[:]
        owner.opset_import.extend(others)
        if versions:
            owner.opset_import.add(domain="", version=max(versions))
        for node in nodes_of(owner.graph if isinstance(owner, ModelProto) else owner):
            if node.domain in _STANDARD:
                node.domain = ""


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators that the model uses."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in _STANDARD)


def nodes_of(graph: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """Every node, those of branches and loop bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _embed_weights(path: Path, model: ModelProto) -> None:
    """Read what other files hold into the model, in place."""
    outside = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    total = path.stat().st_size
    for tensor in outside:
        places = {entry.key: entry.value for entry in tensor.external_data}
        data_path = _data_path(path, places.get("location", ""))
        size = data_path.stat().st_size
        try:
            offset = int(places.get("offset", 0))
            length = int(places.get("length", size - offset))
        except ValueError:
            offset = length = -1
        if offset < 0 or length < 0 or offset + length > size:
            raise InputError(
                f"{data_path}: ends before the weights that {path} expects there; copy both anew"
            )
        total += length
        if total > _LARGEST:
            raise InputError(f"{path}: has more than 2 GB of weights, which one ONNX graph cannot hold")
        with data_path.open("rb") as file:
            file.seek(offset)
            tensor.raw_data = file.read(length)
        tensor.ClearField("data_location")
        del tensor.external_data[:]


def _data_path(model: Path, location: str) -> Path:
    """Where `location` leads, which must be a file inside the model's own folder, links resolved."""
    folder = model.parent.resolve()
    shown = repr(location) if len(location) <= 80 else repr(f"{location[:77]}...")
    rule = "weights must lie in the graph's own folder"
    parts = Path(location).parts
    if not parts or "\\" in location or "\0" in location or Path(location).is_absolute() or ".." in parts:
        raise InputError(f"{model}: reads weights from {shown}; {rule}: export it again")
    path = model.parent / location
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise InputError(f"{model}: keeps weights in {shown}, which is missing; copy both") from error
    if not real.is_relative_to(folder) or not real.is_file():
        raise InputError(
            f"{model}: keeps weights in {shown}, which leads out of {model.parent}; {rule}: put the file itself there"
        )
    return path


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that carries numbers, wherever it stands."""
    graphs = [model.graph]
    nodes = [*nodes_of(model.graph), *(node for function in model.functions for node in function.node)]
    for node in nodes:
        for attribute in node.attribute:
            graphs += [attribute.g, *attribute.graphs]
            sparse = (attribute.sparse_tensor, *attribute.sparse_tensors)
            yield from (
                attribute.t,
                *attribute.tensors,
                *(part for s in sparse for part in (s.values, s.indices)),
            )
    for graph in graphs:
        yield from graph.initializer
        for initializer in graph.sparse_initializer:
            yield from (initializer.values, initializer.indices)


def _check_operators(path: Path, model: ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [*nodes_of(model.graph), *(node for function in model.functions for node in function.node)]
    for node in nodes:
        if node.domain not in _STANDARD and (node.domain, node.op_type) not in own:
            raise InputError(
                f"{path}: uses {node.op_type} of domain {node.domain}, which not every runtime has; "
                "export it with standard ONNX operators alone"
            )
