"""A bundle's graph -> a plan, with TensorRT 8.6, 10, 11 or TensorRT-RTX: one code path.

What differs between them: 8.6 and 9 know precision as a permission (flags), later ones read it from the graph
(STRONGLY_TYPED, all that 11 has); 8.6 has no progress monitor; TensorRT-RTX can target cards that are not there, unless
a timing cache is set.
"""

from collections.abc import Callable, Sequence
from typing import Any

from gsvnet_engine.backends.base import Port, Signature, check_ports, one_line
from gsvnet_engine.errors import BackendError, BundleError

Progress = Callable[[str, int, int], None]


def build(
    trt: Any,
    graph: bytes,
    expected: Signature,
    *,
    where: str,
    precision: str = "fp32",
    progress: Progress | None = None,
    timing_cache: bytes | None = None,
    targets: Sequence[Any] = (),
) -> tuple[bytes, bytes | None]:
    """(plan, timing cache) of `graph` for exactly the shapes of `expected`.

    timing_cache: what an earlier build gave, b"" for none yet, None not to keep one. targets: TensorRT-RTX's
    ComputeCapability values; empty: this machine's GPU. Raises BundleError for a graph that does not parse or fit,
    BackendError where TensorRT refuses to build it.
    """
    log = logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parse(trt, network, log, graph, where)
    check_ports(where, *network_ports(trt, network), expected)
    config = builder.create_builder_config()
    _set_precision(trt, config, precision)
    for index, target in enumerate(targets):
        config.num_compute_capabilities = len(targets)
        config.set_compute_capability(target, index)
    config.add_optimization_profile(_profile(builder, expected))
    monitor = _watch(trt, config, progress, where)
    timing = _use_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    del monitor  # TensorRT does not keep it alive itself
    if plan is None:
        why = log.errors[-1] if log.errors else "no reason given"
        raise BackendError(f"{where}: TensorRT {trt.__version__} cannot build it: {one_line(Exception(why))}")
    return bytes(plan), None if timing is None else bytes(config.get_timing_cache().serialize())


def parse(trt: Any, network: Any, log: Any, graph: bytes, where: str) -> None:
    """Fill `network` with the graph. Raises BundleError with the parser's reasons."""
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        text = one_line(Exception("\n".join(reasons) or "no reason given"))
        raise BundleError(f"{where}: TensorRT {trt.__version__} cannot load it: {text}")


def network_ports(trt: Any, network: Any) -> tuple[list[Port], list[Port]]:
    """The network's inputs and outputs, for check_ports."""
    types = {trt.DataType.FLOAT: "float32", trt.DataType.INT32: "int64"}  # 8.6 reads int64 as int32
    if hasattr(trt.DataType, "INT64"):
        types[trt.DataType.INT64] = "int64"

    def port(tensor: Any) -> Port:
        shape = [side if side >= 0 else None for side in tensor.shape]
        return Port(tensor.name, shape, types.get(tensor.dtype, str(tensor.dtype)))

    inputs = [port(network.get_input(i)) for i in range(network.num_inputs)]
    return inputs, [port(network.get_output(i)) for i in range(network.num_outputs)]


def logger(trt: Any) -> Any:
    """An ILogger that keeps what went wrong in `errors` and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the module is chosen at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)

    return Log()


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    kind = "STRONGLY_TYPED" if hasattr(flags, "STRONGLY_TYPED") else "EXPLICIT_BATCH"
    return 1 << int(getattr(flags, kind))


def _set_precision(trt: Any, config: Any, precision: str) -> None:
    """The types lie in the graph. TF32 off: it would leave fp32 with 10 bits; 8.6 must be allowed what it finds."""
    config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return
    for flag in {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}[precision]:
        config.set_flag(getattr(trt.BuilderFlag, flag))


def _profile(builder: Any, expected: Signature) -> Any:
    """One profile whose every shape, and every constant input, is fixed: nothing is left for run time to decide."""
    profile = builder.create_optimization_profile()
    for name, shape in expected.inputs.items():
        profile.set_shape(name, shape, shape, shape)
    for name, value in expected.constants.items():
        profile.set_shape_input(name, value, value, value)
    return profile


def _watch(trt: Any, config: Any, progress: Progress | None, where: str) -> Any:
    """Report the outermost phase's steps. None on 8.6, which has no monitor."""
    if progress is None or not hasattr(trt, "IProgressMonitor"):
        return None
    tell: Progress = progress

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.steps[phase_name] = num_steps
                tell(where, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.steps:
                tell(where, step + 1, self.steps[phase_name])
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            if (steps := self.steps.pop(phase_name, None)) is not None:
                tell(where, steps, steps)

    config.progress_monitor = monitor = Monitor()
    return monitor


def _use_timing_cache(config: Any, data: bytes | None) -> Any:
    if data is None:
        return None
    cache = config.create_timing_cache(data)
    if not config.set_timing_cache(cache, False):  # of another version or card: begin anew
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
