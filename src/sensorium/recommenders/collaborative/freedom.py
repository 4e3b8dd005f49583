"""FREEDOM: a frozen graph of alike items beside a user–item graph that is thinned out anew in each epoch.

Zhou, Shen: A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation. MM 2023; here
for any number of modalities.

    S = sum_m a_m S_m,  S_m the graph of each item's k nearest by modality m, every edge 1/k    [I, I], never trained
    each epoch keeps floor((1 - rho) E) train rows, drawn without replacement in proportion to 1 / sqrt(n_u n_i), and
    Â is the graph of these, normalised anew; evaluation takes all rows
    [u; i] = LGN_L([E_U; E_I]),  final item = i + S E_I,   score(u, i) = <u, final i>
    z^m = W_m x^m + c_m [I, d]
    L = BPR(score) + reg * sum_m BPR(<u, z^m>)

Popular items and busy users lose more of their rows, which are the likelier ones to be noise. In the epochs' graphs a
step costs a fraction 1 - rho of LightGCN's. The rows to keep are drawn with exponential keys (Efraimidis, Spirakis:
Weighted Random Sampling with a Reservoir. 2006), for any number of rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr
from sensorium.nn.propagation import bipartite_adjacency, lightgcn
from sensorium.nn.sparse import SparseMatrix
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Representations
from sensorium.recommenders.collaborative.content import (
    ContentConfig,
    content_of,
    mixed_item_graph,
    project,
    projections,
)
from sensorium.recommenders.collaborative.graph import EdgeWeights, GraphBackbone
from sensorium.recommenders.collaborative.pairs import PairRows, gather, split_items


class FREEDOM(GraphBackbone):
    """LightGCN on a thinned graph beside a frozen graph of alike items."""

    info = ModelInfo(
        summary="a frozen graph of alike items beside a user–item graph thinned out in each epoch",
        citation="Zhou, Shen: A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal "
        "Recommendation. MM 2023",
        features="required",
    )

    class Config(ContentConfig):
        """The keys of FREEDOM."""

        layers: int = Field(2, ge=0, description="propagations over the user–item graph, L")
        item_neighbours: int = Field(10, ge=1, description="neighbours of an item, itself included, k")
        modality_weights: dict[str, float] = Field(
            default_factory=dict,
            description="weight of each modality in the item graph, a_m; empty = 1/M each; published image .1, text .9",
        )
        pruned: float = Field(0.8, ge=0, lt=1, description="share of train rows that an epoch leaves out, rho")
        reg: float = Field(1e-3, ge=0, description="weight of the ranking by content alone; search {0, 1e-5, 1e-4}")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        self._kept: npt.NDArray[np.int64] | None = None  # rows of this epoch's graph; None = all. For `build_graph`.
        super().__init__(view, config)
        self.content = content_of(view, config, model="freedom")
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projections = projections(self, self.content, config.dim)
        self._alike = mixed_item_graph(view, self.content, config.item_neighbours, config.modality_weights)
        self._keys_scale = np.sqrt(view.user_count[view.user].astype(np.float64) * view.item_count[view.item])

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Build the graph of all rows, and that of the rows that this epoch keeps, with the same weights."""
        super().build_graph(weight)
        self._weight = weight
        self._build_thinned()

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draw the rows that this epoch's graph keeps."""
        if self.config.pruned:
            keep = max(int((1 - self.config.pruned) * len(self._keys_scale) + 1e-9), 1)
            self._kept = rows_to_keep(self._keys_scale, keep, generator)
            self._build_thinned()

    def represent(self) -> Representations:
        """Return users [U, d], items [I, d] and projected content [I, d]; from all rows in evaluation mode."""
        return Representations(*self._final(), project(self.content, self.projections))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and that of the content alone; only the batch's items are projected."""
        user, item = self._final()
        rows = gather(user, item, batch)
        distinct, place = torch.unique(torch.cat([batch.pos, batch.neg.flatten()]), return_inverse=True)
        by_content = [
            bpr(*PairRows(rows.user, *split_items(projected.index_select(0, place), batch)).scores())
            for projected in project(self.content, self.projections, distinct).values()
        ]
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "content": self.config.reg * torch.stack(by_content).sum(),
        }

    def _final(self) -> tuple[Tensor, Tensor]:
        """Return the final vectors of users [U, d] and items [I, d]."""
        adjacency = self._thinned if self.training else self._adjacency
        nodes = lightgcn(adjacency, torch.cat([self.user_embedding, self.item_embedding]), self.config.layers)
        user, item = torch.split(nodes, [self.n_users, self.n_items])
        return user, item + self._alike @ self.item_embedding

    def _build_thinned(self) -> None:
        """Build Â of the rows that are kept."""
        self._thinned: SparseMatrix = self._adjacency
        if self._kept is not None:
            user, item = (ids[self._kept] for ids in self._rows)
            weight = None if self._weight is None else self._weight[self._kept]
            self._thinned = bipartite_adjacency(user, item, weight, self.n_users, self.n_items)


def rows_to_keep(scale: npt.NDArray[np.float64], keep: int, generator: torch.Generator) -> npt.NDArray[np.int64]:
    """Draw rows without replacement, each time in proportion to 1 / scale: int64 [keep], ascending.

    The rows with the smallest keys E * scale, E exponential: the smallest key is row r's with probability
    (1 / scale_r) / sum(1 / scale), and what is left is again such a draw.

    Args:
        scale: [E], above 0.
        keep: How many, at most E.
        generator: Of the epoch.
    """
    draws = torch.empty(len(scale), dtype=torch.float64).exponential_(generator=generator).numpy()
    if keep == len(scale):
        return np.arange(keep)
    return np.sort(np.argpartition(draws * scale, keep)[:keep])
