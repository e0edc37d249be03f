"""Which TensorRT a machine runs, on which road, and why: decisions without I/O, but for `installed` and `load`.

| TensorRT       | road      | cards (compute capability)  |
|----------------|-----------|-----------------------------|
| 8.6            | plain     | 5.0 .. 9.0, the last for Pascal (GTX 10, 6.1) |
| 9.0 .. 10.6    | functions | 7.0 (7.5 from 10.5) .. 9.0  |
| 10.7 and later | plugin, or functions without it | 7.5 and up (10.0 and 12.0 from 10.8) |
| TensorRT-RTX   | functions | 7.5 and up, without data-centre chips of 9.0 and 10.x |

plain: graphs of standard operators alone. functions: the local functions of the ONNX file, whose bodies are standard
operators. plugin: our library wins over the local function of the same name; from 10.10 by the node's domain too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from gsvnet_engine import bundle as names
from gsvnet_engine.errors import BackendError

Road = Literal["plain", "functions", "plugin"]
Capability = tuple[int, int]
PACKAGES = ("tensorrt", "tensorrt_rtx")  # in the order of preference
_DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}
_RTX_CAPABILITIES = {(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}
_ANY = (99, 9)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """package: what is imported; version: (11, 4, 0); road; why: in words, for `doctor`."""

    package: str
    version: tuple[int, ...]
    road: Road
    why: str

    @property
    def title(self) -> str:
        """As people call it: TensorRT 11.4.0."""
        name = "TensorRT-RTX" if self.is_rtx else "TensorRT"
        return f"{name} {'.'.join(str(part) for part in self.version)}"

    @property
    def is_rtx(self) -> bool:
        return self.package == "tensorrt_rtx"

    @property
    def propagate_graph(self) -> str:
        """The file of the bundle that stands for PF on this road."""
        return names.PROPAGATE_PLAIN if self.road == "plain" else names.PROPAGATE


def choose(capability: Capability, found: Mapping[str, str], *, plugin: bool = False) -> Choice:
    """The first of PACKAGES that is installed and serves the card. `found`: package -> version.

    Raises BackendError, saying what to install, where none does.
    """
    reasons = []
    for package in PACKAGES:
        if package not in found:
            continue
        parsed = parse_version(found[package])
        refusal = _refusal(package, parsed, capability)
        if refusal is None:
            road, why = _road(package, parsed, plugin)
            return Choice(package=package, version=parsed, road=road, why=why)
        reasons.append(refusal)
    if not reasons:
        raise BackendError(f"tensorrt: is not installed: {_remedy(capability)}")
    raise BackendError(f"tensorrt: {'; '.join(reasons)}: {_remedy(capability)}")


def _refusal(package: str, parsed: tuple[int, ...], capability: Capability) -> str | None:
    shown = ".".join(str(part) for part in parsed)
    card = f"compute capability {capability[0]}.{capability[1]}"
    if package == "tensorrt_rtx":
        served = capability in _RTX_CAPABILITIES
        return None if served else f"TensorRT-RTX {shown} does not serve {card}"
    if parsed < (8, 6):
        return f"TensorRT {shown} is too old (8.6 or later is needed)"
    lowest, highest = _served(parsed)
    if lowest <= capability <= highest:
        return None
    return f"TensorRT {shown} does not serve {card}"


def _served(parsed: tuple[int, ...]) -> tuple[Capability, Capability]:
    """The lowest and highest compute capability, from NVIDIA's support matrices."""
    if parsed < (9, 0):
        return (5, 0), (9, 0)
    if parsed < (10, 5):
        return (7, 0), (9, 0)
    return (7, 5), (9, 0) if parsed < (10, 8) else _ANY


def _road(package: str, parsed: tuple[int, ...], plugin: bool) -> tuple[Road, str]:
    if package == "tensorrt_rtx":
        return "functions", "TensorRT-RTX takes no plugins: native operators"
    if parsed < (9, 0):
        return "plain", "TensorRT 8.6 knows no ONNX functions: plain graphs, native operators"
    if parsed < (10, 7):
        return "functions", "before 10.7 a plugin does not win over an ONNX function: native operators"
    if not plugin:
        return "functions", "the plugin library is not there: native operators"
    space = "by its domain" if parsed >= (10, 10) else "by its name"
    return "plugin", f"our plugin takes the place of the ONNX functions, {space}"


def _remedy(capability: Capability) -> str:
    if capability < (7, 5):
        return (
            "this card needs TensorRT 8.6: pip install 'gsvnet-engine[gpu-pascal]' on Python 3.11 or earlier"
        )
    return "pip install 'gsvnet-engine[gpu]'"


def parse_version(text: str) -> tuple[int, ...]:
    """ "10.13.3.9.post1" -> (10, 13, 3)."""
    parts = []
    for part in text.split(".")[:3]:
        if not part.isdecimal():
            break
        parts.append(int(part))
    return tuple(parts)


def installed() -> dict[str, str]:
    """package -> version of what is installed, told from metadata: nothing is imported."""
    found = {}
    for package, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found[package] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found


def load(choice: Choice) -> Any:
    """The module. Raises BackendError where it is installed and does not load. Only after cuda.probe has succeeded."""
    try:
        return import_module(choice.package)
    except Exception as error:  # it loads libraries by hand, and raises whatever that raises
        text = " ".join(str(error).split())
        raise BackendError(f"{choice.title}: is installed but does not load: {text}") from error
