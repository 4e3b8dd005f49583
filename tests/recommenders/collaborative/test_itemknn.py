from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sensorium.core.errors import DataError
from sensorium.core.seeds import catalogue_order
from sensorium.recommenders.base import AnswersHistory, scores
from sensorium.recommenders.collaborative import overlaps
from sensorium.recommenders.collaborative.itemknn import ItemKNN, nearest_neighbours
from sensorium.recommenders.collaborative.neighbours import Neighbours
from sensorium.testing import tiny_view

Integers = npt.NDArray[np.int64]


def reference(matrix: npt.NDArray[np.float32], k: int, shrink: float, tie_order: Integers) -> npt.NDArray[np.float32]:
    """The definition with loops: a dense [I, I]."""
    n_items = matrix.shape[1]
    result = np.zeros((n_items, n_items), dtype=np.float32)
    for i in range(n_items):
        candidates = []
        for j in range(n_items):
            common = int((matrix[:, i] * matrix[:, j]).sum())
            if i == j or not common:
                continue
            similarity = np.float32(common / (np.sqrt(float(matrix[:, i].sum()) * float(matrix[:, j].sum())) + shrink))
            candidates.append((-similarity, tie_order[j], j))
        for negative, _, j in sorted(candidates)[:k]:
            result[i, j] = -negative
    return result


def dense(found: Neighbours, n_items: int) -> npt.NDArray[np.float32]:
    parts = (found.similarity, found.neighbour, found.neighbour_offset)
    return csr_matrix(parts, (n_items, n_items)).toarray()


@settings(max_examples=60, deadline=None)
@given(
    users=st.integers(1, 12),
    items=st.integers(1, 14),
    density=st.floats(0.05, 0.9),
    k=st.integers(1, 6),
    shrink=st.sampled_from([0.0, 1.0, 10.0]),
    seed=st.integers(0, 10**6),
    block=st.sampled_from([1, 10, 1 << 23]),
)
def test_equals_the_definition(
    users: int, items: int, density: float, k: int, shrink: float, seed: int, block: int
) -> None:
    """Ties at the cut included, for any size of the blocks."""
    matrix = (np.random.default_rng(seed).random((users, items)) < density).astype(np.float32)
    order = catalogue_order(items, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "BLOCK_COUNTS", block)
        found = nearest_neighbours(csr_matrix(matrix), k=k, shrink=shrink, tie_order=order)
    assert np.array_equal(dense(found, items), reference(matrix, k, shrink, order))


def test_neighbours_stand_most_similar_first() -> None:
    found = nearest_neighbours(tiny_view().matrix, k=5, shrink=0.0, tie_order=catalogue_order(31, 0))
    for start, stop in zip(found.neighbour_offset[:-1], found.neighbour_offset[1:], strict=True):
        assert stop - start <= 5
        assert np.all(np.diff(found.similarity[start:stop]) <= 0)


def test_ties_at_the_cut_follow_the_order_and_not_the_id() -> None:
    """All items are equally similar: the first in the tie order are kept."""
    matrix = csr_matrix(np.ones((2, 6), dtype=np.float32))
    order = np.array([5, 4, 3, 2, 1, 0])
    found = nearest_neighbours(matrix, k=2, shrink=0.0, tie_order=order)
    assert found.neighbour.reshape(6, 2).tolist() == [[5, 4], [5, 4], [5, 4], [5, 4], [5, 3], [4, 3]]


def test_other_ids_with_the_tie_order_carried_along_give_the_same_neighbours() -> None:
    view, order = tiny_view(), catalogue_order(31, 0)
    moved = np.random.default_rng(0).permutation(31)
    carried = np.empty_like(order)
    carried[moved] = order
    before = nearest_neighbours(view.matrix, k=3, shrink=0.0, tie_order=order)
    after = nearest_neighbours(csr_matrix(view.matrix[:, np.argsort(moved)]), k=3, shrink=0.0, tie_order=carried)
    assert np.array_equal(dense(after, 31)[np.ix_(moved, moved)], dense(before, 31))


def test_a_large_catalogue_needs_no_matrix_of_all_pairs() -> None:
    """300,000 items: a dense matrix would take 360 GB."""
    draw = np.random.default_rng(0)
    rows, columns = np.repeat(np.arange(1000), 20), draw.integers(300_000, size=20_000)
    matrix = csr_matrix((np.ones(20_000, dtype=np.float32), (rows, columns)), (1000, 300_000))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    found = nearest_neighbours(matrix, k=200, shrink=0.0, tie_order=catalogue_order(300_000, 0))
    assert len(found.neighbour) == found.neighbour_offset[-1] > 0


def test_score_sums_the_similarities_of_what_the_user_had() -> None:
    view = tiny_view()
    model = ItemKNN(view, ItemKNN.Config(k=4, shrink=2.0))
    table = reference(view.matrix.toarray(), 4, 2.0, catalogue_order(view.n_items, view.seed))
    wanted = view.matrix.toarray() @ table.T
    users, items = torch.tensor([7, 0, 42]), torch.tensor([3, 30])
    assert np.allclose(scores(model, users).numpy(), wanted[users], atol=1e-6)
    assert np.allclose(scores(model, users, items).numpy(), wanted[users][:, items], atol=1e-6)


def test_a_users_own_items_as_a_history_give_the_users_scores() -> None:
    view = tiny_view()
    model = ItemKNN(view, ItemKNN.Config(k=4))
    assert isinstance(model, AnswersHistory)
    items = torch.from_numpy(view.item[view.user == 7])
    found = model.score_history([items, items.flip(0), torch.cat([items, items])])
    assert torch.equal(found, scores(model, torch.tensor([7, 7, 7])))


def test_an_unknown_item_in_a_history_is_named() -> None:
    with pytest.raises(DataError, match="item 31 is unknown"):
        ItemKNN(tiny_view(), ItemKNN.Config()).score_history([torch.tensor([1, 31])])


def test_sums_that_are_equal_by_the_formula_are_equal_numbers() -> None:
    """Two items that everybody had together have equal scores, in whatever order they are summed."""
    draw = np.random.default_rng(0)
    matrix = (draw.random((40, 30)) < 0.3).astype(np.float32)
    matrix[:, 1] = matrix[:, 0]
    found = nearest_neighbours(csr_matrix(matrix), k=30, shrink=0.0, tie_order=catalogue_order(30, 0))
    table = csr_matrix((found.similarity.astype(np.float64), found.neighbour, found.neighbour_offset), (30, 30))
    strangers = np.flatnonzero(matrix[:, 0] == 0)
    sums = (csr_matrix(matrix[strangers]).astype(np.float64) @ table.T).toarray().astype(np.float32)
    assert len(strangers) > 10
    assert np.array_equal(sums[:, 0], sums[:, 1])
