"""What every split keeps, for any log: each row has one place, and nothing leaks that the split's rule keeps apart."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.appending import append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.splits import KNOWN, TEST, TRAIN, VALID, Split, make_split
from sensorium.data.splitting import usual_sizes

from .made import make_dataset
from .sources import config, imported, write

SPLITS: list[dict[str, Any]] = [
    {"name": "random_per_user"},
    {"name": "random_per_user", "unknown": "drop"},
    {"name": "temporal_user"},
    {"name": "leave_last_out", "min_len": 3},
    {"name": "leave_last_out", "min_len": 3, "targets_per_user": 2},
    {"name": "leave_last_out", "min_len": 3, "max_len": 2},
    {"name": "global_time", "valid": 0.2, "test": 0.2},
    {"name": "global_time", "valid": 0.2, "test": 0.2, "unknown": "drop"},
    {"name": "column"},
    {"name": "column", "unknown": "drop"},
    {"name": "cold_items", "ratio": 0.3},
    {"name": "cold_items", "ratio": 0.3, "targets": "last", "min_len": 3},
]
PHASES = (Phase.explicit, Phase.generate)  # an example writes files for every split: to shrink one takes minutes
DRAWN_BY_ROW = ("random_per_user", "cold_items")  # the shuffle is of the rows as they stand in the file


class Row(NamedTuple):
    """A row of a log; ratings are 1 to 5, a split of 3 is none."""

    user: int
    item: int
    time: int
    rating: int
    split: int


ROWS = st.lists(
    st.builds(Row, *(st.integers(low, high) for low, high in ((0, 4), (0, 7), (0, 9), (1, 5), (0, 3)))),
    min_size=6,
    max_size=60,
    unique_by=lambda row: (row.user, row.item, row.time),
)


def dataset_of(folder: Path, rows: list[Row]) -> Dataset:
    user, item, time, rating, split = (list(column) for column in zip(*rows, strict=True))
    return make_dataset(
        folder, user, item, n_users=5, n_items=8, timestamp=time, rating=[float(r) for r in rating], split=split
    )


def labels(split: Split, rows: list[Row]) -> set[tuple[Row, int]]:
    return {(rows[row], label) for row, label in zip(split.row.tolist(), split.label.tolist(), strict=True)}


def tried(dataset: Dataset, spec: dict[str, Any], **options: Any) -> Split | None:
    """The split; None where the log is too small for it, and it says so."""
    try:
        return make_split(dataset, spec, seed=2, **options)
    except DataError as error:
        if re.search("leaves no row to train on|none of .* items cold|keeps 0 of", str(error)):
            return None
        raise


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(ROWS, st.sampled_from(["first", "all"]), st.sampled_from([None, 3]))
def test_every_row_is_in_one_part_or_counted_as_left_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], repeats: str, min_rating: int | None
) -> None:
    dataset = dataset_of(tmp_path_factory.mktemp("data") / "d", rows)
    for spec in SPLITS:
        split = tried(dataset, spec, repeats=repeats, min_rating=min_rating)
        if split is None:
            continue
        counted = {kind: count for kind, count in split.left_out.items() if not kind.startswith("users")}
        assert counted.pop("rows_beyond_max_len", 0) == ((split.label == KNOWN).sum() if "max_len" in spec else 0)
        assert len(split.row) + sum(counted.values()) == len(rows), spec
        assert (np.diff(split.row) > 0).all()
        assert set(split.label.tolist()) <= {TRAIN, VALID, TEST, KNOWN}
        for row, user, item, rating in zip(
            split.row, split.user, split.item, (rows[row].rating for row in split.row), strict=True
        ):
            assert (user, item) == (rows[row].user, rows[row].item)
            assert min_rating is None or rating >= min_rating
        pairs = Counter(zip(split.user.tolist(), split.item.tolist(), strict=True))
        assert repeats == "all" or max(pairs.values()) == 1


@settings(max_examples=6, deadline=None, phases=PHASES)
@given(ROWS)
def test_nothing_is_in_train_that_the_rule_keeps_out(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    dataset = dataset_of(tmp_path_factory.mktemp("data") / "d", rows)
    for spec in SPLITS:
        split = tried(dataset, spec)
        if split is None:
            continue
        assert split.timestamp is not None
        train, valid, test, known = (split.label == label for label in (TRAIN, VALID, TEST, KNOWN))
        held_out = valid | test
        everyone = np.bincount(split.user, minlength=5)
        if spec["name"] in ("random_per_user", "temporal_user") and spec.get("unknown") != "drop":
            for part, size in zip((valid, test), usual_sizes(everyone), strict=True):
                np.testing.assert_array_equal(np.bincount(split.user[part], minlength=5), size)
        if spec["name"] in ("temporal_user", "leave_last_out"):
            for user in range(5):
                mine = split.user == user
                for before, after in (
                    (train, held_out),
                    (valid, test),
                    (known, ~known),
                ):
                    earlier, later = split.timestamp[mine & before], split.timestamp[mine & after]
                    assert not len(earlier) or not len(later) or earlier.max() <= later.min()
        if spec["name"] == "leave_last_out":
            for part in (valid, test):
                assert set(np.bincount(split.user[part], minlength=5)) <= {0, spec.get("targets_per_user", 1)}
            assert set(split.user) == set(split.user[test])
        if spec["name"] == "global_time":
            last = split.timestamp[train].max()
            assert not held_out.any() or last < split.timestamp[held_out].min()
            assert not (valid.any() and test.any()) or split.timestamp[valid].max() < split.timestamp[test].min()
            assert set(split.user) == set(split.user[train])
        if spec["name"] == "column":
            assert all(label == rows[row].split for row, label in zip(split.row, split.label, strict=True))
        if spec.get("unknown") == "drop":
            assert set(split.user[held_out]) <= set(split.user[train])
            assert set(split.item[held_out]) <= set(split.item[train])
        if spec["name"] == "cold_items":
            assert split.cold_items is not None
            cold = split.cold_items[split.item]
            assert not cold[train | valid].any()
            assert cold[test | known].all()
            if spec.get("targets") == "last":
                assert max(Counter(split.user[test].tolist()).values(), default=0) <= 1
                for user, time in zip(split.user[test], split.timestamp[test], strict=True):
                    assert time == split.timestamp[split.user == user].max()
            else:
                assert len(split.row) == len(rows) - split.left_out["repeated_pairs"]


@settings(max_examples=5, deadline=None, phases=PHASES)
@given(ROWS, st.data())
def test_the_order_of_the_source_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], data: st.DataObject
) -> None:
    """To the row where a time or a column decides; where chance does, to the items and to the sizes of each user."""
    folder = tmp_path_factory.mktemp("data")
    other = data.draw(st.permutations(rows))
    one, shuffled = dataset_of(folder / "one", rows), dataset_of(folder / "other", other)
    for spec in SPLITS:
        first, second = tried(one, spec), tried(shuffled, spec)
        assert (first is None) == (second is None)
        if first is None or second is None:
            continue
        if spec["name"] not in DRAWN_BY_ROW or spec.get("targets") == "last":
            assert labels(first, rows) == labels(second, other)
            assert first.left_out == second.left_out
        elif "unknown" not in spec:
            sizes = [Counter(zip(split.user.tolist(), split.label.tolist(), strict=True)) for split in (first, second)]
            assert sizes[0] == sizes[1]
        if first.cold_items is not None:
            np.testing.assert_array_equal(first.cold_items, second.cold_items)


def text_of(rows: list[Row]) -> str:
    lines = (f"u{row.user},i{row.item},{1_000_000_000 + row.time},{row.rating},{row.split}\n" for row in rows)
    return "user,item,timestamp,rating,split\n" + "".join(lines)


@settings(max_examples=3, deadline=None, phases=PHASES)
@given(ROWS, ROWS)
def test_growth_keeps_the_ids_and_every_split_that_was_made(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], later: list[Row]
) -> None:
    """The data as they were give the same splits from their files, and again where the files are gone."""
    folder = tmp_path_factory.mktemp("data")
    data = imported(write(folder / "a.csv", text_of(rows)), out="shop")
    users, items = data.user_ids(), data.item_ids()
    made = [tried(data, spec) for spec in SPLITS]
    fresh = [row._replace(user=row.user + 3, item=row.item + 4, time=row.time + 20) for row in later]
    grown = append_to_dataset(write(folder / "b.csv", text_of(fresh)), data.root, config()).dataset
    assert grown.user_ids()[: len(users)].equals(users)
    assert grown.item_ids()[: len(items)].equals(items)
    [before] = grown.earlier()
    for remade in (False, True):
        if remade:
            shutil.rmtree(data.root / "splits")
        for spec, split in zip(SPLITS, made, strict=True):
            again = tried(before, spec)
            assert (again is None) == (split is None)
            if again is not None and split is not None:
                np.testing.assert_array_equal(again.row, split.row)
                np.testing.assert_array_equal(again.label, split.label)
                assert again.left_out == split.left_out
