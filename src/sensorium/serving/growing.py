"""A trained model with more items or users than it was trained with: built anew, its state laid over. No training.

The constructor makes what a model derives from its data (a graph, standardised features) with the new ones in it; every
row that was trained keeps its values. Rows of new items are as the constructor makes those of items without a train row
(0 for ids), rows of new users are 0: what such a user is then comes from the items alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.core.config import Component
from sensorium.core.errors import RunError
from sensorium.data.view import TrainView
from sensorium.experiments.loading import LoadedRun
from sensorium.recommenders.base import Recommender


def grown_model(run: LoadedRun, view: TrainView) -> Recommender:
    """Return the model of a run for a view with more items or more users, in evaluation mode.

    Args:
        run: The run; neither it nor its model changes.
        view: Its own view with `n_items` or `n_users` raised.

    Raises:
        RunError: The state of the model holds something that is neither of one size nor one row for each item or user.
    """
    chosen: Component = run.config.model
    model: Recommender = chosen.target(view, chosen.config)
    more_users = view.n_users - run.view.n_users
    state = _laid_over(run.model.state_dict(), model.state_dict(), zero=more_users > 0)
    model.load_state_dict(state)
    return model.eval()


def _laid_over(trained: Mapping[str, Tensor], fresh: Mapping[str, Tensor], *, zero: bool) -> dict[str, Tensor]:
    """Return the fresh state with all trained rows; further rows are the fresh ones, or 0."""
    state: dict[str, Tensor] = {}
    for name, new in fresh.items():
        old = trained.get(name)
        if old is None or old.ndim != new.ndim or old.shape[1:] != new.shape[1:]:
            raise RunError(f"'{name}' of this model's state has no rows that could be added to: start a new run")
        if old.ndim and len(old) < len(new):
            grown = torch.zeros_like(new) if zero else new.clone()
            grown[: len(old)] = old
            state[name] = grown
        else:
            state[name] = old
    return state
