"""The command line as a whole: what it loads, what it says when something is wrong, and with which status it ends."""

import subprocess
import sys

import pytest

from sensorium.cli import main
from sensorium.core.errors import DataError
from sensorium.experiments import run as running

from .conftest import Command

HEAVY = ["torch", "polars", "numpy", "matplotlib", "scipy", "sklearn", "jinja2", "PIL"]
COMMANDS = ["data", "encode", "run", "resume", "compare", "report", "experiment", "audit", "recommend", "evaluate"]


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["data", "import", "--help"], ["--version"], ["run", "--x"]]
)
def test_help_and_errors_of_use_load_nothing_heavy(words: list[str]):
    look = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    program = f"import sys; from sensorium.cli import main; main({words!r}); {look}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_every_command_is_listed_and_explains_itself(command: Command):
    overview = command("--help")
    assert overview.status == 0
    for name in [*COMMANDS, "list", "config", "doctor"]:
        assert f"\n  {name} " in overview.out
        explained = command(name, "--help")
        assert explained.status == 0
        assert "In Python: " in explained.out or name in ("data", "config")
    assert command().out == overview.out
    assert command("--version").out.startswith("sensorium ")


@pytest.mark.parametrize("name", ["serve", "tune"])
def test_commands_that_do_not_exist_yet_are_no_stubs(command: Command, name: str):
    """IN-3: a command that is not there is an error of one line, never a promise."""
    said = command(name)
    assert said.status == 2
    assert said.err.startswith(f"error: No such command '{name}'")
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "x.yaml", "--config_files", "y.yaml"], "No such option: --config_files"),
        (["run"], "Missing argument 'CONFIG'"),
        (["recommend", "x", "-k", "many"], "Invalid value for '-k'"),
        (["run", "x.yaml", "y.yaml"], "unexpected extra argument"),
    ],
)
def test_wrong_words_are_one_line(command: Command, words: list[str], expected: str):
    """CF-1: an unknown flag is an error."""
    said = command(*words)
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert expected in said.err
    assert f"see 'sensorium {words[0]} --help'" in said.err


def test_an_error_of_the_library_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise DataError("rows.csv row 3:\n  the rating is 'x', not a number")

    monkeypatch.setattr(running, "run", fail)
    said = command("run", "x.yaml")
    assert (said.status, said.err) == (2, "error: rows.csv row 3: the rating is 'x', not a number\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "run", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["run", "x.yaml"])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("interrupted in epoch 3; resume with: sensorium resume runs/x", "sensorium resume runs/x"),
        ("", "run the command again"),
    ],
)
def test_an_interruption_says_how_to_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, message: str, expected: str
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt(message) if message else KeyboardInterrupt

    monkeypatch.setattr(running, "run", interrupt)
    said = command("run", "x.yaml")
    assert said.status == 130
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_a_reader_that_has_enough_is_no_error():
    program = "import sys; from sensorium.cli import main; sys.exit(main(['list', 'metrics']))"
    ended = subprocess.run(
        f'"{sys.executable}" -c "{program}" | head -c 1', shell=True, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
