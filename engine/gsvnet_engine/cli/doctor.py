"""gsvnet-engine doctor: what this machine has, what it lacks, and how to mend it."""

import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gsvnet_engine import __version__, machine
from gsvnet_engine.errors import BackendError, GsvnetError
from gsvnet_engine.machine import package_version

if TYPE_CHECKING:
    from gsvnet_engine.cuda.device import DeviceInfo

EXPORT_PACKAGES = ("torch", "onnx", "safetensors", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. `detail` says what was found, or what is wrong and how to mend it.

    `optional`: nothing is wrong with a machine that lacks it.
    """

    name: str
    ok: bool
    detail: str
    optional: bool = False


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> int:
    """Check what this machine can run. Exit code 6 if it cannot segment a video."""
    facts = examine()
    print(json.dumps(facts) if as_json else "\n".join(_lines(facts)))
    return 0 if facts["usable"] else BackendError.exit_code


def examine() -> dict[str, Any]:
    """All findings as JSON values; "usable": a video can be segmented here, for all that is not optional is well."""
    kernels, decoding, bundle = check_kernels(), check_decoding(), check_bundle()
    runtimes = [check_backend("openvino"), check_backend("onnxruntime")]
    gpu = check_gpu()
    second = check_onnxruntime_gpu()
    if any(runtime.ok for runtime in (*runtimes, gpu, second)):  # one is enough
        runtimes = [replace(runtime, optional=True) for runtime in runtimes]
    extras = [check_openvino_extension(), check_h264(), check_opencv(), check_export(), gpu, second]
    checks = [kernels, *runtimes, decoding, bundle, *extras]
    return {
        "gsvnet_engine": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": machine.cpu(),
        "packages": machine.packages(),
        "usable": all(check.ok or check.optional for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def check_kernels() -> Check:
    def find() -> str:
        from gsvnet_engine import kernels

        return f"loaded, uses {kernels.instruction_set()}"

    return _check("native kernels", find, "reinstall gsvnet-engine: its wheel brings the library")


def check_backend(name: str) -> Check:
    def find() -> str:
        from gsvnet_engine import backends

        backends.open_backend(name, "f32")
        if name != "openvino":
            return "f32 on the CPU (int8 bundles run, slowly: OpenVINO is for them)"
        try:
            backends.open_backend(name, "bf16")
        except BackendError:
            return "f32 and int8 on the CPU (this processor has no bf16)"
        return "f32, bf16 and int8 on the CPU"

    return _check(name, find, "")


def check_openvino_extension() -> Check:
    name = "PF in OpenVINO"
    try:
        from gsvnet_engine.backends.openvino import why_no_extension

        problem = why_no_extension()
    except Exception as error:  # OpenVINO itself does not load: its own line says so
        problem = f"needs OpenVINO ({type(error).__name__})"
    if problem is None:
        return Check(name=name, ok=True, detail="the extension is loaded: PF runs on our kernels")
    detail = f"{problem}: PF runs its plain graph; install gsvnet-engine[cpu] anew to have them"
    return Check(name=name, ok=False, detail=detail, optional=True)


def check_decoding() -> Check:
    def find() -> str:
        import av

        return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"

    return _check("video decoding", find, "pip install --force-reinstall av")


def check_h264() -> Check:
    def find() -> str:
        import av.codec

        av.codec.Codec("libx264", "w")
        return "libx264"

    mend = "overlays are MPEG-4 without libx264: install PyAV's wheel from PyPI to have it"
    return replace(_check("H.264 encoding", find, mend), optional=True)


def check_opencv() -> Check:
    def find() -> str:
        import cv2

        return f"OpenCV {cv2.__version__}"

    return _check("OpenCV", find, "its system libraries may be missing: apt install libgl1 libglib2.0-0")


def check_bundle() -> Check:
    def find() -> str:
        from gsvnet_engine.bundle import Bundle

        bundle = Bundle.open("street")
        bundle.verify()
        return f"{len(bundle.manifest.classes)} classes, every sha256 as the manifest says"

    return _check("bundle street", find, "")


def check_export() -> Check:
    missing = [name for name in EXPORT_PACKAGES if package_version(name) is None]
    if missing:
        detail = f"no {', '.join(missing)}: pip install 'gsvnet-engine[export]'"
        return Check(name="train, export", ok=False, detail=detail, optional=True)
    return Check(name="train, export", ok=True, detail=f"torch {package_version('torch')}", optional=True)


def check_gpu() -> Check:
    """Which GPU, which TensorRT, and on which road its graphs run; or what is missing for that."""
    from gsvnet_engine.backends.tensorrt.backend import examine
    from gsvnet_engine.backends.tensorrt.options import GpuOptions
    from gsvnet_engine.cuda.device import probe

    try:
        card = probe()[0]
    except GsvnetError as error:
        return Check(name="GPU", ok=False, detail=f"{error}; networks run on the CPU", optional=True)
    try:
        _, choice = examine(GpuOptions())
    except GsvnetError as error:
        detail = f"{_described(card)}; {error}; the next line says whether ONNX Runtime takes its place"
        return Check(name="GPU", ok=False, detail=detail, optional=True)
    detail = f"{_described(card)}; {choice.title}, road {choice.road}: {choice.why}"
    return Check(name="GPU", ok=True, detail=detail, optional=True)


def _described(card: "DeviceInfo") -> str:
    (major, minor), (driver, minor_driver) = card.capability, card.driver
    return (
        f"{card.name} (compute capability {major}.{minor}, {card.memory_bytes / 2**30:.0f} GiB, driver for CUDA "
        f"{driver}.{minor_driver})"
    )


def check_onnxruntime_gpu() -> Check:
    """The second road on a GPU, or what is missing for it."""
    from gsvnet_engine.backends import open_backend
    from gsvnet_engine.cuda.device import probe

    name = "ONNX Runtime GPU"
    try:
        probe()
    except GsvnetError:
        return Check(name=name, ok=False, detail="no GPU for it: see the line above", optional=True)
    try:
        backend = open_backend("onnxruntime-cuda", "f32")
    except GsvnetError as error:
        return Check(name=name, ok=False, detail=str(error), optional=True)
    backend.close()
    return Check(
        name=name, ok=True, detail="its CUDA provider loads: --backend onnxruntime-cuda", optional=True
    )


def _check(name: str, find: Callable[[], str], mend: str) -> Check:
    """Run `find`; whatever it raises is the finding. A check must not end the report."""
    try:
        return Check(name=name, ok=True, detail=find())
    except GsvnetError as error:
        return Check(name=name, ok=False, detail=str(error))
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name=name, ok=False, detail=f"{problem}: {mend}" if mend else problem)


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"gsvnet-engine {facts['gsvnet_engine']}, Python {facts['python']}, {facts['platform']}"
    yield f"{facts['cpu']['model']}: {' '.join(facts['cpu']['features']) or 'no known features'}"
    yield ", ".join(f"{name} {found}" for name, found in facts["packages"].items() if found)
    yield ""
    for check in facts["checks"]:
        mark = "ok" if check["ok"] else "--" if check["optional"] else "NO"
        yield f"{mark} {check['name']:<17}{check['detail']}"
    yield ""
    yield "ready to segment video" if facts["usable"] else "not ready: the lines marked NO say what to mend"
