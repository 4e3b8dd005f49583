"""How rows are divided into train, valid and test: one class for each registered split (docs/protocol.md).

A split of your own is a class like these, named in an entry point of the group "sensorium.splits": a nested `Config`,
`uses_future`, and `assign(rows, seed)`, which gives each row a label or leaves it out. The rows arrive as
`splits.make_split` has prepared them: in the order of the file, none below `min_rating`, and no (user, item) pair twice
unless it was asked to keep them.
Every random draw comes from `core.seeds`; rows of one user with equal time have the order of `order.by_time`, never
that of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator, model_validator

from sensorium.core import config as core
from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean
from sensorium.core.seeds import numpy_generator
from sensorium.data.order import by_time

if TYPE_CHECKING:
    from sensorium.data.dataset import Dataset

TRAIN, VALID, TEST = 0, 1, 2
KNOWN = 3
"""Rows that belong to the histories of the valid and test part and to nothing else: no model learns from them."""
LEFT_OUT = -1

Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class SplitRows:
    """The rows that are divided.

    Attributes:
        dataset: The data set they are of.
        row: int64 [n], their numbers in the file of interactions, ascending.
        user: int64 [n].
        item: int64 [n].
        timestamp: int64 [n], milliseconds since the epoch, UTC; None without time.
        order: int64 [n], the order in which they happened, where the data say so by their own order; or None.
    """

    dataset: Dataset
    row: Integers
    user: Integers
    item: Integers
    timestamp: Integers | None
    order: Integers | None

    @property
    def user_count(self) -> Integers:
        """Rows of each user: int64 [U]."""
        return np.bincount(self.user, minlength=self.dataset.n_users)

    @property
    def item_count(self) -> Integers:
        """Rows of each item: int64 [I]."""
        return np.bincount(self.item, minlength=self.dataset.n_items)

    def column(self, name: str) -> pl.Series:
        """Return any other column of the interactions at these rows.

        Raises:
            DataError: There is no such column.
        """
        known = self.dataset.interactions().collect_schema().names()
        if name not in known:
            raise DataError(
                f"the interactions of '{self.dataset.name}' have no column '{name}'{did_you_mean(name, known)} "
                f"(columns: {', '.join(known)})"
            )
        return self.dataset.interactions().select(name).collect().to_series().gather(self.row)

    def ordered_by_time(self, seed: int, split: str) -> Integers:
        """Return the rows' positions, int64 [n], by user and then oldest first.

        Raises:
            DataError: The data have neither time nor order; the message names the split.
        """
        if self.timestamp is None and self.order is None:
            raise needs_time(split, self.dataset)
        return by_time(self.dataset, self.user, self.item, self.timestamp, self.order, seed)


@dataclass(frozen=True, eq=False)
class Assignment:
    """What a split decided.

    Attributes:
        label: int8 [n], TRAIN, VALID, TEST, KNOWN or LEFT_OUT for each row.
        left_out: What was left out, counted by kind.
        cold_items: bool [I], the items that were chosen to be cold; None where that is not what the split does.
        in_turn: Whether each valid and test row is asked for on its own, after all that its user did before it.
        truncated: Whether items that are left without a row of train, valid or test are no candidates.
    """

    label: Labels
    left_out: dict[str, int] = field(default_factory=dict)
    cold_items: npt.NDArray[np.bool_] | None = None
    in_turn: bool = False
    truncated: bool = False


class Splitter(Protocol):
    """What is registered in "sensorium.splits": built with its config, it labels rows.

    Attributes:
        uses_future: Whether a train row may be later than another user's test row; None if only the rows can tell.
    """

    uses_future: ClassVar[bool | None]

    def __init__(self, config: Any) -> None: ...

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows."""
        ...


class SplitConfig(core.Config):
    """The key that most splits share."""

    unknown: Literal["keep", "drop"] = Field(
        "keep", description="valid and test rows whose user or item has no train row: keep them (counted), or drop them"
    )


class RandomPerUser:
    """Each user's rows at random: of n rows n-2 / 1 / 1 below ten, else a tenth each to valid and test."""

    uses_future: ClassVar[bool | None] = True

    class Config(SplitConfig):
        """The keys of random_per_user."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows after a seeded shuffle; see `usual_sizes`."""
        return Assignment(_label_last(rows, _shuffled(rows, seed), *usual_sizes(rows.user_count)))


class TemporalUser:
    """The sizes of random_per_user, each user's latest rows to test and the ones before them to valid."""

    uses_future: ClassVar[bool | None] = True

    class Config(SplitConfig):
        """The keys of temporal_user."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows by time."""
        order = rows.ordered_by_time(seed, "temporal_user")
        return Assignment(_label_last(rows, order, *usual_sizes(rows.user_count)))


