"""Tables: drawn on a terminal, whole and plain in a pipe."""

import io
import re
import sys

import pytest

from sensorium.cli.output import plain_table, show_table

LONG = "x" * 500


class Terminal(io.StringIO):
    """A place that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_plain_tables_are_aligned_and_whole():
    text = plain_table(["name", "n"], [["a", "1"], ["bcd\n e", "100"]], numbers=("n",))
    assert text.splitlines() == ["name     n", "a        1", "bcd e  100"]
    assert LONG in plain_table(["name"], [[LONG]])


def test_a_pipe_gets_every_character(capsys: pytest.CaptureFixture[str]):
    show_table(["name"], [[LONG]], title="Title")
    assert capsys.readouterr().out.splitlines() == ["Title", "name", LONG]


def test_a_terminal_gets_a_drawing_and_no_markup_of_others(monkeypatch: pytest.MonkeyPatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    show_table(["name", "n"], [["[red]a[/red]", "1"], [LONG, "2"]], numbers=("n",))
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert "[red]a[/red]" in drawn
    assert drawn.count("x") == 500  # folded, not cut
    assert max(len(line) for line in drawn.splitlines()) <= 60
