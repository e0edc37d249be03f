import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gsvnet_engine import Segmenter
from gsvnet_engine.backends.tensorrt import backend as backend_module
from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.backends.tensorrt.backend import TensorRT
from gsvnet_engine.backends.tensorrt.cache import PlanCache, PlanKey
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BackendError, OutputError
from tests import toy_bundle
from tests.cuda import standin
from tests.engine.backends.tensorrt import standin_tensorrt
from tests.engine.backends.tensorrt.scenes import HEIGHT, WIDTH, pictures

KEY = PlanKey(
    bundle="street", graph="propagate.plain.onnx", graph_sha256="ab" * 32, plugin_sha256="", tensorrt="TensorRT 11.4.0",
    road="functions", capability=(8, 6), gpu="NVIDIA GeForce RTX 3090", precision="fp32",
    shapes={"current": (1, 3, 90, 160), "scores": (1, 11, 90, 160)},
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path, 1000)


class TestKey:
    def test_names_say_what_a_plan_is_of(self) -> None:
        assert KEY.subject == "street-propagate-plain-90x160"
        assert KEY.stem == f"{KEY.subject}-{KEY.digest}" and len(KEY.digest) == 16

    @pytest.mark.parametrize(
        "change",
        [
            {"graph_sha256": "cd" * 32}, {"plugin_sha256": "ef" * 32}, {"tensorrt": "TensorRT 11.4.1"},
            {"road": "plugin"}, {"capability": (8, 9)}, {"gpu": "NVIDIA GeForce RTX 3080"}, {"precision": "fp16"},
            {"shapes": {"current": (1, 3, 90, 160), "scores": (1, 12, 90, 160)}},
        ],
    )  # fmt: skip
    def test_all_of_it_counts(self, change: dict[str, object], cache: PlanCache) -> None:
        other = replace(KEY, **change)  # type: ignore[arg-type]
        cache.put(KEY, b"plan")
        assert other.digest != KEY.digest
        assert cache.get(other) is None and cache.get(KEY) == b"plan"


class TestPlanCache:
    def test_the_sidecar_can_be_read(self, cache: PlanCache) -> None:
        cache.put(KEY, b"plan")
        sidecar = json.loads((cache.folder / "plans" / f"{KEY.stem}.json").read_text())
        assert sidecar["key"]["gpu"] == "NVIDIA GeForce RTX 3090" and sidecar["bytes"] == 4

    def test_a_damaged_plan_is_removed(self, cache: PlanCache) -> None:
        cache.put(KEY, b"plan")
        (cache.folder / "plans" / f"{KEY.stem}.plan").write_bytes(b"plan with a tail")
        assert cache.get(KEY) is None and cache.entries() == []

    def test_a_plan_without_its_sidecar_is_not_trusted(self, cache: PlanCache) -> None:
        cache.put(KEY, b"plan")
        (cache.folder / "plans" / f"{KEY.stem}.json").write_text("{")
        assert cache.get(KEY) is None

    def test_what_has_changed(self, cache: PlanCache) -> None:
        assert cache.why_stale(KEY) is None
        cache.put(KEY, b"plan")
        newer = replace(KEY, tensorrt="TensorRT 11.5.0", graph_sha256="cd" * 32)
        assert cache.why_stale(newer) == "graph changed; tensorrt TensorRT 11.4.0, now TensorRT 11.5.0"
        assert cache.why_stale(replace(KEY, bundle="other")) is None

    def test_bounded(self, cache: PlanCache) -> None:
        for i in range(5):
            key = replace(KEY, gpu=f"GPU {i}")
            cache.put(key, bytes(300))
            os.utime(cache.folder / "plans" / f"{key.stem}.plan", (i, i))
        assert [entry.key["gpu"] for entry in cache.entries()] == ["GPU 4", "GPU 3", "GPU 2"]
        cache.put(KEY, bytes(2000))  # larger than the bound: it is in use, so it stays, alone
        assert [entry.stem for entry in cache.entries()] == [KEY.stem]

    def test_use_counts_and_not_age(self, cache: PlanCache) -> None:
        old, new = replace(KEY, gpu="old"), replace(KEY, gpu="new")
        for age, key in enumerate((old, new)):
            cache.put(key, bytes(400))
            os.utime(cache.folder / "plans" / f"{key.stem}.plan", (age, age))
        assert cache.get(old) is not None
        cache.put(KEY, bytes(400))
        assert cache.get(old) is not None and cache.get(new) is None

    def test_clear(self, cache: PlanCache) -> None:
        cache.put(KEY, bytes(100))
        cache.put_timing("TensorRT 11.4.0", (8, 6), bytes(50))
        assert cache.timing("TensorRT 11.4.0", (8, 6)) == bytes(50)
        assert cache.clear() == (1, 150)
        assert cache.entries() == [] and cache.timing("TensorRT 11.4.0", (8, 6)) == b""
        assert cache.clear() == (0, 0)

    def test_no_half_files(self, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="the plan cannot be kept: No space left on device"):
            cache.put(KEY, b"plan")
        assert list(cache.folder.rglob("*.*")) == []


