"""What goes out: lines for the user, files that are written whole or not at all, one clear line where that fails."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gsvnet_engine.errors import OutputError

Say = Callable[[str], None]  # hears a line that is worth knowing


@contextmanager
def writing(folder: Path, option: str = "") -> Iterator[None]:
    """An OSError inside becomes OutputError, which names the option that chose the folder where there is one."""
    try:
        yield
    except OSError as error:
        other = "name another folder" + (f" with {option}" if option else "")
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, or {other}"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` once it is whole. Its name until then is nobody else's, so
    several processes may make the same file. Raises OutputError where it cannot be written."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with writing(path.parent):
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


def check_writable(folder: Path, option: str, *, beside: bool = False) -> None:
    """OutputError, naming the option, unless files could be written there, and with `beside` in the folder around it,
    as a bundle's are. Nothing made to try it stays."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder with {option}")
    try:
        with writing(folder, option):
            folder.mkdir(parents=True, exist_ok=True)
            for place in (folder, folder.resolve().parent) if beside else (folder,):
                with tempfile.TemporaryDirectory(dir=place, prefix=".writable-"):
                    pass
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
