"""Tables of committed rows of tracing runs, as Markdown: one per data set, attempts and protocol.

A protocol that contains the label never shares a table with one that does not, and says so in its heading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.core.resources import readable_seconds

Row = Mapping[str, Any]

LEGEND = (
    "Means over folds; ± is the standard deviation over folds. Brackets: 95 % interval over test students (bootstrap), "
    "widened by the spread over folds (Student's t). Every row of a test student but the first is predicted once. The "
    "time is that of a whole run."
)


def trace_table(rows: Sequence[Row]) -> str:
    """Return the tables of some rows, best AUC first."""
    tables: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["dataset"], row["config"]["data"]["attempts"], row["config"]["protocol"], row["tables"])
        tables.setdefault(key, []).append(row)
    return "\n\n".join(_table(group) for group in tables.values()) + f"\n\n{LEGEND}\n"


def _table(rows: Sequence[Row]) -> str:
    first = rows[0]
    attempts, protocol = first["config"]["data"]["attempts"], first["config"]["protocol"]
    heading = f"**{first['dataset']}**, attempts: {attempts}, protocol {protocol}, {first['users']:,} test students"
    if first.get("leaky"):
        heading += " — **leaky: contains the label**"
    cells: dict[str, list[Row]] = {}
    for row in rows:
        cells.setdefault(row["cell"], []).append(row)
    ordered = sorted(cells.items(), key=lambda cell: -_mean(cell[1], "auc"))
    lines = [
        heading,
        "",
        "| model | folds | AUC | ACC | NLL | ECE | AUC per student | best epoch | time |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, group in ordered:
        seeds = ", ".join(str(row["seed"]) for row in sorted(group, key=lambda row: int(row["seed"])))
        bounds = _bounds(group)
        auc = f"{_mean(group, 'auc'):.4f}{_spread(group)} [{bounds[0]:.4f}, {bounds[1]:.4f}]"
        numbers = [f"{_mean(group, metric):.4f}" for metric in ("acc", "nll", "ece", "auc_student")]
        epochs = ", ".join(str(row["selection"]["epoch"]) for row in sorted(group, key=lambda row: int(row["seed"])))
        seconds = readable_seconds(float(np.mean([row["seconds"] for row in group])))
        lines.append(f"| {name} | {seeds} | {auc} | {' | '.join(numbers)} | {epochs} | {seconds} |")
    return "\n".join(lines)


def _bounds(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the ends of the interval of a mean over folds; that of the students, and of the folds, add in squares."""
    from scipy.special import stdtrit

    centre = _mean(rows, "auc")
    ends = np.mean([row["test_intervals"]["auc"] for row in rows], axis=0)
    if len(rows) < 2:
        return float(ends[0]), float(ends[1])
    error = float(np.std([row["test"]["auc"] for row in rows], ddof=1)) / math.sqrt(len(rows))
    folds = error * float(stdtrit(len(rows) - 1, 0.975))
    return centre - math.hypot(centre - ends[0], folds), centre + math.hypot(ends[1] - centre, folds)


def _mean(rows: Sequence[Row], metric: str) -> float:
    values = [row["test"][metric] for row in rows]
    return float(np.mean(values)) if all(value is not None for value in values) else math.nan


def _spread(rows: Sequence[Row]) -> str:
    if len(rows) < 2:
        return ""
    return f" ± {float(np.std([row['test']['auc'] for row in rows], ddof=1)):.4f}"
