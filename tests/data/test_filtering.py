"""The k-core against a loop that anybody can check."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.filtering import k_core

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60)


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
def test_equals_the_loop(pairs: list[tuple[int, int]], k: int):
    user, item = np.array(pairs, dtype=np.int64).T
    assert set(np.flatnonzero(k_core(user, item, k))) == by_hand(pairs, k)
