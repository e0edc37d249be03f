"""Memory over long runs of the whole pipeline: decode, segment, overlay, encode.

GSVNET_SOAK_FRAMES: fewer frames, for a try.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from gsvnet_engine.bundle import MANIFEST, Bundle
from tests import media

pytestmark = pytest.mark.long

FRAMES = int(os.environ.get("GSVNET_SOAK_FRAMES", "100000"))
SETTLED = 2000  # frames after which nothing may grow
_RUN = """
import json, resource, sys
from pathlib import Path
from gsvnet_engine import Segmenter
from gsvnet_engine.pipeline import run_video
from gsvnet_engine.sinks import SinkContext, SinkOptions, open_sink
from gsvnet_engine.telemetry import StageTimes
from gsvnet_engine.video import open_source

bundle, video, targets, options, marks = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
resident = {}

def watch(segmentation, comparison, frames):
    if frames in marks:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident[frames] = pages * resource.getpagesize() / 2**20
    return True

segmenter, times = Segmenter(bundle, **options), StageTimes()
with open_source(video) as source:
    options = SinkOptions(encoder_preset="ultrafast")
    context = SinkContext(classes=segmenter.bundle.manifest.classes, source=source, times=times, options=options)
    sinks = [open_sink(target, context) for target in targets]
    tally = run_video(source, segmenter, sinks, watch=watch, times=times)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps({"frames": tally.frames, "resident_mib": resident, "peak_mib": peak}))
"""


def run(bundle: str, video: Path, targets: list[str], options: dict[str, Any], marks: list[int]) -> Any:
    given = [bundle, str(video), *map(json.dumps, (targets, options, marks))]
    done = subprocess.run([sys.executable, "-c", _RUN, *given], check=True, capture_output=True, text=True)
    facts = json.loads(done.stdout)
    print(facts)
    return facts


def small_street(folder: Path) -> str:
    """`street`, its networks and our operations, at a working size that is soon done with."""
    copytree(Bundle.open("street").path, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["working_size"] = {"short_side": 96}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return str(folder)


def test_memory_stays_where_it_is(tmp_path: Path) -> None:
    clip = media.write_video(tmp_path / "clip.mp4", frames=20, height=360, width=480, keyframe_every=20)
    video = media.repeat(tmp_path / "long.mp4", clip, FRAMES // 20)
    targets = [str(tmp_path / name) for name in ("o.mp4", "o.jsonl")]
    options = {"backend": "openvino", "threads": 1, "interval": 50}
    facts = run(
        small_street(tmp_path / "bundle"),
        video,
        targets,
        options,
        sorted({SETTLED, *range(0, FRAMES, max(FRAMES // 10, 1)), FRAMES}),
    )
    assert facts["frames"] == FRAMES
    before, after = (facts["resident_mib"][str(mark)] for mark in (SETTLED, FRAMES))
    assert abs(after - before) < 20


@pytest.mark.parametrize("lanes", [1, 2])
def test_peak_at_2048x1024(tmp_path: Path, lanes: int) -> None:
    clip = media.write_video(tmp_path / "clip.mp4", frames=20, height=1024, width=2048)
    frames = min(FRAMES, 2000)
    video = media.repeat(tmp_path / "long.mp4", clip, frames // 20)
    options = {"backend": "openvino", "threads": 2 // lanes, "lanes": lanes, "interval": 4}
    facts = run("street", video, [str(tmp_path / "o.mp4")], options, [])
    assert facts["frames"] == frames
    assert facts["peak_mib"] < 1200
