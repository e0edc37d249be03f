"""The steps of a frame as CUDA graphs, captured once for each of the two sets of buffers.

    keyframe    picture ──▶ image network ──▶ scores ──▶ labels
    propagate   i_t, i_{t-1}, S_{t-1} ──▶ PF ──▶ S_t ──▶ labels
    ahead       picture ──▶ image network ──▶ scores, kept apart
    adopt       what `ahead` left ──▶ i_t, S_t ──▶ labels

Both networks are small enough for launching to cost as much as computing; a graph is one launch.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from gsvnet_engine.backends.tensorrt.order import Edge, settle
from gsvnet_engine.cuda.driver import DriverError
from gsvnet_engine.cuda.graphs import Graph
from gsvnet_engine.cuda.memory import DeviceBuffer
from gsvnet_engine.cuda.modules import Kernel
from gsvnet_engine.cuda.streams import Stream
from gsvnet_engine.errors import BackendError
from gsvnet_engine.geometry import Sizes

if TYPE_CHECKING:
    from gsvnet_engine.backends.tensorrt.runtime import Parity

Kind = Literal["keyframe", "propagate", "ahead", "adopt"]
Work = Callable[[], None]


class Network(Protocol):
    """A graph of the bundle, ready to run: never on two streams at once. capturable: a CUDA graph can hold it."""

    capturable: bool

    def enqueue(self, stream: Stream, addresses: Mapping[str, int]) -> None:
        """Put it on the stream, reading and writing device memory at `addresses` (tensor -> address)."""
        ...

    def close(self) -> None:
        """Free it; its work must be done."""
        ...


class Steps:
    """Runs a step as its graph, or, where a network cannot be captured, piece by piece."""

    def __init__(
        self,
        networks: tuple[Network, Network],
        labels: Kernel,
        sizes: Sizes,
        classes: int,
        compute: Stream,
        picture: DeviceBuffer,
        say: Callable[[str], None],
    ) -> None:
        self._image, self._propagation = networks
        self._labels, self._sizes, self._classes = labels, sizes, classes
        self._compute, self._picture, self._say = compute, picture, say
        self._works: dict[tuple[Kind, Parity], Work] = {}
        self._graphs: dict[tuple[Kind, Parity], Graph] = {}

    def add(self, parity: "Parity", other: "Parity") -> None:
        """keyframe and propagate into `parity`, the frame before being in `other`."""

        def keyframe() -> None:
            self._run_image(self._compute, parity.scores)
            self._make_labels(parity)

        def propagate() -> None:
            addresses = {
                "current": parity.current.address,
                "previous": other.current.address,
                "scores": other.scores.address,
                "propagated": parity.scores.address,
            }
            self._propagation.enqueue(self._compute, addresses)
            self._make_labels(parity)

        for buffer in (self._picture, other.current, other.scores, parity.current):
            buffer.clear(self._compute)  # the trial run must read something
        self._capture("keyframe", parity, self._compute, keyframe)
        self._capture("propagate", parity, self._compute, propagate)

    def add_ahead(
        self, stream: Stream, current: DeviceBuffer, scores: DeviceBuffer, parities: "list[Parity]"
    ) -> None:
        """ahead, on `stream`, into current and scores; adopt, from them into each of `parities`."""
        self._capture("ahead", parities[0], stream, lambda: self._run_image(stream, scores))
        current.clear(self._compute)
        for parity in parities:

            def adopt(parity: "Parity" = parity) -> None:
                parity.current.copy_from(current, self._compute)
                parity.scores.copy_from(scores, self._compute)
                self._make_labels(parity)

            self._capture("adopt", parity, self._compute, adopt)

    def run(self, kind: Kind, parity: "Parity", stream: Stream) -> None:
        """Put the step on the stream that it was captured on."""
        graph = self._graphs.get((kind, parity))
        if graph is None:
            self._works[kind, parity]()
        else:
            graph.launch(stream)

    def close(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()
        self._works.clear()

    def _capture(self, kind: Kind, parity: "Parity", stream: Stream, work: Work) -> None:
        """Runtimes want one run before it is captured: they set things up then that a graph may not hold."""
        self._works[kind, parity] = work
        work()
        settle(Edge.START_AFTER_TRIAL, stream)
        if not (self._image.capturable and self._propagation.capturable):
            return
        try:
            self._graphs[kind, parity] = Graph(stream, work)
        except BackendError as error:
            if isinstance(error, DriverError) and error.lost:
                raise
            self._say(f"{kind}: no CUDA graph can be made of it ({error}); it runs piece by piece, slower")

    def _run_image(self, stream: Stream, scores: DeviceBuffer) -> None:
        self._image.enqueue(stream, {"frame": self._picture.address, "scores": scores.address})

    def _make_labels(self, parity: "Parity") -> None:
        (rows, columns), (height, width) = self._sizes.grid, self._sizes.source
        number, pointer = ctypes.c_int, ctypes.c_void_p
        self._labels.launch(
            self._compute, width, height,
            pointer(parity.scores.address), number(self._classes), number(rows), number(columns),
            pointer(parity.labels.address), number(height), number(width),
        )  # fmt: skip
