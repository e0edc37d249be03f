from importlib.metadata import PackageNotFoundError

import pytest

from gsvnet_engine.backends.tensorrt import generation
from gsvnet_engine.errors import BackendError


@pytest.mark.parametrize(
    ("capability", "found", "plugin", "expected"),
    [
        ((6, 1), {"tensorrt": "8.6.1.post1"}, True, ("TensorRT 8.6.1", "plain")),
        ((7, 5), {"tensorrt": "8.6.1"}, False, ("TensorRT 8.6.1", "plain")),
        ((7, 0), {"tensorrt": "10.3.0"}, True, ("TensorRT 10.3.0", "functions")),
        ((8, 6), {"tensorrt": "10.6.0.post1"}, True, ("TensorRT 10.6.0", "functions")),
        ((8, 6), {"tensorrt": "10.7.0"}, True, ("TensorRT 10.7.0", "plugin")),
        ((9, 0), {"tensorrt": "10.13.3.9"}, True, ("TensorRT 10.13.3", "plugin")),
        ((12, 0), {"tensorrt": "11.4.0.106"}, True, ("TensorRT 11.4.0", "plugin")),
        ((12, 0), {"tensorrt": "11.4.0.106"}, False, ("TensorRT 11.4.0", "functions")),
        ((8, 9), {"tensorrt_rtx": "1.7.1.116"}, True, ("TensorRT-RTX 1.7.1", "functions")),
        ((8, 9), {"tensorrt": "11.4.0", "tensorrt_rtx": "1.7.1"}, False, ("TensorRT 11.4.0", "functions")),
        ((12, 0), {"tensorrt": "10.7.0", "tensorrt_rtx": "1.7.1"}, False, ("TensorRT-RTX 1.7.1", "functions")),
    ],
)  # fmt: skip
def test_choice(
    capability: tuple[int, int], found: dict[str, str], plugin: bool, expected: tuple[str, str]
) -> None:
    choice = generation.choose(capability, found, plugin=plugin)
    assert (choice.title, choice.road) == expected
    assert choice.why and (choice.propagate_graph == "propagate.plain.onnx") == (choice.road == "plain")


@pytest.mark.parametrize(
    ("capability", "found", "message"),
    [
        ((8, 6), {}, r"tensorrt: is not installed: pip install 'gsvnet-engine\[gpu\]'"),
        ((6, 1), {}, r"is not installed: this card needs TensorRT 8.6: .*\[gpu-pascal\]"),
        ((6, 1), {"tensorrt": "11.4.0"}, "TensorRT 11.4.0 does not serve compute capability 6.1: this card needs"),
        ((7, 0), {"tensorrt": "10.5.0"}, "10.5.0 does not serve compute capability 7.0"),
        ((12, 0), {"tensorrt": "10.7.0"}, "10.7.0 does not serve compute capability 12.0"),
        ((8, 6), {"tensorrt": "8.5.3.1"}, "8.5.3 is too old"),
        ((9, 0), {"tensorrt_rtx": "1.7.1"}, "TensorRT-RTX 1.7.1 does not serve compute capability 9.0"),
    ],
)  # fmt: skip
def test_refusal_says_what_to_install(
    capability: tuple[int, int], found: dict[str, str], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        generation.choose(capability, found)


def test_one_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = generation.choose((8, 6), {"tensorrt": "11.4.0"})

    def broken(name: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(generation, "import_module", broken)
    with pytest.raises(BackendError, match=r"TensorRT 11.4.0: is installed but does not load: libnvinfer"):
        generation.load(choice)


def test_what_is_installed_is_read_from_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"tensorrt-cu12": "10.9.0.34", "tensorrt-rtx": "1.7.1.116"}

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(generation, "version", version)
    assert generation.installed() == {"tensorrt": "10.9.0.34", "tensorrt_rtx": "1.7.1.116"}
