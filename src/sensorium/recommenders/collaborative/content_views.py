"""What MGCN and SMORE share: a view of every node for each modality, and a side vector beside LightGCN's.

    h^v_I = S_v (E_I * g^v) [I, d]     the items of view v: embeddings gated by content, averaged over alike items
    h^v_U = R̂ h^v_I [U, d]             its users, by what they had; R̂ is the upper right block of Â
    behaviour = LGN_L([E_U; E_I]) [U + I, d]
    side = how the views of a node are joined; the model's own (`join`)
    final = behaviour + side,   score(u, i) = <final u, final i>
    L = BPR + reg * l2(final) + cl * (InfoNCE(side_i, behaviour_i; t) + InfoNCE(side_u, behaviour_u; t))

with the regulariser over the batch's users, positives and negatives, and the contrast over its users and its positives.
The views of all items share one product with R̂; they are joined for the rows of a batch alone.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr, infonce, l2
from sensorium.nn.propagation import lightgcn
from sensorium.nn.sparse import SparseMatrix, from_scipy
from sensorium.recommenders.base import RANKING_TERM, Representations
from sensorium.recommenders.collaborative.content import ContentConfig, content_of, projections
from sensorium.recommenders.collaborative.graph import EdgeWeights, GraphBackbone
from sensorium.recommenders.collaborative.pairs import PairRows, split_items


class ContentViewsConfig(ContentConfig):
    """The keys of models with content views."""

    layers: int = Field(2, ge=0, description="propagations over the user–item graph, L")
    item_neighbours: int = Field(10, ge=1, description="neighbours of an item, itself included, k")
    reg: float = Field(1e-4, ge=0, description="weight of the squared final vectors of the batch")
    contrast: float = Field(0.01, ge=0, description="weight of the contrast of side and behaviour, cl")
    temperature: float = Field(0.2, gt=0, description="of the contrast, t")


class ContentViews(GraphBackbone):
    """A backbone whose side vectors join several views of the content. A subclass makes the views and joins them."""

    config: ContentViewsConfig

    def __init__(self, view: TrainView, config: ContentViewsConfig, *, model: str) -> None:
        super().__init__(view, config)
        self.content = content_of(view, config, model=model)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)
        self.projections = projections(self, self.content, config.dim)

    @abstractmethod
    def item_views(self) -> list[Tensor]:
        """Return h^v_I [I, d] of each view, those of the modalities first, in the order of `content.columns`."""

    @abstractmethod
    def join(self, views: list[Tensor], behaviour: Tensor) -> Tensor:
        """Return the side vectors [n, d] of nodes, from their views [n, d] each and their behaviour [n, d]."""

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Build Â, and R̂ [U, I] from it."""
        super().build_graph(weight)
        self._of_users = upper_right(self._adjacency, self.n_users)

    def represent(self) -> Representations:
        """Return users [U, d], items [I, d], and the items' view of each modality [I, d]."""
        behaviour, views = self._nodes()
        parts = list(torch.split(views, self.config.dim, dim=1))
        user, item = torch.split(behaviour + self.join(parts, behaviour), [self.n_users, self.n_items])
        modal = {name: part[self.n_users :] for name, part in zip(self.content.columns, parts, strict=False)}
        return Representations(user, item, modal)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term, the regulariser and the contrast of a batch."""
        behaviour, views = self._nodes()
        batch_nodes = torch.cat([batch.user, self.n_users + batch.pos, self.n_users + batch.neg.flatten()])
        behaviour = behaviour.index_select(0, batch_nodes)
        side = self.join(list(torch.split(views.index_select(0, batch_nodes), self.config.dim, dim=1)), behaviour)
        user, items = torch.split(behaviour + side, [len(batch), len(side) - len(batch)])
        rows = PairRows(user, *split_items(items, batch))
        contrast = [
            infonce(side[part], behaviour[part], self.config.temperature)
            for part in (slice(0, len(batch)), slice(len(batch), 2 * len(batch)))
        ]
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "reg": self.config.reg * l2(*rows, batch=len(batch)),
            "contrast": self.config.contrast * torch.stack(contrast).sum(),
        }

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Return the behaviour [U + I, d] and the views side by side [U + I, V d] of all nodes."""
        embeddings = torch.cat([self.user_embedding, self.item_embedding])
        items = torch.cat(self.item_views(), dim=1)
        return lightgcn(self._adjacency, embeddings, self.config.layers), torch.cat([self._of_users @ items, items])


def upper_right(adjacency: SparseMatrix, n_users: int) -> SparseMatrix:
    """Return the block [U, I] of users and items of a matrix [(U + I), (U + I)] whose other rows it does not need."""
    matrix = adjacency.rows.on(torch.device("cpu"))
    offsets = matrix.crow_indices()[: n_users + 1].numpy()
    end = int(offsets[-1])
    columns = matrix.col_indices()[:end].numpy() - n_users
    shape = (n_users, adjacency.shape[1] - n_users)
    return from_scipy(csr_matrix((matrix.values()[:end].numpy(), columns, offsets), shape))
