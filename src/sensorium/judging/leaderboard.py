"""Leaderboards: ranks in each dimension, average ranks, and the files they are written to.

Ranks are competition ranks: equals share the best one. A model without a rank in a dimension - it is missing there, or
its order is undetermined - has no average rank, and neither has the group of dimensions, unless it is asked for in
spite of that (`allow_missing`); such ranks are marked. Scores of several families never share a board, and dimensions
of different scales have no common score.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.core.files import write_json, write_text
from sensorium.judging.aggregation import (
    RESAMPLES,
    DimensionMeans,
    ModelMean,
    Which,
    means_of,
)
from sensorium.judging.dimensions import Dimension
from sensorium.judging.ranks import Ties, average_rank, ranks_of
from sensorium.judging.records import Family, Record

METRIC_LABEL = "metric judge — measured signals calibrated on human ratings"
QUALITY, ALIGNMENT, OVERALL = "quality", "alignment", "overall"
COLUMNS = (
    *("judge", "family", "model", "dimension", "mean", "low", "high", "rank", "n", "cells", "nulls"),
    *("bound_low", "bound_high", "undetermined", "marked"),
)


@dataclass(frozen=True)
class Board:
    """One judge's leaderboard.

    Attributes:
        judge: Its id.
        family: Its family.
        models: All models, sorted.
        means: By dimension, in the order asked for.
        unsupported: Dimensions that the judge cannot judge: they have no means.
        ranks: Dimension -> model -> rank, None where a model has none there.
        average_ranks: Group -> model -> average rank; a group whose ranks are refused is missing here ...
        refused: ... and stands here, with the reason.
        marked: Whether ranks stand there in spite of missing or undetermined ones.
        ties: How equal means are ranked.
    """

    judge: str
    family: Family
    models: tuple[str, ...]
    means: Mapping[str, DimensionMeans]
    unsupported: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, float | None]]
    average_ranks: Mapping[str, Mapping[str, float]]
    refused: Mapping[str, str]
    marked: bool
    ties: Ties

    @property
    def label(self) -> str:
        """What stands above the board."""
        kinds = {"metric": METRIC_LABEL, "scripted": f"{self.judge} — simulated"}
        return kinds.get(self.family, self.judge)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Dimensions of which more than 2 % of the cells have no score."""
        return tuple(name for name, means in self.means.items() if means.incomplete)


