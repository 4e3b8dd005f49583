"""LGMRec: who had what, what its content is, and a few hyperedges that gather alike items of the whole catalogue.

Guo, Li, Li, Wu, Jiang, Wang: LGMRec: Local and Global Graph Learning for Multimodal Recommendation. AAAI 2024; here
for any number of modalities.

    collaborative    c = LGN_2(E)                                                           `nn.propagation`
    modality view    v^m = Â^2 [R̄ X^m W_m; X^m W_m]           R̄: R by its row sums; the last layer alone
    hyperedges       H_I^m = softmax(X^m V_m / tau) [I, K],   H_U^m = softmax(R X^m V_m / tau) [U, K]
                     in training with Gumbel noise on the logits, and dropout of 1 - keep on H
    global view      repeated `layers` times from g_I = c_I:  lat = H_I^T g_I [K, d],  g_I = H_I lat,  g_U = H_U lat
    final            c + sum_m L2n(v^m) + alpha * L2n(sum_m g^m)
    L = L_bpr + hcl * HCL + reg * (||P||_F + ||Q||_F + ||N||_F) / B         P, Q, N: the batch's rows of the final
    HCL = sum over pairs m < n of modalities, over the batch's users and over its positive items, of
          -log( exp(cos(g^m_b, g^n_b) / t) / sum_c exp(cos(g^m_b, g^n_c) / t) )      c: all users, or all items; t = .2

HCL needs B x U and B x I cosines. They are made in blocks of anchors, each with its part of the gradient, so that
neither is ever held whole; what a user or an item that stands twice in a batch adds is computed once and counted twice.
Evaluation has no noise: the published scores were drawn anew at each call. Items without a train row bring nothing to a
hyperedge (their c is 0 and stays so), and have their part in it by their content.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.across import sum_over_batch
from sensorium.nn.losses import bpr, embedding_norm
from sensorium.nn.propagation import lightgcn
from sensorium.nn.sparse import from_scipy
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Representations
from sensorium.recommenders.collaborative.content import ContentConfig, content_of, project
from sensorium.recommenders.collaborative.graph import EdgeWeights, GraphBackbone
from sensorium.recommenders.collaborative.pairs import gather_nodes

BLOCK_COSINES = 1 << 22  # cosines of anchors with all nodes held at once: 16 MiB
VANISHING = 1e-3  # length of a vector without direction


class LGMRec(GraphBackbone):
    """LightGCN beside a propagated view of each modality and a hypergraph of the catalogue."""

    info = ModelInfo(
        summary="LightGCN beside propagated content, joined by hyperedges over the whole catalogue",
        citation="Guo, Li, Li, Wu, Jiang, Wang: LGMRec: Local and Global Graph Learning for Multimodal "
        "Recommendation. AAAI 2024",
        features="required",
    )

    class Config(ContentConfig):
        """The keys of LGMRec."""

        graph_layers: int = Field(2, ge=1, description="propagations of embeddings and of content")
        layers: int = Field(1, ge=1, description="passes through the hyperedges; published 1, 1, 2")
        hyperedges: int = Field(4, ge=1, description="hyperedges of each modality, K; published 4, 4, 64")
        keep: float = Field(0.5, gt=0, le=1, description="share of the memberships kept in training; search .2, .4, .5")
        alpha: float = Field(0.3, ge=0, description="weight of the global view; search {.2, .3, .6}")
        temperature: float = Field(0.2, gt=0, description="of the memberships and of the contrast, tau and t")
        hcl: float = Field(1e-4, ge=0, description="weight of the contrast between modalities, a sum over the batch")
        reg: float = Field(1e-6, ge=0, description="weight of the final vectors' norms (not squared) over the batch")

    config: Config
    had: Tensor  # bool [I, 1], items with a train row

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.content = content_of(view, config, model="lgmrec")
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projections = self._layers("projection", config.dim)
        self.memberships = self._layers("membership", config.hyperedges)
        self.register_buffer("had", torch.from_numpy(view.item_count > 0).unsqueeze(1), persistent=False)

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Build Â, and R and R̄ [U, I], with the same weights."""
        super().build_graph(weight)
        user, item = self._rows
        values = np.ones(len(user), dtype=np.float32) if weight is None else weight
        sums = np.bincount(user, values, minlength=self.n_users)[user]
        shares = np.divide(values, sums, out=np.zeros(len(user)), where=sums > 0).astype(np.float32)
        shape = (self.n_users, self.n_items)
        self._had = from_scipy(csr_matrix((values, (user, item)), shape))
        self._mean_of_had = from_scipy(csr_matrix((shares, (user, item)), shape))

    def represent(self) -> Representations:
        """Return the final vectors [U, d] and [I, d], and the item part of each modality view [I, d]."""
        final, views, _ = self._compute()
        user, item = torch.split(final, [self.n_users, self.n_items])
        return Representations(user, item, {name: view[self.n_users :] for name, view in views.items()})

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term, the contrast between the modalities' global views, and the regulariser."""
        final, _, global_views = self._compute()
        rows = gather_nodes(final, self.n_users, batch)
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "hcl": self.config.hcl * sum_over_batch(self._contrast(global_views, batch), len(batch)),
            "reg": self.config.reg * embedding_norm(*rows, batch=len(batch)),
        }

    def _compute(self) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """Return the final vectors, the modality views by name and the global views, each [U + I, d]."""
        embeddings = torch.cat([self.user_embedding, self.item_embedding])
        collaborative = lightgcn(self._adjacency, embeddings, self.config.graph_layers)
        views = {name: self._modality_view(z) for name, z in project(self.content, self.projections).items()}
        items = collaborative[self.n_users :] * self.had
        memberships = project(self.content, self.memberships).values()
        global_views = [self._global_view(logits, items) for logits in memberships]
        final = collaborative + torch.stack([unit_rows(view) for view in views.values()]).sum(0)
        final = final + self.config.alpha * unit_rows(torch.stack(global_views).sum(0))
        return final, views, global_views

    def _modality_view(self, items: Tensor) -> Tensor:
        """Return Â^L of projected content [I, d] and each user's mean of it: [U + I, d]."""
        nodes = torch.cat([self._mean_of_had @ items, items])
        for _ in range(self.config.graph_layers):
            nodes = self._adjacency @ nodes
        return nodes

    def _global_view(self, logits: Tensor, items: Tensor) -> Tensor:
        """Return items [I, d] averaged over hyperedges, of which logits [I, K] say who belongs to them: [U + I, d]."""
        of_users, of_items = self._membership(self._had @ logits), self._membership(logits)
        for _ in range(self.config.layers):
            edges = of_items.T @ items  # [K, d]
            items = of_items @ edges
        return torch.cat([of_users @ edges, items])

    def _membership(self, logits: Tensor) -> Tensor:
        """Return H [n, K] of logits: soft, with Gumbel noise and dropout in training alone."""
        if self.training:
            logits = logits - torch.empty_like(logits).exponential_().log()
        shares = torch.softmax(logits / self.config.temperature, dim=1)
        return functional.dropout(shares, 1 - self.config.keep, self.training)

    def _contrast(self, global_views: list[Tensor], batch: Batch) -> Tensor:
        """Return HCL of the users and positive items of a batch."""
        total = global_views[0].new_zeros(())
        sizes = [self.n_users, self.n_items]
        for one, other in combinations([torch.split(unit_rows(view), sizes) for view in global_views], 2):
            for anchors, nodes, ids in zip(one, other, (batch.user, batch.pos), strict=True):
                total = total + contrast_with_all(anchors, nodes, ids, self.config.temperature)
        return total

    def _layers(self, name: str, width: int) -> nn.ModuleList:
        """Return a linear layer without bias for each modality, d_m -> width."""
        return nn.ModuleList(
            self.linear(f"{name} of {modality}", columns.stop - columns.start, width, bias=False)
            for modality, columns in self.content.columns.items()
        )


