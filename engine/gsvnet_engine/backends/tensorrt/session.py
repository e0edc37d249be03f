"""A bundle's networks on a GPU for one set of sizes, whatever runs them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np

from gsvnet_engine import bundle as names
from gsvnet_engine import kernels as native
from gsvnet_engine.backends.base import Float32, Signature
from gsvnet_engine.backends.tensorrt.options import GpuOptions
from gsvnet_engine.backends.tensorrt.order import Edge, settle
from gsvnet_engine.backends.tensorrt.runtime import Kernels, Video
from gsvnet_engine.backends.tensorrt.steps import Network
from gsvnet_engine.bundle import Bundle
from gsvnet_engine.cuda import modules
from gsvnet_engine.cuda.device import Context, DeviceInfo
from gsvnet_engine.cuda.memory import DeviceBuffer, PinnedBuffer
from gsvnet_engine.cuda.scope import Scope
from gsvnet_engine.cuda.streams import Event, Stream
from gsvnet_engine.errors import BackendError
from gsvnet_engine.geometry import Sizes


class Host(Protocol):
    """The backend that a session belongs to, as far as the session needs it."""

    options: GpuOptions

    @property
    def context(self) -> Context: ...

    @property
    def propagate_graph(self) -> str:
        """The file of the bundle that stands for PF here."""
        ...

    def kernels(self, scope: Scope) -> Kernels: ...

    def network(self, bundle: Bundle, graph: str, sizes: Sizes, stream: Stream) -> tuple[Signature, Network]:
        """The graph, ready to run on `stream`."""
        ...


class KernelImages:
    """The kernels that prepare frames and make labels: compiled for one card when they are first needed."""

    def __init__(self, device: DeviceInfo) -> None:
        self._device = device
        self._images: dict[str, bytes] = {}

    def load(self, scope: Scope) -> Kernels:
        """On the device whose context is current."""
        prepare, labels = (
            scope.keep(modules.Module(self._image(operation), operation)) for operation in ("frame", "labels")
        )
        return Kernels(prepare=prepare.kernel("gsvnet_prepare"), labels=labels.kernel("gsvnet_labels"))

    def _image(self, operation: str) -> bytes:
        if operation not in self._images:
            source = native.gpu_source(operation)
            self._images[operation] = modules.compile_source(source, self._device.architecture)
        return self._images[operation]


class GpuSession:
    """A bundle's networks for one set of sizes: as a Session, array by array, for evaluation; `video` for the rest."""

    def __init__(self, backend: Host, bundle: Bundle, sizes: Sizes, scope: Scope) -> None:
        self._backend, self._bundle, self._sizes = backend, bundle, sizes
        self._scope = scope
        self._networks: dict[str, tuple[Signature, Network]] = {}
        self._stream = scope.keep(Stream())
        networks = self._network(names.KEYFRAME), self._network(backend.propagate_graph)
        self.video = scope.keep(
            Video(
                backend.context,
                (networks[0][1], networks[1][1]),
                backend.kernels(scope),
                sizes,
                len(bundle.manifest.classes),
                compute=self._stream,
                ahead=backend.options.ahead,
                say=backend.options.say,
            )
        )

    @property
    def networks(self) -> dict[str, Network]:
        """Those that are open, by graph."""
        return {graph: network for graph, (_, network) in self._networks.items()}

    def keyframe(self, frame: Float32) -> Float32:
        return self._run(names.KEYFRAME, frame=frame)[0]

    def propagate(self, current: Float32, previous: Float32, scores: Float32) -> Float32:
        graph = self._backend.propagate_graph
        return self._run(graph, current=current, previous=previous, scores=scores)[0]

    def warp(self, current: Float32, previous: Float32, scores: Float32) -> tuple[Float32, Float32]:
        warped, flow = self._run(names.WARP_PLAIN, current=current, previous=previous, scores=scores)
        return warped, flow

    def propagation_ms(self, inputs: Mapping[str, Float32], runs: int) -> list[float]:
        """Milliseconds on the device of each of `runs` steps of PF on `inputs`, without copies. For `bench`."""
        with self._bound(self._backend.propagate_graph, inputs) as (network, tensors):
            addresses = tensors.addresses()
            return self._timed_ms(lambda: network.enqueue(self._stream, addresses), runs)

    def copies_ms(self, upload_bytes: int, runs: int) -> tuple[list[float], list[float]]:
        """Milliseconds of `upload_bytes` to the device, and of a frame's labels back. For `bench`."""
        self.video.settle()
        height, width = self._sizes.source
        with self._backend.context.current(), _on_device(self._stream.settle) as tensors:
            up, labels = tensors.make("a picture", upload_bytes), tensors.make("labels", height * width)
            return (
                self._timed_ms(lambda: up[0].upload(up[1], up[1].size, self._stream), runs),
                self._timed_ms(lambda: labels[0].download(labels[1], labels[1].size, self._stream), runs),
            )

    def close(self) -> None:
        with self._backend.context.quietly_current():
            self._scope.close()

    def _timed_ms(self, work: Callable[[], None], runs: int) -> list[float]:
        """Milliseconds on the device of each of `runs` repetitions, which follow one another there."""
        scope, times = Scope(), list[float]()
        started, done = scope.keep(Event(timed=True)), scope.keep(Event(timed=True))
        try:
            for _ in range(runs):
                started.record(self._stream)
                work()
                done.record(self._stream)
                settle(Edge.ARRAYS_AFTER_RUN, done)
                times.append(done.ms_since(started))
        finally:
            scope.close()
        return times

    def _network(self, graph: str) -> tuple[Signature, Network]:
        if graph not in self._networks:
            expected, network = self._backend.network(self._bundle, graph, self._sizes, self._stream)
            self._networks[graph] = expected, self._scope.keep(network)
        return self._networks[graph]

    def _run(self, graph: str, **inputs: Float32) -> list[Float32]:
        """One graph from arrays to arrays, waiting for it."""
        with self._bound(graph, inputs) as (network, tensors):
            expected = self._network(graph)[0]
            network.enqueue(self._stream, tensors.addresses())
            for name in expected.outputs:
                tensors.fetch(name, self._stream)
            settle(Edge.ARRAYS_AFTER_RUN, self._stream)
            return [tensors.array(name, shape) for name, shape in expected.outputs.items()]

    @contextmanager
    def _bound(self, graph: str, inputs: Mapping[str, Float32]) -> Iterator["tuple[Network, _Tensors]"]:
        """A network and its tensors on the device, its inputs on their way there."""
        self.video.settle()  # a network runs on one stream at a time
        with self._backend.context.current(), _on_device(self._stream.settle) as tensors:
            expected, network = self._network(graph)
            for name, shape in expected.inputs.items():
                array = np.ascontiguousarray(inputs[name], np.float32)
                if array.shape != shape:
                    raise ValueError(f"{name} must be {list(shape)}, not {list(array.shape)}")
                tensors.put(name, array, self._stream)
            for name, shape in expected.outputs.items():
                tensors.make(name, 4 * int(np.prod(shape)))
            yield network, tensors


