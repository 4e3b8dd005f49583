"""Runs beside each other: ranked tables with intervals, and how sure the differences are.

Only runs of one protocol stand in one table: same data, same split, same mask, same order of ties, same list lengths.
Runs that differ in one of these come in tables of their own, and the comparison says in what. Runs that differ in
nothing but their seed are one row: mean over seeds, standard deviation over seeds, and an interval over users
(bootstrap of the users' means over seeds). Each row is compared with one baseline by a paired bootstrap over users,
corrected by Holm's rule over the rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import digest
from sensorium.core.registry import did_you_mean
from sensorium.core.rundir import RunDirectory
from sensorium.evaluation.bootstrap import Difference, holm, mean_intervals, paired_difference
from sensorium.evaluation.metrics import load_metrics
from sensorium.experiments.finished import FinishedRun


@dataclass(frozen=True)
class Number:
    """One metric of one row.

    Attributes:
        mean: Mean over users and seeds; of a metric of all lists, mean over seeds.
        low: Lower end of the 95 % interval over users; None for a metric of all lists.
        high: Upper end.
        sd: Standard deviation over seeds; None for one seed.
        difference: Row minus baseline, paired over users; None for the baseline, for metrics of all lists, and for
            list lengths other than the one that ranks.
        p: Its p-value, corrected over the rows of the table (Holm).
    """

    mean: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    difference: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class Row:
    """One configuration, with one run or one per seed.

    Attributes:
        label: The model's name, and what tells it from other rows of that model.
        runs: By seed, ascending.
        numbers: By metric, "recall@20".
        users: Test users.
        tie_share: Share of lists with a tie at the largest cut, the largest of the runs; None where it is not known.
    """

    label: str
    runs: tuple[FinishedRun, ...]
    numbers: Mapping[str, Number]
    users: int
    tie_share: float | None

    @property
    def model(self) -> str:
        """The registered name of the model."""
        return self.runs[0].model

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, ascending."""
        return tuple(run.seed for run in self.runs)

    @property
    def seconds(self) -> float:
        """Mean wall time of a run."""
        return sum(run.seconds for run in self.runs) / len(self.runs)


@dataclass(frozen=True)
class Table:
    """Rows of one protocol, best first.

    Attributes:
        protocol: What all rows share, in words: data, split, mask, ...
        by: The metric that orders the rows, "recall@20".
        rows: Best first.
        baseline: Label of the row that the others are compared with.
        notes: What a reader must know, one sentence each.
    """

    protocol: Mapping[str, str]
    by: str
    rows: tuple[Row, ...]
    baseline: str
    notes: tuple[str, ...]

    @property
    def metrics(self) -> list[str]:
        """The metrics that every row has, in the order of the first row."""
        return [metric for metric in self.rows[0].numbers if all(metric in row.numbers for row in self.rows)]


@dataclass(frozen=True)
class Comparison:
    """One table per protocol, and what keeps them apart or was left out, one sentence each."""

    tables: tuple[Table, ...]
    notices: tuple[str, ...]


