"""The library's parts against their Python twins, on random input: hashes, JSON, the protobuf wire, sizes, schedule."""

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.cache import PlanKey
from gsvnet_engine.errors import BackendError
from gsvnet_engine.geometry import Fixed, Geometry, Scaled, ShortSide
from gsvnet_engine.onnx_wire import has_external_data
from gsvnet_engine.schedule import Schedule, Step
from tests import toy_bundle

Probe = Callable[[list[str]], list[str]]


@pytest.fixture
def rng() -> random.Random:
    return random.Random(20210315)


def test_sha256(probe: Probe, rng: random.Random) -> None:
    messages = [rng.randbytes(size) for size in [*range(200), 1000, 4096, 10_000]]
    digests = probe([f"sha256 {message.hex()}" for message in messages])
    assert digests == [hashlib.sha256(message).hexdigest() for message in messages]


def test_sizes(probe: Probe, rng: random.Random) -> None:
    questions, expected = [], []
    for _ in range(3000):
        short = rng.choice([0, 8, 9, 360, 719, 720, rng.randint(8, 8192)])
        numerator, denominator, multiple = rng.randint(1, 40), rng.randint(10, 60), rng.choice([1, 7, 8, 32])
        fixed = rng.choice([(0, 0), (rng.randint(8, 8192), rng.randint(8, 8192))])
        height, width = rng.randint(1, 65536), rng.randint(1, 65536)
        questions.append(
            f"plan {short} {numerator} {denominator} {multiple} {fixed[0]} {fixed[1]} {height} {width}"
        )
        sizes = Geometry(
            working=ShortSide(short) if short else "source",
            keyframe=Fixed(fixed) if fixed[0] else Scaled((numerator, denominator), multiple),
        ).plan(height, width)
        expected.append(" ".join(str(side) for side in (*sizes.working, *sizes.keyframe, *sizes.grid)))
    assert probe(questions) == expected


def test_schedule(probe: Probe, rng: random.Random) -> None:
    questions, expected = [], []
    for _ in range(1000):
        age, interval, same, forced = (
            rng.randint(0, 5),
            rng.randint(1, 6),
            rng.random() < 0.8,
            rng.random() < 0.2,
        )
        elapsed_s = rng.choice([0.0, 0.04, 0.5, 0.5000001, 2.0, -0.04])
        questions.append(f"keyframe {age} {interval} {elapsed_s!r} {int(same)} {int(forced)}")
        last = Step(size=(2, 3), pts_s=10.0, age=age)
        size = (2, 3) if same else (3, 2)
        again = Schedule(interval=interval).is_keyframe(last, size, 10.0 + elapsed_s, forced=forced)
        expected.append(str(int(again)))
    assert probe(questions) == expected


def test_plan_keys(probe: Probe, rng: random.Random) -> None:
    """File names and keys of plans: libgsvnet finds what Python has built."""
    keys = []
    for _ in range(300):
        grid = rng.randint(1, 300), rng.randint(1, 300)
        picture: dict[str, tuple[int, ...]] = {
            "frame": (1, 3, rng.randint(8, 2000), rng.randint(8, 2000)), "grid": grid,
        }  # fmt: skip
        step: dict[str, tuple[int, ...]] = {
            "current": (1, 3, *grid), "previous": (1, 3, *grid), "scores": (1, rng.randint(2, 256), *grid),
        }  # fmt: skip
        graph = rng.choice(["keyframe.onnx", "propagate.onnx", "propagate.plain.onnx"])
        keys.append(
            PlanKey(
                bundle=rng.choice(["street", "my street/2.1", "Straße_一", "-", 'a"b\\c']),
                graph=graph,
                graph_sha256=rng.randbytes(32).hex(),
                plugin_sha256=rng.choice(["", rng.randbytes(32).hex()]),
                tensorrt=f"TensorRT {rng.randint(8, 11)}.{rng.randint(0, 16)}.{rng.randint(0, 9)}",
                road=rng.choice(["plain", "functions", "plugin"]),
                capability=(rng.randint(5, 12), rng.randint(0, 9)),
                gpu=rng.choice(["NVIDIA GeForce RTX 3090", "Tesla T4", "NVIDIA H100 80GB HBM3"]),
                precision=rng.choice(["fp32", "fp16", "int8"]),
                shapes=picture if graph == "keyframe.onnx" else step,
            )
        )
    answers = probe([f"plan_key {json.dumps(key.as_json()).encode().hex()}" for key in keys])
    assert answers == [f"{key.stem} {json.dumps(key.as_json(), sort_keys=True)}" for key in keys]


