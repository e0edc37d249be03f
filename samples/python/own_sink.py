"""A sink of your own: whatever should happen to a segmented frame. This one writes class shares as CSV.

python samples/python/own_sink.py road.mp4 shares.csv
"""

import csv
import sys
from pathlib import Path
from typing import TextIO

from gsvnet_engine import Segmentation, Segmenter


class CsvSink:
    """A row a frame: its time, whether it was a keyframe, and the share of each class."""

    def __init__(self, file: TextIO, classes: list[str]) -> None:
        self._rows = csv.writer(file)
        self._rows.writerow(["pts_s", "keyframe", *classes])

    def write(self, segmentation: Segmentation) -> None:
        shares = [f"{share:.4f}" for share in segmentation.class_shares()]
        self._rows.writerow([f"{segmentation.pts_s:.3f}", int(segmentation.is_keyframe), *shares])


def main(video: str, target: str) -> None:
    segmenter = Segmenter("street")
    with Path(target).open("w", newline="") as file:
        sink = CsvSink(file, [c.name for c in segmenter.bundle.manifest.classes])
        for segmentation in segmenter.stream(video, interval=4):
            sink.write(segmentation)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
