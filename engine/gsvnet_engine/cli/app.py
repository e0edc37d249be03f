"""gsvnet-engine: finds its verbs, runs one, and answers every error with one line and an exit code.

A verb is an entry point of the group `gsvnet_engine.commands`: its name, and a `command` that is a plain
function with typer's annotations or a typer.Typer of its own. It returns its exit code (None: 0) and raises
GsvnetError. Its module is imported even for --help, so it imports what is heavy inside the function.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from gsvnet_engine import __version__
from gsvnet_engine.errors import EXIT_INTERRUPTED, BackendError, GsvnetError, OutputError, UsageError

PROGRAM = "gsvnet-engine"
_STDOUT, _STDERR = 1, 2
GROUP = "gsvnet_engine.commands"
_EXIT_CODES = (
    "Exit codes: 0 ok, 1 a fault of this program or no memory, 2 usage, 3 input, 4 bundle or failed verification, "
    "5 output, 6 backend or missing extra, 7 done but part of the input was unreadable, 130 interrupted."
)
# What each extra brings, by the name it is imported under.
_EXTRAS = {
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "cuda": "gpu",
    "tensorrt": "gpu",
    **dict.fromkeys(("torch", "torchvision", "onnx", "safetensors", "matplotlib"), "export"),
}
# click's ClickException, the base of UsageError; newer typers carry click within, under a private name.
_CommandLineProblem: type[Exception] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see _EXIT_CODES)."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    end = given.index("--") if "--" in given else len(given)
    options, rest = given[:end], given[end:]
    debug = "--debug" in options or bool(os.environ.get("GSVNET_DEBUG"))
    understood = [option for option in options if option != "--debug"]  # it may stand after the verb, too
    with _open_stderr(), _checked_stdout():
        return _run([*understood, *rest], debug=debug, as_json="--json" in options)


def _run(arguments: Sequence[str], *, debug: bool, as_json: bool) -> int:
    try:
        code = build_app()(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first; nothing else exits
        _leave_stdout()  # its reader has gone
        return OutputError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _report("interrupted", EXIT_INTERRUPTED, as_json=as_json)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, exit_code = explain(error)
        return _report(message, exit_code, as_json=as_json)


class _Verbs(TyperGroup):
    """typer would make an exit code of Ctrl-C, as of a verb that has said so itself; an Abort it leaves alone."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error


def build_app() -> typer.Typer:
    """The typer application with every verb that is installed."""
    app = typer.Typer(
        cls=_Verbs,
        help="Real-time semantic segmentation of video: an image network on keyframes, propagation between.",
        epilog=_EXIT_CODES,
        add_completion=False,
        rich_markup_mode=None,  # rich doubles the time of --help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        _add_verb(app, entry)
    return app


def explain(error: BaseException) -> tuple[str, int]:
    """One line for the user, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, GsvnetError):
        return str(error), error.exit_code
    if isinstance(error, _CommandLineProblem):
        problem: Any = error
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else PROGRAM
        return f"{problem.format_message()} (see {path} --help)", UsageError.exit_code
    if isinstance(error, ImportError):
        return _explain_import(error), BackendError.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller working size, or a part of the input", GsvnetError.exit_code
    fault = f"{type(error).__name__}: {error} (a fault of this program; --debug shows where)"
    return fault, GsvnetError.exit_code


def _explain_import(error: ImportError) -> str:
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if isinstance(error, ModuleNotFoundError) and extra:
        return f"this needs {error.name}, which is not installed: pip install 'gsvnet-engine[{extra}]'"
    return f"{error}; gsvnet-engine doctor shows what is missing"


def _report(message: str, exit_code: int, *, as_json: bool) -> int:
    line = " ".join(message.split())
    try:
        if as_json:
            print(json.dumps({"error": line, "exit_code": exit_code}))
        sys.stdout.flush()
    except (OSError, OutputError):  # stdout takes nothing
        _leave_stdout()
        as_json = False
    if not as_json:
        print(f"error: {line}", file=sys.stderr)
    return exit_code


class _Stdout:
    """sys.stdout, whose OSErrors say that they are its own. What a reader that goes away leads to stays as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _named():
            return self._stream.write(text)

    def flush(self) -> None:
        with _named():
            self._stream.flush()


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"stdout: cannot be written: {error.strerror or error}; send it somewhere else"
        ) from error


@contextmanager
def _open_stderr() -> Iterator[None]:
    """Where it was closed: one that takes everything, since print would write to stdout in its place, and the next
    file that is opened would become it."""
    before = sys.stderr
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
        sys.stderr = open(_STDERR, "w", closefd=False)  # noqa: SIM115 (no path, and it stays open)
    try:
        yield
    finally:
        sys.stderr = before


@contextmanager
def _checked_stdout() -> Iterator[None]:
    """Lets sys.stdout be a _Stdout. Where it was closed: one that cannot be written, since print would say nothing,
    and the next file that is opened would become it."""
    before = sys.stdout
    if sys.stdout is None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDOUT)
        sys.stdout = open(_STDOUT, "w", closefd=False)  # noqa: SIM115 (no path, and it stays open)
    changed: Any = _Stdout(sys.stdout)
    sys.stdout = changed
    try:
        yield
    finally:
        sys.stdout = before


def _leave_stdout() -> None:
    """Python would fail once more when it closes stdout on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose (or set GSVNET_DEBUG=1).")
    ] = False,
) -> None:
    """Both options take effect elsewhere: --version in its callback, --debug in main."""


def _add_verb(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        command = entry.load()
    except ImportError as error:
        missing = app.command(entry.name, help="(an extra is missing)", context_settings=_ANYTHING)
        missing(_unavailable(error))
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry.name, no_args_is_help=False)  # "Missing command": one line
    else:
        app.command(entry.name)(command)


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def _unavailable(problem: ImportError) -> Callable[[], None]:
    def command() -> None:
        raise problem

    return command