def test_roads(probe: Probe) -> None:
    """Each TensorRT on each card: the same road, or refused with the same words."""
    versions = [(8, 5, 3), (8, 6, 1), (9, 3, 0), (10, 0, 1), (10, 4, 0), (10, 5, 0), (10, 6, 0), (10, 7, 0),
                (10, 8, 0), (10, 10, 0), (10, 16, 1), (11, 1, 0)]  # fmt: skip
    cards = [(3, 7), (5, 0), (6, 1), (7, 0), (7, 5), (8, 6), (9, 0), (10, 0), (12, 0)]
    questions, expected = list[str](), list[str]()
    for version in versions:
        for card in cards:
            for plugin in (False, True):
                numbers = *version, *card, int(plugin)
                questions.append(f"road {' '.join(map(str, numbers))}")
                text = ".".join(map(str, version))
                try:
                    expected.append(generation.choose(card, {"tensorrt": text}, plugin=plugin).road)
                except BackendError as error:
                    reason, colon, _ = str(error).rpartition(": ")  # without how to install Python's
                    assert colon
                    expected.append(f"no {reason.rpartition(': this card')[0] or reason}")
    assert probe(questions) == expected


def any_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 4 else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 255, 2**63 - 1, 2**63, -(10**30)])
    if kind == 2:
        return rng.choice([0.5, -1e300, 1e-7, rng.random()])
    if kind < 6:
        letters = 'a"\\/\b\n\t\x01\x7f é€😀\u2028'
        return "".join(rng.choice(letters) for _ in range(rng.randrange(6)))
    if kind == 6:
        return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(any_value(rng, 9)): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def test_json_values(probe: Probe, rng: random.Random) -> None:
    values = [any_value(rng) for _ in range(1500)]
    texts = [
        json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])) for value in values
    ]
    answers = probe([f"json {text.encode().hex()}" for text in texts])
    assert answers == [f"ok {json.dumps(value)}" for value in values]


def test_json_refused_alike(probe: Probe, rng: random.Random) -> None:
    """Damaged text: what the library takes Python takes, with the same value; the library alone wants whole UTF-8."""
    damaged = []
    scraps = [b"", b"\\", b'"', b",", b"]", b"0", b".", b"e+", b"\xed\xa0\x80"]
    for _ in range(4000):
        data = bytearray(
            json.dumps(any_value(rng), ensure_ascii=rng.random() < 0.5).encode() * rng.choice([1, 1, 1, 2])
        )
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randrange(3)] = rng.choice(scraps)
        damaged.append(bytes(data))
    answers = probe([f"json {broken.hex()}" for broken in damaged])
    for broken, answer in zip(damaged, answers, strict=True):
        try:
            value = json.loads(broken, parse_constant=_refuse)
        except ValueError:
            assert answer.startswith("no "), broken
            continue
        if answer.startswith("no "):
            assert "surrogate" in answer or "not UTF-8" in answer, (broken, answer)
        else:
            assert json.loads(answer.removeprefix("ok ")) == value, broken


def _refuse(name: str) -> None:
    raise ValueError(name)


def test_external_data(probe: Probe, rng: random.Random) -> None:
    graphs = [model.SerializeToString() for model in toy_bundle.models().values()]
    messages = list(graphs)
    for _ in range(3000):
        data = bytearray(rng.choice(graphs))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.choice([0x00, 0x6A, 0x70, 0x2A, rng.randrange(256)])
        messages.append(bytes(data[: rng.choice([len(data), len(data), rng.randrange(1, len(data))])]))
    seen = set()
    answers = probe([f"wire {message.hex()}" for message in messages])
    for message, answer in zip(messages, answers, strict=True):
        try:
            outside = has_external_data(message)
        except ValueError as error:
            assert answer == f"no {error}"
            continue
        seen.add(outside)
        if outside:  # Python stops at the first; the library reads on, and may find the rest damaged
            assert answer == "outside" or answer.startswith("no ")
        else:
            assert answer == "inside"
    assert seen == {True, False}
