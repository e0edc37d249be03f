"""The samples that ctest (samples.sh) does not run: ctypes, and GStreamer where its package is."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import toy_bundle
from tests.engine.capi.conftest import REPOSITORY, STREET, Build

GSTREAMER = "gstreamer-app-1.0"


def test_ctypes(library: str, tmp_path: Path) -> None:
    sample = REPOSITORY / "samples/c/gsvnet_ctypes.py"
    pictures = np.random.default_rng(1).integers(0, 256, (4, 48, 64, 3), np.uint8).tobytes()
    command = [sys.executable, "-S", "-E", str(sample), library, str(toy_bundle.write(tmp_path)), "64", "48"]
    done = subprocess.run(
        command, input=pictures, capture_output=True, check=True
    )  # -S: without site-packages
    kinds = [line.split()[0] for line in done.stdout.decode().splitlines()]
    assert kinds == ["keyframe", "propagated", "propagated", "keyframe"]


def test_gstreamer(plain: Build) -> None:
    if not shutil.which("pkg-config") or subprocess.run(["pkg-config", "--exists", GSTREAMER]).returncode:
        pytest.skip("samples/c/gstreamer.c is not compiled: libgstreamer-plugins-base1.0-dev is not here")
    sample = plain.target("gstreamer", "samples/gstreamer")
    source = "videotestsrc num-buffers=3 ! video/x-raw,width=320,height=240,framerate=25/1"
    done = subprocess.run([sample, STREET, source], capture_output=True, text=True)
    if "no element" in done.stderr:
        pytest.skip("samples/c/gstreamer.c is compiled but not run: gstreamer1.0-plugins-base is not here")
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["key", "prop", "prop"]
