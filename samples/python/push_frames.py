"""Frames that your own program already has, one at a time: here from OpenCV, as a camera would give them.

python samples/python/push_frames.py road.mp4
"""

import sys

import cv2
import numpy as np

from gsvnet_engine import Frame, Segmenter


def main(video: str) -> None:
    segmenter = Segmenter("street", interval=4)
    capture = cv2.VideoCapture(video)
    fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
    index = 0
    while True:
        there, picture = capture.read()  # BGR [H,W,3] uint8
        if not there:
            break
        frame = Frame.from_bgr(np.asarray(picture, np.uint8), index=index, pts_s=index / fps)
        segmentation = segmenter.push(frame)
        kind = "keyframe" if segmentation.is_keyframe else "propagated"
        print(f"{index:5d} {kind:10s} {sum(segmentation.stages_ms.values()):6.1f} ms")
        index += 1


if __name__ == "__main__":
    main(sys.argv[1])
