"""What somebody's network takes and gives, found out from its shapes and by running it: `inspect_network`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from gsvnet_engine.backends.base import translated
from gsvnet_engine.bundle import LARGEST_SIDE
from gsvnet_engine.errors import InputError, UsageError
from gsvnet_engine.geometry import Size
from gsvnet_export.adapt.files import nodes_of, read_model

Float32 = NDArray[np.float32]
Shape = tuple[int | None, ...]

LAYOUTS = ("auto", "nchw", "nhwc")
SCORES = ("auto", "logits", "probabilities")
_FEWEST, _MOST = 2, 256
_SMALLEST_SIDE = 8  # of a keyframe, as the manifest may state it
_SUM_TOLERANCE = 1e-3
_PASSING_ON = ("Cast", "Squeeze", "Identity", "Unsqueeze", "Reshape")  # what may follow an ArgMax


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """What the user says of the network; "auto" and None: find out.

    output: name of the tensor that holds the scores. multiple: sides of a free input are a multiple of it.
    """

    output: str | None = None
    layout: str = "auto"
    output_layout: str = "auto"
    scores: str = "auto"
    multiple: int = 32

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("layout", self.layout, LAYOUTS),
            ("output-layout", self.output_layout, LAYOUTS),
            ("scores", self.scores, SCORES),
        ):
            if value not in allowed:
                raise UsageError(f"--{name} must be one of {', '.join(allowed)}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A network with one input of pictures and one output of scores, and how they lie.

    model: as it was given, with that one output. size: (H', W') where the network takes no other. any_batch: more than
    one picture at a time. like_sigmoid: scores in 0..1 that do not sum to one. tried: the size that it was run at.
    """

    path: Path
    model: ModelProto
    input: str
    output: str
    layout: str
    output_layout: str
    size: Size | None
    any_batch: bool
    classes: int
    probabilities: bool
    like_sigmoid: bool
    tried: Size

    def scores(self, pictures: Float32) -> Float32:
        """pictures [N,3,H',W'] as the network expects their values -> what it gives, [N,C,a,b] float32."""
        fed = pictures if self.layout == "nchw" else pictures.transpose(0, 2, 3, 1)
        given = self._run(np.ascontiguousarray(fed))
        return given if self.output_layout == "nchw" else np.ascontiguousarray(given.transpose(0, 3, 1, 2))

    @cached_property
    def _run(self) -> Callable[[Float32], Float32]:
        return runner(self.path, self.model, self.input)


def inspect_network(path: Path, options: ForeignOptions) -> Foreign:
    """Read the file and find out; InputError, in one line, for a network that cannot be a keyframe network."""
    model = read_model(path)
    name, shape = _the_input(path, model)
    layout = _input_layout(path, shape, options.layout)
    output = _the_output(path, model, options.output)
    model = _with_one_output(model, output)
    size = _fixed_size(path, shape, layout)
    if shape[0] not in (None, 1):
        raise InputError(
            f"{path}: takes {shape[0]} pictures at a time; export it with a batch of 1, or a free one"
        )
    run = runner(path, model, name)
    probes = _probes(path, model, run, layout, size, options.multiple)
    output_layout, classes = _output_layout(path, probes, options.output_layout)
    sums_to_one = _are_probabilities(probes, output_layout)
    return Foreign(
        path=path,
        model=model,
        input=name,
        output=output,
        layout=layout,
        output_layout=output_layout,
        size=size,
        any_batch=shape[0] is None and _takes_two(run, probes[0]),
        classes=classes,
        probabilities=sums_to_one if options.scores == "auto" else options.scores == "probabilities",
        like_sigmoid=not sums_to_one and all(p.given.min() >= 0 and p.given.max() <= 1 for p in probes),
        tried=probes[0].size,
    )


def runner(path: Path, model: ModelProto, name: str) -> Callable[[Float32], Float32]:
    """The model under ONNX Runtime on the CPU: its one input, `name`, to its one output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others are timed beside it
    with translated(InputError, f"{path}: ONNX Runtime cannot load it"):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(fed: Float32) -> Float32:
        shape = "x".join(str(n) for n in fed.shape)
        with translated(InputError, f"{path}: ONNX Runtime cannot run it on a {shape} input"):
            (given,) = session.run(None, {name: fed})
        return np.asarray(given)

    return run


def shape_of(value: onnx.ValueInfoProto) -> Shape | None:
    """The dimensions of an input or output, None for a free one; None for an unknown rank."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)


