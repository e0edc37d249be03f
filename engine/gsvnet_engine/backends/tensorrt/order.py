"""The order between streams, and between them and the host: every edge has a name.

upload, compute, download and (with `ahead`) the stream of the next keyframe run side by side; what one leaves for
another is ordered by these edges and by nothing else. The tests take away one at a time, and each is missed.

Labels need no edge back from their download to the compute stream: a frame is given to the device only after the
labels of the frame before the last were taken (Pending), and those use the same buffer.
"""

from enum import Enum

from gsvnet_engine.cuda.streams import Event, Stream


class Edge(Enum):
    """later after earlier, and why."""

    REFILL_AFTER_UPLOAD = "the host fills a pinned buffer again after it was copied to the device"
    UPLOAD_AFTER_PREPARE = "planes on the device are overwritten after they were read"
    PREPARE_AFTER_UPLOAD = "planes are read after they have arrived"
    DOWNLOAD_AFTER_LABELS = "labels come down after they were computed"
    TAKE_AFTER_DOWNLOAD = "the host reads labels after they came down"
    ADOPT_AFTER_AHEAD = "a keyframe's scores are used after they were computed ahead"
    AHEAD_AFTER_ADOPT = "the next keyframe is computed ahead after the last one's scores were copied away"
    AHEAD_AFTER_KEYFRAME = "the image network runs ahead after it has run in a frame's own time"
    KEYFRAME_AFTER_AHEAD = "the image network runs in a frame's own time after it has run ahead"
    PREPARE_AFTER_OUTSIDE = "a picture that others write is read after they wrote it"
    OUTSIDE_AFTER_PREPARE = "others write that picture anew after it was read"
    RELEASE_AFTER_PREPARE = "a picture given from outside is let go after it was read"
    OUTSIDE_AFTER_LABELS = "others read labels in their memory after they were written"


def wait(edge: Edge, stream: Stream, event: Event) -> None:
    """What `stream` is given from now on runs after `event`."""
    stream.wait(event)


def settle(edge: Edge, event: Event) -> None:
    """The host goes on after `event`."""
    event.settle()
