"""LATTICE: a graph of alike items that is learned with the model, by sparse products alone.

Zhang, Zhu, Liu, Wu, Wang, Wang: Mining Latent Structures for Multimedia Recommendation. MM 2021; here for any number of
modalities.

    pi = softmax(theta) [M]
    O = sum_m pi_m S_m,   S_m the normalised graph of each item's k nearest by the features of modality m, weighted by
                          their cosines, unchanged during training (`nn.item_graphs`)
    z^m = W_m x^m + c_m [I, d];  w^m_ij = pi_m max(cos(z^m_i, z^m_j), 0) for j among the k nearest of i by z^m
    T_ij = w_ij / sqrt(r_i r_j),  w = sum_m w^m, r_i = sum_j w_ij                            the learned graph
    S = learned T + (1 - learned) O
    [u; i] = the mean of P^l [E_U; E_I] over l = 0..L,   P = D^-1 (A + 1): rows sum to 1, not symmetric
    final item = i + L2n(S E_I),  score(u, i) = <u, final i>,  L = BPR + reg * l2(final vectors of the batch)

Which items are near by z^m is chosen without a gradient; their cosines have one, as have pi. The graph is built at the
start of every epoch, with its gradient in the first batch, and stays as it is for the other batches; an evaluation
builds it once from the weights it finds. Neither T nor O is ever dense: [I, k] tables and compressed rows, where the
published code holds several matrices [I, I]. An item without content of a modality has itself alone in its graphs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.item_graphs import nearest
from sensorium.nn.losses import bpr, l2
from sensorium.nn.propagation import lightgcn
from sensorium.nn.sparse import SparseMatrix, from_scipy
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Representations
from sensorium.recommenders.collaborative.content import ContentConfig, content_of, item_graphs, project, projections
from sensorium.recommenders.collaborative.graph import EdgeWeights, GraphBackbone
from sensorium.recommenders.collaborative.pairs import gather

VANISHING = 1e-6  # a row that is shorter has no direction, and its gradient no use


class LearnedGraph(NamedTuple):
    """T as a table of edges, and the shares of the modalities, all with their gradients.

    Attributes:
        item: int64 [I, M k], the neighbours of each item; itself where it has fewer.
        value: float32 [I, M k], T's values; 0 there.
        share: float32 [M], pi.
    """

    item: Tensor
    value: Tensor
    share: Tensor


class FixedGraph(NamedTuple):
    """The same for the rest of an epoch: T and O as matrices of fixed values."""

    learned: SparseMatrix
    original: SparseMatrix


class LATTICE(GraphBackbone):
    """Row-normalised propagation beside a graph of alike items, part of which is learned."""

    info = ModelInfo(
        summary="a graph of alike items, learned from their content along with the model",
        citation="Zhang, Zhu, Liu, Wu, Wang, Wang: Mining Latent Structures for Multimedia Recommendation. MM 2021",
        features="required",
    )

    class Config(ContentConfig):
        """The keys of LATTICE."""

        layers: int = Field(2, ge=0, description="propagations over the user–item graph, L")
        item_neighbours: int = Field(10, ge=1, description="neighbours of an item in each modality, itself included, k")
        learned: float = Field(0.1, ge=0, le=1, description="share of the learned graph; the rest is the original one")
        reg: float = Field(1e-4, ge=0, description="weight of the squared final vectors of the batch; search 0 to 1e-3")

    config: Config
    by_place: Tensor  # int64 [I], the items in the order that decides between equally near ones

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.content = content_of(view, config, model="lattice")
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projections = projections(self, self.content, config.dim)
        self.theta = torch.nn.Parameter(torch.zeros(len(self.content.columns)))
        self.register_buffer("by_place", torch.from_numpy(np.argsort(view.item_order)), persistent=False)
        graphs = item_graphs(view, self.content, config.item_neighbours, "cosine")
        self._originals = [(graph, from_scipy(graph)) for graph in graphs]
        self._epoch_graph: FixedGraph | None = None

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Build P = D^-1 (A + 1) with a weight for each train row."""
        user, item = self._rows[0], self._rows[1] + self.n_users
        nodes = self.n_users + self.n_items
        values = np.ones(len(user)) if weight is None else weight.astype(np.float64)
        own = np.arange(nodes)
        sums = 1 + np.bincount(user, values, minlength=nodes) + np.bincount(item, values, minlength=nodes)
        row, column = np.concatenate([user, item, own]), np.concatenate([item, user, own])
        data = np.concatenate([values, values, np.ones(nodes)]) / sums[row]
        self._adjacency = from_scipy(csr_matrix((data.astype(np.float32), (row, column)), (nodes, nodes)))

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Have the graph of alike items built anew by the first batch. Nothing is drawn."""
        self._epoch_graph = None

    def represent(self) -> Representations:
        """Return users [U, d], items [I, d] and projected content [I, d]; evaluation mode builds the graph anew."""
        return Representations(*self._final(), project(self.content, self.projections))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and the size of the batch's final vectors."""
        rows = gather(*self._final(), batch)
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "reg": self.config.reg * l2(*rows, batch=len(batch)),
        }

    def _final(self) -> tuple[Tensor, Tensor]:
        """Return the final vectors of users [U, d] and items [I, d]."""
        nodes = lightgcn(self._adjacency, torch.cat([self.user_embedding, self.item_embedding]), self.config.layers)
        user, item = torch.split(nodes, [self.n_users, self.n_items])
        return user, item + functional.normalize(self._from_alike_items(), eps=VANISHING)

    def _from_alike_items(self) -> Tensor:
        """Return S E_I, [I, d]."""
        part = self.config.learned
        if self.training and self._epoch_graph is not None:
            graph = self._epoch_graph
            return part * (graph.learned @ self.item_embedding) + (1 - part) * (graph.original @ self.item_embedding)
        learned = self._learn()
        if self.training:
            self._epoch_graph = self._fix(learned)
        products = torch.stack([matrix @ self.item_embedding for _, matrix in self._originals])  # [M, I, d]
        original = torch.einsum("m,mid->id", learned.share, products)
        bags = functional.embedding_bag(learned.item, self.item_embedding, mode="sum", per_sample_weights=learned.value)
        return part * bags + (1 - part) * original

    def _learn(self) -> LearnedGraph:
        """Build T from the projected content as it is now."""
        share = torch.softmax(self.theta, dim=0)
        own = torch.arange(self.n_items, device=share.device)
        tables, weights = [], []
        for place, projected in enumerate(project(self.content, self.projections).values()):
            unit = functional.normalize(projected.to(share.dtype), eps=VANISHING)
            having = self.by_place[self.content.present[place][self.by_place]]  # in the order that decides
            near, _ = nearest(unit[having], self.config.item_neighbours)
            item = own.unsqueeze(1).repeat(1, self.config.item_neighbours)
            item[having, : near.shape[1]] = having[near]  # itself first; the others of its row stay itself, at 0
            others = item[:, 1:]
            cosine: Tensor = _EdgeCosines.apply(unit, others)  # type: ignore[no-untyped-call]
            cosine = torch.where(others == own.unsqueeze(1), 0.0, cosine.clamp_min(0))
            tables.append(item)
            weights.append(share[place] * torch.cat([cosine.new_ones(self.n_items, 1), cosine], dim=1))
        item, weight = torch.cat(tables, dim=1), torch.cat(weights, dim=1)
        scale = weight.sum(1).rsqrt()
        return LearnedGraph(item, weight * scale.unsqueeze(1) * scale[item], share)

    def _fix(self, graph: LearnedGraph) -> FixedGraph:
        """Return both graphs with the values that they have now."""
        width = graph.item.shape[1]
        offsets = np.arange(0, self.n_items * width + 1, width)
        value, item = graph.value.detach().cpu().numpy(), graph.item.cpu().numpy()
        learned = csr_matrix((value.ravel(), item.ravel(), offsets), (self.n_items, self.n_items))
        share = graph.share.detach().cpu().numpy()
        original = sum((part * matrix for part, (matrix, _) in zip(share, self._originals, strict=True)), learned * 0)
        return FixedGraph(from_scipy(learned), from_scipy(csr_matrix(original)))


class _EdgeCosines(torch.autograd.Function):
    """<x_i, x_j> for the edges of a table: rows x [I, d] of length 1 and item int64 [I, k] to [I, k].

    A neighbour's place at a time, so that the [I, k, d] table of neighbours' rows is never held, for the gradient
    either: it is (G + G^T) x, with G the matrix of the gradients that arrive.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, item: Tensor) -> Tensor:
        ctx.save_for_backward(rows, item)
        cosine = rows.new_empty(item.shape)
        for place, column in enumerate(item.T):
            cosine[:, place] = (rows * rows.index_select(0, column)).sum(1)
        return cosine

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, item = ctx.saved_tensors
        gradient = torch.zeros_like(rows)
        for column, arriving in zip(item.T, gradients[0].T.unsqueeze(2), strict=True):
            gradient.addcmul_(arriving, rows.index_select(0, column))
            gradient.index_add_(0, column, arriving * rows)
        return gradient, None
