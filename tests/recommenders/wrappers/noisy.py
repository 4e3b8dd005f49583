"""Tiny data with known noise, for the tests of calibration and of GUIDER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.testing import tiny_view


def noisy_view(
    rate: float = 0.3,
    *,
    users: int = 200,
    items: int = 80,
    modalities: Sequence[str] = ("text", "image"),
    seed: int = 0,
) -> tuple[TrainView, npt.NDArray[np.bool_]]:
    """Return a view with added rows, items drawn by popularity, and which of its rows were added: bool [E]."""
    view = tiny_view(users=users, items=items, rows_per_user=16, modalities=modalities, seed=seed)
    draw = np.random.default_rng(seed)
    known = view.user * view.n_items + view.item
    user = view.user[draw.integers(len(view.user), size=3 * len(view.user))]
    item = view.item[draw.integers(len(view.item), size=3 * len(view.item))]
    new = np.setdiff1d(user * view.n_items + item, known)
    new = draw.permutation(new)[: int(rate * len(known))]
    keys = np.sort(np.concatenate([known, new]))
    return replace(view, user=keys // view.n_items, item=keys % view.n_items), np.isin(keys, new)


def permuted(view: TrainView, seed: int = 0) -> TrainView:
    """Return the view with every item's features given to another item."""
    order = np.random.default_rng(seed).permutation(view.n_items)
    return replace(view, features={name: Features(x[order], mask[order]) for name, (x, mask) in view.features.items()})


def auc(score: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a positive row scores above another one, ties counted half."""
    rank, n = rankdata(score), int(positive.sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))
