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
    GROW_AFTER_PREPARE = "buffers for planes are replaced by larger ones after they were read"
    PREPARE_AFTER_UPLOAD = "planes are read after they have arrived"
    DOWNLOAD_AFTER_LABELS = "labels come down after they were computed"
    TAKE_AFTER_DOWNLOAD = "the host reads labels after they came down"
    START_AFTER_TRIAL = "networks run on frames after their trial runs, which use the same scratch memory"
    AHEAD_AFTER_PREPARE = (
        "the image network runs ahead after its picture was prepared, and after all before that"
    )
    ADOPT_AFTER_AHEAD = "a keyframe's scores are used after they were computed ahead"
    KEYFRAME_AFTER_AHEAD = (
        "the image network, or what it reads, is used in a frame's own time after it has run ahead"
    )
    PREPARE_AFTER_OUTSIDE = "a picture that others write is read after they wrote it"
    OUTSIDE_AFTER_PREPARE = "others write that picture anew after it was read"
    RELEASE_AFTER_PREPARE = "a picture given from outside is let go after it was read"
    OUTSIDE_AFTER_LABELS = "others read labels in their memory after they were written"
    SCORES_AFTER_STEP = "the host reads scores after they came down"
    ARRAYS_AFTER_RUN = "the host reads a single run's outputs after they came down"
    RUN_AFTER_FRAMES = "a network runs on arrays after it has run on frames, ahead or not"
    FREE_AFTER_WORK = "memory is freed after all work on it is done"


def wait(edge: Edge, stream: Stream, event: Event) -> None:
    """What `stream` is given from now on runs after `event`."""
    stream.wait(event)


def settle(edge: Edge, what: Event | Stream) -> None:
    """The host goes on after the event, or after all that the stream was given."""
    what.settle()


def drain(edge: Edge, stream: Stream) -> None:
    """As `settle`, where things are freed: goes on where the device is lost."""
    stream.drain()
