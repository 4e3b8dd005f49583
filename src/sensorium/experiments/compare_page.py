"""A comparison as one HTML page: ranked tables, plots, and what the numbers rest on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.core.pages import figure, write_page
from sensorium.core.resources import readable_seconds
from sensorium.experiments import plots
from sensorium.experiments.compare import Comparison, Row, Table
from sensorium.experiments.finished import POPULARITY, TEMPERATURE
from sensorium.experiments.plots import NO_ENDS, Interval, Line
from sensorium.experiments.tables import Card, Sheet, difference_sheet, plain, ranking_sheet

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_ROWS_IN_A_PLOT = 12  # more can't be told apart by colour


def write_comparison(comparison: Comparison, path: str | Path) -> Path:
    """Write the page and return its path."""
    runs = list({run.path: run for table in comparison.tables for row in table.rows for run in row.runs}.values())
    data = ", ".join(dict.fromkeys(run.data["name"] for run in runs))
    models = ", ".join(dict.fromkeys(run.model for run in runs))
    write_page(
        path,
        title=f"Comparison on {data}",
        template="experiments/templates/compare.html",
        lead=f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} of {models}.",
        notices=comparison.notices,
        sections=[_section(table, comparison.tables) for table in comparison.tables],
    )
    return Path(path)


def _section(table: Table, tables: Sequence[Table]) -> dict[str, Any]:
    rows = table.rows[:MOST_ROWS_IN_A_PLOT]
    whole = "candidates" not in table.protocol  # a ranking of cold items alone repeats no curve and no bucket
    return {
        "name": _name(table, tables),
        "cards": _cards(table),
        "ranking": ranking_sheet(table),
        "differences": difference_sheet(table),
        "metric_plots": _metric_plots(table, rows),
        "learning": _learning(table, rows) if whole else [],
        "buckets": _buckets(table, rows) if whole else [],
        "trade_offs": _trade_offs(table, rows),
        "protocol": table.protocol,
        "notes": table.notes,
        "rules": table.rows[0].runs[0].test["rules"],
        "all_numbers": _all_numbers(table),
        "runs": _runs(table),
    }


def _name(table: Table, tables: Sequence[Table]) -> str:
    """Return what tells this table from the others of the page."""
    keys = dict.fromkeys(key for other in tables for key in other.protocol)
    told = [key for key in keys if len({other.protocol.get(key) for other in tables}) > 1]
    return ", ".join(f"{key} {table.protocol.get(key, 'the whole catalogue')}" for key in told)


def _cards(table: Table) -> list[Card]:
    best = table.rows[0]
    cards = [Card(f"best {table.by}", plain(best.numbers[table.by].mean), best.label)]
    if len(table.rows) > 1:
        second = table.rows[1]
        gap = best.numbers[table.by].mean - second.numbers[table.by].mean
        cards.append(Card("ahead of the second by", plain(gap), second.label))
    run = best.runs[0]
    cards.append(Card("test users", f"{best.users:,}", run.data["name"]))
    cards.append(
        Card("wall time of all runs", readable_seconds(sum(row.seconds * len(row.runs) for row in table.rows)), "")
    )
    return cards


def _metric_plots(table: Table, rows: Sequence[Row]) -> list[Markup]:
    """One dot plot for each metric of the list length that selects, if it has an interval."""
    drawn = []
    for metric in [name for name in table.metrics if name.partition("@")[2] == table.by.partition("@")[2]]:
        values = {row.label: _interval(row, metric) for row in rows}
        if any(np.isfinite(value.low) for value in values.values()):
            plot = plots.dots(values, metric)
            drawn.append(figure(plot, description=f"{metric} of each model with its 95 % interval over users"))
    return drawn


def _interval(row: Row, metric: str) -> Interval:
    number = row.numbers[metric]
    if number.low is None or number.high is None:
        return Interval(number.mean, *NO_ENDS)
    return Interval(number.mean, number.low, number.high)


def _learning(table: Table, rows: Sequence[Row]) -> list[Markup]:
    """The curves of the number that selects, one per run of every trained model."""
    series: dict[str, list[Line]] = {}
    for row in rows:
        found = [run.curve(table.by) for run in row.runs]
        # A model without a curve keeps its place, so that the others have the colours of the plots beside this one.
        series[row.label] = [
            Line(curve.epochs, curve.values, curve.selected) for curve in found if len(curve.epochs) > 1
        ]
    if not any(series.values()):
        return []
    plot = plots.curves(series, x="epoch", y=f"{table.by} on validation", title="Learning curves")
    return [figure(plot, description=f"{table.by} on validation by epoch, one curve per run")]


def _buckets(table: Table, rows: Sequence[Row]) -> list[Markup]:
    """Bars of the ranking metric on rare and popular targets, and on warm and cold ones, where the test has them."""
    drawn = []
    for names, title in ((POPULARITY, "By train rows of the target"), (TEMPERATURE, "Warm and cold targets")):
        there = [name for name in names if all(run.bucket(name)["n"] for row in rows for run in row.runs)]
        if len(there) > 1:
            series = {row.label: [_bucket(row, name, table.by) for name in there] for row in rows}
            plot = plots.bars(there, series, y=table.by, title=title)
            drawn.append(figure(plot, description=f"{table.by} of each model: {title.lower()}"))
    return drawn


def _bucket(row: Row, name: str, metric: str) -> Interval:
    """Return the mean over the row's runs, with its interval where there is one run."""
    buckets = [run.bucket(name) for run in row.runs]
    mean = float(np.mean([bucket["metrics"][metric] for bucket in buckets]))
    low, high = buckets[0]["intervals"].get(metric, NO_ENDS) if len(buckets) == 1 else NO_ENDS
    return Interval(mean, low, high)


def _trade_offs(table: Table, rows: Sequence[Row]) -> list[Markup]:
    """Accuracy against coverage and novelty of the same list length."""
    cut = table.by.partition("@")[2]
    drawn = []
    for name in ("coverage", "novelty"):
        metric = f"{name}@{cut}"
        if metric not in table.metrics or len(rows) < 2:
            continue
        values = {row.label: (row.numbers[metric].mean, row.numbers[table.by].mean) for row in rows}
        plot = plots.points(values, x=metric, y=table.by, title=f"Accuracy and {name}")
        drawn.append(figure(plot, description=f"{table.by} against {metric}, one point per model"))
    return drawn


def _all_numbers(table: Table) -> list[Sheet]:
    """Return one sheet per list length."""
    cuts = dict.fromkeys(metric.partition("@")[2] for metric in table.metrics)
    sheets = []
    for cut in cuts:
        sheet = ranking_sheet(table, [metric for metric in table.metrics if metric.partition("@")[2] == cut])
        sheets.append(Sheet(f"Lists of {cut}", sheet.columns, sheet.rows, sheet.numbers))
    return sheets


def _runs(table: Table) -> Sheet:
    columns = ("run", "model", "seed", "best epoch", "valid", "time", "machine")
    rows = tuple(
        (
            run.name,
            row.label,
            str(run.seed),
            str(run.best_epoch),
            plain(run.result["selection"]["value"]),
            readable_seconds(run.seconds),
            str(run.environment["machine"]),
        )
        for row in table.rows
        for run in row.runs
    )
    return Sheet("The runs", columns, rows, frozenset({"seed", "best epoch", "valid", "time"}))
