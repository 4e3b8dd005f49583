"""Small data for contract tests, made in memory from a seed: in it a right model beats chance within seconds.

Users and items belong to hidden groups. A user mostly has items of the own group, popular ones more often; the features
of an item point to its group. One user has no row, one item has no row, and some items lack some content: what real
data hold too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView

Integers = npt.NDArray[np.int64]

N_GROUPS = 3
WIDTHS = (5, 6, 7)  # of the first, second, third modality: sums that are no number of users or items
MODALITIES = ("text", "image", "audio")


@dataclass(frozen=True)
class TinyData:
    """A view, and rows of the same users that the view does not hold.

    Attributes:
        view: What a model may see.
        test_user: int64 [n], ascending.
        test_item: int64 [n].
    """

    view: TrainView
    test_user: Integers
    test_item: Integers


def tiny_data(
    *,
    users: int = 43,
    items: int = 31,
    rows_per_user: int = 8,
    modalities: Sequence[str] = MODALITIES[:2],
    missing: float = 0.2,
    seed: int = 0,
) -> TinyData:
    """Return a tiny world: `rows_per_user` rows of each user, a quarter of them held out for the test.

    Args:
        users: U; the last one has no row.
        items: I; the last one has no row.
        rows_per_user: Rows of each user, test rows included; at most half of the items.
        modalities: Names of the features.
        missing: Share of the items without content, drawn for each modality.
        seed: Decides everything.
    """
    if users < 2 or items < 4 or not 2 <= rows_per_user <= (items - 1) // 2:
        raise ValueError("a tiny world has at least 2 users and 4 items, and 2 to (items - 1) / 2 rows for each user")
    draw = numpy_generator(seed, "tiny data")
    user_group, item_group = draw.integers(N_GROUPS, size=users), draw.integers(N_GROUPS, size=items)
    utility = 2.5 * (user_group[:, None] == item_group) + draw.normal(size=items) + draw.gumbel(size=(users, items))
    utility[:, -1] = -np.inf
    chosen = np.argsort(-utility, axis=1)[:-1, :rows_per_user]  # Gumbel: distinct items, drawn by their utility
    chosen = draw.permuted(chosen, axis=1)
    held_out = max(1, rows_per_user // 4)
    features = {}
    for place, name in enumerate(modalities):
        width = WIDTHS[place % len(WIDTHS)]
        signal = draw.normal(size=(N_GROUPS, width))[item_group]
        present = draw.random(items) >= missing
        values = 3 * signal + draw.normal(size=(items, width))
        features[name] = Features(np.where(present[:, None], values, 0).astype(np.float32), present)
    train_user, train_item = _rows(chosen[:, held_out:])
    view = TrainView(
        n_users=users,
        n_items=items,
        user=train_user,
        item=train_item,
        timestamp=None,
        seed=seed,
        features=features,
        attributes={},
    )
    return TinyData(view, *_rows(chosen[:, :held_out]))


def tiny_view(
    *,
    users: int = 43,
    items: int = 31,
    rows_per_user: int = 8,
    modalities: Sequence[str] = MODALITIES[:2],
    missing: float = 0.2,
    seed: int = 0,
) -> TrainView:
    """Return the view of `tiny_data`, for a model's own tests."""
    return tiny_data(
        users=users, items=items, rows_per_user=rows_per_user, modalities=modalities, missing=missing, seed=seed
    ).view


def view_of_rows(user: Sequence[int], item: Sequence[int], *, users: int, items: int, seed: int = 0) -> TrainView:
    """Return a view of the given rows, with two modalities that every item has, of random values."""
    order = np.lexsort((np.asarray(item), np.asarray(user)))
    draw = numpy_generator(seed, "view of rows")
    features = {
        name: Features(draw.normal(size=(items, width)).astype(np.float32), np.ones(items, dtype=bool))
        for name, width in zip(MODALITIES[:2], WIDTHS, strict=False)
    }
    return TrainView(
        n_users=users,
        n_items=items,
        user=np.asarray(user, dtype=np.int64)[order],
        item=np.asarray(item, dtype=np.int64)[order],
        timestamp=None,
        seed=seed,
        features=features,
        attributes={},
    )


def relabelled(data: TinyData, new_user: Integers, new_item: Integers) -> TinyData:
    """Return the same world under other ids; what decides between equals is carried along.

    Args:
        data: The world; its view has no timestamps.
        new_user: int64 [U], the new id of each user.
        new_item: int64 [I], the new id of each item.
    """
    view = data.view
    old_item = np.argsort(new_item)
    user, item = _sorted(new_user[view.user], new_item[view.item])
    features = {
        name: Features(features.x[old_item], features.present[old_item]) for name, features in view.features.items()
    }
    moved = replace(view, user=user, item=item, features=features, attributes={})
    # The places that the view would draw for itself are properties of the ids: they are put in their place.
    vars(moved).update(item_order=view.item_order[old_item], user_order=view.user_order[np.argsort(new_user)])
    return TinyData(moved, *_sorted(new_user[data.test_user], new_item[data.test_item]))


def with_masked_content(view: TrainView, value: float | None) -> TrainView:
    """Return the view with another value wherever an item has no content, or with noise for None."""
    features = {}
    for name, (x, present) in view.features.items():
        noise = numpy_generator(1, "masked content", name).normal(scale=100, size=x.shape)
        filling = noise if value is None else np.full(x.shape, value)
        features[name] = Features(np.where(present[:, None], x, filling).astype(np.float32), present)
    return replace(view, features=features)


def without_content(view: TrainView, item: int) -> TrainView:
    """Return the view with one item that has no content of any modality."""
    features = {}
    for name, (x, present) in view.features.items():
        kept = present & (np.arange(len(present)) != item)
        features[name] = Features(np.where(kept[:, None], x, 0).astype(np.float32), kept)
    return replace(view, features=features)


def _rows(chosen: Integers) -> tuple[Integers, Integers]:
    """Return user and item of a table with one line of items per user, sorted."""
    return _sorted(np.repeat(np.arange(len(chosen)), chosen.shape[1]), chosen.ravel())


def _sorted(user: Integers, item: Integers) -> tuple[Integers, Integers]:
    order = np.lexsort((item, user))
    return user[order].astype(np.int64), item[order].astype(np.int64)
