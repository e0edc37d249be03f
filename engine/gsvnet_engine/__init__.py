"""Real-time semantic segmentation of video: an image network on keyframes, guided propagation between them.

    from gsvnet_engine import Segmenter

    for segmentation in Segmenter("street").stream("road.mp4", interval=4):
        ...  # segmentation.labels: uint8 [H,W]

Importing this package imports nothing heavy; its names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gsvnet_engine.errors import (
    BackendError,
    BundleError,
    GsvnetError,
    InputError,
    OutputError,
    UsageError,
)

if TYPE_CHECKING:
    from gsvnet_engine.bundle import Bundle as Bundle
    from gsvnet_engine.frames import Frame as Frame
    from gsvnet_engine.segmenter import Segmentation as Segmentation
    from gsvnet_engine.segmenter import Segmenter as Segmenter

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "Frame",
    "GsvnetError",
    "InputError",
    "OutputError",
    "Segmentation",
    "Segmenter",
    "UsageError",
    "__version__",
]

_HOMES = {"Bundle": "bundle", "Frame": "frames", "Segmentation": "segmenter", "Segmenter": "segmenter"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
