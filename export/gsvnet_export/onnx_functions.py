"""The three operations of the domain `gsvnet` as ONNX local functions: their bodies in standard operators, opset 17.

These bodies are what every runtime without our kernels executes. They say what networks/operations.py says in torch;
export verifies one against the other.
"""

import onnx.parser
from onnx import FunctionProto

from gsvnet_export.networks.operations import OFFSETS

_HEADER = '<domain: "gsvnet", opset_import: ["" : 17]>'

_SEGMENTATION_WARP = """
SegmentationWarp (scores, flow) => (warped, edges) {
    zero = Constant <value = float {0}> ()
    one = Constant <value = float {1}> ()
    two = Constant <value = float {2}> ()
    nearest = Constant <value = float {-10000}> ()
    farthest = Constant <value = float {10000}> ()
    axis_x = Constant <value = int64 {0}> ()
    axis_y = Constant <value = int64 {1}> ()
    height_at = Constant <value = int64 {2}> ()
    width_at = Constant <value = int64 {3}> ()
    columns = Constant <value = int64[1] {1}> ()
    last = Constant <value = int64[1] {3}> ()

    unknown = IsNaN (flow)
    known = Where (unknown, zero, flow)
    bounded = Clip (known, nearest, farthest)
    flow_x = Gather <axis = 1> (bounded, axis_x)
    flow_y = Gather <axis = 1> (bounded, axis_y)

    shape = Shape (scores)
    height_int = Gather <axis = 0> (shape, height_at)
    width_int = Gather <axis = 0> (shape, width_at)
    height = Cast <to = 1> (height_int)
    width = Cast <to = 1> (width_int)
    xs = Range (zero, width, one)
    y_row = Range (zero, height, one)
    ys = Unsqueeze (y_row, columns)

    x = Add (flow_x, xs)
    x_double = Mul (x, two)
    x_centre = Add (x_double, one)
    x_share = Div (x_centre, width)
    x_unit = Sub (x_share, one)
    y = Add (flow_y, ys)
    y_double = Mul (y, two)
    y_centre = Add (y_double, one)
    y_share = Div (y_centre, height)
    y_unit = Sub (y_share, one)
    x_last = Unsqueeze (x_unit, last)
    y_last = Unsqueeze (y_unit, last)
    points = Concat <axis = 3> (x_last, y_last)
    warped = GridSample <align_corners = 0, mode = "bilinear", padding_mode = "border"> (scores, points)

    class = ArgMax <axis = 1, keepdims = 1, select_last_index = 0> (warped)
    index = Cast <to = 1> (class)
    margin = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> ()
    bordered = Pad <mode = "edge"> (index, margin)
    laplacian = Constant <value = float[1, 1, 3, 3] {-1, -1, -1, -1, 8, -1, -1, -1, -1}> ()
    steps = Conv <kernel_shape = [3, 3]> (bordered, laplacian)
    edges = Sigmoid (steps)
}
"""

_LABEL_UPSAMPLE = """
LabelUpsample (scores, size) => (labels) {
    shape = Shape (scores)
    first_two = Constant <value = int64[2] {0, 1}> ()
    batch_and_classes = Gather <axis = 0> (shape, first_two)
    sizes = Concat <axis = 0> (batch_and_classes, size)
    full = Resize <coordinate_transformation_mode = "half_pixel", mode = "linear"> (scores, , , sizes)
    class = ArgMax <axis = 1, keepdims = 0, select_last_index = 0> (full)
    labels = Cast <to = 2> (class)
}
"""


def _guided_filter(window: int) -> str:
    """The filter's body for the offsets of a window: slices of the bordered scores, each times its weight, summed."""
    offsets, reach, end = OFFSETS[window], window // 2, 2**63 - 1
    weights = [f"weight{d}" for d in range(len(offsets) + 1)]
    lines = [
        f"margin = Constant <value = int64[8] {{0, 0, {reach}, {reach}, 0, 0, {reach}, {reach}}}> ()",
        'bordered = Pad <mode = "edge"> (warped, margin)',
        "axes = Constant <value = int64[2] {2, 3}> ()",
        f"{', '.join(weights)} = Split <axis = 1> (weights)",
    ]
    for d, (dy, dx) in enumerate(offsets):
        starts = (reach + dy, reach + dx)
        ends = (n - 2 * reach or end for n in starts)
        lines += [
            f"start{d} = Constant <value = int64[2] {{{starts[0]}, {starts[1]}}}> ()",
            f"end{d} = Constant <value = int64[2] {{{', '.join(str(n) for n in ends)}}}> ()",
            f"neighbour{d} = Slice (bordered, start{d}, end{d}, axes)",
            f"term{d} = Mul (weight{d}, neighbour{d})",
            f"sum{d} = Add (sum{d - 1}, term{d})" if d else "sum0 = Identity (term0)",
        ]
    lines += [f"own = Mul ({weights[-1]}, intra)", f"filtered = Add (sum{len(offsets) - 1}, own)"]
    return "GuidedFilter (warped, intra, weights) => (filtered) {\n" + "\n".join(lines) + "\n}"


def functions(window: int) -> list[FunctionProto]:
    """SegmentationWarp, GuidedFilter (of a 3x3 or 5x5 window) and LabelUpsample; node names begin with the part's."""
    bodies = {"warp": _SEGMENTATION_WARP, "filter": _guided_filter(window), "labels": _LABEL_UPSAMPLE}
    parsed = []
    for part, text in bodies.items():
        function = onnx.parser.parse_function(_HEADER + text)
        for node in function.node:
            node.name = f"{part}/{node.output[0]}"
        parsed.append(function)
    return parsed
