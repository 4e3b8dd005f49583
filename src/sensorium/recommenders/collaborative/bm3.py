"""BM3: agreement without negatives, between users and items and, for each modality, between content and item.

Zhou, Zhou, Liu, Zeng, Miao, Wang, You, Jiang: Bootstrap Latent Representations for Multi-modal Recommendation. WWW
2023; here for any number of modalities.

    (u, i) = LGN_L(E), then i <- i + e_i                  `nn.propagation`; e_i row of E_I [I, d]
    z^m = W_m x^m + c_m                                   x standardised; 0 where an item has none
    h: linear d -> d, shared by users, items and modalities;   hats: stop-gradient copies with dropout p
    L = (1/B) sum_b w_b (1 - cos(h(u_b), î_b)) + (1/B) sum_b w_b (1 - cos(h(i_b), û_b))           "ranking"
        + reg * (||u||_F + ||i||_F) / I                   all rows, norms not squared
        + cl * sum_m mean_b[ (1 - cos(h(z^m_b), î_b)) + (1 - cos(h(z^m_b), ẑ^m_b)) ]
    score(u, i) = <h(u), h(i)>

Content shapes the item embeddings in training and has no part in the score: an item without train rows has i = 0, and
all such items score alike.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import embedding_norm
from sensorium.nn.propagation import lightgcn
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Representations
from sensorium.recommenders.collaborative.content import ContentConfig, content_of, project, projections
from sensorium.recommenders.collaborative.graph import GraphBackbone
from sensorium.recommenders.collaborative.pointwise import damaged, gather_pairs, weighted_mean


class BM3(GraphBackbone):
    """Bootstrapped multimodal LightGCN, without negatives."""

    info = ModelInfo(
        summary="LightGCN learned without negatives, item vectors drawn towards their content",
        citation="Zhou, Zhou, Liu, Zeng, Miao, Wang, You, Jiang: Bootstrap Latent Representations for Multi-modal "
        "Recommendation. WWW 2023",
        features="required",
    )
    pointwise: ClassVar[bool] = True

    class Config(ContentConfig):
        """The keys of BM3."""

        layers: int = Field(1, ge=0, description="propagations, L; search {1, 2}")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of a copy's elements set to 0; search {.3, .5}")
        reg: float = Field(0.1, ge=0, description="weight of the norms (not squared) of all vectors; search {.1, .01}")
        cl: float = Field(2.0, ge=0, description="weight of the agreement of content with item and with itself")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.content = content_of(view, config, model="bm3")
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projections = projections(self, self.content, config.dim)
        self.predictor = self.linear("predictor", config.dim, config.dim)

    def represent(self) -> Representations:
        """Return h(u) [U, d], h(i) [I, d], and z^m [I, d] by modality."""
        user, item = torch.split(self.predictor(self._nodes()), [self.n_users, self.n_items])
        return Representations(user, item, project(self.content, self.projections))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the agreement of users with items, the regulariser, and the agreement of content with items."""
        nodes, p = self._nodes(), self.config.dropout
        user, item = gather_pairs(nodes, self.n_users, batch)  # [B, d] each
        item_copy = damaged(item, p)
        pairs = _distance(self.predictor(user), item_copy) + _distance(self.predictor(item), damaged(user, p))
        distinct, place = torch.unique(batch.pos, return_inverse=True)
        alike = item.new_zeros(())
        for projected in project(self.content, self.projections, distinct).values():  # [n, d]
            z = projected.index_select(0, place)
            predicted = self.predictor(z)
            alike = alike + (_distance(predicted, item_copy) + _distance(predicted, damaged(z, p))).mean()
        users, items = torch.split(nodes, [self.n_users, self.n_items])
        return {
            RANKING_TERM: weighted_mean(pairs, batch.weight),
            "reg": self.config.reg * embedding_norm(users, items, batch=self.n_items, whole=True),
            "content": self.config.cl * alike,
        }

    def _nodes(self) -> Tensor:
        """Return the propagated vectors [U + I, d], the items' with their own embedding added once more."""
        embeddings = torch.cat([self.user_embedding, self.item_embedding])
        own = torch.cat([torch.zeros_like(self.user_embedding), self.item_embedding])
        return lightgcn(self._adjacency, embeddings, self.config.layers) + own


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Return 1 - cos of each row: [B]."""
    return 1 - functional.cosine_similarity(one, other)
