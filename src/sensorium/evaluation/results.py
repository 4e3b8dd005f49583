"""Measuring lists: every metric at every k in one pass over blocks, and the result that a run keeps. Without torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.evaluation.metrics import (
    Booleans,
    Exposure,
    Floats,
    Integers,
    ListMetric,
    QueryMetric,
    Relevance,
    load_metrics,
)
from sensorium.evaluation.tasks import RankingTask, task_from_rows

Lists = npt.NDArray[np.int32]

BLOCK = 4096  # lists that are measured at once


@dataclass
class RankingResult:
    """What a ranking is worth.

    Attributes:
        query: int64 [n], the queries that were measured.
        per_query: "recall@20" -> float64 [n], unrounded, for every metric that has a value per query.
        summary: "recall@20" -> the mean over queries, or the one value of a metric of all lists.
        n: Number of queries.
        excluded: What was left out, counted by kind.
        tie_share: Share of lists with a tie at the largest cut, or None where that is not known.
        ties: The same for each k for which it is known.
        rules: How the lists were made, in words.
        lists: int32 [n, largest k], -1 = none.
        counts: What else was counted on the way, by kind.
        owner: int64 [n], the user of each query, where a user has several; None where queries are users.
    """

    query: Integers
    per_query: dict[str, Floats]
    summary: dict[str, float]
    n: int
    excluded: dict[str, int]
    tie_share: float | None
    ties: dict[int, float]
    rules: dict[str, str]
    lists: Lists
    counts: dict[str, int] = field(default_factory=dict)
    owner: Integers | None = None

    @property
    def users(self) -> Integers:
        """The user of each query: int64 [n]."""
        return self.query if self.owner is None else self.owner

    def report(self) -> dict[str, Any]:
        """Return what `result.json` holds: all but the values and lists of single queries."""
        return {
            "metrics": dict(self.summary),
            "n": self.n,
            "excluded": dict(self.excluded),
            "counts": dict(self.counts),
            "tie_share": self.tie_share,
            "ties": {str(k): share for k, share in self.ties.items()},
            "rules": dict(self.rules),
        }


def measure(
    task: RankingTask,
    lists: Lists,
    *,
    ks: Sequence[int],
    metrics: Sequence[str],
    scores: npt.NDArray[np.floating[Any]] | None = None,
    tie_at_cut: Booleans | None = None,
    item_count: Integers | None = None,
    n_users: int | None = None,
    rules: Mapping[str, str] | None = None,
    counts: Mapping[str, int] | None = None,
) -> RankingResult:
    """Measure the lists of a task's queries.

    Args:
        task: The queries and their targets.
        lists: int32 [n, K >= max(ks)], best first, -1 = no item, no item twice in a list.
        ks: The list lengths.
        metrics: Names of registered metrics.
        scores: float [n, K], to count ties at the cuts.
        tie_at_cut: bool [n], whether there is a tie after the last place.
        item_count: int64 [I], train users of each item (novelty needs it).
        n_users: Number of users (novelty needs it).
        rules: More rules to state beside those of the task.
        counts: What was counted on the way to the lists.

    Raises:
        UnknownNameError: A metric that is in no registry.
        ConfigError: A metric lacks what it needs.
        ValueError: The lists don't fit the task or the ks, or a query has no target.
    """
    if lists.shape[0] != len(task) or not ks or min(ks) < 1 or lists.shape[1] < max(ks):
        raise ValueError(f"lists of shape {list(lists.shape)} for {len(task)} queries and k = {list(ks)}")
    if len(task) and task.n_targets.min() < 1:
        raise ValueError("every query of a task that is measured has a target")
    loaded = load_metrics(metrics)
    per_query = {
        f"{name}@{k}": np.empty(len(task), dtype=np.float64)
        for name, metric in loaded.items()
        for k in ks
        if isinstance(metric, QueryMetric)
    }
    for start in range(0, len(task), BLOCK):
        rows = slice(start, start + BLOCK)
        part = task.rows(start, min(start + BLOCK, len(task)))
        relevance = Relevance(_hits(part, lists[rows, : max(ks)]), part.n_targets)
        for name, metric in loaded.items():
            if isinstance(metric, QueryMetric):
                for k in ks:
                    per_query[f"{name}@{k}"][rows] = metric.compute(relevance, k)
    exposures = (
        {k: _exposure(task, lists[:, :k], item_count, n_users) for k in ks}
        if any(isinstance(metric, ListMetric) for metric in loaded.values())
        else {}
    )
    summary: dict[str, float] = {}
    for name, metric in loaded.items():
        for k in ks if len(task) else ():
            key = f"{name}@{k}"
            summary[key] = (
                float(per_query[key].mean()) if isinstance(metric, QueryMetric) else metric.compute(exposures[k])
            )
    ties = {} if scores is None or not len(task) else _tie_shares(scores, tie_at_cut, ks)
    return RankingResult(
        task.query,
        per_query,
        summary,
        len(task),
        dict(task.excluded),
        ties.get(max(ks)),
        ties,
        {**task.rules, **(rules or {})},
        lists[:, : max(ks)],
        dict(counts or {}),
        task.owner,
    )


def metrics_of_lists(
    lists: Sequence[Sequence[Hashable]] | npt.NDArray[Any],
    truth: Sequence[Sequence[Hashable]],
    ks: Sequence[int],
    metrics: Sequence[str] = ("recall", "precision", "hit_rate", "ndcg", "map", "mrr"),
) -> RankingResult:
    """Measure plain lists: one list of items and one list of right answers per user, any ids (numbers, or text).

    A list may be shorter than k, or empty: what is missing scores nothing. Items count once, in a list as in the truth:
    a repeated item holds its place but is no second hit. Users without truth are left out and counted. `result.query`
    holds the numbers of the users that were measured; the catalogue is what occurs in the lists and the truth.

    Raises:
        DataError: Not one list per truth, or no user has truth.
    """
    if len(lists) != len(truth):
        raise DataError(
            f"{len(lists)} lists for {len(truth)} users with truth: give one list per user, empty if need be"
        )
    sizes = np.array([len(row) for row in lists], dtype=np.int64)
    truth_sizes = np.array([len(row) for row in truth], dtype=np.int64)
    ids, code = np.unique(np.array([*chain.from_iterable(lists), *chain.from_iterable(truth)]), return_inverse=True)
    table = np.full((len(lists), max(*ks, int(sizes.max(initial=0)))), -1, dtype=np.int32)
    table[np.arange(table.shape[1]) < sizes[:, None]] = code[: sizes.sum()]
    users = np.repeat(np.arange(len(truth)), truth_sizes)
    nothing = np.zeros(0, dtype=np.int64)
    task = task_from_rows(len(ids), (users, code[sizes.sum() :]), (nothing, nothing), n_users=len(truth))
    if not len(task):
        raise DataError("no user has a right answer: nothing can be measured")
    return measure(task, _once(table[task.query]), ks=ks, metrics=metrics)


def _once(lists: Lists) -> Lists:
    """Blank the later places of an item that stands twice in a list."""
    order = np.argsort(lists, axis=1, kind="stable")
    ascending = np.take_along_axis(lists, order, axis=1)
    repeated = np.zeros(lists.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], ascending[:, 1:] == ascending[:, :-1], axis=1)
    return np.where(repeated, np.int32(-1), lists)


def _hits(task: RankingTask, lists: Lists) -> Booleans:
    """Return which places of the lists hold a target: bool [n, K], by a search in the ascending keys of the targets."""
    keys = np.arange(len(task))[:, None] * task.n_items + lists
    place = np.minimum(np.searchsorted(task.target_keys, keys), len(task.target_keys) - 1)
    return np.asarray((task.target_keys[place] == keys) & (lists >= 0))


def _exposure(task: RankingTask, lists: Lists, item_count: Integers | None, n_users: int | None) -> Exposure:
    shown = np.bincount(lists[lists >= 0], minlength=task.n_items).astype(np.int64)
    if task.candidates is None:
        return Exposure(shown, item_count, n_users)
    return Exposure(shown[task.candidates], None if item_count is None else item_count[task.candidates], n_users)


def _tie_shares(
    scores: npt.NDArray[np.floating[Any]], tie_at_cut: Booleans | None, ks: Sequence[int]
) -> dict[int, float]:
    """Return for each k, where the next item is known, the share of lists whose k-th score is also the next one."""
    shares: dict[int, float] = {}
    for k in ks:
        if k < scores.shape[1]:
            shares[k] = float(np.mean((scores[:, k - 1] == scores[:, k]) & (scores[:, k] > -np.inf)))
        elif tie_at_cut is not None:
            shares[k] = float(np.mean(tie_at_cut))
    return shares
