"""Rankings whose queries are histories: which history stands before each target, and what of it is masked.

    history(q)  the items of a user before the target, oldest first; the model reads its last part, the ranking masks it

Splits that ask in turn (`leave_last_out`, `cold_items` with targets: last) have one query for each target, and its
history is all that the user did before it, the targets of earlier queries included. Other splits have one query for
each user, with all rows of the part as targets: the history is then the train rows, at test the train and valid rows.

Targets that the history holds already cannot be recommended while it is masked (`RepeatPolicy`):

    drop    such targets are left out and counted
    mask    they stay and are never hit, as in published tables: HR_mask = HR_drop * n_drop / n
    free    nothing is masked: to have something again is part of the task
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.dataset import Dataset
from sensorium.data.sequences import SequenceStore, order_of_rows, pack
from sensorium.data.splits import KNOWN, TEST, TRAIN, VALID, Split
from sensorium.evaluation.metrics import Booleans
from sensorium.evaluation.results import RankingResult
from sensorium.evaluation.tasks import RankingTask, ranking_task, task_from_rows

Integers = npt.NDArray[np.int64]
Part = Literal["valid", "test"]
RepeatPolicy = Literal["drop", "mask", "free"]
HistoryMask = Literal["full", "window"]


class HistoryModel(Protocol):
    """What answers histories by vectors."""

    def query_vectors(self, queries: SequenceStore, /) -> Tensor:
        """Return float [n, d] for n histories."""

    def item_vectors(self) -> Tensor:
        """Return float [I, d] in id order."""


@dataclass(frozen=True, eq=False)
class Histories:
    """The histories of queries: parts of packed sequences, never copies.

    Attributes:
        store: The sequences.
        start: int64 [Q], place in `store.values` of the first item of query q's history.
        end: int64 [Q], place behind its last one.
        user: int64 [Q], whose it is.
    """

    store: SequenceStore
    start: Integers
    end: Integers
    user: Integers

    @classmethod
    def of_users(cls, store: SequenceStore) -> Histories:
        """Return the whole sequences: query u is user u."""
        return cls(store, store.offsets[:-1], store.offsets[1:], np.arange(len(store)))

    def of(self, queries: Integers) -> SequenceStore:
        """Return the histories of some queries, int64 [m], as sequences of their own."""
        rows, items = self.items(queries)
        lengths = np.bincount(rows, minlength=len(queries))
        return SequenceStore(items.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def items(self, queries: Integers) -> tuple[Integers, Integers]:
        """Return, for queries int64 [m], the place of the query (0..m-1) and the item of every entry."""
        start, length = self.start[queries], self.end[queries] - self.start[queries]
        rows = np.repeat(np.arange(len(queries)), length)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(length) - length - start, length)
        return rows, self.store.values[place].astype(np.int64)


class HistoryScorer(nn.Module):
    """A model with histories: query q is answered by history q."""

    def __init__(self, model: nn.Module, histories: Histories) -> None:
        super().__init__()
        self.model = model
        self._histories = histories

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return float [n, d] for query numbers int64 [n]."""
        model: HistoryModel = self.model  # type: ignore[assignment]
        return model.query_vectors(self._histories.of(queries.cpu().numpy()))

    def item_vectors(self) -> Tensor:
        """Return float [I, d] in id order."""
        model: HistoryModel = self.model  # type: ignore[assignment]
        return model.item_vectors()


