"""Which encoder writes the overlay, and what it is told. Those on a GPU are not confirmed by one yet.

None may make B-frames: with them an mp4's times hang on an edit list, which a cut-off file may not have.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any

from gsvnet_engine.errors import BackendError, UsageError

AUTO = "auto"
_TRIAL_SIZE = 256  # NVENC takes no picture that is much smaller


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """One of FFmpeg's. quality: its options for a crf of x264's. preset: its default. needs: said where it fails."""

    name: str
    quality: Callable[[int], dict[str, str]]
    preset: str | None = None
    preset_option: str = "preset"
    pixel_format: str = "yuv420p"
    needs: str

    def options(self, crf: int, preset: str | None) -> dict[str, str]:
        """Raises UsageError for a preset where it knows none."""
        chosen = self.preset if preset is None else preset
        if chosen is None:
            return {**self.quality(crf), "bf": "0"}
        if self.preset is None:
            raise UsageError(f"{self.name} knows no presets: leave out --encoder-preset")
        return {self.preset_option: chosen, **self.quality(crf), "bf": "0"}


def _mpeg4(crf: int) -> dict[str, str]:
    return {"qscale": "4", "flags": "+qscale", "global_quality": str(4 * 118)}


_WHEEL = "an FFmpeg that has it: install PyAV from PyPI (pip install av)"
ENCODERS: Mapping[str, Encoder] = {
    encoder.name: encoder
    for encoder in (
        Encoder(name="libx264", quality=lambda crf: {"crf": str(crf)}, preset="veryfast", needs=_WHEEL),
        Encoder(name="mpeg4", quality=_mpeg4, needs=_WHEEL),
        Encoder(
            name="h264_nvenc",
            quality=lambda crf: {"rc": "constqp", "qp": str(crf)},
            preset="p4",
            needs="an NVIDIA GPU and its driver",
        ),
        Encoder(
            name="h264_qsv",
            quality=lambda crf: {"global_quality": str(max(crf, 1))},
            preset="veryfast",
            pixel_format="nv12",
            needs="an Intel GPU and its media driver",
        ),
        Encoder(
            name="h264_amf",
            quality=lambda crf: {"rc": "cqp", "qp_i": str(crf), "qp_p": str(crf)},
            preset="speed",
            preset_option="quality",
            needs="an AMD GPU and its driver",
        ),
    )
}
_FALLBACK = "libx264", "mpeg4"


def choose(name: str, crf: int, preset: str | None) -> Encoder:
    """The encoder of that name, or of "auto" the first in software that this FFmpeg has; tried on a picture.

    Raises UsageError for a name or preset that is not known, BackendError where it does not work here.
    """
    if name == AUTO:
        for candidate in _FALLBACK:
            with suppress(BackendError):
                return choose(candidate, crf, preset if candidate == _FALLBACK[0] else None)
        raise BackendError(f"this FFmpeg can encode none of {', '.join(_FALLBACK)}: it wants {_WHEEL}")
    if name == "h264_vaapi":
        raise UsageError(
            "h264_vaapi takes pictures in the GPU's memory alone, which PyAV cannot put there: "
            "use h264_qsv on Intel, h264_amf on AMD, or leave out --encoder"
        )
    if name not in ENCODERS:
        raise UsageError(f"encoder must be one of {AUTO}, {', '.join(ENCODERS)}, not {name!r}")
    encoder = ENCODERS[name]
    _try(encoder, encoder.options(crf, preset))
    return encoder


def _try(encoder: Encoder, options: dict[str, str]) -> None:
    import av

    try:
        with av.open(BytesIO(), "w", format="matroska") as container:
            stream: Any = container.add_stream(encoder.name, rate=Fraction(25), options=dict(options))
            stream.width = stream.height = _TRIAL_SIZE
            stream.pix_fmt = encoder.pixel_format
            container.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        preset = options.get(encoder.preset_option, encoder.preset)
        if preset != encoder.preset:
            with suppress(BackendError):
                _try(encoder, {**options, encoder.preset_option: encoder.preset or ""})
                raise UsageError(f"{encoder.name} knows no preset {preset!r}") from None
        why = getattr(error, "strerror", None) or error
        raise BackendError(
            f"{encoder.name}: does not work here ({why}); it needs {encoder.needs}; else leave out --encoder"
        ) from error
