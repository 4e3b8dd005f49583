"""The exact first k, with ties in the given order, against a sort of whole rows."""

import numpy as np
import pytest
import torch

from sensorium.evaluation.topk import GROUP_WIDTH, Chooser


def sorted_rows(scores: np.ndarray, place: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.stack([np.lexsort((place, -row)) for row in scores])[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000, None])
@pytest.mark.parametrize(
    ("width", "k"), [(1, 1), (7, 3), (7, 7), (40, 5), (1000, 1), (1000, 10), (1001, 20), (3000, 50)]
)
def test_equals_a_sort_of_whole_rows(width: int, k: int, levels: int | None) -> None:
    """Few levels make many ties: inside the list, at the cut, between groups."""
    rng = np.random.default_rng(width + k)
    scores = rng.normal(size=(30, width)) if levels is None else rng.integers(0, levels, (30, width)) - levels // 2
    scores = scores.astype(np.float32)
    place = rng.permutation(width)
    chooser = Chooser(torch.from_numpy(place), k, 30)
    chooser.scores[:, :width] = torch.from_numpy(scores)
    best = chooser.choose(30)
    columns, values = sorted_rows(scores, place, k)
    assert np.array_equal(best.columns.numpy(), columns)
    assert np.array_equal(best.scores.numpy(), values)
    if width > k:
        following = sorted_rows(scores, place, k + 1)[1][:, -1]
        assert np.array_equal(best.tie_at_cut.numpy(), following == values[:, -1])


def test_extreme_scores_keep_their_order() -> None:
    values = np.array([np.inf, 3e38, 1.0, 1e-45, 0.0, -0.0, -1e-45, -1.0, -3e38, -np.inf], dtype=np.float32)
    place = np.arange(10)[::-1].copy()
    chooser = Chooser(torch.from_numpy(place), 10, 1)
    chooser.scores[0, :10] = torch.from_numpy(values)
    best = chooser.choose(1)
    assert best.columns[0].tolist() == [0, 1, 2, 3, 5, 4, 6, 7, 8, -1]  # 0 and -0 tie, the place decides
    assert best.scores[0].tolist() == values.tolist()


def test_fewer_columns_than_k() -> None:
    chooser = Chooser(torch.arange(3), 5, 2)
    chooser.scores[:, :3] = torch.tensor([[1.0, 3.0, 2.0], [-torch.inf, 1.0, -torch.inf]])
    best = chooser.choose(2)
    assert best.columns.tolist() == [[1, 2, 0, -1, -1], [1, -1, -1, -1, -1]]
    assert best.scores[1].tolist() == [1.0] + [-torch.inf] * 4
    assert not best.tie_at_cut.any()


def test_wide_rows_with_few_columns_left() -> None:
    """Nearly everything is masked: whole groups are -inf, which is no tie."""
    width = 100 * GROUP_WIDTH
    chooser = Chooser(torch.arange(width), 10, 1)
    chooser.scores[0] = -torch.inf
    chooser.scores[0, [5, 700, 701]] = torch.tensor([1.0, 2.0, 2.0])
    best = chooser.choose(1)
    assert best.columns[0].tolist() == [700, 701, 5] + [-1] * 7
    assert not best.tie_at_cut.any()


@pytest.mark.parametrize("width", [20, 2000])
def test_nan_is_seen_wherever_it_stands(width: int) -> None:
    for column in (0, 1, width // 2, width - 1):
        chooser = Chooser(torch.arange(width), 3, 2)
        chooser.scores[:, :width] = torch.rand(2, width)
        chooser.scores[1, column] = torch.nan
        best = chooser.choose(2)
        assert best.scores[1, 0].isnan()
        assert not best.scores[0].isnan().any()