class TestPlansOfABundle:
    """What a user sees: built once, said in a line, refused where building is forbidden."""

    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def gpu(self, tmp_path: Path, said: list[str]) -> GpuOptions:
        return GpuOptions(cache=tmp_path / "cache", say=said.append)

    def _run(self, folder: Path, gpu: GpuOptions) -> None:
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.push(pictures(1)[0])

    def test_built_once(self, driver: standin.Driver, folder: Path, gpu: GpuOptions, said: list[str]) -> None:
        self._run(folder, gpu)
        assert said == [
            f"building a plan of toy {graph} for Stand-in GPU with TensorRT 11.4.0"
            for graph in ("keyframe.onnx", "propagate.onnx")
        ]
        before = standin_tensorrt.Builder.built
        self._run(folder, gpu)
        assert standin_tensorrt.Builder.built == before and len(said) == 2

    def test_build_makes_what_run_needs(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, said: list[str]
    ) -> None:
        bundle, backend = Bundle.open(folder), TensorRT(gpu)
        keys = backend.build(bundle, bundle.plan(HEIGHT, WIDTH))
        backend.close()
        assert [key.graph for key in keys] == ["keyframe.onnx", "propagate.onnx"]
        self._run(folder, replace(gpu, build=False))
        assert len(said) == 2

    def test_no_build(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        with pytest.raises(
            BackendError, match=r"keyframe.onnx: there is no plan for this GPU and size, and --no-build"
        ):
            self._run(folder, replace(gpu, build=False))

    def test_a_stale_plan_is_built_anew_with_one_line(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, said: list[str]
    ) -> None:
        self._run(folder, gpu)
        model = toy_bundle.models()["propagate.onnx"]
        model.producer_name = "another exporter"
        toy_bundle.replace_graph(folder, "propagate.onnx", model.SerializeToString())
        said.clear()
        self._run(folder, gpu)
        assert said == [
            "building a plan of toy propagate.onnx for Stand-in GPU with TensorRT 11.4.0 "
            "(the one there is stale: graph changed)"
        ]
        toy_bundle.replace_graph(folder, "propagate.onnx", model.SerializeToString() + b"\x7a\x00")
        with pytest.raises(BackendError, match=r"the plan is stale \(graph changed\), and --no-build"):
            self._run(folder, replace(gpu, build=False))

    def test_a_plan_that_tensorrt_refuses_is_built_anew(
        self, driver: standin.Driver, folder: Path, gpu: GpuOptions, said: list[str]
    ) -> None:
        self._run(folder, gpu)
        cache = PlanCache(gpu.cache_folder, 10**9)
        bundle, backend = Bundle.open(folder), TensorRT(gpu)
        (key, _) = backend.build(bundle, bundle.plan(HEIGHT, WIDTH))
        backend.close()
        cache.put(key, b"a plan of another driver")
        said.clear()
        self._run(folder, gpu)
        assert (
            "TensorRT does not take the plan: the plan was made by another version; building its plan anew"
            in said[0]
        )
        assert len(said) == 2

    def test_a_folder_that_cannot_be_written(
        self, driver: standin.Driver, folder: Path, tmp_path: Path, said: list[str]
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        self._run(folder, GpuOptions(cache=blocked, say=said.append))
        assert "the plan cannot be kept" in said[1] and "it will be built again next time" in said[1]

    def test_the_plugin_is_part_of_the_key(
        self,
        driver: standin.Driver,
        folder: Path,
        gpu: GpuOptions,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        loaded = list[str]()

        class Registry:
            def load_library(self, plugin_path: str) -> None:
                loaded.append(plugin_path)

        monkeypatch.setattr(standin_tensorrt, "get_plugin_registry", Registry, raising=False)
        library = tmp_path / "plugin.so"
        library.write_bytes(b"a plugin")
        bundle, backend = Bundle.open(folder), TensorRT(replace(gpu, plugin=library))
        (key, _) = backend.build(bundle, bundle.plan(HEIGHT, WIDTH))
        backend.close()
        assert (key.road, loaded) == ("plugin", [str(library)])
        assert len(key.plugin_sha256) == 64

    def test_the_bundles_precision_is_reported(
        self, driver: standin.Driver, tmp_path: Path, gpu: GpuOptions
    ) -> None:
        folder = toy_bundle.write(tmp_path / "half", precision="fp16")
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.warm(HEIGHT, WIDTH)
            assert segmenter.precision == "f16"
        with pytest.raises(BackendError, match="tensorrt: computes in the bundle's own precision"):
            Segmenter(folder, backend="tensorrt", cpu_precision="bf16")

    def test_timing_cache_and_progress(self, driver: standin.Driver, folder: Path, gpu: GpuOptions) -> None:
        steps = list[tuple[str, int, int]]()
        self._run(
            folder, replace(gpu, progress=lambda what, done, of: steps.append((Path(what).name, done, of)))
        )
        assert steps[:4] == [("keyframe.onnx", done, 2) for done in (0, 1, 2, 2)]
        assert PlanCache(gpu.cache_folder, 1).timing("TensorRT 11.4.0", (8, 6)) == b"timings"
        assert backend_module.plugin_library(gpu) is None


class TestRtx:
    """TensorRT-RTX compiles kernels as it first runs a plan: that is kept beside the plan, and goes with it."""

    @pytest.fixture(autouse=True)
    def rtx(self, driver: standin.Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generation, "installed", lambda: {"tensorrt_rtx": "1.7.1.116"})
        monkeypatch.setattr(standin_tensorrt.IRuntimeCache, "compilations", 0)

    def compilations(self, folder: Path, gpu: GpuOptions) -> int:
        """How many a process needs before its first frame."""
        before = standin_tensorrt.IRuntimeCache.compilations
        with Segmenter(folder, backend="tensorrt", gpu=gpu) as segmenter:
            segmenter.push(pictures(1)[0])
        return standin_tensorrt.IRuntimeCache.compilations - before

    def files(self, gpu: GpuOptions) -> list[Path]:
        return sorted((gpu.cache_folder / "plans").glob("*.jit"))

    def test_a_second_start_compiles_nothing(self, folder: Path, gpu: GpuOptions) -> None:
        assert [self.compilations(folder, gpu) for _ in range(3)] == [2, 0, 0]
        assert len(self.files(gpu)) == 2

    def test_of_another_version_is_replaced(self, folder: Path, gpu: GpuOptions) -> None:
        self.compilations(folder, gpu)
        for path in self.files(gpu):
            path.write_bytes(b"of another driver")
        assert [self.compilations(folder, gpu) for _ in range(2)] == [2, 0]

    def test_counts_and_goes_with_its_plan(self, folder: Path, gpu: GpuOptions) -> None:
        self.compilations(folder, gpu)
        cache = PlanCache(gpu.cache_folder, gpu.cache_bytes)
        plans = gpu.cache_folder / "plans"
        held = sum(path.stat().st_size for pattern in ("*.plan", "*.jit") for path in plans.glob(pattern))
        assert sum(entry.bytes for entry in cache.entries()) == held
        PlanCache(gpu.cache_folder, 0)._shrink(keep="")
        assert list(plans.iterdir()) == []

    def test_only_of_a_plan_that_is_kept(self, cache: PlanCache) -> None:
        cache.put_compiled(KEY, b"kernels")
        assert cache.compiled(KEY) == b""
        cache.put(KEY, b"plan")
        cache.put_compiled(KEY, b"kernels")
        assert cache.compiled(KEY) == b"kernels"

    def test_other_tensorrts_have_none(
        self, folder: Path, gpu: GpuOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generation, "installed", lambda: {"tensorrt": "11.4.0"})
        assert self.compilations(folder, gpu) == 0 and self.files(gpu) == []
