"""Sizes as options have them, WIDTHxHEIGHT, like everybody who writes about video. Not a verb itself."""

import re

from gsvnet_engine.errors import UsageError
from gsvnet_engine.geometry import Size


def parse_size(text: str, option: str = "--size") -> Size:
    """ "1280x720" -> (720, 1280): (H, W), as everywhere within. UsageError naming `option` for anything else."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not (height and width):
        raise UsageError(f"{option} must be WIDTHxHEIGHT, as in 1280x720, not {text!r}")
    return height, width


def shown(size: Size) -> str:
    """(720, 1280) -> "1280x720"."""
    return f"{size[1]}x{size[0]}"
