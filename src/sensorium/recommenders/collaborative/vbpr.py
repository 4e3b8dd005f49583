"""VBPR: matrix factorisation whose items also have a side that is computed from their content.

He, McAuley: VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback. AAAI 2016; here for any
number of modalities.

    x_i = [x_i^1; ...; x_i^M] [D]      the features of all modalities, each standardised; 0 where the item has none
    item i: q_i = [e_i; W x_i + b]     e_i row of E_I [I, d], W [d, D], so q_i [2d]
    user u: p_u [2d]
    score(u, i) = <p_u, q_i>           (equation 4 of the paper without its offsets)
    L = (1/B) sum_b w_b softplus(-(score(u_b, i_b) - score(u_b, j_b))) + reg * (||P||_F + ||Q||_F + ||N||_F) / B

with P, Q, N [B, 2d] the batch's rows of p_u, q_i, q_j. Options:

- `bias`: item vectors gain one dimension beta_i + <beta', x_i> (the paper's item bias and visual bias), users a 1
  beside it: trained and scored alike.
- `feature_scale`: x is multiplied by it. Standardised features of D dimensions have length sqrt(D), so that the
  content side learns much faster than e_i: search the scale together with `reg`. Measured, valid Recall@20 for 1, .3,
  .1, .03: lfm2k (D = 1,024, reg .1) .341, .365, .371, .373; demo with cold items (D = 544, reg 1) .253, .280, .303,
  .301, and Recall@20 among the cold items .50, .56, .58, .55.
- `protocol: mmrec`: raw features, and their mean where an item has none, as the tables made by that code have it.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr, embedding_norm
from sensorium.recommenders.base import RANKING_TERM, Backbone, ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.content import ItemContent, Protocol
from sensorium.recommenders.collaborative.pairs import PairRows, split_items


class VBPR(Backbone):
    """Matrix factorisation with a projection of the items' features."""

    info = ModelInfo(
        summary="matrix factorisation beside a projection of item features",
        citation="He, McAuley: VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback. AAAI 2016",
        features="required",
    )

    class Config(Recommender.Config):
        """The keys of VBPR."""

        dim: int = Field(64, ge=1, description="width of the item embeddings and of the projected content, d")
        reg: float = Field(0.1, ge=0, description="weight of the vectors' norms (not squared) over the batch rows")
        features: list[str] | None = Field(None, description="features that are read; null = all of the data set")
        feature_scale: float = Field(1.0, gt=0, description="factor of the features; search {1, 0.3, 0.1, 0.03}")
        bias: bool = Field(False, description="an item bias, and one computed from the features")
        protocol: Protocol = Field(
            "sensorium", description="mmrec = raw features, to compare with tables made by that code"
        )

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.content = ItemContent(view, config.features, model="vbpr", protocol=config.protocol)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, 2 * config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projection = self.linear("projection", self.content.width, config.dim)
        if config.bias:
            self.item_bias = torch.nn.Parameter(torch.zeros(view.n_items))
            self.content_bias = torch.nn.Parameter(torch.zeros(self.content.width))

    def represent(self) -> Representations:
        """Return user [U, 2d] and item [I, 2d], each one wider with `bias`, and the projected content [I, d]."""
        item, projected = self._items(None)
        return Representations(self._with_one(self.user_embedding), item, {"content": projected})

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and the regulariser of a batch. Each item of the batch is projected once."""
        user = self.user_embedding.index_select(0, batch.user)  # [B, 2d]
        distinct, place = torch.unique(torch.cat([batch.pos, batch.neg.flatten()]), return_inverse=True)
        positive, negative = split_items(self._items(distinct)[0].index_select(0, place), batch)
        return {
            RANKING_TERM: bpr(*PairRows(self._with_one(user), positive, negative).scores(), batch.weight),
            "reg": self.config.reg * embedding_norm(user, positive, negative, batch=len(batch.user)),
        }

    def _items(self, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return vectors [n, 2d or 2d + 1] and projected content [n, d] of the items int64 [n], None for all."""
        features = _rows(self.content.values, chosen) * self.config.feature_scale  # [n, D]
        projected = self.projection(features)
        parts = [_rows(self.item_embedding, chosen), projected]
        if self.config.bias:
            parts.append((_rows(self.item_bias, chosen) + features @ self.content_bias).unsqueeze(1))
        return torch.cat(parts, dim=1), projected

    def _with_one(self, user: Tensor) -> Tensor:
        """Return user vectors, with a 1 for the items' bias where there is one."""
        return torch.cat([user, user.new_ones(len(user), 1)], dim=1) if self.config.bias else user


def _rows(values: Tensor, chosen: Tensor | None) -> Tensor:
    """Return the chosen rows int64 [n], all for None."""
    return values if chosen is None else values.index_select(0, chosen)
