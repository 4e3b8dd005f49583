"""Models that a history asks, for a ranking whose queries are users: each user's history is looked up.

At validation the history is the user's train rows, at test the train and valid rows: all that happened before the
targets. The whole of it is masked, whatever part of it a model reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

from torch import Tensor, nn

from sensorium.data.sequences import SequenceStore
from sensorium.evaluation.tasks import Booleans, RankingTask, SplitLike, ranking_task


class HistoryModel(Protocol):
    """What answers histories by vectors."""

    def query_vectors(self, queries: SequenceStore, /) -> Tensor:
        """Return float [n, d] for n histories."""

    def item_vectors(self) -> Tensor:
        """Return float [I, d] in id order."""


class HistoryScorer(nn.Module):
    """A model with the histories of all users: query u is answered by the history of user u."""

    def __init__(self, model: nn.Module, histories: SequenceStore) -> None:
        super().__init__()
        self.model = model
        self._histories = histories

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return float [n, d] for user ids int64 [n]."""
        model: HistoryModel = self.model  # type: ignore[assignment]
        return model.query_vectors(self._histories.of(queries.cpu().numpy()))

    def item_vectors(self) -> Tensor:
        """Return float [I, d] in id order."""
        model: HistoryModel = self.model  # type: ignore[assignment]
        return model.item_vectors()


def history_task(split: SplitLike, part: Literal["valid", "test"], *, items: Booleans | None = None) -> RankingTask:
    """Return the task of a split for models that a history asks: the whole history is masked.

    Raises:
        DataError: The part has no row that can be ranked.
    """
    known: Literal["train", "train+valid"] = "train" if part == "valid" else "train+valid"
    task = ranking_task(split, part, mask=known, items=items)
    rows = known.replace("+", " and ")
    rules = {**task.rules, "query": "history", "history": f"the user's {rows} rows, in order: all before the targets"}
    return replace(task, rules=rules)
