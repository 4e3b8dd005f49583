"""What the command line prints: tables drawn by rich on a terminal, plain aligned text where the output is piped.

A pipe gets every character of every cell: nothing is cut to a width, nothing is coloured.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import typer

# What is passed to `list`, `doctor` and the tables of results.
Rows = Sequence[Sequence[str]]


def say(line: str = "") -> None:
    """Print one line of an answer."""
    typer.echo(line)


def warn(line: str) -> None:
    """Print one line beside the answer, where it does not disturb a pipe."""
    typer.echo(line, err=True)


def show_table(columns: Sequence[str], rows: Rows, *, numbers: Collection[str] = (), title: str = "") -> None:
    """Print a table.

    Args:
        columns: The headings; a table whose headings are all empty has none.
        rows: The cells, one text for each heading.
        numbers: Headings of the columns that are aligned to the right.
        title: A line above the table.
    """
    if title:
        say(title)
    if sys.stdout.isatty():
        _draw(columns, rows, numbers)
    else:
        say(plain_table(columns, rows, numbers=numbers))


def plain_table(columns: Sequence[str], rows: Rows, *, numbers: Collection[str] = ()) -> str:
    """Return a table as aligned text, two spaces between the columns."""
    table = [*([list(columns)] if any(columns) else []), *[[_one_line(cell) for cell in row] for row in rows]]
    widths = [max((len(row[place]) for row in table), default=0) for place in range(len(columns))]
    right = [column in numbers for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if aligned else cell.ljust(width)
            for cell, width, aligned in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    )


def _draw(columns: Sequence[str], rows: Rows, numbers: Collection[str]) -> None:
    """Print the table by rich, which folds long cells into the width of the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # cells are other people's words: never read as rich's own markup

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(Text(column), justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console().print(table)


def _one_line(cell: str) -> str:
    return " ".join(cell.split())
