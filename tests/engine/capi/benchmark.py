"""libgsvnet's speed against the Python engine's: frames/s of both over the same decoded frames, in alternating pairs.

python -m tests.engine.capi.benchmark build/c/libgsvnet.so $GSVNET_DATA/clips/udacity_vehdet_test_video.mp4

Both run in one process, one after the other, with the same OpenVINO and threads. Decoding is not measured, the
library is called through ctypes, and each pair turns the order round. Exits with 1 where the median ratio is below
0.97.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

from gsvnet_engine import Frame, Segmenter
from gsvnet_engine.video import SourceOptions, open_source
from samples.c import gsvnet_ctypes as c
from tests.engine.capi.conftest import STREET
from tests.engine.capi.test_parity import c_frame

LEAST = 0.97


def rate(push: Callable[[int], object], frames: int) -> float:
    """Frames per second."""
    start = perf_counter()
    for index in range(frames):
        push(index)
    return frames / (perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library")
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()

    with open_source(options.clip, SourceOptions(max_frames=options.frames)) as source:
        frames: Sequence[Frame] = list(source)
    given = [c_frame(frame, "yuv420p", [plane.data for plane in frame.planes]) for frame in frames]
    segmenter = Segmenter(STREET, backend="openvino", threads=options.threads)
    with c.Engine(options.library, str(STREET), threads=options.threads or 0) as engine:

        def python() -> float:
            segmenter.reset()
            return rate(lambda index: segmenter.push(frames[index]), len(frames))

        def library() -> float:
            engine.call("reset", engine.pointer)
            return rate(lambda index: engine.push(given[index]), len(frames))

        python(), library()  # compile, and warm up
        ratios = []
        for pair in range(options.pairs):
            if pair % 2:
                ours, theirs = library(), python()
            else:
                theirs, ours = python(), library()
            ratios.append(ours / theirs)
            print(
                f"pair {pair + 1:2}: Python {theirs:6.2f}, libgsvnet {ours:6.2f} frames/s, ratio {ratios[-1]:.3f}"
            )
    median = statistics.median(ratios)
    print(f"median ratio of {len(ratios)} pairs: {median:.3f} (at least {LEAST} is wanted)")
    return int(median < LEAST)


if __name__ == "__main__":
    raise SystemExit(main())
