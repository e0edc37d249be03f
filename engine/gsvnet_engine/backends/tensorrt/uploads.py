"""Pictures on their way to the device: two pinned buffers, filled by the decode thread, and their copies there."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, Lock

from gsvnet_engine.backends.tensorrt.order import Edge, settle, wait
from gsvnet_engine.backends.tensorrt.picture import Layout
from gsvnet_engine.cuda.device import Context
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Event, Stream
from gsvnet_engine.frames import DevicePlane, Frame

SLOTS = 2  # one is copied to the device while the host fills the other
_POLL_S = 0.1


class _Slot:
    """A pinned buffer and its double on the device, both grown as needed."""

    def __init__(self) -> None:
        self.pinned: PinnedBuffer | None = None
        self.device: DeviceBuffer | None = None
        with Scope() as scope:
            self._scope = scope
            self.uploaded, self.consumed = scope.keep(Event()), scope.keep(Event())
        self.taken = False
        self.filling = Lock()  # a decode thread that was let go may still be at it

    def reserve(self, size: int) -> tuple[PinnedBuffer, DeviceBuffer]:
        if self.pinned is None or self.device is None or self.device.size < size:
            settle(Edge.GROW_AFTER_PREPARE, self.consumed)
            self._free()
            self.pinned = PinnedBuffer(size, "a picture")
            self.device = DeviceBuffer(size, "a picture")
        return self.pinned, self.device

    def close(self) -> None:
        self._free()
        self._scope.close()

    def _free(self) -> None:
        for buffer in (self.pinned, self.device):
            if buffer is not None:
                buffer.close()
        self.pinned = self.device = None


@dataclass(frozen=True)
class Staged:
    """A picture in a slot, its copy under way. Used once; worthless after `Uploads.let_go`."""

    owner: "Uploads"
    slot: _Slot
    planes: tuple[DevicePlane, ...]
    round: int


class Uploads:
    """Stages pictures in turn. `stage` may be called from any one thread, the rest from the thread of the networks."""

    def __init__(self, context: Context, stream: Stream) -> None:
        self._context, self._stream = context, stream
        self._slots: list[_Slot] = []
        self._changed = Condition()
        self._next = self._round = 0
        self._open = True
        try:
            for _ in range(SLOTS):
                self._slots.append(_Slot())
        except BaseException:
            self.close()
            raise

    def stage(self, frame: Frame) -> Staged | None:
        """Copy the frame into the next slot and start its way to the device.

        Waits for the slot's last picture to be submitted; None where that will not happen any more (`let_go`).
        """
        taken = self._take()
        if taken is None:
            return None
        slot, this_round = taken
        try:
            with slot.filling, self._context.current():
                layout = Layout.of(frame)
                settle(Edge.REFILL_AFTER_UPLOAD, slot.uploaded)
                pinned, device = slot.reserve(layout.size)
                layout.pack(frame, pinned.bytes)
                wait(Edge.UPLOAD_AFTER_PREPARE, self._stream, slot.consumed)
                device.upload(pinned, layout.size, self._stream)
                slot.uploaded.record(self._stream)
                return Staged(self, slot, layout.planes(frame, device.address), this_round)
        except BaseException:
            self._give_back(slot, this_round)
            raise

    def planes(self, staged: Staged, stream: Stream) -> Sequence[DevicePlane]:
        """The picture's planes, to be read by what `stream` is given from now on; `used` must follow."""
        wait(Edge.PREPARE_AFTER_UPLOAD, stream, staged.slot.uploaded)
        return staged.planes

    def used(self, staged: Staged, stream: Stream) -> None:
        """`stream` has been given all that reads the picture: its slot may be filled again."""
        staged.slot.consumed.record(stream)
        self._give_back(staged.slot, staged.round)

    def holds(self, staged: object) -> bool:
        """Whether it is a picture staged here, and still good."""
        return isinstance(staged, Staged) and staged.owner is self and staged.round == self._round

    def let_go(self) -> None:
        """Forget what is staged and not submitted; a `stage` that waits returns None, until `resume`."""
        with self._changed:
            self._open = False
            self._round += 1
            self._next = 0
            for slot in self._slots:
                slot.taken = False
            self._changed.notify_all()

    def resume(self) -> None:
        with self._changed:
            self._open = True

    def close(self) -> None:
        self.let_go()
        for slot in self._slots:
            slot.close()
        self._slots.clear()

    def _take(self) -> tuple[_Slot, int] | None:
        with self._changed:
            this_round = self._round
            while self._slots and self._slots[self._next].taken and self._open and this_round == self._round:
                self._changed.wait(_POLL_S)
            if not self._slots or not self._open or this_round != self._round:
                return None
            slot = self._slots[self._next]
            slot.taken = True
            self._next = (self._next + 1) % len(self._slots)
            return slot, this_round

    def _give_back(self, slot: _Slot, this_round: int) -> None:
        with self._changed:
            if this_round == self._round:
                slot.taken = False
                self._changed.notify_all()
