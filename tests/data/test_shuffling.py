"""Orders of passes: held ones are the generator's own, computed ones are permutations that look like chance."""

from __future__ import annotations

import tracemalloc
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sensorium.core.seeds import numpy_generator
from sensorium.data.batches import PairBatches, Step
from sensorium.data.shuffling import HELD, Feistel, PassOrder
from sensorium.data.windows import WindowBatches
from sensorium.testing.histories import ordered_view


def network(n: int, seed: int) -> Feistel:
    return Feistel(n, numpy_generator(seed, "test"))


def test_every_small_size_is_a_permutation() -> None:
    """Exhaustively: each number once, also where all but a few places of the network lie beyond n."""
    for n in [*range(1, 132), 511, 512, 513, 1025]:
        for seed in (0, 1):
            assert np.array_equal(np.sort(network(n, seed)(np.arange(n))), np.arange(n)), n


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 1 << 62), seed=st.integers(0, 2**32), draw=st.randoms(use_true_random=False))
def test_large_sizes_stay_in_range_and_send_no_two_places_to_one(n: int, seed: int, draw: object) -> None:
    places = np.unique([draw.randrange(n) for _ in range(64)] + [0, n - 1])  # type: ignore[attr-defined]
    found = network(n, seed)(places)
    assert found.dtype == np.int64
    assert 0 <= found.min() <= found.max() < n
    assert len(np.unique(found)) == len(places)
    again = np.concatenate([network(n, seed)(places[:7]), network(n, seed)(places[7:])])
    assert np.array_equal(found, again)  # whatever is asked for together, and when


def test_sizes_and_places_that_are_none() -> None:
    for n in (0, -1, (1 << 62) + 1):
        with pytest.raises(ValueError, match="cannot be computed"):
            network(n, 0)
    for place in (-1, 10):
        with pytest.raises(IndexError, match="places 0 to 9"):
            network(10, 0)(np.array([0, place]))
    assert network(10, 0)(np.zeros(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("n", [3, 11, 37])
def test_every_number_stands_at_every_place_equally_often(n: int) -> None:
    """Pearson's test of place and number over keys: (n - 1)^2 degrees of freedom."""
    keys = 400
    count = np.zeros((n, n))
    for seed in range(keys):
        count[np.arange(n), network(n, seed)(np.arange(n))] += 1
    statistic = ((count - keys / n) ** 2 / (keys / n)).sum()
    assert 1e-4 < stats.chi2.sf(statistic, (n - 1) ** 2) < 1 - 1e-4


def test_all_orders_of_a_few_occur() -> None:
    """Of four numbers, each of the 24 orders; some more often than others, as no network of eight rounds can help."""
    orders = np.array([network(4, seed)(np.arange(4)) for seed in range(960)])
    _, count = np.unique(orders, axis=0, return_counts=True)
    assert len(count) == 24
    assert 15 < count.min() <= count.max() < 70  # 40 each


def test_neighbours_are_strangers() -> None:
    """In one large order: equidistribution by blocks, no correlation of neighbours, as many rises as chance has."""
    n = 1 << 17
    found = network(n - 5_000, 7)(np.arange(n - 5_000))
    m = len(found)
    by_block = np.array([np.histogram(block, bins=32, range=(0, m))[0] for block in np.array_split(found, 32)])
    expected = by_block.sum(1, keepdims=True) * by_block.sum(0) / m
    assert 1e-4 < stats.chi2.sf(((by_block - expected) ** 2 / expected).sum(), 31 * 31) < 1 - 1e-4
    for lag in (1, 2, 64, 1 << 10):
        assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 4 / np.sqrt(m)
    assert abs((np.diff(found) > 0).mean() - 0.5) < 4 * np.sqrt(1 / (12 * m))  # rises: variance (m + 1) / 12
    assert np.count_nonzero(found == np.arange(m)) < 10  # fixed points: Poisson of mean 1
    other = network(m, 8)(np.arange(m))
    assert abs(np.corrcoef(found, other)[0, 1]) < 4 / np.sqrt(m)


def test_held_orders_are_those_of_the_generator() -> None:
    """Draws up to the limit are what they always were; rows that are chosen stand for their places."""
    rows = np.array([2, 3, 5, 7, 11, 13, 17])
    wanted = numpy_generator(4, "order", "main", 2).permutation(rows)
    assert PassOrder(rows).take(0, 7, seed=4, phase="main", epoch=2).tolist() == wanted.tolist()
    every = numpy_generator(4, "order", "main", 2).permutation(np.arange(7))
    assert PassOrder(7).take(0, 9, seed=4, phase="main", epoch=2).tolist() == every.tolist()
    computed = PassOrder(rows, held=6)
    parts = [computed.take(start, start + 3, seed=4, phase="main", epoch=2) for start in (0, 3, 6)]
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert len(parts[2]) == 1
    others = [PassOrder(200, held=0).take(0, 200, seed=s, phase=p, epoch=e) for s, p, e in CASES]
    assert len({tuple(order.tolist()) for order in others}) == len(CASES)


CASES = [(0, "main", 0), (1, "main", 0), (0, "filter", 0), (0, "main", 1)]


@pytest.mark.parametrize("kind", ["windows", "pairs"])
def test_a_pass_beyond_the_limit_gives_everything_once_from_any_place(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ordered_view(users=60)

    def made() -> WindowBatches | PairBatches:
        return WindowBatches(view, 4, "all", batch_size=7) if kind == "windows" else PairBatches(view, batch_size=7)

    def content(batch: object) -> list[list[int]]:
        if kind == "windows":
            return batch.items.tolist()  # type: ignore[attr-defined,no-any-return]
        return [[row] for row in batch.row.tolist()]  # type: ignore[attr-defined]

    def a_pass(batches: WindowBatches | PairBatches) -> list[list[list[int]]]:
        return [content(batches.batch(Step(3, "main", 1, index))) for index in range(len(batches))]

    held = a_pass(made())
    monkeypatch.setattr("sensorium.data.shuffling.PassOrder.__init__.__kwdefaults__", {"held": 10})
    computed = made()
    found = a_pass(computed)
    assert found != held
    assert sorted(chain.from_iterable(found)) == sorted(chain.from_iterable(held))
    resumed = made()  # as after a stop in the middle: nothing but the step is known
    last = len(found) - 1
    assert content(resumed.batch(Step(3, "main", 1, last))) == found[last]
    halves = [content(resumed.batch(Step(3, "main", 1, 0, rank, 2))) for rank in (0, 1)]
    assert halves[0] + halves[1] == found[0]


def test_an_order_of_fifty_million_rows_takes_no_memory_and_no_time() -> None:
    n = 50_000_000
    assert n > HELD
    order = PassOrder(n)
    tracemalloc.start()
    found = order.take(n - 4_096, n, seed=0, phase="main", epoch=0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(found)) == 4_096
    assert most < 1_000_000  # a permutation would take 400 MB
