"""What a backend is, and what the backends that run one graph at a time share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gsvnet_engine import bundle as names
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.errors import BundleError, GsvnetError
from gsvnet_engine.geometry import Sizes

if TYPE_CHECKING:
    from gsvnet_engine.backends.model_cache import ModelCache
    from gsvnet_engine.backends.tensorrt.runtime import Video
    from gsvnet_engine.cuda.device import DeviceInfo

Float32 = NDArray[np.float32]


class Session(Protocol):
    """A bundle's networks, ready for one set of sizes.

    Results are the caller's own: no later call changes them.
    """

    def keyframe(self, frame: Float32) -> Float32:
        """frame [1,3,H',W'] RGB in 0..1 -> scores [1,C,h,w]."""
        ...

    def propagate(self, current: Float32, previous: Float32, scores: Float32) -> Float32:
        """i_t, i_{t-1} [1,3,h,w] RGB in 0..1, S_{t-1} [1,C,h,w] -> S_t [1,C,h,w]."""
        ...

    def warp(self, current: Float32, previous: Float32, scores: Float32) -> tuple[Float32, Float32]:
        """As `propagate`, the flow and warp alone -> warped [1,C,h,w], flow [1,2,h,w] in cells.

        For evaluation.
        """
        ...


@dataclass(frozen=True)
class Layer:
    """A layer as a runtime ran it: its node's name, what the runtime calls such a thing, milliseconds."""

    name: str
    kind: str
    ms: float


class DeviceSession(Session, Protocol):
    """A Session whose frames, state and labels live on a GPU: `video` takes frames and gives labels."""

    @property
    def video(self) -> "Video": ...

    def propagation_ms(self, inputs: Mapping[str, Float32], runs: int) -> list[float]:
        """Milliseconds on the device of each of `runs` steps of PF on `inputs` (by the graph's names), no copies."""
        ...

    def copies_ms(self, upload_bytes: int, runs: int) -> tuple[list[float], list[float]]:
        """Milliseconds of so many bytes from pinned memory to the device, and of a frame's labels back; `runs` each."""
        ...

    def close(self) -> None:
        """Free what it holds on the GPU."""
        ...


class Backend(Protocol):
    """A runtime on this machine. `precision`: what float graphs are computed in.

    `on_device`: its sessions are DeviceSessions.
    """

    on_device: bool

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def open(self, bundle: Bundle, sizes: Sizes, threads: int | None) -> Session:
        """Make the bundle's graphs ready. `threads`: None leaves the number to the runtime."""
        ...

    def close(self) -> None:
        """Free what it holds beside its sessions."""
        ...


@runtime_checkable
class Profiled(Backend, Protocol):
    """A Backend that can tell what each layer of PF takes."""

    def profile(
        self, bundle: Bundle, sizes: Sizes, threads: int | None, inputs: Mapping[str, Float32], runs: int
    ) -> list[Layer]:
        """Every layer of each of `runs` runs of PF on `inputs` (by the graph's names), in order.

        Measuring each slows the whole: compare layers with one another, not with `propagate`.
        """
        ...


@runtime_checkable
class GpuBackend(Backend, Protocol):
    """A Backend on a GPU. title: the runtime with its version, as people call it."""

    device: "DeviceInfo"

    @property
    def title(self) -> str: ...


@runtime_checkable
class OpensLanes(Backend, Protocol):
    """A Backend whose networks can run several times at once."""

    def open_lanes(self, bundle: Bundle, sizes: Sizes, lanes: int, threads: int | None) -> list[Session]:
        """As `open`: a Session for each of `lanes` threads, which share their weights. threads: of each lane."""
        ...


