"""What training may see: the train rows of a split, item features, user attributes. Nothing else.

A model is built as `Model(view, config)` and never meets the data set, so that test rows have no way in: two splits
with the same train rows give the same view, bit for bit, whatever their other rows are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean
from sensorium.core.seeds import catalogue_order, numpy_generator
from sensorium.data.dataset import Dataset, Features
from sensorium.data.item_content import ItemContent
from sensorium.data.schema import WEIGHT
from sensorium.data.sequences import SequenceStore, order_of_rows, pack
from sensorium.data.splits import TRAIN, Split

Integers = npt.NDArray[np.int64]
Attributes = Mapping[str, tuple[Integers, list[str]]]


@dataclass(frozen=True, eq=False)
class TrainView:
    """The train rows, sorted by (user, item), and what is known of users and items.

    A pair stands once, but in a view in order whose split keeps repeats: there it stands as often as it happened.

    Attributes:
        n_users: U.
        n_items: I.
        user: int64 [E], the user of each train row.
        item: int64 [E], its item.
        timestamp: int64 [E], milliseconds since the epoch, UTC; None without time.
        seed: Of the models that are built from this view.
        features: Name -> (x float32 [I, d], present bool [I]), read when first asked for.
        attributes: Name of a sensitive column -> (int64 [U], -1 = unknown; class names).
        weight: float32 [E], how far each train row counts, where the data set says so (`data.weights`); or None.
        in_order: int64 [E], the rows' positions by user, oldest first, where a model asked for it; or None.
        content: Raw content and stored states of the items, for models that read these; or None.
    """

    n_users: int
    n_items: int
    user: Integers
    item: Integers
    timestamp: Integers | None
    seed: int
    features: Mapping[str, Features]
    attributes: Attributes
    weight: npt.NDArray[np.float32] | None = None
    in_order: Integers | None = None
    content: ItemContent | None = None

    @cached_property
    def sequences(self) -> SequenceStore:
        """The train rows as one sequence for each user.

        Raises:
            DataError: The view was made without the order of its rows.
        """
        if self.in_order is None:
            raise DataError("this view has no order of its rows: make it with train_view(..., ordered=True)")
        return pack(self.user, self.item, self.in_order, self.n_users)

    @cached_property
    def matrix(self) -> csr_matrix:
        """Who had what: float32 [U, I] of ones."""
        offsets = np.concatenate([[0], np.cumsum(self.user_count)])
        return csr_matrix((np.ones(len(self.item), np.float32), self.item, offsets), (self.n_users, self.n_items))

    @cached_property
    def user_count(self) -> Integers:
        """Train rows of each user: int64 [U]."""
        return np.bincount(self.user, minlength=self.n_users)

    @cached_property
    def item_count(self) -> Integers:
        """Train rows of each item: int64 [I]."""
        return np.bincount(self.item, minlength=self.n_items)

    @cached_property
    def item_users(self) -> Integers:
        """Users of each item in train, n_i of the protocol: int64 [I]; one who had it several times is one."""
        again = (np.diff(self.user) == 0) & (np.diff(self.item) == 0)  # rows are sorted by user and item
        return self.item_count - np.bincount(self.item[1:][again], minlength=self.n_items)

    @cached_property
    def item_order(self) -> Integers:
        """Place of each item among equals, int64 [I], smaller first: what a model decides ties between items by."""
        return catalogue_order(self.n_items, self.seed)

    @cached_property
    def user_order(self) -> Integers:
        """Place of each user among equals, int64 [U], smaller first."""
        return numpy_generator(self.seed, "user order", self.n_users).permutation(self.n_users).astype(np.int64)


class _LazyFeatures(Mapping[str, Features]):
    """Features of a data set, each read when it is first asked for and then kept."""

    def __init__(self, dataset: Dataset, names: Sequence[str]) -> None:
        self._dataset = dataset
        self._read: dict[str, Features | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> Features:
        found = self._read[name]
        if found is None:
            found = self._read[name] = self._dataset.features(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def train_view(
    dataset: Dataset, split: Split, *, features: Sequence[str] | None = None, seed: int = 0, ordered: bool = False
) -> TrainView:
    """Return what training may see of a split.

    Args:
        dataset: The data set of the split; its features and attributes are read, none of its rows.
        split: The split; its train rows are read.
        features: Names of the item features that models may read; None means all of them.
        seed: Of the models that are built from the view.
        ordered: Whether the models read the order of the rows.

    Raises:
        DataError: The split is of another data set, a feature is unknown, or order was asked for and there is none.
    """
    if (split.n_users, split.n_items) != (dataset.n_users, dataset.n_items):
        raise DataError(
            f"the split has {split.n_users} users and {split.n_items} items and '{dataset.name}' has "
            f"{dataset.n_users} and {dataset.n_items}: it is a split of other data"
        )
    known = dataset.feature_names
    for name in features or ():
        if name not in known:
            raise DataError(
                f"'{dataset.name}' has no features '{name}'{did_you_mean(name, known)} "
                f"(known: {', '.join(known) or 'none'})"
            )
    train = np.flatnonzero(split.label == TRAIN)
    pair = split.user[train] * split.n_items + split.item[train]
    by_pair = np.argsort(pair, kind="stable")
    if split.repeats == "all" and not ordered:  # a matrix of users and items knows a pair once
        by_pair = by_pair[np.diff(pair[by_pair], prepend=-1) > 0]
    train = train[by_pair]
    return TrainView(
        n_users=split.n_users,
        n_items=split.n_items,
        user=split.user[train],
        item=split.item[train],
        timestamp=None if split.timestamp is None else split.timestamp[train],
        seed=seed,
        features=_LazyFeatures(dataset, known if features is None else features),
        attributes=dataset.attributes(),
        weight=_weights(dataset, split, train),
        in_order=order_of_rows(dataset, split, train) if ordered else None,
        content=ItemContent.of(dataset),
    )


def _weights(dataset: Dataset, split: Split, train: Integers) -> npt.NDArray[np.float32] | None:
    """Return the weights of the train rows, in the view's order; 1 for one that has none."""
    if WEIGHT not in dataset.interactions().collect_schema().names():
        return None
    column = dataset.interactions().select(WEIGHT).collect().to_series().fill_null(1.0).to_numpy()
    row = split.row[train]
    return np.where(row < 0, 1.0, column[row]).astype(np.float32)  # rows of added noise are in no file


def permuted_features(view: TrainView) -> TrainView:
    """Return the view with the features of all items shuffled among them, for the question what right ones give.

    One permutation, from the view's seed, for all features: an item's text and picture stay together, and go with what
    is known of their presence to another item.
    """
    order = numpy_generator(view.seed, "permuted features").permutation(view.n_items)
    content = None if view.content is None else view.content.permuted(order)
    return replace(view, features=_PermutedFeatures(view.features, order), content=content)


def permuted_order(view: TrainView) -> TrainView:
    """Return the view with each user's rows in random order, for the question what the right order gives."""
    assert view.in_order is not None  # asked of a view in order
    shuffled = numpy_generator(view.seed, "permuted order").permutation(len(view.user))
    order: Integers = shuffled[np.argsort(view.user[shuffled], kind="stable")]
    return replace(view, in_order=order)


class _PermutedFeatures(Mapping[str, Features]):
    """Features whose rows stand in another order."""

    def __init__(self, features: Mapping[str, Features], order: Integers) -> None:
        self._features = features
        self._order = order

    def __getitem__(self, name: str) -> Features:
        x, present = self._features[name]
        return Features(x[self._order], present[self._order])

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)
