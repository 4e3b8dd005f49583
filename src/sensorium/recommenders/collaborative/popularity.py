"""Popularity: everybody gets the items that most people had. The line that a model with personal taste must stay above.

score(u, i) = n_i, the number of train rows of i. As a dot product: the user's vector is 1, the
item's is n_i.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sensorium.data.view import TrainView
from sensorium.recommenders.base import ModelInfo, Recommender, known_ids
from sensorium.training.protocols import Phase


class Popularity(Recommender):
    """Items in the order of their train rows. Complete once built."""

    info = ModelInfo(
        summary="items by their number of train rows, the same for everybody",
        citation="Cremonesi, Koren, Turrin: Performance of Recommender Algorithms on Top-N Recommendation Tasks. "
        "RecSys 2010",
        trained=False,
    )
    count: Tensor  # float32 [I]: whole numbers, exact up to 2^24

    def __init__(self, view: TrainView, config: Recommender.Config) -> None:
        super().__init__(view, config)
        self.register_buffer("count", torch.from_numpy(view.item_count).float())

    def phases(self) -> list[Phase]:
        """Return nothing: there is nothing to train."""
        return []

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return ones [n, 1].

        Raises:
            DataError: An id is not one of this model's users.
        """
        return self.count.new_ones(len(known_ids(queries, self.n_users, "user")), 1)

    def item_vectors(self) -> Tensor:
        """Return the counts [I, 1]."""
        return self.count[:, None]

    def score_history(self, histories: Sequence[Tensor]) -> Tensor:
        """Return the counts for each history [n, I]: whoever asks, the answer is the same."""
        return self.count.expand(len(histories), -1)
