"""The Dockerfiles agree with pyproject.toml and with themselves. Nobody builds them here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "Dockerfile.gpu")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def text(name: str) -> str:
    return re.sub(r"\\\n\s*", " ", (ROOT / name).read_text())


def extra(name: str) -> str:
    """The one that the last stage installs."""
    (found,) = re.findall(r"gsvnet_engine-\*\.whl\)\[([a-z0-9-]+)\]", text(name))
    return str(found)


@pytest.mark.parametrize("name", FILES)
class TestEvery:
    def test_its_extra_and_command_exist(self, name: str, project: dict[str, Any]) -> None:
        assert extra(name) in project["optional-dependencies"]
        (command,) = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$', text(name), re.MULTILINE)
        assert command in project["scripts"]

    def test_its_stages_exist(self, name: str) -> None:
        stages = re.findall(r"^FROM \S+ AS (\w+)$", text(name), re.MULTILINE)
        assert set(re.findall(r"from=(\w+)", text(name))) == set(stages)

    def test_what_the_build_reads_is_sent(self, name: str) -> None:
        """COPY . leaves out what .dockerignore names."""
        left_out = (ROOT / ".dockerignore").read_text().split()
        assert not {"engine", "export", "plugins", "CMakeLists.txt", "pyproject.toml", "README.md"} & set(
            left_out
        )

    def test_no_two_runtimes_of_onnx(self, name: str, project: dict[str, Any]) -> None:
        packages = {
            re.split(r"[\[<>=;~ ]", each)[0] for each in project["optional-dependencies"][extra(name)]
        }
        assert not {"onnxruntime", "onnxruntime-gpu"} <= packages


class TestGpu:
    def test_one_system_and_one_cuda(self, project: dict[str, Any]) -> None:
        """Both stages, since the plugins link the system's C++ library; and CUDA's major version, that of the extra."""
        images = re.findall(
            r"^FROM nvidia/cuda:([\d.]+)-(devel|base)-(\S+)", text("Dockerfile.gpu"), re.MULTILINE
        )
        assert [kind for _, kind, _ in images] == ["devel", "base"]
        assert len({(version, system) for version, _, system in images}) == 1
        major = images[0][0].partition(".")[0]
        packages = " ".join(project["optional-dependencies"][extra("Dockerfile.gpu")])
        assert f"tensorrt-cu{major}" in packages and f"cuda-bindings>={major}." in packages

    def test_the_plugins_are_asked_for_and_looked_for(self) -> None:
        options = (
            (ROOT / "CMakeLists.txt").read_text(),
            (ROOT / "plugins/tensorrt/CMakeLists.txt").read_text(),
        )
        (option,) = re.findall(r"cmake\.define\.(\w+)=", text("Dockerfile.gpu"))
        assert f"set({option} " in options[0]
        (library,) = re.findall(r"grep lib(\w+)", text("Dockerfile.gpu"))
        assert library in options[1]

    def test_what_the_driver_is_asked_for(self) -> None:
        (asked,) = re.findall(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", text("Dockerfile.gpu"))
        assert {"compute", "video"} <= set(asked.split(","))  # video: NVDEC

    def test_plans_outlive_the_container(self) -> None:
        (folder,) = re.findall(r"GSVNET_PLAN_CACHE=(\S+)", text("Dockerfile.gpu"))
        assert f"VOLUME {folder}" in text("Dockerfile.gpu")

    def test_it_says_that_nobody_has_built_it(self) -> None:
        assert "Not yet built" in (ROOT / "Dockerfile.gpu").read_text()


class TestExtras:
    def test_roads_on_a_gpu_bring_their_kernels_compiler(self, project: dict[str, Any]) -> None:
        """Each brings cuda-bindings and NVRTC of one CUDA."""
        for name, packages in project["optional-dependencies"].items():
            if not name.startswith(("gpu", "ort-gpu")):
                continue
            found = " ".join(packages)
            assert "cuda-bindings" in found and "nvidia-cuda-nvrtc" in found, name
            assert ("cuda-bindings>=12.9,<13" in found) == ("nvidia-cuda-nvrtc-cu12" in found), name

    def test_nothing_brings_both_onnx_runtimes(self, project: dict[str, Any]) -> None:
        for name, packages in project["optional-dependencies"].items():
            found = {re.split(r"[\[<>=;~ ]", each)[0] for each in packages}
            assert not {"onnxruntime", "onnxruntime-gpu"} <= found, name