def summarise(
    records: Sequence[Record],
    dimensions: Sequence[Dimension],
    *,
    missing: Which = "common",
    allow_missing: bool = False,
    mid_ranks: bool = False,
    draws: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the leaderboard of one judge's records as it stands in `result.json`.

    Args:
        records: Of one judge.
        dimensions: Which, in the order of the board.
        missing: Which cells count (`aggregation`).
        allow_missing: Rank by means what would have no rank, and mark it.
        mid_ranks: Equal means share the middle of their ranks instead of the best.
        draws: Draws of prompts.
        seed: Of the draws.

    Raises:
        DataError: The records are of several families or judges.
    """
    ties: Ties = "mid-rank" if mid_ranks else "competition"
    return summary_of(
        board_of(records, dimensions, which=missing, ties=ties, allow_missing=allow_missing, seed=seed, resamples=draws)
    )


def board_of(
    records: Sequence[Record],
    dimensions: Sequence[Dimension],
    *,
    which: Which = "common",
    ties: Ties = "competition",
    allow_missing: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Board:
    """Return the leaderboard of one judge's records.

    Args:
        records: Of one judge.
        dimensions: Which, in the order of the board.
        which: Which cells count (`aggregation`).
        ties: How equal means are ranked.
        allow_missing: Rank by means what would have no rank, and mark it.
        seed: Of the draws of prompts.
        resamples: Number of draws.

    Raises:
        DataError: The records are of several families or judges.
    """
    judge, family = _one_judge(records)
    found = {one.id: means_of(records, one, which=which, seed=seed, resamples=resamples) for one in dimensions}
    means = {name: entry for name, entry in found.items() if entry is not None}
    unsupported = tuple(name for name, entry in found.items() if entry is None)
    models = tuple(sorted({record.model for record in records}))
    ranks = {name: ranks_of(entry, models, ties=ties, allow_missing=allow_missing) for name, entry in means.items()}
    average: dict[str, Mapping[str, float]] = {}
    refused: dict[str, str] = {}
    for group, members in _groups(dimensions).items():
        try:
            average[group] = average_rank(ranks, members, models, allow_missing=allow_missing)
        except DataError as error:
            refused[group] = str(error)
    missing = any(rank is None for row in ranks.values() for rank in row.values()) or bool(unsupported)
    marked = allow_missing and (missing or any(entry.undetermined for entry in means.values()))
    return Board(judge, family, models, means, unsupported, ranks, average, refused, marked, ties)


def _one_judge(records: Sequence[Record]) -> tuple[str, Family]:
    """Return id and family of the judge of all records.

    Raises:
        DataError: There are several, or none.
    """
    if not records:
        raise DataError("a leaderboard needs records: there are none")
    families = sorted({record.judge.family for record in records})
    if len(families) > 1:
        raise DataError(f"a board never mixes families of judges, these records are of {' and '.join(families)}")
    judges = sorted({record.judge.id for record in records})
    if len(judges) > 1:
        raise DataError(f"a board is that of one judge, these records are of {', '.join(judges)}")
    return judges[0], families[0]


def _groups(dimensions: Iterable[Dimension]) -> dict[str, list[str]]:
    """Return the groups whose ranks are averaged: quality, alignment, and all of them where there are both."""
    groups: dict[str, list[str]] = {QUALITY: [], ALIGNMENT: []}
    for one in dimensions:
        groups[ALIGNMENT if one.family == "alignment" else QUALITY].append(one.id)
    if all(groups.values()):
        groups[OVERALL] = groups[QUALITY] + groups[ALIGNMENT]
    return {name: members for name, members in groups.items() if members}


# --- as plain values -------------------------------------------------------------------------------------------------


def summary_of(board: Board) -> dict[str, Any]:
    """Return a board as plain values."""
    return {
        "label": board.label,
        "judge": board.judge,
        "family": board.family,
        "marked": board.marked,
        "incomplete": list(board.incomplete),
        "unsupported": list(board.unsupported),
        "dimensions": {name: _dimension_result(board, name) for name in board.means},
        "average_ranks": {group: dict(values) for group, values in board.average_ranks.items()},
        "refused": dict(board.refused),
    }


def _dimension_result(board: Board, name: str) -> dict[str, Any]:
    means = board.means[name]

    def row(entry: ModelMean) -> dict[str, Any]:
        return {
            "mean": entry.mean,
            "interval": list(entry.interval) if entry.interval else None,
            "normalised": means.normalised(entry.model),
            "n": entry.n,
            "cells": entry.cells,
            "nulls": entry.nulls,
            "bounds": list(entry.bounds),
            "rank": board.ranks[name][entry.model],
        }

    return {
        "scale": list(means.scale),
        "which": means.which,
        "judge": vars(means.judge),
        "models": {entry.model: row(entry) for entry in means.models},
        "nulls": means.nulls,
        "cells": means.cells,
        "null_reasons": [{"status": s, "reason": r, "cells": n} for (s, r), n in sorted(means.reasons.items())],
        "undetermined": sorted(sorted(pair) for pair in means.undetermined),
        "incomplete": means.incomplete,
        "order": order_shares(means),
    }


def order_shares(means: DimensionMeans) -> list[dict[str, Any]]:
    """Return, for neighbours in the order of means, the share of draws of prompts in which that order holds."""
    ordered = sorted(
        (one for one in means.models if one.mean is not None), key=lambda one: (-(one.mean or 0), one.model)
    )
    return [
        {"above": first.model, "below": second.model, "share": round(means.share_above(first.model, second.model), 4)}
        for first, second in pairwise(ordered)
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def write_leaderboard(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write `leaderboard.csv`: one row per model and dimension, then one per model and group of dimensions.

    Args:
        path: The file.
        summary: What `summarise` returned, or `result.json` of a run.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    whose = {"judge": summary["label"], "family": summary["family"], "marked": summary["marked"]}
    for name, entry in summary["dimensions"].items():
        unordered = {model for pair in entry["undetermined"] for model in pair}
        for model, row in entry["models"].items():
            low, high = row["interval"] or (None, None)
            numbers = {"mean": row["mean"], "low": low, "high": high, "rank": row["rank"]}
            bounds = {"bound_low": row["bounds"][0], "bound_high": row["bounds"][1]}
            counts = {column: row[column] for column in ("n", "cells", "nulls")}
            order = {"model": model, "dimension": name, "undetermined": model in unordered}
            writer.writerow(_safe({**whose, **order, **numbers, **counts, **bounds}))
    for group, averages in summary["average_ranks"].items():
        for model, value in averages.items():
            writer.writerow(_safe({**whose, "model": model, "dimension": f"average rank: {group}", "rank": value}))
    write_text(path, stream.getvalue())


def _safe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which no text can be taken for a formula by the program that opens the file."""
    return {column: _cell(value) for column, value in row.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")):
        return f"'{value}"
    if isinstance(value, float):
        return round(value, 4)
    return "" if value is None else value


def write_released_layout(folder: str | Path, records: Sequence[Record], summary: Mapping[str, Any]) -> list[Path]:
    """Write `results_<dimension>_score_results.json` for each dimension: `average_scores` by model, and `scores` by
    prompt and model, each a list over samples with null where there is none."""
    paths = []
    for name, entry in summary["dimensions"].items():
        scores: dict[str, dict[str, list[float | None]]] = {}
        for record in sorted((one for one in records if one.dimension == name), key=lambda one: one.key):
            scores.setdefault(record.prompt_id, {}).setdefault(record.model, []).append(record.score)
        path = Path(folder) / f"results_{name}_score_results.json"
        write_json(
            path, {"average_scores": {model: row["mean"] for model, row in entry["models"].items()}, "scores": scores}
        )
        paths.append(path)
    return paths
