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


@pytest.mark.parametrize("count", [1, 2, 11, 12, 63, 64, 65, 1023, 1025, 1035, 2047])
def test_scores_do_not_depend_on_what_else_competes(count: int) -> None:
    """SV-8: a part of the catalogue, down to one item, gets the bits that the whole catalogue gives it."""
    rng = np.random.default_rng(count)
    users = rng.normal(size=(10, 64)).astype(np.float32)
    items = rng.normal(size=(2050, 64)).astype(np.float32)
    columns = np.sort(rng.permutation(2050)[:count])
    found = []
    for chosen in (None, columns):
        catalogue = Catalogue(Vectors(users, items), 2050, chosen)
        scores = torch.empty(catalogue.tile_rows, 2064)
        list(catalogue.tiles(np.arange(10), scores))
        found.append(scores[:10, : catalogue.width])
    assert torch.equal(found[1], found[0][:, columns])


def test_a_tile_of_a_large_catalogue_stays_small() -> None:
    catalogue = Catalogue(Vectors(np.ones((1, 1), np.float32), np.ones((3_000_000, 1), np.float32)), 3_000_000)
    assert catalogue.tile_rows * catalogue.width * 4 <= TILE_BYTES["cpu"] * 1.1
    assert catalogue.tile_rows % 24 == 0
