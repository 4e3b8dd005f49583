"""DSSM: a tower of users and a tower of items, trained against the items of the batch with popularity taken out.

The two-tower model that MicroLens (arXiv 2309.15379) compares with, after Huang et al. (CIKM 2013):

    s(u, i) = <g_u, e_i>                      e_i the vector of any item tower: an id, features, an encoder
    s(u, i) = <g_u, g_i> + <m_u, W f_i>       `tower: id+...`, in the form of VBPR: a user has a vector for each part

    L = mean over pairs of -z_t + log(exp z_t + sum over the other items c of the batch exp z_c),  z = s - alpha log p

A row counts as far as its weight, as a pair and as a negative of the others.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.across import mean_over_batch, plain_rows_of_all
from sensorium.nn.tokens import PADDING, to_tokens
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Recommender, known_ids
from sensorium.recommenders.sequential.losses import in_batch_cross_entropy
from sensorium.recommenders.towers.building import TowerConfig, build_tower
from sensorium.recommenders.towers.encoder import TRAINS_WITHOUT_DECAY, encoder_towers
from sensorium.recommenders.towers.features import IDPlusTower
from sensorium.training.protocols import Phase


class DSSM(Recommender):
    """Two towers under in-batch cross-entropy."""

    info = ModelInfo(
        summary="a tower of users and one of items, against the items of the batch with popularity taken out",
        citation="Huang, He, Gao, Deng, Acero, Heck: Learning Deep Structured Semantic Models for Web Search using "
        "Clickthrough Data. CIKM 2013",
        features="optional",
    )

    class Config(TowerConfig):
        """The keys of DSSM."""

        debias_alpha: float = Field(1.0, ge=0, le=1, description="weight of log popularity; 0 = none")

    config: Config
    log_p: Tensor

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        tower = build_tower(config, view, view.item_count > 0, self.generator)
        parts = [tower.own, tower.content] if isinstance(tower, IDPlusTower) else [tower]
        self.towers = nn.ModuleList(parts)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim * len(parts))
        share = np.maximum(view.item_count, 1) / max(view.item_count.sum(), 1)
        log_p = np.concatenate([[0.0], np.log(share)]).astype(np.float32)
        self.register_buffer("log_p", torch.from_numpy(log_p), persistent=False)  # by token

    @property
    def ids_alone(self) -> bool:
        """Whether it reads no features as it is configured."""
        return not self.config.reads_features

    def phases(self) -> list[Phase]:
        """Return one phase; what makes vectors of content is a group `content`, what trains of encoders `encoder`."""
        inside = [value for tower in encoder_towers(self.towers) for value in tower.encoder_parameters()]
        encoder = {id(value) for value in inside}
        content = [
            value for tower in self.towers[1:] for value in tower.parameters() if id(value) not in encoder
        ]  # fmt: skip
        groups = {name: members for name, members in (("encoder", inside), ("content", content)) if members}
        return [Phase("main", list(self.parameters()), self.loss, groups=groups, group_defaults=TRAINS_WITHOUT_DECAY)]

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return the vectors of users int64 [n]: [n, d], twice as wide with an id beside content.

        Raises:
            DataError: An id is not one of this model's users.
        """
        return self.user_embedding[known_ids(queries, self.n_users, "user")]

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items, as wide as those of users."""
        tokens = to_tokens(torch.arange(self.n_items, device=self.log_p.device))
        return torch.cat([tower(tokens) for tower in self.towers], dim=1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term; negatives are the items of the whole batch, whoever holds its rows."""
        positive = to_tokens(batch.pos)
        distinct, place = torch.unique(plain_rows_of_all(positive), return_inverse=True)
        weight = torch.ones_like(positive, dtype=torch.float32) if batch.weight is None else batch.weight
        count = torch.zeros(len(distinct), device=positive.device).index_add(0, place, plain_rows_of_all(weight))
        target = torch.searchsorted(distinct, positive)
        vectors = torch.cat([tower(distinct) for tower in self.towers], dim=1)
        own = torch.zeros(len(positive), len(distinct), dtype=torch.bool, device=positive.device)
        own.scatter_(1, target.unsqueeze(1), True)
        own[:, distinct == PADDING] = True
        lost = in_batch_cross_entropy(
            self.user_embedding.index_select(0, batch.user),
            torch.arange(len(positive), device=positive.device),
            target,
            vectors,
            count,
            own,
            self.config.debias_alpha * self.log_p[distinct],
        )
        return {RANKING_TERM: mean_over_batch(lost * weight, len(positive))}