def _shown(values: Sequence[onnx.ValueInfoProto]) -> str:
    def one(value: onnx.ValueInfoProto) -> str:
        shape = shape_of(value)
        return f"{value.name} [{','.join('?' if n is None else str(n) for n in shape) if shape else '...'}]"

    return ", ".join(one(value) for value in values) or "none"


def _the_input(path: Path, model: ModelProto) -> tuple[str, tuple[int | None, ...]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise InputError(
            f"{path}: has {len(inputs)} inputs ({_shown(inputs)}); export it with the picture alone"
        )
    (value,) = inputs
    kind, shape = value.type.tensor_type.elem_type, shape_of(value)
    if kind != TensorProto.FLOAT:
        raise InputError(
            f"{path}: its input {value.name} is {_type_name(kind)}; export it with float32 inputs "
            "(of a half-precision model: keep inputs and outputs in float32)"
        )
    if shape is None or len(shape) != 4:
        raise InputError(f"{path}: its input {_shown(inputs)} does not have 4 dimensions, as pictures do")
    return value.name, shape


def _input_layout(path: Path, shape: Shape, wanted: str) -> str:
    """Which dimension holds the 3 channels."""
    places = {"nchw": shape[1], "nhwc": shape[3]}
    if wanted == "auto":
        found = [layout for layout, channels in places.items() if channels == 3]
        if len(found) != 1:
            channels = "both could be" if found else "none is 3"
            raise InputError(
                f"{path}: cannot tell the colour channels of its input ({channels}); say --layout nchw or nhwc, "
                "and give a network of colour pictures"
            )
        return found[0]
    if places[wanted] not in (3, None):
        raise InputError(
            f"{path}: its input has {places[wanted]} channels by --layout {wanted}; 3 are needed"
        )
    return wanted


def _fixed_size(path: Path, shape: Shape, layout: str) -> Size | None:
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    if height is not None and width is not None:
        if not _SMALLEST_SIDE <= min(height, width) <= max(height, width) <= LARGEST_SIDE:
            raise InputError(
                f"{path}: takes pictures of {width}x{height} alone; export it with sides in "
                f"{_SMALLEST_SIDE}..{LARGEST_SIDE}, or free ones"
            )
        return height, width
    if height is not None or width is not None:
        raise InputError(
            f"{path}: one side of its input is fixed ({height or width}) and the other free; "
            "export it with both fixed or both free"
        )
    return None


def _the_output(path: Path, model: ModelProto, wanted: str | None) -> str:
    """The name of the tensor with the scores: the output, or the one that was asked for."""
    outputs = list(model.graph.output)
    if wanted is not None:
        names = {name for node in model.graph.node for name in node.output}
        if wanted not in names:
            raise InputError(
                f"{path}: has no tensor {wanted!r} to take scores from; outputs: {_shown(outputs)}"
            )
        return wanted
    if len(outputs) != 1:
        raise InputError(
            f"{path}: has {len(outputs)} outputs ({_shown(outputs)}); name the scores: --output NAME"
        )
    (value,) = outputs
    kind = value.type.tensor_type.elem_type
    if kind not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UNDEFINED):
        raise InputError(_argmax_only(path, model, value.name, f"gives {_type_name(kind)} labels"))
    if kind in (TensorProto.FLOAT16, TensorProto.DOUBLE):
        raise InputError(
            f"{path}: its output {value.name} is {_type_name(kind)}; export it with float32 outputs"
        )
    return str(value.name)


def _argmax_only(path: Path, model: ModelProto, output: str, what: str) -> str:
    before = _before_argmax(model, output)
    hint = f", or name the tensor before it: --output {before!r}" if before else ""
    return f"{path}: {what}; PF needs the scores of every class: export it before the ArgMax{hint}"


