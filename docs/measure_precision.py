"""Measures schemes of int8 for a bundle's keyframe network: time on OpenVINO, and accuracy on the held-out slice.

    python docs/measure_precision.py BUNDLE --int8 INT8_BUNDLE --data DIR    # needs the extras cpu and export

BUNDLE in float32 and what `export --precision int8` made of it; DIR as for `train`. Times are processor time on one
thread, the schemes alternating, a keyframe each a round: what else the machine does hits all alike, and waiting does
not count. Prints the table of docs/performance.md.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import onnx
from onnx import ModelProto

from gsvnet_engine import Bundle
from gsvnet_engine.backends.base import signature
from gsvnet_engine.backends.openvino import OpenVino
from gsvnet_engine.bundle import KEYFRAME, PROPAGATE
from gsvnet_engine.frames import Frame
from gsvnet_export import precision, quantise
from gsvnet_export.precision import Material

_HEAD = "| keyframe network | over float32 | average mIoU | labelled as in float32, % |\n|---|---|---|---|"


def schemes(
    keyframe: ModelProto, ours: ModelProto, material: Material, bundle: Bundle
) -> dict[str, ModelProto]:
    """By name: float32 first, then int8 as exported, with nothing left in float32, and as it is usually done."""
    geometry = bundle.manifest.geometry
    seen = quantise.observe(keyframe, (precision.feed(frame, geometry) for frame in material.calibration()))
    return {
        "float32": keyframe,
        "int8, as exported": ours,
        "int8, no convolution left in float32": quantise.quantise(keyframe, seen),
        "the same, what leaves a convolution rounded too": _variant(keyframe, seen, signed=True),
        "the usual scheme: that, asymmetric, bias int32": _variant(keyframe, seen, signed=False),
    }


def _variant(model: ModelProto, seen: Any, *, signed: bool) -> ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    quantiser = QDQQuantizer(
        onnx.shape_inference.infer_shapes(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if signed else QuantType.QUInt8,
        tensors_range=seen,
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv", "Add"],
        extra_options={
            "ActivationSymmetric": signed,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": signed,
            "QuantizeBias": not signed,
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    made: ModelProto = quantiser.model.model
    return made


def times_ms(
    models: dict[str, ModelProto], bundle: Bundle, frame: Frame, rounds: int
) -> dict[str, list[float]]:
    """Processor time of each round's keyframe, by scheme."""
    manifest, backend = bundle.manifest, OpenVino()
    sizes = bundle.plan(frame.height, frame.width)
    picture = precision.feed(frame, manifest.geometry)["frame"]
    runners = {}
    for name, model in models.items():
        made = Bundle(Path(name), manifest, {KEYFRAME: model.SerializeToString()})
        runners[name] = backend.load(made, signature(KEYFRAME, len(manifest.classes), sizes), 1)
        runners[name]({"frame": picture})
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, run in runners.items():
            before = time.process_time()
            run({"frame": picture})
            found[name].append((time.process_time() - before) * 1e3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("--int8", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="camvid")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    bundle, exported = Bundle.open(options.bundle), Bundle.open(options.int8)
    keyframe, ours, propagate = (
        onnx.load_from_string(data)
        for data in (bundle.graph(KEYFRAME), exported.graph(KEYFRAME), bundle.graph(PROPAGATE))
    )
    material = Material.open(options.dataset, options.data)
    models = schemes(keyframe, ours, material, bundle)
    print(f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    frame = Frame.from_rgb(material.held_out[0][0])
    times = times_ms(models, bundle, frame, options.rounds)
    print(_HEAD, flush=True)
    floats = {KEYFRAME: keyframe, PROPAGATE: propagate}
    for name, model in models.items():
        ratio = median(a / b for a, b in zip(times[name], times["float32"], strict=True))
        found = precision.judge(floats, {**floats, KEYFRAME: model}, material, bundle.manifest.geometry)
        print(f"| {name} | {ratio:.2f} | {found.miou:.1f} | {found.agreement:.1f} |", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
