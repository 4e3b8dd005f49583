"""Tables of committed rows, as Markdown, for `docs/results`: one per protocol, one line per cell, means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sensorium.core import registry
from sensorium.core.config import dump
from sensorium.core.errors import DataError, UnknownNameError
from sensorium.core.resources import readable_seconds
from sensorium.experiments.rows import ROWS, Row, Rows, flatten

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")

LEGEND = (
    "Means over seeds; ± is half the 95 % interval of that mean (Student's t over seeds). "
    "Brackets: 95 % interval over test users (bootstrap, mean over seeds)."
)

# What rows of one table share: numbers of different data, splits or rules never stand in one table.
_PROTOCOL = (
    "data.dataset",
    "data.split",
    "data.split_seed",
    "data.min_rating",
    "evaluation.mask",
    "evaluation.tie_seed",
)


def rows_table(topic: str, *, rows: str | Path = ROWS, metrics: Sequence[str] = METRICS) -> str:
    """Return the tables of a topic as Markdown.

    Rows of tracing runs have a table of their own (`tracing.rows_table`).

    Of a cell with a grid the point that is best on validation stands in the table. Lines are ordered by the second
    metric, which is also the one with brackets; where items without a train row were ranked among themselves, a second
    table shows that.

    Args:
        topic: Names the file of rows.
        rows: The folder of the files of rows.
        metrics: The columns.

    Raises:
        DataError: There are no rows of this topic, or one lacks a metric.
    """
    kept = Rows(topic, rows)
    found = kept.read()
    if not found:
        raise DataError(f"{kept.path} holds no rows: run the experiment of topic '{topic}' first")
    if found[0]["config"].get("kind") == "trace":
        from sensorium.tracing.rows_table import trace_table

        return trace_table(found)
    missing = [name for name in metrics if any(name not in row["test"] for row in found)]
    if missing:
        raise DataError(f"{kept.path}: not every row holds {missing[0]}; choose among {', '.join(found[0]['test'])}")
    tables: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        tables.setdefault(_protocol(row), []).append(row)
    return "\n\n".join(_table(group, metrics) for group in tables.values()) + f"\n\n{LEGEND}\n"


def _protocol(row: Row) -> tuple[Any, ...]:
    shared = {key: value for key, value in sorted(flatten(row["config"]).items()) if key.startswith(_PROTOCOL)}
    return (row["tables"], *((key, str(value)) for key, value in shared.items()))


def _table(rows: list[Row], metrics: Sequence[str]) -> str:
    config = rows[0]["config"]
    heading = (
        f"**{rows[0]['dataset']}**, split {_split(config['data']['split'])}, "
        f"mask `{config['evaluation']['mask']}`, {rows[0]['users']:,} test users"
    )
    cells = _chosen(rows)
    main = metrics[min(1, len(metrics) - 1)]
    cells = sorted(cells, key=lambda cell: -_mean(cell[1], lambda row: row["test"][main]))
    lines = [
        heading,
        "",
        *_header([*metrics, f"{main}, users", f"valid {main}", "best epoch", "time", "memory", "seeds"]),
    ]
    for label, group in cells:
        lines.append(
            _line(
                label,
                [_spread(group, "test", name) for name in metrics]
                + [
                    _bounds(group, lambda row: row["test_intervals"].get(main)),
                    _number(_mean(group, lambda row: row["valid"][main])),
                    f"{_mean(group, lambda row: row['selection']['epoch']):.0f}",
                    readable_seconds(_mean(group, lambda row: row["seconds"])),
                    f"{_mean(group, lambda row: row['memory_mb']):.0f} MB",
                    str(len(group)),
                ],
            )
        )
    lines += _features_read(cells)
    cold = [(label, [row["cold"] for row in group if "cold" in row]) for label, group in cells]
    cold = [(label, group) for label, group in cold if group]
    if cold:
        cold = sorted(cold, key=lambda cell: -_mean(cell[1], lambda part: part["test"][main]))
        lines += ["", f"Cold items ranked among themselves ({cold[0][1][0]['users']:,} test users):", ""]
        lines += _header([*metrics, f"{main}, users"])
        for label, group in cold:
            bounds = _bounds(group, lambda part: part["test_intervals"].get(main))
            lines.append(_line(label, [*(_spread(group, "test", name) for name in metrics), bounds]))
    return "\n".join(lines)


def _features_read(cells: list[tuple[str, list[Row]]]) -> list[str]:
    """Return which features the models read, where the rows say it (those of the first releases do not)."""
    readers: dict[str, list[str]] = {}
    for label, group in cells:
        for row in group:
            if read := row.get("features"):
                said = "; ".join(f"{name} by {origin}" for name, origin in sorted(read.items()))
                readers.setdefault(said, []).append(label)
    if not readers:
        return []
    lines = [""]
    for said, labels in readers.items():
        lines.append(f"Features of {', '.join(dict.fromkeys(labels))}: {said}.")
    return lines


def _split(tree: Mapping[str, Any]) -> str:
    """Return a split's name, and its options where they are not the usual ones."""
    try:
        usual = dump(registry.get("sensorium.splits", tree["name"]).Config())
    except (UnknownNameError, ValidationError):  # of a package that is not here, or with an option that has no default
        usual = {}
    options = [f"{key} {value}" for key, value in tree.items() if key != "name" and value != usual.get(key)]
    return f"`{tree['name']}`" + (f" ({', '.join(options)})" if options else "")


def _chosen(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Return one label and group of rows (by seed) per cell: of a grid, the point that is best on validation."""
    cells: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        cells.setdefault(row["cell"], {}).setdefault(row["config_hash"], []).append(row)
    chosen = []
    for cell, points in cells.items():
        # Points that were searched on fewer seeds are compared on the seeds that all of them have.
        seeds = set.intersection(*({row["seed"] for row in group} for group in points.values()))
        best = max(points.values(), key=lambda group: _selected_by(group, seeds))
        place = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in best[0]["point"].items())
        note = f" ({place}; best of {len(points)} on validation)" if place else ""
        chosen.append((cell + note, best))
    return chosen


def _selected_by(group: list[Row], seeds: set[int]) -> float:
    """Return the mean over seeds of the number that selects, signed so that more is better."""
    shared = [row["selection"] for row in group if not seeds or row["seed"] in seeds]
    return float(np.mean([chosen["value"] if chosen["higher_is_better"] else -chosen["value"] for chosen in shared]))


def _mean(group: Sequence[Row], value: Callable[[Row], float]) -> float:
    return float(np.mean([value(row) for row in group])) if group else math.nan


def _spread(group: Sequence[Row], part: str, name: str) -> str:
    """Return the mean over seeds, and half the 95 % interval of it where there are several."""
    from scipy.special import stdtrit

    values = np.array([row[part][name] for row in group], dtype=np.float64)
    n = len(values)
    if n < 2:
        return _number(values.mean())
    half = float(stdtrit(n - 1, 0.975)) * values.std(ddof=1) / math.sqrt(n)
    return f"{_number(values.mean())} ± {_number(half)}"


def _bounds(group: Sequence[Row], bounds: Callable[[Row], Sequence[float] | None]) -> str:
    found = [bound for row in group if (bound := bounds(row)) is not None]
    if not found:
        return ""
    low, high = np.mean(found, axis=0)
    return f"[{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def _header(columns: Sequence[str]) -> list[str]:
    return [_line("model", columns), _line("---", ["---:"] * len(columns))]


def _line(label: str, cells: Sequence[str]) -> str:
    return f"| {label.replace('|', '/')} | {' | '.join(cells)} |"
