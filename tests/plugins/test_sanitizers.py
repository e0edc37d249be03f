"""CPU loops and .cu kernels under the address and undefined-behaviour sanitizers, each against the other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins import on_host

CPU_LOOPS = [on_host.KERNELS / name / f"{name}.cpp" for name in ("filter", "frame", "labels", "warp")]


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not there")
def test_kernels_stay_within_bounds_and_agree(tmp_path: Path) -> None:
    here, program = Path(__file__).parent, tmp_path / "sanitize"
    sanitizers = (
        "-O1",
        "-g",
        "-fsanitize=address,undefined,float-cast-overflow",
        "-fno-sanitize-recover=all",
    )
    on_host.compile(program, here / "sanitize.cpp", here / "on_host.cpp", *CPU_LOOPS, flags=sanitizers)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all equal\n"), done.stdout + done.stderr
