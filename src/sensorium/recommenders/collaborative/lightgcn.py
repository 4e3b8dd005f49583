"""LightGCN: embeddings smoothed over the graph of who had what, without weights or activations in between.

He, Deng, Wang, Li, Zhang, Wang: LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation. SIGIR
2020.

    A [(U+I), (U+I)]: A_{u, U+i} = A_{U+i, u} = w_ui for each train row (1 unless weighted), no self loops
    Â = D^-1/2 A D^-1/2, D the row sums + 1e-7
    E^0 = [E_U; E_I] [U+I, d],   E^l = Â E^(l-1)                                  (equation 7 of the paper)
    final vectors = (E^0 + ... + E^L) / (L + 1),  score(u, i) = <final u, final i>   (equations 4 and 5)
    L = (1/B) sum_b w_b softplus(-(score(u_b, i_b) - score(u_b, j_b)))
        + reg * (||P||_F + ||Q||_F + ||N||_F) / B       P, Q, N [B, d]: the batch's rows of E^0

A step is one propagation forward, one backward, and gathers of the batch's rows. In evaluation mode the propagated
vectors are remembered until the weights or the graph change (`Backbone`).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr, embedding_norm
from sensorium.nn.propagation import lightgcn
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.graph import GraphBackbone
from sensorium.recommenders.collaborative.pairs import gather_nodes


class LightGCN(GraphBackbone):
    """Linear graph convolution over the user–item graph."""

    info = ModelInfo(
        summary="embeddings propagated over the user–item graph",
        citation="He, Deng, Wang, Li, Zhang, Wang: LightGCN: Simplifying and Powering Graph Convolution Network for "
        "Recommendation. SIGIR 2020",
    )

    class Config(Recommender.Config):
        """The keys of LightGCN."""

        dim: int = Field(64, ge=1, description="width of the embeddings, d")
        layers: int = Field(3, ge=0, description="propagations, L; 0 is matrix factorisation")
        reg: float = Field(
            1e-4, ge=0, description="weight of the norms (not squared) of the batch rows before propagation"
        )

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)

    def represent(self) -> Representations:
        """Return the propagated vectors: user [U, d], item [I, d]."""
        nodes = self._propagate(self._embeddings())
        return Representations(nodes[: self.n_users], nodes[self.n_users :])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term of the propagated vectors and the regulariser of the embeddings of a batch."""
        embeddings = self._embeddings()
        rows = gather_nodes(self._propagate(embeddings), self.n_users, batch)
        before = gather_nodes(embeddings, self.n_users, batch)
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "reg": self.config.reg * embedding_norm(*before, batch=len(batch.user)),
        }

    def _embeddings(self) -> Tensor:
        """Return the embeddings of all nodes, E^0 [U + I, d]."""
        return torch.cat([self.user_embedding, self.item_embedding])

    def _propagate(self, embeddings: Tensor) -> Tensor:
        """Return the mean of the layers, [U + I, d]."""
        return lightgcn(self._adjacency, embeddings, self.config.layers)
