"""The classes of a foreign network: names and colours from a file, or generated."""

import colorsys
import re
from pathlib import Path
from typing import Any

from gsvnet_engine.errors import InputError

_COLOR = re.compile(r"^(.*\S)\s+#([0-9a-fA-F]{6})$")
_GOLDEN = 0.618034  # of the circle of hues: neighbours in number are far apart in hue


def class_list(count: int, names: Path | None) -> list[dict[str, Any]]:
    """[{"name", "color": [r, g, b] in 0..255}] as a manifest writes it: from a file of names, or "class 0".."""
    colors = palette(count)
    if names is None:
        return [{"name": f"class {index}", "color": list(colors[index])} for index in range(count)]
    read = _read(names)
    if len(read) != count:
        raise InputError(
            f"{names}: names {len(read)} classes, but the network has {count}; one name a line, in its order"
        )
    return [
        {"name": name, "color": list(color or generated)}
        for (name, color), generated in zip(read, colors, strict=True)
    ]


def palette(count: int) -> list[tuple[int, int, int]]:
    """`count` colours, all different, neighbours far apart."""
    colors: list[tuple[int, int, int]] = []
    for index in range(count):
        hue, ring = index * _GOLDEN % 1, index // 12 % 3
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.5, 0.95)[ring], (0.9, 0.75, 0.5)[ring])
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def _read(path: Path) -> list[tuple[str, tuple[int, int, int] | None]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}; give one name a line") from error
    read: list[tuple[str, tuple[int, int, int] | None]] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        name, color = text, None
        if found := _COLOR.match(text):
            name, digits = found.groups()
            color = (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        if not name.isprintable() or name in (known for known, _ in read):
            raise InputError(
                f"{path}, line {number}: {name!r} is there twice, or cannot be printed; give it a name"
            )
        read.append((name, color))
    return read
