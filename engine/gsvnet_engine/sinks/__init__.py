"""Where results go: chosen by the form of the target, one kind a file."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gsvnet_engine.errors import OutputError, UsageError
from gsvnet_engine.sinks.base import Comparison, Sink, SinkContext, SinkOptions, check_file, writing

__all__ = ["FORMS", "Comparison", "Sink", "SinkContext", "SinkOptions", "check_target", "open_sink"]

STDOUT = "-"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
FORMS = (
    "name.mp4, .mkv or .mov (overlay), name.jsonl, name.json (COCO masks), a folder/ (PNGs) or - (raw labels)"
)


def open_sink(target: str, context: SinkContext) -> Sink:
    """The sink that the form of `target` asks for.

    Raises UsageError for a form that is not known, OutputError where it cannot be written.
    """
    check_target(target, force=context.options.force)
    if target == STDOUT:
        from gsvnet_engine.sinks.raw import RawLabels

        # unbuffered: a reader that went away must not be met again when the interpreter flushes
        return RawLabels(open(1, "wb", buffering=0, closefd=False), context)
    path = Path(target)
    if is_folder(target):
        from gsvnet_engine.sinks.palette import PaletteFolder

        return PaletteFolder(path, context)
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        from gsvnet_engine.sinks.lines import JsonLines

        return JsonLines(path, context)
    if suffix == ".json":
        from gsvnet_engine.sinks.coco import CocoMasks

        return CocoMasks(path, context)
    from gsvnet_engine.sinks.video import OverlayVideo

    return OverlayVideo(path, context)


def check_target(target: str, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse what can be refused before any work. inputs: files and folders not to be written over, even by force."""
    if target == STDOUT:
        return
    path = Path(target)
    with writing(target), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # too long a name, a loop of links, a folder that is closed
    for own in inputs:
        if path.exists() and path.samefile(own):
            what = "holds the input's images" if path.is_dir() else "is the input itself"
            raise OutputError(f"{target}: {what}: give another name")
    if is_folder(target):
        from gsvnet_engine.sinks.palette import check_png_folder

        return check_png_folder(path, force=force)
    if path.suffix.lower() not in (*VIDEO_SUFFIXES, ".jsonl", ".json"):
        raise UsageError(f"{target}: what to write cannot be told from this name; give {FORMS}")
    check_file(path, force=force)


def shows_pictures(target: str) -> bool:
    """Whether that sink draws on the video's own pictures, not on labels alone."""
    return target != STDOUT and not is_folder(target) and Path(target).suffix.lower() in VIDEO_SUFFIXES


def is_folder(target: str) -> bool:
    return target.endswith("/") or Path(target).is_dir()