class _Tensors:
    """Named tensors, each on the device and in pinned memory."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._pairs: dict[str, tuple[DeviceBuffer, PinnedBuffer]] = {}

    def make(self, name: str, size: int) -> tuple[DeviceBuffer, PinnedBuffer]:
        """Room for `size` bytes."""
        pair = self._scope.keep(DeviceBuffer(size, name)), self._scope.keep(PinnedBuffer(size, name))
        self._pairs[name] = pair
        return pair

    def put(self, name: str, array: Float32, stream: Any) -> None:
        device, pinned = self.make(name, array.nbytes)
        pinned.bytes.view(np.float32)[:] = array.ravel()
        device.upload(pinned, pinned.size, stream)

    def fetch(self, name: str, stream: Any) -> None:
        device, pinned = self._pairs[name]
        device.download(pinned, pinned.size, stream)

    def array(self, name: str, shape: tuple[int, ...]) -> Float32:
        return self._pairs[name][1].bytes.view(np.float32).reshape(shape).copy()

    def addresses(self) -> dict[str, int]:
        return {name: device.address for name, (device, _) in self._pairs.items()}


@contextmanager
def _on_device(settle: Callable[[], None]) -> Iterator[_Tensors]:
    """Tensors that are freed at the end, whatever happens, after the work on them."""
    scope = Scope()
    try:
        yield _Tensors(scope)
    except BaseException:
        with suppress(BackendError):  # the first error is the one to tell
            settle()
        raise
    finally:
        scope.close()
