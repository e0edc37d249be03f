"""CUDA graphs: the work of one step, captured once, then launched as one call."""

from collections.abc import Callable
from typing import Any

from gsvnet_engine.cuda.driver import api, call, release
from gsvnet_engine.cuda.streams import Stream


class Graph:
    """What `work` gives to `stream`, captured (not run). Everything it touches must outlive the graph."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        # Thread-local: the decode thread goes on copying while this thread captures.
        mode = api().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._executable: Any = None
        call("cuStreamBeginCapture", stream.handle, mode)
        try:
            work()
        except BaseException:
            self._abandon(stream)
            raise
        graph = call("cuStreamEndCapture", stream.handle)
        try:
            self._executable = call("cuGraphInstantiate", graph, 0)
        finally:
            release("cuGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Run it in the stream's order."""
        call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        if self._executable is not None:
            release("cuGraphExecDestroy", self._executable)
            self._executable = None

    @staticmethod
    def _abandon(stream: Stream) -> None:
        """End the capture of a step that failed half-way: a stream left capturing takes no other work."""
        status, *graph = api().cuStreamEndCapture(stream.handle)
        if not int(status) and graph:
            release("cuGraphDestroy", graph[0])