@runtime_checkable
class KeepsModels(Backend, Protocol):
    """A Backend that can keep what it compiles in `models`; None: it keeps nothing."""

    models: "ModelCache | None"


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a graph must take and give for one set of sizes: name -> shape.

    `constants` are inputs known beforehand.
    """

    graph: str
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    constants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def signature(graph: str, classes: int, sizes: Sizes) -> Signature:
    """The contract of keyframe, propagate (either form) and warp graphs."""
    picture, scores = (1, 3, *sizes.grid), (1, classes, *sizes.grid)
    if graph == names.KEYFRAME:
        return Signature(graph, {"frame": (1, 3, *sizes.keyframe)}, {"scores": scores}, {"grid": sizes.grid})
    step = {"current": picture, "previous": picture, "scores": scores}
    if graph == names.WARP_PLAIN:
        return Signature(graph, step, {"warped": scores, "flow": (1, 2, *sizes.grid)})
    return Signature(graph, step, {"propagated": scores})


@dataclass(frozen=True)
class Port:
    """An input or output as a runtime reports it; None: a dimension, or a whole shape, left open."""

    name: str
    shape: Sequence[int | None] | None
    type: str


def check_ports(where: str, inputs: Sequence[Port], outputs: Sequence[Port], expected: Signature) -> None:
    """Raise BundleError unless the graph at `where` has these ports alone, shapes agreeing where known."""
    constants: dict[str, Shape] = {name: (len(value),) for name, value in expected.constants.items()}
    for kind, ports, shapes in (
        ("inputs", inputs, {**expected.inputs, **constants}),
        ("outputs", outputs, dict(expected.outputs)),
    ):
        if {port.name for port in ports} != set(shapes):
            found = ", ".join(port.name for port in ports) or "none"
            raise BundleError(
                f"{where}: its {kind} are {found}, not {', '.join(shapes)}; export the bundle again"
            )
        for port in ports:
            shape, wanted = shapes[port.name], "int64" if port.name in constants else "float32"
            if port.type != wanted:
                raise BundleError(
                    f"{where}: {port.name} is {port.type}, not {wanted}; export the bundle again"
                )
            if not _agree(port.shape, shape):
                raise BundleError(
                    f"{where}: {port.name} has shape {_shown(port.shape)} where the manifest's classes "
                    f"and sizes make it {_shown(shape)}; export the bundle again"
                )


def _agree(found: Sequence[int | None] | None, wanted: Sequence[int]) -> bool:
    if found is None:
        return True
    return len(found) == len(wanted) and all(f is None or f == w for f, w in zip(found, wanted, strict=True))


def _shown(shape: Sequence[int | None] | None) -> str:
    return "[" + ",".join("?" if side is None else str(side) for side in shape or ()) + "]"


Runner = Callable[[dict[str, Float32]], Sequence[Float32]]


class GraphSession:
    """A Session over a function that loads one graph; loads the warp graph only when it is asked for."""

    def __init__(
        self, load: Callable[[Signature], Runner], bundle: Bundle, sizes: Sizes, propagate: str
    ) -> None:
        self._load, self._bundle, self._sizes = load, bundle, sizes
        self._runners: dict[str, tuple[Signature, Runner]] = {}
        self._propagate = propagate
        for graph in (names.KEYFRAME, propagate):
            self._opened(graph)

    def keyframe(self, frame: Float32) -> Float32:
        return self._run(names.KEYFRAME, frame=frame)[0]

    def propagate(self, current: Float32, previous: Float32, scores: Float32) -> Float32:
        return self._run(self._propagate, current=current, previous=previous, scores=scores)[0]

    def warp(self, current: Float32, previous: Float32, scores: Float32) -> tuple[Float32, Float32]:
        warped, flow = self._run(names.WARP_PLAIN, current=current, previous=previous, scores=scores)
        return warped, flow

    def _opened(self, graph: str) -> tuple[Signature, Runner]:
        if graph not in self._runners:
            expected = signature(graph, len(self._bundle.manifest.classes), self._sizes)
            self._runners[graph] = expected, self._load(expected)
        return self._runners[graph]

    def _run(self, graph: str, **inputs: Float32) -> Sequence[Float32]:
        expected, runner = self._opened(graph)
        feed = {name: np.ascontiguousarray(array, np.float32) for name, array in inputs.items()}
        for name, array in feed.items():
            if array.shape != expected.inputs[name]:
                raise ValueError(f"{name} must be {list(expected.inputs[name])}, not {list(array.shape)}")
        outputs = runner(feed)
        for (name, shape), array in zip(expected.outputs.items(), outputs, strict=True):
            if array.shape != shape:
                where = self._bundle.path / graph
                raise BundleError(
                    f"{where}: {name} came out as {list(array.shape)} where the manifest's classes and sizes "
                    f"make it {list(shape)}; export the bundle again"
                )
        return outputs


@contextmanager
def translated(error: type[GsvnetError], what: str) -> Iterator[None]:
    """Turn whatever a runtime throws into one line `what: ...` of type `error`."""
    try:
        yield
    except GsvnetError:
        raise
    except Exception as problem:  # runtimes have no common base class of their own
        raise error(f"{what}: {one_line(problem)}") from problem


def one_line(problem: BaseException, longest: int = 300) -> str:
    """The first lines of a runtime's message that say something, without its own source positions."""
    lines = [line.strip() for line in str(problem).splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith("Exception from "))
    text = text or type(problem).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
