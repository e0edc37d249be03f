"""A window that shows the overlay while it is made."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from gsvnet_engine.overlay import Bytes, Painter
from gsvnet_engine.sinks.base import Comparison, SinkContext

if TYPE_CHECKING:
    from gsvnet_engine.segmenter import Segmentation

_TITLE = "gsvnet-engine (q quits)"
_QUIT_KEYS = (ord("q"), ord("Q"), 27)


class Viewer:
    """Shows results one by one. For the main thread: window systems promise to serve no other."""

    def __init__(self, context: SinkContext) -> None:
        options = context.options
        self._painter = Painter(context.classes, alpha=options.alpha, legend=options.legend)
        self._captions = context.captions

    def show(self, segmentation: "Segmentation", comparison: Comparison | None = None) -> bool:
        """Whether to go on: not after q, Escape or the closing of the window."""
        panes = [
            self._picture(segmentation, segmentation.labels, self._captions[0] if self._captions else "")
        ]
        if comparison is not None:
            right = self._captions[1] if self._captions else ""
            caption = f"{right}   agreement {comparison.agreement:.1%}"
            panes.append(self._picture(segmentation, comparison.labels, caption))
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.imshow(_TITLE, np.hstack(panes))
        key = cv2.waitKey(1) & 0xFF
        return key not in _QUIT_KEYS and cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        cv2.destroyAllWindows()

    def _picture(self, segmentation: "Segmentation", labels: Bytes, caption: str) -> Bytes:
        """BGR [H,W,3], both even; the window's colours are BT.601's, near enough to look at."""
        frame = segmentation.frame
        height, width = frame.height, frame.width
        rows, columns = -(-height // 2), -(-width // 2)
        y = np.zeros((2 * rows, 2 * columns), np.uint8)
        u, v = np.empty((rows, columns), np.uint8), np.empty((rows, columns), np.uint8)
        self._painter.paint(frame, labels, (y[:height, :width], u, v), caption=caption)
        stacked = np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(3 * rows, 2 * columns)
        return np.asarray(cv2.cvtColor(stacked, cv2.COLOR_YUV2BGR_I420), np.uint8)
