"""Tracing runs beside each other: means over folds, intervals over students, paired differences from one baseline.

Only runs of one protocol, on the same data and the same attempts, stand in one table: a run of the literature's
expanded protocol, which contains the label, never stands beside one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import digest
from sensorium.core.registry import did_you_mean
from sensorium.core.rundir import RunDirectory
from sensorium.evaluation.bootstrap import Difference, Interval
from sensorium.tracing.evaluation.intervals import auc_difference, auc_draws, over_folds
from sensorium.tracing.evaluation.predicting import Predictions
from sensorium.tracing.job import read_predictions

METRICS = ("auc", "acc", "nll", "ece")


@dataclass(frozen=True)
class TraceRow:
    """One configuration, with one run per fold (seed).

    Attributes:
        label: The model's name, and what tells it from other rows of that model.
        seeds: Ascending.
        means: Metric -> mean over folds.
        sd: Standard deviation of the AUC over folds; None for one.
        interval: Mean AUC with its 95 % interval over students, drawn jointly for all folds.
        difference: AUC minus the baseline's, on the folds that both have; None for the baseline.
        folds_compared: How many folds that is.
    """

    label: str
    seeds: tuple[int, ...]
    means: dict[str, float]
    sd: float | None
    interval: Interval
    difference: Difference | None = None
    folds_compared: int = 0


@dataclass(frozen=True)
class TraceComparison:
    """Rows, best AUC first.

    Attributes:
        dataset: Name of the data set.
        protocol: "question" or "pykt-expanded".
        leaky: Whether the protocol contains the label.
        baseline: Label of the row that the others are compared with.
        rows: The rows.
    """

    dataset: str
    protocol: str
    leaky: bool
    baseline: str
    rows: tuple[TraceRow, ...]

    def records(self) -> list[dict[str, Any]]:
        """Return one plain record per row, with the difference from the baseline, for a file that is kept."""
        shared = {"dataset": self.dataset, "protocol": self.protocol, "leaky": self.leaky, "baseline": self.baseline}
        return [
            {
                **shared,
                "row": row.label,
                "seeds": list(row.seeds),
                "auc": round(row.means["auc"], 6),
                "interval": [round(row.interval.low, 6), round(row.interval.high, 6)],
                "difference": None
                if row.difference is None
                else [round(v, 6) for v in (row.difference.difference, row.difference.low, row.difference.high)],
            }
            for row in self.rows
        ]

    def lines(self) -> list[str]:
        """Return the table as Markdown."""
        head = "| model | folds | AUC | 95 % over students | ACC | NLL | ECE | AUC minus baseline |"
        title = f"{self.dataset}, protocol {self.protocol}" + (" (LEAKY: contains the label)" if self.leaky else "")
        lines = [f"**{title}**, baseline {self.baseline}", "", head, "|---|---|---|---|---|---|---|---|"]
        for row in self.rows:
            spread = "" if row.sd is None else f" ± {row.sd:.4f}"
            gap = "–"
            if row.difference is not None:
                d = row.difference
                gap = f"{d.difference:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
            numbers = " | ".join(f"{row.means[name]:.4f}" for name in METRICS[1:])
            bounds = f"{row.interval.low:.4f}–{row.interval.high:.4f}"
            lines.append(
                f"| {row.label} | {len(row.seeds)} | {row.means['auc']:.4f}{spread} | {bounds} | {numbers} | {gap} |"
            )
        return lines


@dataclass(frozen=True)
class _Finished:
    path: Path
    result: dict[str, Any]
    config: dict[str, Any]
    found: Predictions

    @property
    def key(self) -> str:
        """Digits of the configuration without its seed."""
        return digest({name: value for name, value in self.config.items() if name != "seed"})

    @property
    def place(self) -> tuple[Any, ...]:
        """What all runs of one table share."""
        data = self.result["data"]
        split = {name: value for name, value in data["split"].items() if name != "fold"}
        return self.result["protocol"], data["tables"], data["attempts"], digest(split)


def compare_traces(runs: Sequence[str | Path], *, baseline: str | None = None, draws: int = 1000) -> TraceComparison:
    """Compare complete tracing runs.

    Args:
        runs: Their folders.
        baseline: Label of the row that the others are compared with; None takes the best AUC.
        draws: Bootstrap draws over students.

    Raises:
        RunError: A folder holds no complete tracing run.
        ConfigError: The runs are of several protocols, data sets or splits, or there is no such baseline.
    """
    finished = [_read(Path(run)) for run in runs]
    if not finished:
        raise ConfigError("name at least one run")
    _require_one_place(finished)
    groups: dict[str, list[_Finished]] = {}
    for run in finished:
        groups.setdefault(run.key, []).append(run)
    labels = _labels(list(groups.values()))
    rows: dict[str, tuple[TraceRow, dict[int, Predictions]]] = {}
    for label, group in zip(labels, groups.values(), strict=True):
        by_seed = {run.result["seed"]: run for run in sorted(group, key=lambda run: run.result["seed"])}
        rows[label] = _row(label, by_seed, draws), {seed: run.found for seed, run in by_seed.items()}
    ordered = sorted(rows, key=lambda label: -rows[label][0].means["auc"])
    chosen = ordered[0] if baseline is None else baseline
    if chosen not in rows:
        raise ConfigError(f"--baseline {chosen}: no such row{did_you_mean(chosen, rows)} (rows: {', '.join(ordered)})")
    base = rows[chosen][1]
    compared = []
    for label in ordered:
        row, found = rows[label]
        shared = sorted(set(found) & set(base))
        if label != chosen and shared:
            gap = auc_difference([found[s] for s in shared], [base[s] for s in shared], draws=draws)
            row = TraceRow(row.label, row.seeds, row.means, row.sd, row.interval, gap, len(shared))
        compared.append(row)
    first = finished[0].result
    return TraceComparison(first["data"]["name"], first["protocol"], first["leaky"], chosen, tuple(compared))


def _read(path: Path) -> _Finished:
    run = RunDirectory.open(path)
    if run.kind != "trace":
        raise RunError(f"{path} is a run of kind '{run.kind}', not one of tracing: kinds are never compared")
    if run.result is None:
        raise RunError(f"{path} is not complete: continue it with 'sensorium resume {path}'")
    return _Finished(path, run.result, run.config, read_predictions(path))


def _require_one_place(finished: Sequence[_Finished]) -> None:
    first = finished[0]
    for run in finished[1:]:
        if run.place == first.place:
            continue
        if run.result["protocol"] != first.result["protocol"]:
            raise ConfigError(
                f"{run.path} has protocol {run.result['protocol']} and {first.path} {first.result['protocol']}: "
                "numbers of a protocol that contains the label are never compared with others"
            )
        raise ConfigError(f"{run.path} and {first.path} are on other data, attempts or splits: compare them apart")


def _row(label: str, by_seed: dict[int, _Finished], draws: int) -> TraceRow:
    tests = [run.result["test"]["metrics"] for run in by_seed.values()]
    means = {name: float(np.mean([test[name] for test in tests])) for name in METRICS}
    drawn = [auc_draws(run.found, draws=draws) for run in by_seed.values()]
    values = over_folds(drawn, [test["auc"] for test in tests])
    low, high = np.nanquantile(values, [0.025, 0.975])
    sd = float(np.std([test["auc"] for test in tests], ddof=1)) if len(tests) > 1 else None
    return TraceRow(label, tuple(by_seed), means, sd, Interval(means["auc"], float(low), float(high)))


def _labels(groups: Sequence[Sequence[_Finished]]) -> list[str]:
    """Return the model's name, and the keys in which runs of one model differ."""
    flat = [_flatten(group[0].config) for group in groups]
    names = [group[0].result["model"] for group in groups]
    labels = []
    for own, name in zip(flat, names, strict=True):
        rivals = [other for other, theirs in zip(flat, names, strict=True) if theirs == name]
        differ = sorted(key for key in own if any(other.get(key) != own[key] for other in rivals))
        told = ", ".join(f"{key.rpartition('.')[2]}={own[key]}" for key in differ if not key.startswith("seed"))
        labels.append(f"{name} ({told})" if told else name)
    return labels


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" != "seed":
            flat[prefix + key] = value
    return flat
