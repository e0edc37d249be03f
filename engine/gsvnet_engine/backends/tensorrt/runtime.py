"""A video of one size through both networks, its state on the device.

    upload      pinned planes ──▶ device             two slots, filled by the decode thread
    compute     planes ──▶ i_t, and on keyframes the picture; then one CUDA graph: network, labels
    download    labels uint8 ──▶ pinned              two buffers
    ahead       (optional) the next keyframe's picture ──▶ its scores, beside the frames before it

S_t and i_t have two buffers each, by the parity of the frame: a step reads one and writes the other, so nothing is
copied between steps, and a step that fails has touched nothing that the next one reads. Scores never leave the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine.backends.tensorrt.order import Edge, drain, settle, wait
from gsvnet_engine.backends.tensorrt.picture import Preparer
from gsvnet_engine.backends.tensorrt.steps import Kind, Network, Steps
from gsvnet_engine.backends.tensorrt.uploads import Staged, Uploads
from gsvnet_engine.cuda.device import Context
from gsvnet_engine.cuda.memory import DeviceArray, DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.modules import Kernel
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Event, Stream
from gsvnet_engine.errors import UsageError
from gsvnet_engine.frames import DevicePlane, Frame
from gsvnet_engine.geometry import Sizes

PARITIES = 2
FLOAT = 4  # bytes


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """gsvnet_prepare and gsvnet_labels of plugins/kernels."""

    prepare: Kernel
    labels: Kernel


class Parity:
    """The buffers of every second frame: what a step writes, and the next one reads."""

    def __init__(self, scope: Scope, sizes: Sizes, classes: int) -> None:
        cells, pixels = sizes.grid[0] * sizes.grid[1], sizes.source[0] * sizes.source[1]
        self.current = scope.keep(DeviceBuffer(3 * cells * FLOAT, "the picture at 1/8"))
        self.scores = scope.keep(DeviceBuffer(classes * cells * FLOAT, "scores"))
        self.labels = scope.keep(DeviceBuffer(pixels, "labels"))
        self.pinned = scope.keep(PinnedBuffer(pixels, "labels"))
        self.started, self.computed = scope.keep(Event(timed=True)), scope.keep(Event(timed=True))
        self.downloaded, self.outside = scope.keep(Event()), scope.keep(Event())
        self.pending: Pending | None = None
        self.frame: Frame | None = None  # of a frame from outside: its memory, until it was read


class Pending:
    """A frame that was given to the device: its labels on their way to the host, unless they stay there.

    stage: "keyframe", "propagate", or "adopt" for a keyframe computed ahead.
    """

    def __init__(self, parity: Parity, shape: tuple[int, int], context: Context, stage: str) -> None:
        self._parity, self._shape, self._context = parity, shape, context
        self._labels: NDArray[np.uint8] | None = None
        self.stage, self.step_ms = stage, 0.0

    def labels(self) -> NDArray[np.uint8]:
        """[H,W] uint8, the caller's own. Waits for them; afterwards `step_ms` is what the step took on the device."""
        if self._labels is None:
            parity = self._parity
            with self._context.current():
                settle(Edge.TAKE_AFTER_DOWNLOAD, parity.downloaded)
                self.step_ms = parity.computed.ms_since(parity.started)
            self._labels = parity.pinned.bytes.reshape(self._shape).copy()
            parity.pending = None
        return self._labels


class _Ahead:
    """The next keyframe: its stream, what it leaves, and which frame it is of."""

    def __init__(self, scope: Scope, sizes: Sizes, classes: int) -> None:
        cells = sizes.grid[0] * sizes.grid[1]
        self.current = scope.keep(DeviceBuffer(3 * cells * FLOAT, "the picture at 1/8"))
        self.scores = scope.keep(DeviceBuffer(classes * cells * FLOAT, "scores"))
        self.prepared, self.done = scope.keep(Event()), scope.keep(Event())
        self.stream = scope.keep(Stream(low_priority=True))
        self.token: object | None = None


