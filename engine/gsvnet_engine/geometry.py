"""Every size of the pipeline, from the source's own, in integer arithmetic (Python and C agree to the pixel).

source HxW -> working HxW -> keyframe H'xW' (what the image network sees)
                          -> grid hxw      (1/8 of the working size: what propagation sees)

Sizes are (height, width) of stored pixels after rotation.
"""

from dataclasses import dataclass
from typing import Literal

Size = tuple[int, int]

GRID_STRIDE = 8


@dataclass(frozen=True)
class ShortSide:
    """Working size whose shorter side is `short_side` pixels, shape kept."""

    short_side: int


@dataclass(frozen=True)
class Scaled:
    """Keyframe size: `scale` (numerator, denominator) of the working size, in steps of `multiple`."""

    scale: tuple[int, int]
    multiple: int = 1


@dataclass(frozen=True)
class Fixed:
    """Keyframe size: always `size`, whatever the source."""

    size: Size


WorkingSize = Literal["source"] | ShortSide
KeyframeSize = Scaled | Fixed


@dataclass(frozen=True)
class Sizes:
    """All sizes (height, width) for one source size."""

    source: Size
    working: Size
    keyframe: Size
    grid: Size


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A bundle's two size rules."""

    working: WorkingSize
    keyframe: KeyframeSize

    def plan(self, height: int, width: int) -> Sizes:
        """All sizes for a source of height x width pixels."""
        working = working_size(self.working, height, width)
        return Sizes((height, width), working, keyframe_size(self.keyframe, *working), grid_size(*working))


def working_size(rule: WorkingSize, height: int, width: int) -> Size:
    """The size that the rule makes of a source; for a short side s, long -> long * s / short, halves up."""
    if rule == "source":
        return height, width
    s, short, long = rule.short_side, min(height, width), max(height, width)
    scaled = (2 * long * s + short) // (2 * short)
    return (s, scaled) if height <= width else (scaled, s)


def keyframe_size(rule: KeyframeSize, working_height: int, working_width: int) -> Size:
    """What the image network sees: each side scaled exactly, then to the nearest multiple, halves up."""
    if isinstance(rule, Fixed):
        return rule.size
    numerator, denominator = rule.scale
    m = rule.multiple

    def side(x: int) -> int:
        return max(m, m * ((2 * x * numerator + m * denominator) // (2 * m * denominator)))

    return side(working_height), side(working_width)


def grid_size(working_height: int, working_width: int) -> Size:
    """1/8 of the working size, rounded up."""
    return -(-working_height // GRID_STRIDE), -(-working_width // GRID_STRIDE)
