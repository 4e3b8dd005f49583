"""What a ranking is asked: the queries, their targets, what is masked, and which items compete. Plain NumPy arrays.

Per query the targets and the masked items lie one after another in one array with offsets (as in a CSR matrix), items
ascending: the targets of query row q are `target_items[target_offsets[q] : target_offsets[q + 1]]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.data.splits import TEST, TRAIN, VALID, Split

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankingTask:
    """Queries to be answered with ranked items, and what is right.

    Attributes:
        n_items: Size of the catalogue.
        query: int64 [n], user ids, or numbers of histories; ascending, each with at least one target, unless the task
            only asks for lists.
        target_offsets: int64 [n+1] into target_items.
        target_items: int64, per query ascending and without duplicates.
        mask_offsets: int64 [n+1] into mask_items.
        mask_items: int64, items that are never ranked for the query.
        candidates: bool [I], the only items that compete, or None for the whole catalogue.
        excluded: What was left out, counted by kind.
        rules: How the ranking was made, in words, for `result.json` and the reports.
        owner: int64 [n], the user of each query, where a user has several; None where queries are users.
    """

    n_items: int
    query: Integers
    target_offsets: Integers
    target_items: Integers
    mask_offsets: Integers
    mask_items: Integers
    candidates: Booleans | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    owner: Integers | None = None

    def __len__(self) -> int:
        return len(self.query)

    @property
    def users(self) -> Integers:
        """The user of each query: int64 [n]."""
        return self.query if self.owner is None else self.owner

    @cached_property
    def n_targets(self) -> Integers:
        """Number of targets per query: int64 [n]."""
        return np.diff(self.target_offsets)

    @cached_property
    def target_keys(self) -> Integers:
        """Query row * I + target, strictly ascending: int64, one per target."""
        keys = np.repeat(np.arange(len(self)), self.n_targets) * self.n_items + self.target_items
        if np.any(np.diff(keys) <= 0):
            raise ValueError("the targets of a query must be ascending and without duplicates")
        return keys

    @cached_property
    def n_candidates(self) -> Integers:
        """Number of items that compete for each query, after masking: int64 [n]."""
        if self.candidates is None:
            return self.n_items - np.diff(self.mask_offsets)
        masked = np.concatenate([[0], np.cumsum(self.candidates[self.mask_items])])
        return np.asarray(self.candidates.sum() - (masked[self.mask_offsets[1:]] - masked[self.mask_offsets[:-1]]))

    def rows(self, start: int, stop: int) -> RankingTask:
        """Return the same task for the query rows start..stop-1."""
        targets, masks = self.target_offsets[start : stop + 1], self.mask_offsets[start : stop + 1]
        return replace(
            self,
            query=self.query[start:stop],
            target_offsets=targets - targets[0],
            target_items=self.target_items[targets[0] : targets[-1]],
            mask_offsets=masks - masks[0],
            mask_items=self.mask_items[masks[0] : masks[-1]],
            owner=None if self.owner is None else self.owner[start:stop],
        )


class RowsLike(Protocol):
    """Rows of a split: int64 arrays of one length."""

    @property
    def user(self) -> Integers:
        """Dense user ids."""

    @property
    def item(self) -> Integers:
        """Dense item ids."""


class SplitLike(Protocol):
    """What a task needs of a split (`data.splits.Split` is one)."""

    @property
    def n_users(self) -> int:
        """Number of users."""

    @property
    def n_items(self) -> int:
        """Number of items."""

    def part(self, label: int, /) -> RowsLike:
        """Return the rows with one label."""


def asks_users_often(split: Split) -> bool:
    """Whether a split asks for several rows of a user in turn: every model then answers each after its own history."""
    return split.in_turn and int(split.config.get("targets_per_user", 1)) > 1


def ranking_task(
    split: SplitLike,
    part: Literal["valid", "test"],
    *,
    mask: Literal["train", "train+valid"] = "train",
    items: Booleans | None = None,
    candidates: Booleans | None = None,
) -> RankingTask:
    """Return the task of a user–item split: each user of the part is a query, the rows of the part are the targets.

    Args:
        split: The split.
        part: Whose rows are the targets.
        mask: What is never ranked for a user: its train rows, which published tables use, or its train and valid rows.
        items: bool [I], the only items that count as targets (cold items, for example); all others still compete.
        candidates: bool [I], the only items that compete.

    Raises:
        DataError: The part has no row that can be ranked, or valid rows would be masked while they are the targets.
    """
    if part == "valid" and mask == "train+valid":
        raise DataError("mask 'train+valid' hides the targets of a validation: use mask 'train' there")
    masked = [split.part(TRAIN)] + ([split.part(VALID)] if mask == "train+valid" else [])
    targets = split.part(VALID if part == "valid" else TEST)
    task = task_from_rows(
        split.n_items,
        (targets.user, targets.item),
        (np.concatenate([rows.user for rows in masked]), np.concatenate([rows.item for rows in masked])),
        n_users=split.n_users,
        items=items,
        candidates=candidates,
        rules={
            "query": "user id",
            "history": "the model knows the user's train rows",
            "masked": f"the user's {mask.replace('+', ' and ')} rows",
            "targets": f"the user's {part} rows" + ("" if items is None else f" of {int(items.sum())} items"),
            "candidates": _candidates_rule(split.n_items, candidates),
            "repeats": "a masked item is never recommended; masked targets are left out and counted as unreachable",
        },
    )
    if not len(task):
        raise DataError(
            f"the {part} part of this split has no row to rank ({_counts(task.excluded)}): choose another split or part"
        )
    return task


def task_from_rows(
    n_items: int,
    targets: tuple[Integers, Integers],
    masked: tuple[Integers, Integers],
    *,
    n_users: int | None = None,
    items: Booleans | None = None,
    candidates: Booleans | None = None,
    rules: Mapping[str, str] | None = None,
    unreachable: Literal["drop", "keep"] = "drop",
) -> RankingTask:
    """Return a task from (query ids, items) pairs of targets and of masked rows, in any order.

    Duplicate targets count once. A target that can't be reached, because it is masked or does not compete, is left out
    and counted; so is a query that has no target left (cases EV-4, EV-5, EV-10). With `unreachable="keep"` masked
    targets stay, as misses that no ranking can avoid.
    """
    wanted = np.ones(len(targets[0]), dtype=bool) if items is None else items[targets[1]]
    given = targets[0][wanted].astype(np.int64) * n_items + targets[1][wanted]
    keys = np.unique(given)
    mask_keys = np.unique(masked[0].astype(np.int64) * n_items + masked[1])
    reachable = ~_contains(mask_keys, keys) if unreachable == "drop" else np.ones(len(keys), dtype=bool)
    if candidates is not None:
        reachable &= candidates[keys % n_items]
    asked = np.unique(keys // n_items)
    keys, lost = keys[reachable], int((~reachable).sum())
    query = np.unique(keys // n_items)
    excluded = {
        "duplicate_targets": len(given) - len(reachable),
        "unreachable_targets": lost,
        "queries_with_unreachable_targets_only": len(asked) - len(query),
    }
    if n_users is not None:
        excluded["users_without_targets"] = int(n_users) - len(asked)
    mask_keys = mask_keys[_contains(query, mask_keys // n_items)]
    return RankingTask(
        n_items,
        query,
        _offsets(query, keys // n_items),
        keys % n_items,
        _offsets(query, mask_keys // n_items),
        mask_keys % n_items,
        candidates,
        excluded,
        rules or {},
    )


def list_task(
    n_items: int,
    query: Integers,
    masked: tuple[Integers, Integers] | None = None,
    candidates: Booleans | None = None,
) -> RankingTask:
    """Return a task that only asks for lists, without targets: for serving.

    Args:
        n_items: Size of the catalogue.
        query: int64 [n], query ids in any order.
        masked: Row numbers (places in `query`) and items that are never ranked there.
        candidates: bool [I], the only items that compete.
    """
    nothing = np.zeros(0, dtype=np.int64)
    rows, items = masked if masked is not None else (nothing, nothing)
    keys = np.unique(rows.astype(np.int64) * n_items + items)
    offsets = _offsets(np.arange(len(query)), keys // n_items)
    empty = np.zeros(len(query) + 1, dtype=np.int64)
    return RankingTask(n_items, np.asarray(query, dtype=np.int64), empty, nothing, offsets, keys % n_items, candidates)


def restrict(task: RankingTask, items: Booleans, candidates: Booleans | None = None) -> RankingTask:
    """Return the task with only some items as targets, and, if asked, only some as candidates; queries without a target
    go.

    Raises:
        ValueError: The task already has other candidates.
    """
    if candidates is not None and task.candidates is not None and not np.array_equal(candidates, task.candidates):
        raise ValueError("this task already ranks a part of the catalogue")
    kept = items[task.target_items]
    reachable = kept if candidates is None else kept & candidates[task.target_items]
    rows = np.repeat(np.arange(len(task)), task.n_targets)
    asked, keep = np.unique(rows[kept]), np.unique(rows[reachable])
    mask_rows = np.repeat(np.arange(len(task)), np.diff(task.mask_offsets))
    mask_kept = _contains(keep, mask_rows)
    excluded = dict(task.excluded)
    for kind, count in {
        "users_without_targets": len(task) - len(asked),
        "unreachable_targets": int(kept.sum() - reachable.sum()),
        "queries_with_unreachable_targets_only": len(asked) - len(keep),
    }.items():
        excluded[kind] = excluded.get(kind, 0) + count
    rules = {**task.rules, "targets": f"{task.rules.get('targets', 'targets')} of {int(items.sum())} items"}
    if candidates is not None:
        rules["candidates"] = _candidates_rule(task.n_items, candidates)
    return RankingTask(
        task.n_items,
        task.query[keep],
        _offsets(keep, rows[reachable]),
        task.target_items[reachable],
        _offsets(keep, mask_rows[mask_kept]),
        task.mask_items[mask_kept],
        task.candidates if candidates is None else candidates,
        excluded,
        rules,
        None if task.owner is None else task.owner[keep],
    )


def shard(task: RankingTask, index: int, count: int) -> RankingTask:
    """Return the queries that process `index` of `count` answers; `ranking.join` puts their lists together again."""
    return task.rows(len(task) * index // count, len(task) * (index + 1) // count)


def _offsets(query: Integers, ids: Integers) -> Integers:
    """Return where each query's entries begin in a sorted array of query ids: int64 [n+1]."""
    return np.concatenate([np.searchsorted(ids, query), [len(ids)]]).astype(np.int64)


def _contains(ascending: Integers, values: Integers) -> Booleans:
    """Whether each value is in a sorted array: bool, as long as `values`."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray(ascending[place] == values)


def _candidates_rule(n_items: int, candidates: Booleans | None) -> str:
    if candidates is None:
        return f"all {n_items} items, those without a train row included"
    return f"{int(candidates.sum())} of {n_items} items"


def _counts(excluded: Mapping[str, int]) -> str:
    return ", ".join(f"{kind.replace('_', ' ')}: {count}" for kind, count in excluded.items() if count) or "no rows"
