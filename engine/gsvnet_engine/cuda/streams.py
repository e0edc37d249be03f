"""Streams and events. Work on one stream runs in order; only an event orders work on two."""

from typing import Any

from gsvnet_engine.cuda.driver import api, call, release


class Event:
    """A point in a stream's work. `timed`: it also notes when it is reached."""

    def __init__(self, *, timed: bool = False) -> None:
        flags = api().CUevent_flags
        kind = flags.CU_EVENT_DEFAULT if timed else flags.CU_EVENT_DISABLE_TIMING
        self._handle: Any = call("cuEventCreate", kind)

    def record(self, stream: "Stream") -> None:
        """It is reached when all that `stream` was given so far is done."""
        call("cuEventRecord", self._handle, stream.handle)

    def settle(self) -> None:
        """Wait here, on the host, until it is reached; at once if it was never recorded."""
        call("cuEventSynchronize", self._handle)

    def ms_since(self, earlier: "Event") -> float:
        """Milliseconds between the two, both timed and reached."""
        return float(call("cuEventElapsedTime", earlier.handle, self._handle))

    @property
    def handle(self) -> Any:
        return self._handle

    def close(self) -> None:
        if self._handle is not None:
            release("cuEventDestroy", self._handle)
            self._handle = None


class Stream:
    """A queue of device work. `external`: somebody else's stream, as its handle; never destroyed here."""

    def __init__(self, *, low_priority: bool = False, external: int | None = None) -> None:
        self._owned = external is None
        self.handle: Any
        if external is not None:
            self.handle = api().CUstream(external)
            return
        least, _ = call("cuCtxGetStreamPriorityRange")  # 0, and a negative number that goes first
        flags = api().CUstream_flags.CU_STREAM_NON_BLOCKING
        self.handle = call("cuStreamCreateWithPriority", flags, least if low_priority else _middle())

    def wait(self, event: Event) -> None:
        """What is given to this stream from now on runs after `event`, as last recorded, is reached."""
        call("cuStreamWaitEvent", self.handle, event.handle, 0)

    def settle(self) -> None:
        """Wait here, on the host, until all of its work is done."""
        call("cuStreamSynchronize", self.handle)

    def drain(self) -> None:
        """As `settle`, before freeing: goes on where the device is lost."""
        release("cuStreamSynchronize", self.handle)

    def close(self) -> None:
        if self.handle is not None and self._owned:
            release("cuStreamDestroy", self.handle)
        self.handle = None


def _middle() -> int:
    """The priority of everything that a frame waits for: above that of work done ahead."""
    least, greatest = call("cuCtxGetStreamPriorityRange")
    return max(int(greatest), int(least) - 1)