def contrast_with_all(anchors: Tensor, nodes: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Return the sum over ids of -log softmax(<a_id, n_c> / t over all nodes c) at c = id.

    Args:
        anchors: [N, d], rows of length 1.
        nodes: [N, d], likewise.
        ids: int64 [B], which rows; one that stands twice counts twice.
        temperature: t.
    """
    distinct, count = torch.unique(ids, return_counts=True)
    total: Tensor = _Contrast.apply(anchors[distinct], nodes, distinct, count, temperature)  # type: ignore[no-untyped-call]
    return total


class _Contrast(torch.autograd.Function):
    """The contrast of chosen anchors with all nodes; one block of anchors has its cosines in memory at a time.

    The gradient is made on the way, from the same shares p = softmax: with q = p - 1[c = id], each times the count,
    it is q N / t for the anchors and q^T A / t for the nodes.
    """

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, nodes: Tensor, ids: Tensor, count: Tensor, temperature: float) -> Tensor:
        rows = max(1, BLOCK_COSINES // len(nodes))
        to_anchors, to_nodes, total = torch.empty_like(anchors), torch.zeros_like(nodes), nodes.new_zeros(())
        for start in range(0, len(ids), rows):
            part = slice(start, start + rows)
            shares = torch.log_softmax(anchors[part] @ nodes.T / temperature, dim=1)
            own = ids[part].unsqueeze(1)
            weight = count[part].unsqueeze(1) / temperature
            total -= (count[part] * shares.gather(1, own).squeeze(1)).sum()
            shares = shares.exp_().scatter_add_(1, own, -torch.ones_like(own, dtype=shares.dtype)).mul_(weight)
            to_anchors[part] = shares @ nodes
            to_nodes += shares.T @ anchors[part]
        ctx.save_for_backward(to_anchors, to_nodes)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        to_anchors, to_nodes = ctx.saved_tensors
        return gradients[0] * to_anchors, gradients[0] * to_nodes, None, None, None


def unit_rows(rows: Tensor) -> Tensor:
    """Return rows [n, d] with length 1; one that is shorter than `VANISHING` stays as it is.

    A node whose memberships are dropped but for the slightest has no direction, and `functional.normalize` would
    multiply its gradient by up to 1e12. With four hyperedges and `keep` of a half that is one node in sixteen.
    """
    squares = rows.square().sum(1, keepdim=True)
    return rows * torch.where(squares > VANISHING**2, squares, 1.0).rsqrt()