class Video:
    """Frames in, labels out, in order. From one thread; `stage` alone may be called from another."""

    def __init__(
        self,
        context: Context,
        networks: tuple[Network, Network],
        kernels: Kernels,
        sizes: Sizes,
        classes: int,
        *,
        compute: Stream,
        ahead: bool = False,
        say: Callable[[str], None],
    ) -> None:
        """networks: keyframe and propagate, and the stream that they run on, which this does not own. The context must
        be current."""
        self._context, self._sizes, self._classes = context, sizes, classes
        height, width = sizes.keyframe
        with Scope() as scope:
            self._scope = scope
            self._parities = [Parity(scope, sizes, classes) for _ in range(PARITIES)]
            self._picture = scope.keep(DeviceBuffer(3 * height * width * FLOAT, "the keyframe's picture"))
            self._preparer = scope.keep(Preparer(kernels.prepare))
            self._upload, self._compute, self._download = scope.keep(Stream()), compute, scope.keep(Stream())
            self._ahead = _Ahead(scope, sizes, classes) if ahead else None
            self._staged = scope.keep(Uploads(context, self._upload))  # the decode thread's
            self._own = scope.keep(Uploads(context, self._upload))  # of frames that were not staged
            self._steps = scope.keep(
                Steps(networks, kernels.labels, sizes, classes, self._compute, self._picture, say)
            )
            try:
                self._add_steps()
            except BaseException:
                self._drain()
                raise
        self._turn = 0  # the parity that the next frame writes
        self._seen: PinnedBuffer | None = None  # scores on the host, once they were asked for

    @property
    def stream(self) -> Stream:
        """The compute stream."""
        return self._compute

    def stage(self, frame: Frame) -> Staged | None:
        """Start the frame on its way to the device. In the decode thread; None where nobody will use it."""
        return None if frame.device_planes else self._staged.stage(frame)

    def compute_ahead(self, frame: Frame, token: object) -> None:
        """Run the image network on a frame that will be a keyframe, beside the frames before it.

        `token`: what the frame's own `submit` is told, to find the result.
        """
        ahead = self._ahead
        if ahead is None:
            return
        with self._context.current():
            ahead.token = None
            # Prepared in the compute stream's order: the frame's slot is free again soon, however long this takes.
            wait(Edge.KEYFRAME_AFTER_AHEAD, self._compute, ahead.done)
            self._prepare(frame, self._compute, ahead.current, self._parities[self._turn], picture=True)
            ahead.prepared.record(self._compute)
            wait(Edge.AHEAD_AFTER_PREPARE, ahead.stream, ahead.prepared)
            self._steps.run("ahead", self._parities[0], ahead.stream)
            ahead.done.record(ahead.stream)
            ahead.token = token

    def submit(
        self, frame: Frame, *, keyframe: bool, token: object | None = None, out: DeviceArray | None = None
    ) -> Pending:
        """Give the frame to the device and return without waiting for it.

        out: uint8 [H,W] on the device, packed, which takes the labels; they do not come to the host then. A frame that
        raises leaves the state as it was.
        """
        parity = self._parities[self._turn]
        if parity.pending is not None:
            parity.pending.labels()  # its pinned buffer is about to be written again
        with self._context.current():
            if parity.frame is not None:
                settle(Edge.RELEASE_AFTER_PREPARE, parity.computed)
            parity.frame = frame if frame.device_planes else None
            parity.started.record(self._compute)
            ahead = self._ahead
            if keyframe and ahead is not None and token is not None and token is ahead.token:
                stage = self._adopt(ahead, parity)
            else:
                stage = self._step(frame, parity, keyframe=keyframe)
            if out is not None:
                self._hand_over(parity, out)
            parity.computed.record(self._compute)
            if out is None:
                wait(Edge.DOWNLOAD_AFTER_LABELS, self._download, parity.computed)
                parity.labels.download(parity.pinned, parity.labels.size, self._download)
                parity.downloaded.record(self._download)
        self._turn = (self._turn + 1) % PARITIES
        pending = Pending(parity, self._sizes.source, self._context, stage)
        if out is None:
            parity.pending = pending
        return pending

    def scores(self, back: int = 0) -> NDArray[np.float32]:
        """S_t [1,C,h,w] of the last frame submitted, or the one before it (`back` 1), on the host. For evaluation."""
        parity = self._parities[(self._turn - 1 - back) % PARITIES]
        with self._context.current():
            if self._seen is None:
                self._seen = self._scope.keep(PinnedBuffer(parity.scores.size, "scores"))
            parity.scores.download(self._seen, parity.scores.size, self._compute)
            settle(Edge.SCORES_AFTER_STEP, self._compute)
        found = self._seen.bytes.view(np.float32).copy()
        return found.reshape(1, self._classes, *self._sizes.grid)

    def let_go(self) -> None:
        """Forget frames that were staged and not submitted, and a keyframe computed ahead."""
        self._staged.let_go()
        if self._ahead is not None:
            self._ahead.token = None

    def resume(self) -> None:
        """Staging begins anew."""
        self._staged.resume()

    def settle(self) -> None:
        """Wait for all that was given to the device."""
        with self._context.current():
            for stream in self._streams():
                settle(Edge.RUN_AFTER_FRAMES, stream)

    def close(self) -> None:
        """Free everything, its work done. A lost device is no reason to keep the rest."""
        self._staged.let_go()
        with self._context.quietly_current():
            self._drain()
            self._scope.close()

    def _add_steps(self) -> None:
        for parity, other in zip(self._parities, reversed(self._parities), strict=True):
            self._steps.add(parity, other)
        if self._ahead is not None:
            self._steps.add_ahead(self._ahead.stream, self._ahead.current, self._ahead.scores, self._parities)

    def _drain(self) -> None:
        for stream in self._streams():
            drain(Edge.FREE_AFTER_WORK, stream)

    def _streams(self) -> list[Stream]:
        ahead = [] if self._ahead is None else [self._ahead.stream]
        return [self._upload, *ahead, self._compute, self._download]

    def _step(self, frame: Frame, parity: Parity, *, keyframe: bool) -> Kind:
        """In the frame's own time: prepare, network, labels."""
        kind: Kind = "keyframe" if keyframe else "propagate"
        if keyframe and self._ahead is not None:
            wait(Edge.KEYFRAME_AFTER_AHEAD, self._compute, self._ahead.done)
        self._prepare(frame, self._compute, parity.current, parity, picture=keyframe)
        self._steps.run(kind, parity, self._compute)
        return kind

    def _adopt(self, ahead: _Ahead, parity: Parity) -> Kind:
        """A keyframe whose network has run ahead: copy what it left, and make the labels."""
        wait(Edge.ADOPT_AFTER_AHEAD, self._compute, ahead.done)
        self._steps.run("adopt", parity, self._compute)
        ahead.token = None
        return "adopt"

    def _prepare(
        self, frame: Frame, stream: Stream, current: DeviceBuffer, parity: Parity, *, picture: bool
    ) -> None:
        """The frame at 1/8 into `current`, and for the image network into its picture."""
        if frame.device_planes:
            self._prepare_outside(frame, stream, current, parity, picture=picture)
            return
        uploads = self._staged if self._staged.holds(frame.staged) else self._own
        staged = frame.staged if uploads is self._staged else uploads.stage(frame)
        if not isinstance(staged, Staged):
            raise UsageError("the video was closed while a frame was given to it")
        self._fill(frame, uploads.planes(staged, stream), stream, current, picture=picture)
        uploads.used(staged, stream)

    def _prepare_outside(
        self, frame: Frame, stream: Stream, current: DeviceBuffer, parity: Parity, *, picture: bool
    ) -> None:
        """A picture that lies on the device already, where others write it."""
        if frame.device_stream is None:
            self._fill(frame, frame.device_planes, stream, current, picture=picture)
            return
        outside = Stream(external=frame.device_stream)
        parity.outside.record(outside)
        wait(Edge.PREPARE_AFTER_OUTSIDE, stream, parity.outside)
        self._fill(frame, frame.device_planes, stream, current, picture=picture)
        parity.outside.record(stream)
        wait(Edge.OUTSIDE_AFTER_PREPARE, outside, parity.outside)

    def _fill(
        self,
        frame: Frame,
        planes: Sequence[DevicePlane],
        stream: Stream,
        current: DeviceBuffer,
        *,
        picture: bool,
    ) -> None:
        self._preparer.prepare(stream, frame, planes, "area", self._sizes.grid, current)
        if picture:
            self._preparer.prepare(stream, frame, planes, "bilinear", self._sizes.keyframe, self._picture)

    def _hand_over(self, parity: Parity, out: DeviceArray) -> None:
        """Labels into memory on the device that others read."""
        height, width = self._sizes.source
        if out.shape != (height, width) or out.dtype != np.uint8 or out.strides != (width, 1):
            raise UsageError(
                f"labels need uint8 [{height},{width}], packed, not {out.dtype} {list(out.shape)}"
            )
        parity.labels.copy_to(out.address, self._compute)
        if out.stream is not None:
            parity.outside.record(self._compute)
            wait(Edge.OUTSIDE_AFTER_LABELS, Stream(external=out.stream), parity.outside)
