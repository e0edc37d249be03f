"""The library's own tests under sanitizers, the fuzz targets, and the library with OpenVINO under AddressSanitizer.

Without sanitizers ctest runs them, as README says.
"""

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests import toy_bundle
from tests.engine.capi.conftest import CLANG, Build

HERE = Path(__file__).parent
SHORT, LONG = 10_000, 1_000_000


def run(*command: str | Path, timeout_s: float = 3600, **environment: str) -> str:
    """What it printed; fails where it does."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["test_parts", "test_api", "test_threads", "test_gpu"])
def test_address_and_undefined_behaviour(address: Build, name: str) -> None:
    assert ", 0 failed" in run(address.target(name, f"tests/{name}"), UBSAN_OPTIONS="print_stacktrace=1")


def test_threads(thread: Build) -> None:
    assert ", 0 failed" in run(thread.target("test_threads", "tests/test_threads"))


def write_seeds(folder: Path, target: str) -> None:
    """Inputs that get past the first checks, for the fuzzer to start from."""
    rng = random.Random(1)
    folder.mkdir()
    if target == "fuzz_frames":
        for i in range(30):  # each byte below 200: "the usual" (fuzz_frames.cpp)
            (folder / f"usual{i}").write_bytes(bytes(rng.randrange(200) for _ in range(300)))
        return
    bundle = toy_bundle.write(folder.parent / "toy")
    (folder / "manifest").write_bytes(b"\0" + (bundle / "manifest.json").read_bytes())
    (folder / "graph").write_bytes(b"\1" + (bundle / "keyframe.onnx").read_bytes())
    (folder / "files").write_bytes(b"\2\0\1\2\3\4\5")


def fuzz(address: Build, tmp_path: Path, target: str, runs: int) -> None:
    if not CLANG:
        pytest.skip("no clang here: engine/capi/install_clang.sh installs it")
    program = address.target(target, f"tests/{target}")
    write_seeds(tmp_path / "seeds", target)
    memory = Path("/dev/shm")
    run(
        program,
        f"-runs={runs}",
        "-seed=1",
        "-max_len=4096" if target == "fuzz_bundle" else "-max_len=512",
        "-len_control=0",
        "-timeout=20",
        f"-artifact_prefix={tmp_path}/",
        tmp_path / "seeds",
        TMPDIR=str(memory if os.access(memory, os.W_OK) else tmp_path),
        UBSAN_OPTIONS="print_stacktrace=1",
    )


@pytest.mark.parametrize("target", ["fuzz_bundle", "fuzz_frames"])
def test_fuzz(address: Build, tmp_path: Path, target: str) -> None:
    fuzz(address, tmp_path, target, SHORT)


@pytest.mark.long
@pytest.mark.parametrize("target", ["fuzz_bundle", "fuzz_frames"])
def test_fuzz_long(address: Build, tmp_path: Path, target: str) -> None:
    fuzz(address, tmp_path, target, LONG)


def test_openvino_under_address_sanitizer(openvino_address: Build, tmp_path: Path) -> None:
    """Two engines of 40 frames: nothing wrong, and no leak but those that lsan.supp explains."""
    soak = openvino_address.target("soak", "tests/soak")
    run(
        soak,
        toy_bundle.write(tmp_path),
        "2",
        "40",
        # TBB would load a library in a way (RTLD_DEEPBIND) under which AddressSanitizer cannot work.
        TBB_ENABLE_SANITIZERS="1",
        LSAN_OPTIONS=f"suppressions={HERE / 'lsan.supp'}",
    )


def test_ten_thousand_frames_with_openvino_leak_nothing(plain: Build, tmp_path: Path) -> None:
    """Ten engines of a thousand frames each; OpenVINO keeps a few KB an engine (caches), none a frame."""
    printed = run(plain.target("soak", "tests/soak"), toy_bundle.write(tmp_path), "10", "1000")
    lines = [[int(number) for number in line.split()] for line in printed.splitlines()]
    assert len(lines) == 10
    (heap, resident_kb), (heap_after, resident_after_kb) = lines[1], lines[-1]
    assert heap_after - heap < 256 * 1024
    # The other threads' heaps too: 500 bytes a frame would show.
    assert resident_after_kb - resident_kb < 4 * 1024