def compare(paths: Sequence[str | Path], *, baseline: str | None = None, resamples: int = 1000) -> Comparison:
    """Compare complete runs.

    Args:
        paths: Folders of runs; incomplete ones are left out and named.
        baseline: What the others are compared with: a label, a model's name or a run's folder. Default: the best row.
        resamples: Draws of the bootstrap.

    Raises:
        RunError: A folder is no run of this kind, or no run is complete.
        ConfigError: No row is the baseline.
    """
    runs, notices = _open(paths)
    groups: dict[tuple[tuple[str, str], ...], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(tuple(run.protocol.items()), []).append(run)
    tables = [
        table for protocol, group in groups.items() for table in _tables(dict(protocol), group, baseline, resamples)
    ]
    if baseline is not None and all(_find(table.rows, baseline) is None for table in tables):
        labels = [row.label for table in tables for row in table.rows]
        raise ConfigError(
            f"no run here is the baseline '{baseline}'{did_you_mean(baseline, labels)} (rows: {', '.join(labels)})"
        )
    return Comparison(tuple(tables), (*_differences([dict(protocol) for protocol in groups]), *notices))


def _open(paths: Sequence[str | Path]) -> tuple[list[FinishedRun], list[str]]:
    """Read the complete runs; name the others."""
    runs, notices = [], []
    for path in dict.fromkeys(Path(path) for path in paths):
        if RunDirectory.open(path).result is None:
            notices.append(f"{path} is left out: it is not complete (sensorium resume {path})")
        else:
            runs.append(FinishedRun.open(path))
    if not runs:
        raise RunError(f"there is no complete run to compare{': ' + notices[0] if notices else ''}")
    return runs, notices


def _differences(protocols: Sequence[Mapping[str, str]]) -> list[str]:
    """Say in what the tables differ, if there are several."""
    if len(protocols) < 2:
        return []
    parts = []
    for key in protocols[0]:
        values = list(dict.fromkeys(protocol[key] for protocol in protocols))
        if len(values) > 1:
            parts.append(f"{key} ({' / '.join(values)})")
    tables = f"these runs stand in {len(protocols)} tables, because their numbers can't be compared"
    return [f"{tables}: they differ in {', '.join(parts)}"]


# --- one table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """One of a run's tests: where its numbers and its values per user stand."""

    report: Callable[[FinishedRun], dict[str, Any] | None]
    values: Callable[[FinishedRun], pl.DataFrame]


_WHOLE_CATALOGUE = _Test(lambda run: run.test, lambda run: run.per_user)
_AMONG_COLD = _Test(lambda run: run.cold, lambda run: run.per_user_cold)


def _tables(
    protocol: Mapping[str, str], runs: Sequence[FinishedRun], baseline: str | None, resamples: int
) -> list[Table]:
    """Return the table of one protocol, and where the split holds cold items, that of these among themselves."""
    entries, notes = _entries(runs)
    tables = [_table(protocol, entries, _WHOLE_CATALOGUE, notes, baseline, resamples)]
    if all(run.cold is not None and run.cold["n"] for run in runs):
        among = {**protocol, "candidates": "the cold items alone"}
        tables.append(_table(among, entries, _AMONG_COLD, notes, baseline, resamples))
    return tables


def _table(
    protocol: Mapping[str, str],
    entries: Mapping[str, Sequence[FinishedRun]],
    test: _Test,
    notes: Sequence[str],
    baseline: str | None,
    resamples: int,
) -> Table:
    rows = [_row(label, entry, test, resamples) for label, entry in entries.items()]
    by = _ranking_metric(rows)
    rows = _ranked(rows, by)
    base = (_find(rows, baseline) if baseline is not None else None) or rows[0]
    rows = _with_differences(rows, base, by, test, resamples)
    return Table(protocol, by, tuple(rows), base.label, (*notes, *_notes(rows)))


def _entries(runs: Sequence[FinishedRun]) -> tuple[dict[str, list[FinishedRun]], list[str]]:
    """Put the runs of one configuration together, by label, and say which are left out because they are there twice."""
    entries: dict[str, dict[int, FinishedRun]] = {}
    notes = []
    for run in sorted(runs, key=lambda run: run.seed):
        same = entries.setdefault(digest(run.settings), {})
        if run.seed in same:
            notes.append(f"{run.path} is left out: {same[run.seed].path} has the same configuration and seed")
        else:
            same[run.seed] = run
    groups = [list(entry.values()) for entry in entries.values()]
    return dict(zip(_labels([group[0] for group in groups]), groups, strict=True)), notes


def _labels(runs: Sequence[FinishedRun]) -> list[str]:
    """Name each configuration by its model and by the keys that tell it from the others of that model."""
    labels = []
    for run in runs:
        own = run.settings
        others = [other.settings for other in runs if other.model == run.model]
        keys = [key for key in own if any(tree.get(key) != own[key] for tree in others)]
        told = ", ".join(f"{key.removeprefix('model.')}={own[key]}" for key in keys)
        labels.append(f"{run.model} ({told})" if told else run.model)
    # Configurations that differ only in a key that one of them lacks may share a label: number those.
    return [label if labels.count(label) == 1 else f"{label} #{place + 1}" for place, label in enumerate(labels)]


def _row(label: str, runs: Sequence[FinishedRun], test: _Test, resamples: int) -> Row:
    """Average over seeds and over users."""
    reports = [test.report(run) or {} for run in runs]
    values = _user_values(runs, test)
    metrics = [column for column in values.columns if column != "user_id"]
    intervals = mean_intervals({metric: values[metric].to_numpy() for metric in metrics}, resamples=resamples)
    numbers = {}
    for metric in reports[0]["metrics"]:
        found = [report["metrics"].get(metric) for report in reports]
        if any(value is None for value in found):
            continue  # not measured in every run, or not a finite number
        sd = float(np.std(found, ddof=1)) if len(runs) > 1 else None
        interval = intervals.get(metric)
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        numbers[metric] = Number(float(np.mean(found)), low, high, sd)
    ties = [report["tie_share"] for report in reports if report["tie_share"] is not None]
    return Row(label, tuple(runs), numbers, int(reports[0]["n"]), max(ties, default=None))


def _user_values(runs: Sequence[FinishedRun], test: _Test) -> pl.DataFrame:
    """Return user_id and, by metric, each user's mean over the runs; in the order of the first run's file.

    With that order the bootstrap makes the draws that the run itself made: one run has one interval everywhere.
    """
    tables = [test.values(run) for run in runs]
    shared = [column for column in tables[0].columns if all(column in table.columns for table in tables)]
    return pl.concat([table.select(shared) for table in tables]).group_by("user_id", maintain_order=True).mean()


def _ranking_metric(rows: Sequence[Row]) -> str:
    """Return the number that selected the first run, if every row has it, else the first that every row has.

    Raises:
        RunError: The rows share no metric.
    """
    shared = [metric for metric in rows[0].numbers if all(metric in row.numbers for row in rows)]
    if not shared:
        raise RunError(f"these runs share no metric, so they can't be ranked: {', '.join(row.label for row in rows)}")
    selection = rows[0].runs[0].selection
    return selection if selection in shared else shared[0]


def _ranked(rows: Iterable[Row], by: str) -> list[Row]:
    """Sort best first."""
    sign = -1.0 if load_metrics([name := by.partition("@")[0]])[name].higher_is_better else 1.0
    return sorted(rows, key=lambda row: sign * row.numbers[by].mean)


def _find(rows: Iterable[Row], name: str) -> Row | None:
    """Return the row of this label, else the first with this model or this run folder."""
    rows = list(rows)
    for matches in (
        [row for row in rows if row.label == name],
        [row for row in rows if row.model == name],
        [row for row in rows if any(name in (run.name, str(run.path)) for run in row.runs)],
    ):
        if matches:
            return matches[0]
    return None


def _with_differences(rows: Sequence[Row], base: Row, by: str, test: _Test, resamples: int) -> list[Row]:
    """Compare every row with the baseline in the metrics of the list length that ranks, each corrected over the rows.

    Raises:
        RunError: A row has other test users than the baseline, although both have one split.
    """
    theirs = _user_values(base.runs, test)
    differences: dict[str, dict[str, Difference]] = {}
    for row in rows:
        if row is base:
            continue
        own = _user_values(row.runs, test)
        paired = theirs.select("user_id").join(own, on="user_id", maintain_order="left")
        if not len(paired) == len(own) == len(theirs):
            raise RunError(
                f"{row.runs[0].path} and {base.runs[0].path} have one split and other test users: "
                "one of the two has a per_user.parquet that is not its own"
            )
        for metric in set(own.columns) & set(theirs.columns) - {"user_id"}:
            if metric.partition("@")[2] != by.partition("@")[2]:
                continue
            pair = paired[metric].to_numpy(), theirs[metric].to_numpy()
            differences.setdefault(metric, {})[row.label] = paired_difference(*pair, resamples=resamples)
    corrected = {
        metric: holm({label: difference.p for label, difference in found.items()})
        for metric, found in differences.items()
    }

    def extended(row: Row) -> Row:
        numbers = {
            metric: replace(number, difference=differences[metric][row.label], p=corrected[metric][row.label])
            if row.label in differences.get(metric, {})
            else number
            for metric, number in row.numbers.items()
        }
        return replace(row, numbers=numbers)

    return [extended(row) for row in rows]


def _notes(rows: Sequence[Row]) -> list[str]:
    """Say what a reader of the table must know beside its numbers."""
    runs = [run for row in rows for run in row.runs]
    notes = []
    if any(run.data["uses_future"] for run in runs):
        notes.append("this split uses other users' future: its numbers are no forecast of a live system's")
    selections = dict.fromkeys(run.selection for run in runs)
    if len(selections) > 1:
        notes.append(f"not all rows were selected by the same number on validation: {', '.join(selections)}")
    return notes + _feature_notes(rows)


def _feature_notes(rows: Sequence[Row]) -> list[str]:
    """Mark rows that read a feature of one name and of different origin."""
    origins: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for name, origin in row.runs[0].features.items():
            origins.setdefault(name, {}).setdefault(origin, []).append(row.label)
    return [
        f"feature '{name}' is not the same in all rows: "
        + "; ".join(f"{origin} in {', '.join(labels)}" for origin, labels in by_origin.items())
        for name, by_origin in origins.items()
        if len(by_origin) > 1
    ]
