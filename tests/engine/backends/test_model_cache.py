"""Compiled networks on disk."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.model_cache import ModelCache, ModelKey
from gsvnet_engine.backends.openvino import why_no_extension
from gsvnet_engine.cli import main
from tests import media, toy_bundle

KEY = ModelKey(
    bundle="street", graph="propagate.onnx", graph_sha256="ab" * 32, extension_sha256="", runtime="OpenVINO 2026.4.1",
    processor="some avx2", precision="f32", int8=True, threads=2, streams=1, shapes={"current": (1, 3, 90, 160)},
)  # fmt: skip
PICTURES = [np.random.default_rng(n).integers(0, 256, (96, 128, 3), np.uint8) for n in range(4)]
_IN_ANOTHER = """
import sys
from pathlib import Path
import numpy as np
from gsvnet_engine import Segmenter
from gsvnet_engine.backends.model_cache import ModelCache
folder, out = sys.argv[1:]
models = ModelCache(Path(folder), say=sys.exit)
segmenter = Segmenter("street", backend="openvino", threads=1, interval=4, models=models)
pictures = [np.random.default_rng(n).integers(0, 256, (96, 128, 3), np.uint8) for n in range(4)]
np.save(out, np.stack([segmenter.push(picture).labels for picture in pictures]))
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, said: list[str]) -> ModelCache:
    return ModelCache(tmp_path, 10_000, said.append)


class TestModelCache:
    @pytest.mark.parametrize(
        "change",
        [
            {"graph_sha256": "cd" * 32}, {"extension_sha256": "ef" * 32}, {"runtime": "OpenVINO 2026.5"},
            {"processor": "other"}, {"precision": "bf16"}, {"int8": False}, {"threads": None},
            {"threads": 1}, {"streams": 2}, {"shapes": {"current": (1, 3, 90, 120)}}, {"bundle": "other"},
        ],
    )  # fmt: skip
    def test_all_of_the_key_counts(self, change: dict[str, object], cache: ModelCache) -> None:
        other = replace(KEY, **change)  # type: ignore[arg-type]
        cache.put(KEY, b"network\nwith lines")
        assert KEY in cache and other not in cache
        assert cache.get(other) is None and cache.get(KEY) == b"network\nwith lines"

    @pytest.mark.parametrize("damage", ["tail", "head", "empty"])
    def test_a_damaged_one_is_removed_and_said(self, cache: ModelCache, said: list[str], damage: str) -> None:
        cache.put(KEY, b"network")
        path = cache.folder / f"{KEY.stem}.model"
        data = path.read_bytes()
        path.write_bytes({"tail": data[:-1], "head": b"{" + data, "empty": b""}[damage])
        assert cache.get(KEY) is None
        assert said == [f"{path}: is damaged; it is compiled again"]
        assert cache.entries() == []

    def test_bounded_by_use(self, cache: ModelCache) -> None:
        keys = [replace(KEY, bundle=str(n)) for n in range(4)]
        for age, key in enumerate(keys[:3]):
            cache.put(key, bytes(2500))
            os.utime(cache.folder / f"{key.stem}.model", (age, age))
        assert cache.get(keys[0]) is not None
        cache.put(keys[3], bytes(3000))
        assert [key in cache for key in keys] == [True, False, True, True]
        cache.put(KEY, bytes(20_000))  # larger than the bound: it is in use, so it stays, alone
        assert [entry.stem for entry in cache.entries()] == [KEY.stem]
        assert cache.clear()[0] == 1 and cache.entries() == []

    def test_a_folder_that_takes_nothing(self, tmp_path: Path, said: list[str]) -> None:
        (tmp_path / "file").touch()
        ModelCache(tmp_path / "file", say=said.append).put(KEY, b"network")
        assert len(said) == 1 and "choose another folder with --plan-cache" in said[0]


class TestOpenVino:
    def labels(self, models: ModelCache | None) -> np.ndarray:
        segmenter = Segmenter("street", backend="openvino", threads=1, interval=4, models=models)
        return np.stack([segmenter.push(picture).labels for picture in PICTURES])

    def test_labels_are_the_same_in_another_process(self, tmp_path: Path, said: list[str]) -> None:
        """And our operations are still in the network: PF is the one that wants them."""
        plain = self.labels(None)
        cache = ModelCache(tmp_path / "cache", say=said.append)
        np.testing.assert_array_equal(self.labels(cache), plain)
        graphs = {entry.key["graph"]: entry.key["extension_sha256"] for entry in cache.entries()}
        assert set(graphs) == {
            "keyframe.onnx",
            "propagate.plain.onnx" if why_no_extension() else "propagate.onnx",
        }
        assert all(bool(digest) == (why_no_extension() is None) for digest in graphs.values())
        written = [path.stat().st_mtime_ns for path in sorted(cache.folder.iterdir())]
        out = tmp_path / "labels.npy"
        subprocess.run([sys.executable, "-c", _IN_ANOTHER, tmp_path / "cache", out], check=True, timeout=300)
        np.testing.assert_array_equal(np.load(out), plain)
        assert [path.stat().st_mtime_ns for path in sorted(cache.folder.iterdir())] != written  # it was used
        assert said == []

    def test_what_openvino_refuses_is_compiled_again(self, tmp_path: Path, said: list[str]) -> None:
        folder = toy_bundle.write(tmp_path / "toy")
        cache = ModelCache(tmp_path / "cache", say=said.append)

        def labels() -> np.ndarray:
            segmenter = Segmenter(folder, backend="openvino", threads=1, models=cache)
            return np.stack([segmenter.push(picture).labels for picture in PICTURES])

        first = labels()
        for path in cache.folder.iterdir():
            key = json.loads(path.read_bytes().partition(b"\n")[0])["key"]
            shapes = {name: tuple(shape) for name, shape in key["shapes"].items()}
            cache.put(ModelKey(**{**key, "shapes": shapes}), b"no network at all")
        np.testing.assert_array_equal(labels(), first)
        assert len(said) == 2 and all("is damaged; it is compiled again" in line for line in said)
        np.testing.assert_array_equal(labels(), first)
        assert len(said) == 2


@pytest.mark.usefixtures("installed")
def test_run_keeps_them_and_cache_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GSVNET_PLAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = toy_bundle.write(tmp_path / "toy")
    media.write_video(tmp_path / "road.mp4", frames=4)
    run = ["run", "road.mp4", "--bundle", str(folder), "--backend", "openvino", "-q", "-o", "o.jsonl"]
    assert main(run) == 0
    assert main(["cache", "ls", "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert {model["key"]["bundle"] for model in models} == {"toy"} and len(models) == 2
    assert main(["cache", "ls"]) == 0
    assert "0 plans and 2 compiled networks" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert "0 plans and 2 compiled networks removed" in capsys.readouterr().out
    assert not list((tmp_path / "cache" / "models").iterdir())
