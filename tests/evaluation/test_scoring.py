"""Tiles of scores: the same bits at any place of a tile."""

import numpy as np
import pytest
import torch

from sensorium.evaluation.scoring import TILE_BYTES, Catalogue

from .doubles import Vectors


@pytest.mark.parametrize("dim", [1, 7, 64, 130])
def test_scores_do_not_depend_on_the_place_in_a_tile(dim: int) -> None:
    """What makes block sizes and shards bit-equal: a query alone, first, last or in the middle."""
    rng = np.random.default_rng(dim)
    items = rng.normal(size=(1300, dim)).astype(np.float32)
    users = rng.normal(size=(500, dim)).astype(np.float32)
    catalogue = Catalogue(Vectors(users, items), 1300)

    def score(queries: np.ndarray) -> torch.Tensor:
        scores = torch.empty(catalogue.tile_rows, 1300)
        return torch.cat([scores[: stop - start].clone() for start, stop in catalogue.tiles(queries, scores)])

    whole = score(np.arange(500))
    assert torch.allclose(whole, torch.from_numpy(users @ items.T), rtol=1e-5, atol=1e-5)
    for first, last in ((0, 1), (1, 3), (7, 57), (191, 193), (100, 500), (499, 500)):
        assert torch.equal(score(np.arange(first, last)), whole[first:last])


def test_a_tile_of_a_large_catalogue_stays_small() -> None:
    catalogue = Catalogue(Vectors(np.ones((1, 1), np.float32), np.ones((3_000_000, 1), np.float32)), 3_000_000)
    assert catalogue.tile_rows * catalogue.width * 4 <= TILE_BYTES["cpu"] * 1.1
    assert catalogue.tile_rows % 24 == 0