class OwnerScorer(nn.Module):
    """A model that user ids ask, for queries of which a user has several: each is answered as its user."""

    def __init__(self, model: nn.Module, owner: Integers) -> None:
        super().__init__()
        self.model = model
        self._owner = torch.from_numpy(owner)
        if hasattr(model, "score"):
            self.score = self._score

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return float [n, d] for query numbers int64 [n]."""
        model: Any = self.model
        found: Tensor = model.query_vectors(self._users(queries))
        return found

    def item_vectors(self) -> Tensor:
        """Return float [I, d] in id order."""
        model: Any = self.model
        found: Tensor = model.item_vectors()
        return found

    def _score(self, queries: Tensor, items: Tensor | None) -> Tensor:
        model: Any = self.model
        found: Tensor = model.score(self._users(queries), items)
        return found

    def _users(self, queries: Tensor) -> Tensor:
        return self._owner[queries.cpu()].to(queries.device)


def history_task(
    dataset: Dataset,
    split: Split,
    part: Part,
    *,
    repeat_policy: RepeatPolicy = "drop",
    mask: HistoryMask = "full",
    items: Booleans | None = None,
) -> tuple[Histories, RankingTask]:
    """Return the histories of a part of a split, and what is asked after each.

    Args:
        dataset: The data set of the split.
        split: The split.
        part: Whose rows are the targets.
        repeat_policy: What becomes of targets that the history holds already.
        mask: full: the whole history is masked, with the rows before the split's `max_len`; window: only the rows that
            `max_len` left, as published tables have it.
        items: bool [I], the only items that count as targets; all others still compete.

    Raises:
        ConfigError: A window was asked for and the split has none, or repeats where the split keeps none.
        DataError: The data have neither time nor order, or the part has no row that can be ranked.
    """
    if mask == "window" and split.config.get("max_len") is None:
        raise ConfigError("evaluation.history: window masks what the split's max_len leaves: set data.split.max_len")
    if repeat_policy == "free" and split.repeats != "all":
        raise ConfigError(
            "evaluation.repeat_policy: free asks for items again, and this split has dropped repeats: set "
            "data.repeats: all"
        )
    maker = _in_turn if split.in_turn else _at_once
    histories, task = maker(dataset, split, part, mask, repeat_policy, items)
    if not len(task):
        counted = ", ".join(f"{kind.replace('_', ' ')}: {count}" for kind, count in task.excluded.items() if count)
        raise DataError(
            f"the {part} part of this split has no row to rank ({counted or 'no rows'}): choose another one"
        )
    return histories, replace(task, rules={**task.rules, "query": "history", **_rules(mask, repeat_policy)})


def _in_turn(
    dataset: Dataset, split: Split, part: Part, mask: HistoryMask, policy: RepeatPolicy, items: Booleans | None
) -> tuple[Histories, RankingTask]:
    """One query for each target; where users have one target at most, queries are users."""
    chosen = np.flatnonzero(split.label != KNOWN) if mask == "window" else np.arange(len(split.label))
    order = order_of_rows(dataset, split, chosen)
    store = pack(split.user[chosen], split.item[chosen], order, split.n_users)
    rows = chosen[order]
    place = np.flatnonzero(split.label[rows] == (VALID if part == "valid" else TEST))
    user, target = split.user[rows[place]], split.item[rows[place]]
    if len(np.unique(user)) == len(user):
        query, owner, whose = user, None, np.arange(split.n_users)
        start, end = (np.zeros(split.n_users, dtype=np.int64) for _ in range(2))
        start[user], end[user] = store.offsets[user], place
    else:
        query, owner, whose = np.arange(len(place)), user, user
        start, end = store.offsets[user], place
    histories = Histories(store, start, end, whose)
    masked = (np.zeros(0, dtype=np.int64),) * 2 if policy == "free" else histories.items(query)
    task = task_from_rows(
        split.n_items,
        (query, target),
        (query[masked[0]], masked[1]),
        items=items,
        candidates=split.candidates,
        unreachable="keep" if policy == "mask" else "drop",
        rules={
            "history": "all that the user did before the target, in order",
            "targets": f"each user's {part} rows, one after the other"
            + ("" if items is None else f", of {int(items.sum())} items"),
            "candidates": _candidates(split),
        },
    )
    return histories, task if owner is None else replace(task, owner=owner[task.query])


def _at_once(
    dataset: Dataset, split: Split, part: Part, mask: HistoryMask, policy: RepeatPolicy, items: Booleans | None
) -> tuple[Histories, RankingTask]:
    """One query for each user, with all rows of the part as targets."""
    labels = [TRAIN] if part == "valid" else [TRAIN, VALID]
    chosen = np.flatnonzero(np.isin(split.label, labels))
    store = pack(split.user[chosen], split.item[chosen], order_of_rows(dataset, split, chosen), split.n_users)
    histories = Histories.of_users(store)
    known: Literal["train", "train+valid"] = "train" if part == "valid" else "train+valid"
    if policy == "drop":
        task = ranking_task(split, part, mask=known, items=items)
    else:
        targets = split.part(VALID if part == "valid" else TEST)
        asked = np.unique(targets.user)
        masked = (np.zeros(0, dtype=np.int64),) * 2 if policy == "free" else histories.items(asked)
        task = task_from_rows(
            split.n_items,
            (targets.user, targets.item),
            (asked[masked[0]], masked[1]),
            items=items,
            unreachable="keep" if policy == "mask" else "drop",
            rules={"targets": f"the user's {part} rows", "candidates": _candidates(split)},
        )
    rows = known.replace("+", " and ")
    rules = {**task.rules, "history": f"the user's {rows} rows, in order: all before the targets"}
    return histories, replace(task, rules=rules)


def _candidates(split: Split) -> str:
    if split.candidates is None:
        return f"all {split.n_items} items, those without a train row included"
    return f"{int(split.candidates.sum())} of {split.n_items} items: those with a row among the last of each user"


def _rules(mask: HistoryMask, policy: RepeatPolicy) -> dict[str, str]:
    masked = {"full": "the whole history", "window": "the part of the history that the split's max_len leaves"}[mask]
    repeats = {
        "drop": "targets that the history holds are left out and counted as unreachable",
        "mask": "targets that the history holds stay, and are never hit",
        "free": "what the history holds may be recommended again",
    }[policy]
    return {"masked": "nothing" if policy == "free" else masked, "repeats": f"{policy}: {repeats}"}


def with_repeats(task: RankingTask, result: RankingResult) -> dict[str, Any] | None:
    """Return the means under both ways to count targets that the history holds, so that tables stay comparable.

    They are misses under `mask` and left out under `drop`; n_drop queries have another target.

    Returns:
        {"n", "n_drop", "drop": metrics, "mask": metrics}; None where a query has several targets or nothing is masked.
    """
    if not len(task) or task.n_targets.max() > 1 or not task.rules.get("repeats", "").startswith(("drop", "mask")):
        return None
    rows = np.repeat(np.arange(len(task)), np.diff(task.mask_offsets))
    masked = np.unique(rows[task.mask_items == task.target_items[rows]])
    kept = task.rules["repeats"].startswith("mask")
    n = len(task) if kept else len(task) + task.excluded.get("unreachable_targets", 0)
    n_drop = len(task) - len(masked)
    sums: Mapping[str, float] = {name: float(values.sum()) for name, values in result.per_query.items()}
    return {
        "n": n,
        "n_drop": n_drop,
        "drop": {name: total / n_drop if n_drop else None for name, total in sums.items()},
        "mask": {name: total / n for name, total in sums.items()},
    }