def _before_argmax(model: ModelProto, output: str) -> str | None:
    """What the ArgMax takes that `output` comes from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    while (node := makers.get(output)) is not None:
        if node.op_type == "ArgMax":
            return str(node.input[0])
        if node.op_type not in _PASSING_ON:
            return None
        output = node.input[0]
    return None


def _with_one_output(model: ModelProto, output: str) -> ModelProto:
    """The model with that output alone, and without the nodes that it does not need."""
    needed, kept = {output}, list[NodeProto]()
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    needed.update(name for one in nodes_of(inner) for name in one.input)
    cut = ModelProto()
    cut.CopyFrom(model)
    for field in (cut.graph.node, cut.graph.output, cut.graph.value_info):
        del field[:]
    cut.graph.node.extend(reversed(kept))
    free = [None] * _rank(model, output)  # what stands there may be wrong, and nothing needs it
    cut.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, free))
    unused = [tensor for tensor in cut.graph.initializer if tensor.name not in needed]
    for tensor in unused:
        cut.graph.initializer.remove(tensor)
    return cut


def _rank(model: ModelProto, name: str) -> int:
    """The number of dimensions of a tensor, 4 where nobody knows."""
    values = [*model.graph.output, *onnx.shape_inference.infer_shapes(model).graph.value_info]
    shapes = [shape_of(value) for value in values if value.name == name]
    return len(shapes[0]) if shapes and shapes[0] is not None else 4


@dataclass(frozen=True)
class _Probe:
    """What came out for a picture of a size, fed as the network takes it."""

    size: Size
    fed: Float32
    given: Float32


def _probes(
    path: Path,
    model: ModelProto,
    run: Callable[[Float32], Float32],
    layout: str,
    size: Size | None,
    multiple: int,
) -> list[_Probe]:
    """What comes out for random pictures: of the fixed size, or of two sizes."""
    m = multiple
    sides = [m * max(k, -(-n // m)) for k, n in ((2, 128), (3, 192))]
    sizes = [size] if size else [(sides[0], sides[1]), (sides[1], sides[0])]
    rng, probes = np.random.default_rng(0), []
    for height, width in sizes:
        picture = rng.random((1, 3, height, width), np.float32)
        fed = np.ascontiguousarray(picture if layout == "nchw" else picture.transpose(0, 2, 3, 1))
        given = run(fed)
        one_value = given.ndim == 4 and 1 in (given.shape[1], given.shape[3])
        output = model.graph.output[0].name
        if given.dtype.kind in "iub" or (one_value and _before_argmax(model, output)):
            raise InputError(_argmax_only(path, model, output, "gives one value a pixel"))
        if one_value:
            raise InputError(
                f"{path}: gives one value a pixel, and PF needs the scores of at least {_FEWEST} classes; export it "
                "with a channel for each, the background too"
            )
        if given.ndim != 4:
            raise InputError(
                f"{path}: its output has the shape {list(given.shape)}; scores [N,C,h,w] or [N,h,w,C] are needed"
            )
        if not np.isfinite(given).all():
            raise InputError(f"{path}: gives numbers that are not finite; export it again")
        probes.append(_Probe((height, width), fed, given))
    return probes


def _takes_two(run: Callable[[Float32], Float32], probe: _Probe) -> bool:
    """Whether two pictures at a time come out as each alone does: not every graph that says so does."""
    try:
        both = run(np.concatenate([probe.fed[..., ::-1], probe.fed]))
    except InputError:
        return False
    return both.shape == (2, *probe.given.shape[1:]) and np.allclose(both[1], probe.given[0], 1e-3, 1e-3)


def _output_layout(path: Path, probes: list[_Probe], wanted: str) -> tuple[str, int]:
    """(layout, classes): the two dimensions in the picture's proportion are its rows and columns."""
    shapes = [probe.given.shape for probe in probes]
    fitting = [
        layout
        for layout in LAYOUTS[1:]
        if all(_in_proportion(probe.size, _split(probe.given.shape, layout)[1]) for probe in probes)
    ]
    if wanted == "auto" and len(fitting) != 1:
        raise InputError(
            f"{path}: cannot tell classes from rows and columns in its output {list(shapes[0])}; "
            "say --output-layout nchw or nhwc"
        )
    layout = fitting[0] if wanted == "auto" else wanted
    classes = {_split(shape, layout)[0] for shape in shapes}
    if len(classes) != 1:
        raise InputError(
            f"{path}: the number of its classes changes with the size of the picture ({sorted(classes)})"
        )
    (count,) = classes
    if not _FEWEST <= count <= _MOST:
        raise InputError(f"{path}: gives {count} classes; {_FEWEST} to {_MOST} are possible")
    return layout, count


def _split(shape: tuple[int, ...], layout: str) -> tuple[int, Size]:
    """(classes, (rows, columns)) of an output's shape."""
    return (shape[1], (shape[2], shape[3])) if layout == "nchw" else (shape[3], (shape[1], shape[2]))


def _in_proportion(picture: Size, cells: Size) -> bool:
    """Whether cells are square and none is smaller than a pixel, sides off by one cell allowed."""
    (height, width), (rows, columns) = picture, cells
    if rows > height or columns > width:
        return False
    stride = height / rows
    return abs(width / stride - columns) <= max(1.0, columns / max(rows, 1))


def _are_probabilities(probes: list[_Probe], layout: str) -> bool:
    axis = 1 if layout == "nchw" else 3
    return all(
        probe.given.min() >= 0 and np.abs(probe.given.sum(axis) - 1).max() < _SUM_TOLERANCE
        for probe in probes
    )


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()
