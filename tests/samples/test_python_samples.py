"""The Python samples run on the clip beside them, with the shipped bundle."""

import runpy
import sys
from pathlib import Path

import av
import pytest

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The first 6 frames of samples/street.mp4 at a quarter of its size."""
    path = tmp_path / "clip.mp4"
    with av.open(str(SAMPLES / "street.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for _, frame in zip(range(6), source.decode(video=0), strict=False):
            target.mux(stream.encode(frame.reformat(160, 90, "yuv420p")))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["class_shares", "push_frames", "own_sink"])
def test_sample_runs(
    name: str, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = clip.with_suffix(".csv")
    arguments = [str(clip), str(table)] if name == "own_sink" else [str(clip)]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(SAMPLES / "python" / f"{name}.py"), run_name="__main__")
    if name == "own_sink":
        assert len(table.read_text().splitlines()) == 7
    else:
        assert capsys.readouterr().out.count("\n") == (6 if name == "push_frames" else 1)
