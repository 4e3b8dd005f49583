"""Folding in: people whom a model of user ids was not trained with, answered from their items. No training.

    propagate   models over the user–item graph: the person joins the graph with a vector of 0, and is what propagation
                brings from the items
    average     all other models whose score is a product of two vectors: the mean of the person's item vectors

How well that stands in for training is measured by `compare_with_twin`: a second model is trained without some users,
they are folded in, and their lists are set beside those of the run, its twin that was trained with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import catalogue_order, numpy_generator
from sensorium.data.view import TrainView
from sensorium.evaluation.bootstrap import Interval, mean_interval
from sensorium.evaluation.ranking import rank
from sensorium.evaluation.tasks import list_task
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.measuring import fit
from sensorium.experiments.setup import Setup
from sensorium.recommenders.collaborative.graph import GraphBackbone
from sensorium.serving.growing import grown_model

Integers = npt.NDArray[np.int64]
Method = Literal["propagate", "average"]


def folds_in(model: object) -> bool:
    """Whether a model, or a class of models, is asked by user ids and scores by vectors of users and items.

    One that answers histories itself, or whose score is its own, has no use for vectors of people.
    """
    own = hasattr(model, "score") or hasattr(model, "score_history")
    vectors = hasattr(model, "query_vectors") and hasattr(model, "item_vectors")
    return getattr(model, "query_kind", None) == "user" and vectors and not own


def fold_in(run: LoadedRun, histories: Sequence[Tensor]) -> tuple[Tensor, Tensor, Method]:
    """Return vectors of people from their items, and those of the items.

    Args:
        run: A run of a model that user ids ask, with vectors of users and items.
        histories: int64 item ids each.

    Returns:
        float32 [n, d], [I, d], and how it was done. A person without items has the vector 0.

    Raises:
        ConfigError: The model has no such vectors, or they differ in width.
    """
    _require_vectors(run)
    model = run.model
    with torch.no_grad():
        if isinstance(model, GraphBackbone):
            view = _with_users(run.view, histories)
            users, items = grown_model(run, view).represent()[:2]  # type: ignore[operator]
            return users[run.view.n_users :], items, "propagate"
        items = model.item_vectors()
        wide = model.query_vectors(torch.zeros(1, dtype=torch.int64, device=items.device)).shape[1]
        if wide != items.shape[1]:
            raise ConfigError(
                f"'{run.config.model.name}' cannot fold in: a vector of a user has {wide} numbers and one of an item "
                f"{items.shape[1]}"
            )
        nobody = items.new_zeros(items.shape[1])
        means = [items[torch.unique(history)].mean(0) if len(history) else nobody for history in histories]
        return torch.stack(means), items, "average"


def _require_vectors(run: LoadedRun) -> None:
    if folds_in(run.model):
        return
    itself = hasattr(run.model, "score_history")
    why = "it answers histories itself" if itself else "it has no vectors of users and items whose product is the score"
    raise ConfigError(f"'{run.config.model.name}' cannot fold in: {why}")


def _with_users(view: TrainView, histories: Sequence[Tensor]) -> TrainView:
    """Return a view with further users behind its own, and their rows."""
    parts = [torch.unique(history).numpy() for history in histories]
    user = np.repeat(view.n_users + np.arange(len(parts)), [len(part) for part in parts])
    return replace(
        view,
        n_users=view.n_users + len(parts),
        user=np.concatenate([view.user, user]),
        item=np.concatenate([view.item, *parts]),
        timestamp=None,
        attributes={},
        weight=None if view.weight is None else np.concatenate([view.weight, np.ones(len(user), dtype=np.float32)]),
    )


@dataclass(frozen=True)
class FoldedScorer:
    """Vectors of people as queries: query q is person q."""

    people: Tensor
    items: Tensor

    def query_vectors(self, queries: Tensor, /) -> Tensor:
        """Return float32 [n, d]."""
        return self.people[queries]

    def item_vectors(self) -> Tensor:
        """Return float32 [I, d]."""
        return self.items


@dataclass(frozen=True)
class Folding:
    """What folding in is worth.

    Attributes:
        method: How it was done.
        users: Users that were left out of training and folded in.
        k: Length of the lists.
        overlap: Share of a folded list that the twin's list of the same user holds, its mean over users.
        by_chance: The same with the twin's list of another user, where both rank what neither of the two had.
        above_chance: The difference of the two, user by user.
    """

    method: Method
    users: int
    k: int
    overlap: Interval
    by_chance: Interval
    above_chance: Interval

    def lines(self) -> list[str]:
        """Return what there is to say, one sentence each."""
        return [
            f"{self.users} users were left out of training and folded in ({self.method})",
            f"of their first {self.k} items {_words(self.overlap)} are in the list of the run, trained with them",
            f"and {_words(self.by_chance)} in the list of another user, {_words(self.above_chance)} less",
            "in brackets the 95 % interval over the users that were left out (bootstrap)",
        ]


def _words(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def compare_with_twin(run: str | Path | LoadedRun, *, users: int = 100, k: int = 20, seed: int = 0) -> Folding:
    """Train a model without some users of a run, fold them in, and compare their lists with the run's.

    What a user had in training is in neither list; beside another user, what that one had is in neither, too. The
    second training takes as long as the run's did.

    Args:
        run: A run of a model that user ids ask, with vectors of users and items.
        users: How many users are left out, at most half of those with train rows.
        k: Length of the lists.
        seed: Of the choice of users and of the others beside them.

    Raises:
        ConfigError: The model cannot fold in, or there are not twice as many users.
    """
    twin = run if isinstance(run, LoadedRun) else load_run(run)
    _require_vectors(twin)
    trained = np.flatnonzero(twin.view.user_count)
    if not 2 <= users <= len(trained) // 2:
        raise ConfigError(f"users: {users} cannot be left out of {len(trained)}: choose 2 to {len(trained) // 2}")
    generator = numpy_generator(seed, "folding in")
    chosen = np.sort(generator.choice(trained, users, replace=False))
    other = np.roll(np.arange(users), 1 + int(generator.integers(0, users - 1)))
    left = _trained_without(twin, chosen)
    histories = [torch.from_numpy(twin.view.item[twin.view.user == user]) for user in chosen]
    people, items, method = fold_in(left, histories)
    order = catalogue_order(twin.dataset.n_items, twin.config.evaluation.tie_seed)
    n_items, own = twin.dataset.n_items, np.arange(users)

    def shared(whose: Integers) -> npt.NDArray[np.float64]:
        """Return the share of each folded list that the twin's list of another user holds; both rank the same items."""
        had = [torch.cat([histories[one], histories[two]]).numpy() for one, two in zip(own, whose, strict=True)]
        masked = np.repeat(own, [len(part) for part in had]), np.concatenate(had)
        folded = rank(FoldedScorer(people, items), list_task(n_items, own, masked), k=k, tie_order=order).items
        with_them = rank(twin.model, list_task(n_items, chosen[whose], masked), k=k, tie_order=order).items
        return _shared(folded, with_them)

    same, chance = shared(own), shared(other)
    return Folding(
        method,
        users,
        k,
        mean_interval(same),
        mean_interval(chance),
        mean_interval(same - chance),
    )


def _trained_without(run: LoadedRun, users: Integers) -> LoadedRun:
    """Return the run as it would be had these users no train rows."""
    view = run.view
    kept = ~np.isin(view.user, users)
    less = replace(
        view,
        user=view.user[kept],
        item=view.item[kept],
        timestamp=None if view.timestamp is None else view.timestamp[kept],
        weight=None if view.weight is None else view.weight[kept],
    )
    setup = Setup(run.config, run.dataset, run.split, less, run.config.model.target(less, run.config.model.config))
    fit(setup)
    return replace(run, view=less, model=setup.model.eval())


def _shared(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return the share of each list that another one holds: [n]."""
    there = (one[:, :, None] == other[:, None, :]) & (one >= 0)[:, :, None]
    return np.asarray(there.any(axis=2).sum(axis=1) / np.maximum((one >= 0).sum(axis=1), 1), dtype=np.float64)
