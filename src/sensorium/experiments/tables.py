"""Comparisons for people: sheets of cells for a terminal, for Markdown and for pages; and CSV for machines."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from sensorium.core.errors import ConfigError
from sensorium.core.registry import did_you_mean
from sensorium.core.resources import readable_seconds
from sensorium.experiments.compare import Comparison, Number, Row, Table

_HEADLINES = ("ndcg", "coverage", "novelty")


@dataclass(frozen=True)
class Sheet:
    """Cells for people.

    Attributes:
        title: What it shows, one line.
        columns: Headings.
        rows: One text per heading.
        numbers: The headings whose cells are aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str]


@dataclass(frozen=True)
class Card:
    """One headline number of a page: what it is, the number, and a few words on it."""

    name: str
    value: str
    detail: str


def ranking_sheet(table: Table, metrics: Sequence[str] | None = None) -> Sheet:
    """Return the ranked table, best first: one column per metric, its interval in brackets.

    Args:
        table: One table of a comparison.
        metrics: Which metrics; by default `headline_metrics`.
    """
    shown = headline_metrics(table) if metrics is None else list(metrics)
    columns = ("", "model", *shown, "seeds", "users", "ties", "time")
    rows = tuple(
        (
            str(place),
            row.label + (" (baseline)" if row.label == table.baseline else ""),
            *(with_interval(row.numbers[metric]) for metric in shown),
            str(len(row.seeds)),
            f"{row.users:,}",
            "–" if row.tie_share is None else f"{row.tie_share:.1%}",
            readable_seconds(row.seconds),
        )
        for place, row in enumerate(table.rows, start=1)
    )
    protocol = ", ".join(f"{key}: {value}" for key, value in table.protocol.items())
    return Sheet(f"Test, ranked by {table.by} ({protocol})", columns, rows, frozenset(columns) - {"model"})


def difference_sheet(table: Table) -> Sheet | None:
    """Return each row's difference from the baseline in the metric that ranks; None when there is one row."""
    compared = [(row, number) for row in table.rows if (number := row.numbers.get(table.by)) and number.difference]
    if not compared:
        return None
    columns = ("model", "difference", "95 % interval", "p (Holm)", "")
    rows = tuple((row.label, *difference_cells(number)) for row, number in compared)
    over = f"p corrected over {len(rows)} {'row' if len(rows) == 1 else 'rows'}"
    title = f"{table.by} minus that of {table.baseline}: paired bootstrap over users, {over}"
    return Sheet(title, columns, rows, frozenset(columns[1:4]))


def headline_metrics(table: Table) -> list[str]:
    """Return a few metrics of the list length that selects: the one that ranks, and one for each side of a list."""
    cut = table.by.partition("@")[2]
    wanted = dict.fromkeys([table.by, *(f"{name}@{cut}" for name in _HEADLINES)])
    return [metric for metric in wanted if metric in table.metrics]


def require_metrics(comparison: Comparison, metrics: Sequence[str]) -> None:
    """Check that every table has these columns.

    Raises:
        ConfigError: One that a table lacks; the message lists what can be shown.
    """
    for table in comparison.tables:
        for metric in metrics:
            if metric not in table.metrics:
                raise ConfigError(
                    f"'{metric}' is not in these runs{did_you_mean(metric, table.metrics)} "
                    f"(known: {', '.join(table.metrics)})"
                )


def plain(value: float | None) -> str:
    """Return a metric for people: four digits after the point; values above 10 with two."""
    if value is None or value != value:
        return "–"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def with_interval(number: Number) -> str:
    """Return "0.4036 [0.3951, 0.4120]", and the deviation over seeds where there are several."""
    text = plain(number.mean)
    if number.low is not None:
        text += f" [{plain(number.low)}, {plain(number.high)}]"
    return text + (f" ±{plain(number.sd)}" if number.sd is not None else "")


def difference_cells(number: Number) -> tuple[str, str, str, str]:
    """Return the difference, its interval, its p and a word on it."""
    found = number.difference
    if found is None or number.p is None:
        return ("", "", "", "")
    word = "no clear difference" if number.p >= 0.05 else "lower" if found.difference < 0 else "higher"
    interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
    return (f"{found.difference:+.4f}", interval, f"{number.p:.3f}", word)


# --- files -----------------------------------------------------------------------------------------------------------


def markdown(comparison: Comparison, metrics: Sequence[str] | None = None) -> str:
    """Return the comparison as Markdown: for each protocol the ranked table, the differences and the notes.

    Args:
        comparison: What `compare` returned.
        metrics: The columns; by default `headline_metrics`.
    """
    parts = [f"> {notice}" for notice in comparison.notices]
    for table in comparison.tables:
        for sheet in (ranking_sheet(table, metrics), difference_sheet(table)):
            if sheet is not None:
                parts += [f"**{_escape(sheet.title)}**", _markdown_table(sheet)]
        parts += [f"- {_escape(note)}" for note in table.notes]
    return "\n\n".join(parts) + "\n"


def _markdown_table(sheet: Sheet) -> str:
    rules = ["---:" if column in sheet.numbers else "---" for column in sheet.columns]
    lines = [sheet.columns, rules, *sheet.rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(cell: str) -> str:
    """Keep a cell in its column, and its letters from being read as markup or as a link."""
    for mark, written in (
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("*", "\\*"),
        ("`", "\\`"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("](", "]\\("),
    ):
        cell = cell.replace(mark, written)
    return " ".join(cell.split())


CSV_COLUMNS = (
    "table", "rank", "label", "model", "seeds", "metric", "mean", "low", "high", "sd_over_seeds",
    "baseline", "difference", "difference_low", "difference_high", "p_holm", "users", "tie_share", "seconds", "runs",
)  # fmt: skip


def to_csv(comparison: Comparison) -> str:
    """Return every number as CSV: one line per row and metric, unrounded."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for number, table in enumerate(comparison.tables, start=1):
        for place, row in enumerate(table.rows, start=1):
            for metric, value in row.numbers.items():
                writer.writerow([_safe(cell) for cell in _csv_cells(number, table, place, row, metric, value)])
    return stream.getvalue()


def _csv_cells(
    table_number: int, table: Table, place: int, row: Row, metric: str, number: Number
) -> list[str | int | float | None]:
    found = number.difference
    gap = (None, None, None) if found is None else (found.difference, found.low, found.high)
    return [
        table_number, place, row.label, row.model, " ".join(map(str, row.seeds)), metric, number.mean, number.low,
        number.high, number.sd, table.baseline, *gap, number.p, row.users, row.tie_share, row.seconds,
        " ".join(run.name for run in row.runs),
    ]  # fmt: skip


def _safe(cell: str | int | float | None) -> str | int | float | None:
    """Keep a spreadsheet from reading text as a formula; numbers stay as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
