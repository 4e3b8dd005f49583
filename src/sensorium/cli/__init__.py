"""The command line: `sensorium COMMAND`. Each command is a few lines over one call of the library.

Nothing here imports torch, polars or a room of the library at module level: `sensorium --help` answers at once, and a
command pays only for what it uses.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from sensorium.cli import answers, catalogue, data, doctor, features, judge, lift, noise, runs, trace, trace_pages
from sensorium.core.errors import SensoriumError

app = typer.Typer(
    name="sensorium",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The errors of the parser that typer carries: unknown flags and commands, values of a wrong type.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """From raw item content to recommendations you can train, trust and serve."""
    if version:
        from sensorium import __version__

        typer.echo(f"sensorium {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _group in (data, features, runs, answers, noise, catalogue, judge, lift, trace, trace_pages, doctor):
    _group.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check failed, 2 an error of use, 130 interrupted.

    Args:
        arguments: The words after `sensorium`; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    try:
        # Not `command.main`: it would turn an interruption into a bare status and lose what it has to say.
        with _notes_on_stderr(), command.make_context("sensorium", words) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except SensoriumError as error:
        return _stop(str(error))
    except _UsageError as error:
        return _stop(_explain_usage(error))
    except KeyboardInterrupt as interruption:
        typer.echo(
            str(interruption) or "interrupted: nothing half-written was left behind, run the command again", err=True
        )
        return 130
    except BrokenPipeError:  # `sensorium list models | head -1`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Notes(logging.Handler):
    """Says what the library tells by the way: an import on first use, the memory that large work needs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line beside the answer."""
        typer.echo(f"note: {record.getMessage()}", err=True)


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """Show the library's notes for the time of a command."""
    logger, handler = logging.getLogger("sensorium"), _Notes()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _stop(message: str) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


def _explain_usage(error: Exception) -> str:
    """Return the parser's message as one sentence, with the command whose help holds the answer."""
    format_message = getattr(error, "format_message", None)
    message = str(format_message() if format_message is not None else error)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sensorium"
    return f"{message.rstrip('.')} (see '{command} --help')"
