"""How much of the picture is road, and how much is car? Prints both for every second of a video.

python samples/python/class_shares.py road.mp4
"""

import sys

from gsvnet_engine import Segmenter


def main(video: str) -> None:
    segmenter = Segmenter("street")
    names = [c.name for c in segmenter.bundle.manifest.classes]
    road, car = names.index("Road"), names.index("Car")
    next_s = 0.0
    for segmentation in segmenter.stream(video, interval=4):
        if segmentation.pts_s >= next_s:
            shares = segmentation.class_shares()
            print(f"{segmentation.pts_s:6.1f} s  road {shares[road]:5.1%}  car {shares[car]:5.1%}")
            next_s += 1.0


if __name__ == "__main__":
    main(sys.argv[1])
