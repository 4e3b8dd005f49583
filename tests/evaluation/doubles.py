"""Small stand-ins for what evaluation only knows by protocol: scorers, splits, data sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data.splits import TEST, TRAIN, VALID
from sensorium.evaluation.tasks import RankingTask, task_from_rows


class Table:
    """Scores read from a table [U, I], as a model without vectors gives them."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = torch.as_tensor(scores)

    def score(self, queries: Tensor, items: Tensor | None) -> Tensor:
        return self.scores[queries] if items is None else self.scores[queries][:, items]


class Vectors:
    """A model of two vectors."""

    def __init__(self, users: np.ndarray, items: np.ndarray) -> None:
        self.users, self.items = torch.as_tensor(users), torch.as_tensor(items)

    def query_vectors(self, queries: Tensor) -> Tensor:
        return self.users[queries]

    def item_vectors(self) -> Tensor:
        return self.items


@dataclass(frozen=True)
class Rows:
    user: np.ndarray
    item: np.ndarray


@dataclass(frozen=True)
class Parts:
    """A split of (user, item) pairs."""

    n_users: int
    n_items: int
    train: Sequence[tuple[int, int]] = ()
    valid: Sequence[tuple[int, int]] = ()
    test: Sequence[tuple[int, int]] = ()

    def part(self, label: int) -> Rows:
        pairs = {TRAIN: self.train, VALID: self.valid, TEST: self.test}[label]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return Rows(table[:, 0], table[:, 1])


class TextIds:
    """User 3 is "u3", item 7 is "i7"."""

    def __init__(self, n_users: int, n_items: int) -> None:
        self.known = {f"u{user}": user for user in range(n_users)} | {f"i{item}": item for item in range(n_items)}

    def users_of(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([self.known.get(one, -1) for one in ids], dtype=np.int64)

    items_of = users_of


def random_task(
    rng: np.random.Generator, n_users: int, n_items: int, *, share: float = 0.1, masked: float = 0.2
) -> RankingTask:
    """Each pair is a target, masked, or neither; users without a target drop out."""
    draw = rng.random((n_users, n_items))
    return task_from_rows(
        n_items,
        np.nonzero(draw < share),
        np.nonzero((draw >= share) & (draw < share + masked)),
        n_users=n_users,
    )


def per_query(task: RankingTask, offsets: np.ndarray, items: np.ndarray) -> list[set[int]]:
    """Targets or masks of a task as sets."""
    return [set(items[offsets[row] : offsets[row + 1]].tolist()) for row in range(len(task))]
