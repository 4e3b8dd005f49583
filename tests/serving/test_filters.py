"""What may be recommended: seen items, lists of ids, and their faults."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.serving.filters import SeenItems, candidates, everything_seen, name_some, read_ids

from .conftest import N_ITEMS, rows_of_users


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=40),
    st.lists(st.integers(0, 5), max_size=8),
)
def test_seen_items_of_any_users(pairs: list[tuple[int, int]], users: list[int]):
    user, item = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    rows, items = SeenItems.of_rows(6, user, item).of(np.array(users, dtype=np.int64))
    found = sorted(zip(rows.tolist(), items.tolist(), strict=True))
    assert found == sorted((place, i) for place, asked in enumerate(users) for u, i in pairs if u == asked)


def test_everything_seen_is_every_row_of_the_data_set(shop: Dataset):
    expected = list(rows_of_users().values())
    number = shop.users_of(["nine", "all"])
    for seen in (everything_seen(shop), everything_seen(shop, number)):
        rows, items = seen.of(number)
        assert sorted(items[rows == 0]) == expected[number[0]]
        assert sorted(items[rows == 1]) == list(range(N_ITEMS))


@given(only=st.sets(st.integers(0, N_ITEMS - 1), min_size=1), exclude=st.sets(st.integers(0, N_ITEMS - 1)))
def test_only_and_exclude_are_sets(shop: Dataset, only: set[int], exclude: set[int]):
    found = candidates(shop, [f"i{n:02d}" for n in only], [f"i{n:02d}" for n in exclude])
    assert set(np.flatnonzero(found.items)) == only - exclude
    assert found.notices == ()
    without = candidates(shop, None, [f"i{n:02d}" for n in exclude])
    assert set(np.flatnonzero(without.items)) == set(range(N_ITEMS)) - exclude


def test_without_filters_the_whole_catalogue_competes(shop: Dataset):
    assert candidates(shop).items is None


def test_unknown_ids_are_counted_and_named(shop: Dataset, tmp_path: Path):
    stock = tmp_path / "stock.txt"
    stock.write_text("﻿i01\r\n\r\n  nothing  \ni01\ni02\n")
    found = candidates(shop, stock, ["gone", "i02"])
    assert np.flatnonzero(found.items).tolist() == [1]
    assert "1 of 3 ids in" in found.notices[0]
    assert "nothing" in found.notices[0]
    assert "1 of 2 ids in 'exclude' are not in the catalogue: gone" in found.notices[1]
    with pytest.raises(DataError, match=r"none of the 2 ids in 'only'"):
        candidates(shop, ["x", "y"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no id"), (b"\n \n", "holds no id"), (b"i01\n\xff\xfe\n", "not UTF-8"), (None, "cannot be read")],
)
def test_files_of_ids_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str):
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_ids(path)


def test_long_lists_of_ids_are_named_in_part():
    assert name_some(["a", "b"]) == "a, b"
    assert name_some([str(n) for n in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
