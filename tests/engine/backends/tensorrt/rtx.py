"""The real tensorrt_rtx wheel, in processes of its own: a fault there ends only them, and they meet no stand-in driver.

python -m tests.engine.backends.tensorrt.rtx names          {class: {member: [arguments]}} as JSON
python -m tests.engine.backends.tensorrt.rtx layers < jobs  JSON lines in, JSON lines out; see `layers`
python -m tests.engine.backends.tensorrt.rtx build < jobs    JSON lines in, JSON lines out; see `build`
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
TARGETS = ("SM75", "SM86", "SM89", "SM120")


def run(verb: str, jobs: Sequence[dict[str, Any]] = ()) -> Any:
    """What a process of its own prints as JSON. Skips where the wheel is not installed."""
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("tensorrt-rtx is not installed")
    done = subprocess.run(
        [sys.executable, "-m", __name__, verb],
        input="\n".join(map(json.dumps, jobs)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def names() -> dict[str, dict[str, list[str]]]:
    """Members of every class, with the names of their arguments as pybind11 documents them."""
    import tensorrt_rtx as trt

    found: dict[str, dict[str, list[str]]] = {}
    for class_name in dir(trt):
        each = getattr(trt, class_name)
        if isinstance(each, type):
            found[class_name] = {member: _arguments(getattr(each, member)) for member in dir(each)}
    return found


def _arguments(member: Any) -> list[str]:
    signature = re.search(r"\((.*)\)", (getattr(member, "__doc__", None) or "").strip().split("\n")[0])
    return re.findall(r"(\w+): ", signature.group(1)) if signature else []


def layers(job: dict[str, Any]) -> list[list[str]]:
    """job: file -> [name, type] of every layer that its graph has once it is parsed."""
    import tensorrt_rtx as trt

    from gsvnet_engine.backends.tensorrt import plans

    log = plans.logger(trt)
    network = trt.Builder(log).create_network(plans._network_flags(trt))
    plans.parse(trt, network, log, Path(job["file"]).read_bytes(), job["file"])
    found = (network.get_layer(i) for i in range(network.num_layers))
    return [[layer.name, layer.type.name] for layer in found]


def build(job: dict[str, Any]) -> dict[str, Any]:
    """job: file, graph, classes, source [height, width], sizes' bundle, target -> {bytes} or {error}, and of the layers
    {layers: type -> names, float_convolutions: names of those whose output is float32}."""
    import tensorrt_rtx as trt

    from gsvnet_engine.backends.base import Signature, signature
    from gsvnet_engine.backends.tensorrt import plans
    from gsvnet_engine.bundle import Bundle
    from gsvnet_engine.errors import GsvnetError

    sizes = Bundle.open(job["sizes_of"]).plan(*job["source"])
    scores = (1, job["classes"], *sizes.grid)
    if job["graph"].startswith("labels"):
        expected = Signature(
            job["graph"], {"scores": scores}, {"labels": (1, *sizes.source)}, {"size": sizes.source}
        )
    else:
        expected = signature(job["graph"], job["classes"], sizes)
    graph = Path(job["file"]).read_bytes()
    log = plans.logger(trt)
    network = trt.Builder(log).create_network(plans._network_flags(trt))
    plans.parse(trt, network, log, graph, job["graph"])
    layers: dict[str, list[str]] = {}
    wide = []
    for layer in map(network.get_layer, range(network.num_layers)):
        layers.setdefault(layer.type.name, []).append(layer.name)
        if layer.type.name == "CONVOLUTION" and layer.get_output(0).dtype == trt.float32:
            wide.append(layer.name)
    seen = {"layers": layers, "float_convolutions": wide}
    target = getattr(trt.ComputeCapability, job["target"])
    if job["graph"].startswith("labels"):
        vars(plans)["check_ports"] = lambda *_: None  # its output is uint8, which sessions never take
    try:
        plan, _ = plans.build(trt, graph, expected, where=job["graph"], targets=[target])
    except GsvnetError as error:
        return {**job, **seen, "error": str(error)}
    return {**job, **seen, "bytes": len(plan)}


if __name__ == "__main__":
    import os

    answers = os.dup(1)  # TensorRT prints on stdout that there is no driver
    os.dup2(2, 1)
    verb: Any = {"layers": layers, "build": build}.get(sys.argv[1])
    result = names() if verb is None else [verb(json.loads(line)) for line in sys.stdin if line.strip()]
    os.write(answers, json.dumps(result).encode())
    os._exit(0)  # its libraries' own tear-down is not under test
