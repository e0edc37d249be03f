import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

import gsvnet_engine
from gsvnet_engine import errors
from gsvnet_engine.cli import app, main

HEAVY = {"numpy", "av", "cv2", "onnxruntime", "openvino", "torch", "rich", "cuda", "tensorrt", "tensorrt_rtx"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Another Python that finds the same package, whether or not it is installed."""
    paths = [str(Path(gsvnet_engine.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


Verb = Callable[..., object]


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Verb]:
    """Verbs to fill in: name -> function. They stand in for those that are installed."""
    module = ModuleType("pretended_verbs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    commands: dict[str, Verb] = {}

    def entry_points(group: str) -> list[EntryPoint]:
        for name, command in commands.items():
            setattr(module, name, command)
        return [EntryPoint(name, f"{module.__name__}:{name}", group) for name in commands]

    monkeypatch.setattr(app, "entry_points", entry_points)
    return commands


def raising(problem: BaseException) -> Verb:
    def command(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        raise problem

    return command


class TestHelp:
    def test_imports_nothing_heavy(self) -> None:
        script = (
            "import sys; from gsvnet_engine.cli import main; code = main(['--help']);"
            "print(code, *{name.partition('.')[0] for name in sys.modules})"
        )
        done = python("-c", script)
        assert done.returncode == 0, done.stderr
        code, *modules = done.stdout.splitlines()[-1].split()
        assert code == "0"
        assert not HEAVY & set(modules)

    @pytest.mark.parametrize("verb", ["bench", "doctor", "inspect", "run"])
    def test_verbs_are_found_and_explain_themselves(self, verb: str) -> None:
        done = python("-m", "gsvnet_engine", verb, "--help")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "--json" in done.stdout

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"gsvnet-engine {gsvnet_engine.__version__}\n"

    def test_no_verb_shows_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 0
        assert "Commands:" in capsys.readouterr().out

    def test_importing_the_package_is_cheap(self) -> None:
        done = python("-c", "import sys, gsvnet_engine; print(*{n.partition('.')[0] for n in sys.modules})")
        assert not (HEAVY | {"typer"}) & set(done.stdout.split())


class TestExitCodes:
    @pytest.mark.parametrize(
        ("problem", "code", "line"),
        [
            (errors.UsageError("give either"), 2, "error: give either"),
            (errors.InputError("road.mp4: is\nempty"), 3, "error: road.mp4: is empty"),
            (errors.BundleError("toy: damaged"), 4, "error: toy: damaged"),
            (errors.OutputError("disk full"), 5, "error: disk full"),
            (errors.BackendError("no runtime"), 6, "error: no runtime"),
            (ModuleNotFoundError("no torch", name="torch"), 6, "pip install 'gsvnet-engine[export]'"),
            (ModuleNotFoundError("no", name="openvino.runtime"), 6, "pip install 'gsvnet-engine[cpu]'"),
            (ImportError("libGL.so.1: cannot open"), 6, "libGL.so.1: cannot open; gsvnet-engine doctor"),
            (MemoryError(), 1, "out of memory"),
            (KeyError("bug"), 1, "KeyError: 'bug' (a fault of this program; --debug shows where)"),
        ],
    )
    def test_an_error_is_one_line(
        self,
        verbs: dict[str, Verb],
        capsys: pytest.CaptureFixture[str],
        problem: Exception,
        code: int,
        line: str,
    ) -> None:
        verbs["fail"] = raising(problem)
        assert main(["fail"]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert line in captured.err and captured.err.count("\n") == 1

        assert main(["fail", "--json"]) == code
        captured = capsys.readouterr()
        answer = json.loads(captured.out)
        assert answer["exit_code"] == code and line.removeprefix("error: ") in answer["error"]
        assert captured.err == ""

    def test_interrupted(self, verbs: dict[str, Verb], capsys: pytest.CaptureFixture[str]) -> None:
        group = typer.Typer()
        group.command("long")(raising(KeyboardInterrupt()))
        group.command("short")(raising(KeyboardInterrupt()))
        verbs.update(wait=raising(KeyboardInterrupt()), train=group, reported=lambda: errors.EXIT_INTERRUPTED)
        for verb in (["wait"], ["train", "long"]):
            assert main(verb) == 130
            assert capsys.readouterr() == ("", "error: interrupted\n")
            assert main([*verb, "--json"]) == 130
            said = capsys.readouterr()
            assert json.loads(said.out) == {"error": "interrupted", "exit_code": 130} and said.err == ""
        assert main(["reported"]) == 130
        assert capsys.readouterr() == ("", "")

    def test_a_verb_returns_its_own(self, verbs: dict[str, Verb]) -> None:
        verbs["partial"] = lambda: errors.EXIT_PARTIAL
        verbs["fine"] = lambda: None
        assert main(["partial"]) == 7
        assert main(["fine"]) == 0

    @pytest.mark.parametrize("arguments", [["fly"], ["fail", "--no-such"], ["fail", "surplus"], ["--wrong"]])
    def test_usage(
        self, verbs: dict[str, Verb], capsys: pytest.CaptureFixture[str], arguments: list[str]
    ) -> None:
        verbs["fail"] = raising(KeyError())
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert "--help)" in captured.err
        assert main([*arguments, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["exit_code"] == 2

    def test_debug_shows_the_traceback(
        self, verbs: dict[str, Verb], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verbs["fail"] = raising(errors.InputError("no video"))
        main(["--debug", "fail"])
        assert "Traceback" in capsys.readouterr().err
        assert main(["fail", "--debug"]) == 3
        assert "Traceback" in capsys.readouterr().err
        monkeypatch.setenv("GSVNET_DEBUG", "1")
        main(["fail"])
        assert "Traceback" in capsys.readouterr().err

    def test_a_reader_that_goes_away(self) -> None:
        script = (
            "import os, sys; from gsvnet_engine.cli import main\n"
            "read, write = os.pipe(); os.dup2(write, 1); os.close(write); os.close(read)\n"
            "raise SystemExit(main(['--help']))"
        )
        done = python("-c", script)
        assert (done.returncode, done.stderr) == (5, "")

    @pytest.mark.parametrize("redirected", [">/dev/full", ">&-", "1</dev/null"])
    @pytest.mark.parametrize("verb", ["--help", "doctor", "inspect", "inspect --json"])
    def test_a_stdout_that_takes_nothing(self, redirected: str, verb: str) -> None:
        command = f"exec {sys.executable} -m gsvnet_engine {verb} {redirected}"
        done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 5
        assert done.stderr.startswith("error: stdout: cannot be written: ") and done.stderr.count("\n") == 1

    @pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
    def test_an_error_that_stdout_does_not_take_is_told_on_stderr(self, redirected: str) -> None:
        command = f"exec {sys.executable} -m gsvnet_engine inspect nowhere --json {redirected}"
        done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 4
        assert done.stderr.startswith("error: nowhere: no such bundle") and done.stderr.count("\n") == 1

    @pytest.mark.parametrize("redirected", ["2>&-", "2>&- 0<&-"])
    def test_a_closed_stderr_leaves_stdout_to_the_answer(self, redirected: str) -> None:
        command = f"exec {sys.executable} -m gsvnet_engine inspect nowhere --json {redirected}"
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 4
        assert json.loads(done.stdout)["exit_code"] == 4
        command = f"exec {sys.executable} -m gsvnet_engine inspect nowhere {redirected}"
        done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stdout) == (4, "")


class TestMissingExtra:
    def test_a_verb_that_does_not_import(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its module wants torch; `None` in sys.modules makes that import fail as if it were missing."""
        monkeypatch.setitem(sys.modules, "torch", None)
        entry = EntryPoint("train", "torch.nothing:command", app.GROUP)
        monkeypatch.setattr(app, "entry_points", lambda group: [entry])
        assert main(["train", "keyframe", "--epochs", "3"]) == 6
        assert "pip install 'gsvnet-engine[export]'" in capsys.readouterr().err
        assert main(["--help"]) == 0
        assert "train" in capsys.readouterr().out

    def test_a_verb_of_verbs(self, verbs: dict[str, Verb], capsys: pytest.CaptureFixture[str]) -> None:
        group = typer.Typer(no_args_is_help=True)
        group.command("keyframe")(raising(errors.InputError("no data")))
        group.command("propagation")(raising(errors.InputError("no clips")))
        verbs["train"] = group
        assert main(["train", "propagation"]) == 3
        assert capsys.readouterr().err == "error: no clips\n"
        assert main(["train"]) == 2
        assert capsys.readouterr().err == "error: Missing command. (see gsvnet-engine train --help)\n"
