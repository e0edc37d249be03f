"""Video in: `open_source` finds out what it is given and opens it.

with open_source("road.mp4", SourceOptions(start_s=10, max_frames=100)) as source:
    for frame in source: ...
"""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from gsvnet_engine.errors import InputError
from gsvnet_engine.sources.base import (
    AudioTrack,
    ColorTags,
    RawFormat,
    Source,
    SourceError,
    SourceOptions,
)

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

__all__ = ["AudioTrack", "ColorTags", "RawFormat", "Source", "SourceError", "SourceOptions", "open_source"]

STDIN = "-"
_LISTEN_OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}, "rtsps": {"rtsp_transport": "tcp"}}
_DEFAULT_OPTIONS = SourceOptions()


def open_source(spec: str | Path | int, options: SourceOptions = _DEFAULT_OPTIONS) -> Source:
    """A file, a folder or pattern of images, a webcam's number, a URL, or "-" for raw frames on stdin.

    Raises InputError, in one line, where it is not there, is no video, or not one frame of the part that `options`
    asks for can be decoded.
    """
    if isinstance(spec, int):
        return _webcam(spec, options)
    text = str(spec)
    if text == STDIN:
        return _stdin(options)
    if isinstance(spec, str) and is_url(text):
        return _url(text, options)
    path = Path(text)
    if _is_there(path):
        return _path(path, options)
    if text.isdecimal():
        return _webcam(int(text), options)
    if is_pattern(text):
        return _pattern(text, options)
    raise InputError(f"{text}: no such file or folder")


def is_url(text: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def is_pattern(text: str) -> bool:
    """Whether it is a pattern of names, where no file has that very name."""
    return any(sign in text for sign in "*?[")


def stem_of(spec: str) -> str:
    """What outputs are named after, without opening the input: "road" for "clips/road.mp4".

    Raises InputError for a path that cannot be looked up, and for what is no URL.
    """
    if spec == STDIN:
        return "stdin"
    if is_url(spec):
        parts = _split(spec)
        return Path(parts.path).stem or (parts.hostname or "stream")
    path = Path(spec)
    there = _is_there(path)
    if spec.isdecimal() and not there:
        return f"webcam{spec}"
    if is_pattern(spec) and not there:
        path = path.parent
        return path.resolve().name or "images"
    return (path.resolve().name or "images") if there and path.is_dir() else path.stem


def own_paths(spec: str) -> list[Path]:
    """What an input is read from on this machine, not to be written over: its file, its folder of images, or both.

    Raises InputError where there is no such file or folder.
    """
    from glob import glob

    from gsvnet_engine.sources.images import IMAGE_SUFFIXES

    if spec.startswith("file://"):
        spec = spec.removeprefix("file:")
    if spec == STDIN or is_url(spec):
        return []
    path = Path(spec)
    if _is_there(path):
        return [path, path.parent] if path.suffix.lower() in IMAGE_SUFFIXES else [path]
    if is_pattern(spec):
        return list({Path(match).parent for match in glob(spec)})  # noqa: PTH207 (as in _pattern)
    if spec.isdecimal():
        return []
    raise InputError(f"{spec}: no such file or folder")


def _is_there(path: Path) -> bool:
    """As `path.exists()`. Raises InputError where that cannot be told: too long a name, a folder that is closed."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return True


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise InputError(
            f"{re.sub('//[^/]*@', '//', url)}: is no URL: check its host, as in rtsp://[::1]/live"
        ) from None


def _path(path: Path, options: SourceOptions) -> Source:
    from gsvnet_engine.sources.container import ContainerSource, open_container
    from gsvnet_engine.sources.images import IMAGE_SUFFIXES, ImageSource, natural_order

    stem = stem_of(str(path))
    if path.is_dir():
        try:
            entries = list(path.iterdir())
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        images = sorted((p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if not images:
            raise InputError(f"{path}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return ImageSource(images, options, name=str(path), stem=stem)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path], options, name=str(path), stem=stem)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    # "file:", since FFmpeg would take what stands before a colon in the name for a protocol
    return ContainerSource(
        lambda: open_container(f"file:{path}", name=str(path), hardware=_hardware(options)),
        options,
        name=str(path),
        stem=stem,
        path=path,
    )


def _hardware(options: SourceOptions) -> "HWAccel | None":
    if options.hwaccel is None:
        return None
    from gsvnet_engine.sources.nvdec import accelerator

    return accelerator(options.device, keep=options.keep_on_device)


def _pattern(pattern: str, options: SourceOptions) -> Source:
    from glob import glob

    from gsvnet_engine.sources.images import IMAGE_SUFFIXES, ImageSource, natural_order

    paths = [Path(match) for match in glob(pattern)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    images = sorted((p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if not images:
        raise InputError(f"{pattern}: no image has such a name")
    return ImageSource(images, options, name=pattern, stem=stem_of(pattern))


def _url(url: str, options: SourceOptions) -> Source:
    from gsvnet_engine.sources.container import ContainerSource, open_container

    parts = _split(url)
    name = parts._replace(
        netloc=parts.netloc.rpartition("@")[2], query=""
    ).geturl()  # no password in any message
    scheme = parts.scheme.lower()
    live = None if scheme in ("http", "https") else scheme != "file"
    extra = _LISTEN_OPTIONS.get(scheme)
    return ContainerSource(
        lambda: open_container(
            url, name=name, options=extra, timeout_s=options.timeout_s, hardware=_hardware(options)
        ),
        options,
        name=name,
        stem=stem_of(url),
        live=live,
    )


def _webcam(number: int, options: SourceOptions) -> Source:
    from gsvnet_engine.sources.container import ContainerSource, open_container

    if not sys.platform.startswith("linux"):
        raise InputError(f"webcam {number}: webcams are read on Linux only so far: give a file or a URL")
    device = Path(f"/dev/video{number}")
    if not device.exists():
        there = (
            ", ".join(sorted(p.name.removeprefix("video") for p in Path("/dev").glob("video[0-9]*")))
            or "none"
        )
        raise InputError(f"webcam {number}: {device} is not there (webcams found: {there})")
    return ContainerSource(
        lambda: open_container(
            str(device), name=f"webcam {number}", container_format="v4l2", timeout_s=options.timeout_s
        ),
        options,
        name=f"webcam {number}",
        stem=f"webcam{number}",
        live=True,
    )


def _stdin(options: SourceOptions) -> Source:
    from gsvnet_engine.sources.raw import RawSource

    # unbuffered and not sys.stdin: a thread that waits in its lock would abort the interpreter at exit
    return RawSource(open(0, "rb", buffering=0, closefd=False), options)
