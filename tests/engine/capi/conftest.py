"""The C library and its test programs, built by CMake once for all tests that use them, under build/."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
STREET = REPOSITORY / "engine/gsvnet_engine/models/street"
CLANG = shutil.which("clang++")
_PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"]]
)  # dev's cmake, where there is no other


@dataclass(frozen=True)
class Build:
    """A build folder. `target` makes one of its targets and says where that lies."""

    folder: Path

    def target(self, name: str, path: str) -> Path:
        _run("cmake", "--build", str(self.folder), "--target", name, "--parallel", "2")
        return self.folder / path


def _run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, "PATH": _PATH, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"


def configured(name: str, *settings: str, **environment: str) -> Build:
    """build/<name>, configured with -D<setting> each."""
    if not shutil.which("g++"):
        pytest.skip("no g++ here: the C library is not built")
    folder = REPOSITORY / "build" / name
    source = str(REPOSITORY / "engine/capi")
    _run("cmake", "-S", source, "-B", str(folder), *(f"-D{s}" for s in settings), **environment)
    return Build(folder)


def openvino_setting() -> str:
    """Build against the very OpenVINO that this interpreter runs."""
    from openvino.utils import get_cmake_path

    return f"OpenVINO_DIR={get_cmake_path()}"


QUICK = ("CMAKE_BUILD_TYPE=None", "CMAKE_CXX_FLAGS=-O1 -g1")  # sanitizers cost more than they optimise


@pytest.fixture(scope="session")
def plain() -> Build:
    """The library as it is shipped."""
    return configured("test-c", openvino_setting())


@pytest.fixture(scope="session")
def library(plain: Build) -> str:
    """The path of libgsvnet.so."""
    return str(plain.target("gsvnet", "libgsvnet.so"))


@pytest.fixture(scope="session")
def probe(plain: Build) -> Callable[[list[str]], list[str]]:
    """Asks tests/engine/capi/probe.cpp, a line a question."""
    program = plain.target("probe", "tests/probe")

    def ask(questions: list[str]) -> list[str]:
        done = subprocess.run(
            [program], input="\n".join(questions), capture_output=True, text=True, check=True
        )
        answers = done.stdout.splitlines()
        assert len(answers) == len(questions)
        return answers

    return ask


@pytest.fixture(scope="session")
def address() -> Build:
    """Everything under AddressSanitizer and UndefinedBehaviorSanitizer; with clang, the fuzz targets too."""
    sanitized = ("GSVNET_OPENVINO=OFF", "GSVNET_SANITIZE=address,undefined", *QUICK)
    if CLANG:
        return configured("test-c-fuzz", *sanitized, "GSVNET_FUZZ=ON", CC="clang", CXX="clang++")
    return configured("test-c-address", *sanitized)


@pytest.fixture(scope="session")
def thread() -> Build:
    """Everything under ThreadSanitizer."""
    return configured("test-c-thread", "GSVNET_OPENVINO=OFF", "GSVNET_SANITIZE=thread", *QUICK)


@pytest.fixture(scope="session")
def openvino_address() -> Build:
    """The library with OpenVINO under AddressSanitizer."""
    settings = ("GSVNET_SANITIZE=address", "CMAKE_BUILD_TYPE=None", "CMAKE_CXX_FLAGS=-O0 -g1")
    return configured("test-c-openvino", openvino_setting(), *settings)