class LeaveLastOut:
    """Each user's last t rows to test, the t before them to valid; every one of them is asked for in turn."""

    uses_future: ClassVar[bool | None] = True

    class Config(SplitConfig):
        """The keys of leave_last_out."""

        min_len: int = Field(
            5, ge=3, description="users with fewer rows are left out; with t > 1, with fewer than min_len + 2 t"
        )
        targets_per_user: int = Field(1, ge=1, description="t, rows of each user in test, and as many in valid")
        max_len: int | None = Field(
            None,
            ge=1,
            description="L of published tables: only the last L + 1 + 2 t rows of a user are divided, and items "
            "without any of them are no candidates; null = all rows",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows by time."""
        order = rows.ordered_by_time(seed, "leave_last_out")
        t, longest = self.config.targets_per_user, self.config.max_len
        each = np.full(rows.dataset.n_users, t, dtype=np.int64)
        label = _label_last(rows, order, each, each)
        if longest is not None:
            label[_from_end(rows, order) > longest + 1 + 2 * t] = KNOWN
        short = rows.user_count < self.config.min_len + (2 * t if t > 1 else 0)
        label[short[rows.user]] = LEFT_OUT
        counted = _short_users(rows, short) | (
            {} if longest is None else {"rows_beyond_max_len": int((label == KNOWN).sum())}
        )
        return Assignment(label, counted, in_turn=True, truncated=longest is not None)


class GlobalTime:
    """Two cut times for all users: what came before the first is train, what came after the second is test."""

    uses_future: ClassVar[bool | None] = False

    class Config(SplitConfig):
        """The keys of global_time."""

        valid: float = Field(0.1, ge=0, lt=1, description="share of all rows between the two cut times")
        test: float = Field(0.1, gt=0, lt=1, description="share of all rows after the second cut time")

        @model_validator(mode="after")
        def _leaves_train_rows(self) -> GlobalTime.Config:
            if self.valid + self.test >= 1:
                raise ValueError(f"valid {self.valid:g} and test {self.test:g} leave nothing to train on")
            return self

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows by time alone: rows of one time fall on one side, so that shares are met as nearly as that
        allows.

        Users without a train row are left out.
        """
        if rows.timestamp is None:
            raise needs_time("global_time", rows.dataset)
        times = np.sort(rows.timestamp)
        n = len(times)
        valid_from = times[min(round(n * (1 - self.config.valid - self.config.test)), n - 1)]
        test_from = times[min(round(n * (1 - self.config.test)), n - 1)]
        label = np.full(n, TRAIN, dtype=np.int8)
        label[rows.timestamp >= valid_from] = VALID
        label[rows.timestamp >= test_from] = TEST
        train_rows = np.bincount(rows.user[label == TRAIN], minlength=rows.dataset.n_users)
        late = (train_rows == 0)[rows.user]
        label[late] = LEFT_OUT
        return Assignment(
            label,
            {
                "users_without_train_row": len(np.unique(rows.user[late])),
                "rows_of_users_without_train_row": int(late.sum()),
            },
        )


class Column:
    """A column of the interactions that says where each row belongs, as the authors of a benchmark gave it."""

    uses_future: ClassVar[bool | None] = None

    class Config(SplitConfig):
        """The keys of column."""

        column: str = Field("split", description="column of the interactions")
        values: dict[str, Literal["train", "valid", "test"]] = Field(
            {"0": "train", "1": "valid", "2": "test"},
            min_length=1,
            description="what its values mean; rows with another value are left out",
        )

        @field_validator("values", mode="before")
        @classmethod
        def _numbers_as_text(cls, values: Any) -> Any:
            return {str(key): part for key, part in values.items()} if isinstance(values, dict) else values

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows as the column says."""
        labels = {"train": TRAIN, "valid": VALID, "test": TEST}
        meaning = {value: labels[part] for value, part in self.config.values.items()}
        given = rows.column(self.config.column).cast(pl.String)
        label = given.replace_strict(meaning, default=LEFT_OUT, return_dtype=pl.Int8).to_numpy()
        return Assignment(label, {"rows_with_another_value": int((label == LEFT_OUT).sum())})


class ColdItems:
    """A share of the items, equally many rare, common and popular ones, is test; the rest is train and valid.

    `targets: last` is the form for sequences: users whose last row is of a cold item are the test, and that row is to
    be found after all that they did before. No cold row is in train or valid; earlier ones are known at test.
    """

    uses_future: ClassVar[bool | None] = True

    class Config(core.Config):
        """The keys of cold_items."""

        ratio: float = Field(0.1, gt=0, lt=1, description="share of the items that no train or valid row has")
        targets: Literal["all", "last"] = Field(
            "all", description="all: every cold row is test; last: users' last rows, where they are cold (sequences)"
        )
        min_len: int = Field(5, ge=3, description="last: users with fewer rows are left out")

    def __init__(self, config: Config) -> None:
        self.config = config

    def assign(self, rows: SplitRows, seed: int) -> Assignment:
        """Label the rows of the cold items, and divide the others."""
        cold = self._choose(rows, seed)
        if self.config.targets == "last":
            return self._assign_last(rows, cold, seed)
        warm = np.bincount(rows.user[~cold[rows.item]], minlength=rows.dataset.n_users)
        cold_rows = rows.user_count - warm
        # The cold rows come last in the shuffled order of each user, so that they are what `_label_last` calls test.
        order = _shuffled(rows, seed)
        order = order[np.lexsort((cold[rows.item[order]], rows.user[order]))]
        return Assignment(_label_last(rows, order, usual_sizes(warm)[0], cold_rows), cold_items=cold)

    def _assign_last(self, rows: SplitRows, cold: npt.NDArray[np.bool_], seed: int) -> Assignment:
        order = rows.ordered_by_time(seed, "cold_items with targets: last")
        one = np.ones(rows.dataset.n_users, dtype=np.int64)
        label = _label_last(rows, order, one, one)
        is_cold = cold[rows.item]
        label[(label != TEST) & is_cold] = KNOWN
        warm_last = (label == TEST) & ~is_cold
        label[warm_last] = LEFT_OUT
        short = rows.user_count < self.config.min_len
        label[short[rows.user]] = LEFT_OUT
        counted = {"last_rows_of_warm_items": int((warm_last & ~short[rows.user]).sum())}
        return Assignment(label, _short_users(rows, short) | counted, cold_items=cold, in_turn=True)

    def _choose(self, rows: SplitRows, seed: int) -> npt.NDArray[np.bool_]:
        """Draw the share of each popularity tercile: bool [I]. Items without a row are in none."""
        generator = numpy_generator(seed, "cold_items")
        count = rows.item_count
        shuffled = generator.permutation(np.flatnonzero(count))
        by_popularity = shuffled[np.argsort(count[shuffled], kind="stable")]
        cold = np.zeros(len(count), dtype=bool)
        for tercile in np.array_split(by_popularity, 3):
            cold[generator.permutation(tercile)[: round(self.config.ratio * len(tercile))]] = True
        if not cold.any():
            raise DataError(
                f"cold_items: a ratio of {self.config.ratio:g} makes none of {len(shuffled)} items cold: "
                "ask for a larger one"
            )
        return cold


def usual_sizes(n: Integers) -> tuple[Integers, Integers]:
    """Return how many of n rows of a user go to valid and to test: int64, of n's shape.

    The rule of the literature: n < 10: 1 and 1; else of h = floor(.2 n) rows floor(h/2) and the rest. Where it would
    leave a user nothing to train on, train comes first, then test: n = 1 has neither, n = 2 a test row alone.
    """
    held_out = n // 5
    few = n < 10
    valid = np.where(few, n >= 3, held_out // 2)
    test = np.where(few, n >= 2, held_out - held_out // 2)
    return valid.astype(np.int64), test.astype(np.int64)


def needs_time(split: str, dataset: Dataset) -> DataError:
    """Return the error of a split by time on data without time."""
    return DataError(
        f"{split} divides rows by time and '{dataset.name}' has none: choose random_per_user, cold_items or column"
    )


def _shuffled(rows: SplitRows, seed: int) -> Integers:
    """Return the rows' positions by user, those of one user in random order: int64 [n]."""
    shuffled = numpy_generator(seed, "random_per_user").permutation(len(rows.user))
    order: Integers = shuffled[np.argsort(rows.user[shuffled], kind="stable")]
    return order


def _label_last(rows: SplitRows, order: Integers, n_valid: Integers, n_test: Integers) -> Labels:
    """Label each user's last rows TEST, those before them VALID, the others TRAIN: int8 [n].

    Args:
        rows: The rows.
        order: int64 [n], their positions by user, and in the order that counts.
        n_valid: int64 [U], how many of each user's rows are VALID.
        n_test: int64 [U], how many are TEST.
    """
    from_end, user = _from_end(rows, order), rows.user
    found = np.select([from_end <= n_test[user], from_end <= (n_test + n_valid)[user]], [TEST, VALID], TRAIN)
    return found.astype(np.int8)


def _from_end(rows: SplitRows, order: Integers) -> Integers:
    """Return 1 for each user's last row in an order by user, 2 for the one before it, and so on: int64 [n]."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(rows.user_count)[rows.user[order]] - np.arange(len(order))
    return place


def _short_users(rows: SplitRows, short: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Count the users, bool [U], and the rows that are left out because there are too few of them."""
    return {
        "users_below_min_len": int((short & (rows.user_count > 0)).sum()),
        "rows_of_users_below_min_len": int(short[rows.user].sum()),
    }
