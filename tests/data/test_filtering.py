"""Which rows stay, against loops that anybody can check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.filtering import is_first, k_core, require_k_core

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(-3, 3)), max_size=60)


def by_hand(pairs: list[tuple[int, int]], k: int) -> set[int]:
    rows = set(range(len(pairs)))
    while True:
        poor = {
            row
            for row in rows
            if sum(pairs[other][0] == pairs[row][0] for other in rows) < k
            or sum(pairs[other][1] == pairs[row][1] for other in rows) < k
        }
        if not poor:
            return rows
        rows -= poor


@given(PAIRS, st.integers(1, 4))
def test_k_core_equals_the_loop(pairs: list[tuple[int, int]], k: int) -> None:
    user, item = np.array(pairs, dtype=np.int64).T
    assert set(np.flatnonzero(k_core(user, item, k))) == by_hand(pairs, k)


@given(PAIRS)
def test_the_largest_core_is_named_when_none_is_left(pairs: list[tuple[int, int]]) -> None:
    """DI-6: for any rows, the k that is named keeps some and the next keeps none."""
    user, item = np.array(pairs, dtype=np.int64).T
    with pytest.raises(DataError, match=f"100-core keeps 0 of {len(pairs)} rows") as caught:
        require_k_core(user, item, 100)
    largest = int(str(caught.value).rpartition(" ")[2].rstrip(")"))
    assert by_hand(pairs, largest)
    assert not by_hand(pairs, largest + 1)


@given(ROWS)
def test_the_first_of_equal_rows_stays(rows: list[tuple[int, int, int]]) -> None:
    user, item, time = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    found = is_first(user.astype(np.int32), item.astype(np.int32), time)
    assert found.tolist() == [row not in rows[:place] for place, row in enumerate(rows)]


def test_rows_whose_hashes_meet_are_still_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash only says which rows may be equal: were all hashes equal, the answer would be the same."""
    monkeypatch.setattr(np, "isin", lambda key, _: np.ones(len(key), dtype=bool))
    a, b = np.array([1, 1, 2, 2, 1]), np.array([5, 6, 5, 5, 5])
    assert is_first(a, b).tolist() == [True, True, True, False, False]
