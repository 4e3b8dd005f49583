"""SELFCF: LightGCN learned from pairs that agree alone. Each side predicts a damaged copy of the other.

Zhou, Sun, Liu, Zhang, Miao: SelfCF: A Simple Framework for Self-supervised Collaborative Filtering. TORS 2023; the
variant with element dropout.

    (u, i) = LGN_L(E)                        `nn.propagation`
    u', i' = dropout_p(stopgrad(u)), dropout_p(stopgrad(i))
    h: linear d -> d, shared by users and items
    L = (1/B) sum_b w_b (-1/2 cos(h(u_b), i'_b) - 1/2 cos(h(i_b), u'_b))
        + reg * (1/(2B)) sum_b (||u_b||^2 + ||i_b||^2)
    score(u, i) = <h(u), i> + <u, h(i)>, as vectors [h(u); u] and [i; h(i)], 2d wide

No negatives are used: what a copy with dropout is for is that not everything becomes one point. In the paper's code the
regulariser is a sum over the batch; here it is divided by B like every other term, so that its weights are B times as
large as those of that code and do not change with the size of a batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import l2
from sensorium.nn.propagation import lightgcn
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.graph import GraphBackbone
from sensorium.recommenders.collaborative.pointwise import damaged, gather_pairs, weighted_mean


class SELFCF(GraphBackbone):
    """Self-supervised LightGCN, without negatives."""

    info = ModelInfo(
        summary="LightGCN learned without negatives, each side predicting a damaged copy of the other",
        citation="Zhou, Sun, Liu, Zhang, Miao: SelfCF: A Simple Framework for Self-supervised Collaborative "
        "Filtering. ACM Transactions on Recommender Systems 1(2), 2023",
    )
    pointwise: ClassVar[bool] = True

    class Config(Recommender.Config):
        """The keys of SELFCF."""

        dim: int = Field(64, ge=1, description="width of the embeddings, d; vectors are 2d wide")
        layers: int = Field(2, ge=0, description="propagations, L; search {1, 2}")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of a copy's elements set to 0; search {.1, .2, .5}")
        reg: float = Field(1e-2, ge=0, description="weight of the squared norms of the batch rows after propagation")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.predictor = self.linear("predictor", config.dim, config.dim)

    def represent(self) -> Representations:
        """Return [h(u); u] [U, 2d] and [i; h(i)] [I, 2d]."""
        nodes = self._nodes()
        predicted = self.predictor(nodes)
        return Representations(
            torch.cat([predicted[: self.n_users], nodes[: self.n_users]], dim=1),
            torch.cat([nodes[self.n_users :], predicted[self.n_users :]], dim=1),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the agreement of both sides with each other's copies, and the regulariser."""
        user, item = gather_pairs(self._nodes(), self.n_users, batch)  # [B, d] each
        user_copy, item_copy = damaged(user, self.config.dropout), damaged(item, self.config.dropout)
        agreement = functional.cosine_similarity(self.predictor(user), item_copy) + functional.cosine_similarity(
            self.predictor(item), user_copy
        )
        return {
            RANKING_TERM: weighted_mean(-0.5 * agreement, batch.weight),
            "reg": self.config.reg * l2(user, item, batch=len(batch)),
        }

    def _nodes(self) -> Tensor:
        """Return the propagated vectors of users and items, [U + I, d]."""
        return lightgcn(self._adjacency, torch.cat([self.user_embedding, self.item_embedding]), self.config.layers)
