"""DRAGON: each modality has its own view of the user–item graph, joined by graphs of alike items and alike users.

Zhou, Zhou, Li, Shen: Enhancing Dyadic Relations with Homogeneous Graphs for Multimodal Recommendation. ECAI 2023; here
for any number of modalities.

    f^m = W2 leaky_relu(W1 x^m + b1) + b2                   d_m -> 4d -> d; x standardised, 0 where an item has none
    y^m = L2n([P^m; f^m]) [U + I, d],   then y^m <- y^m + Â y^m + Â^2 y^m      P^m [U, d]: users' preferences
    items    [y^1_i; ...; y^M_i] [I, Md],                   then items <- items + S items
    users    [omega_{u,1} y^1_u; ...; omega_{u,M} y^M_u],   then users <- users + T users
    S   frozen graph of alike items, as FREEDOM's: sum_m a_m knn(x^m)                    `nn.item_graphs`
    T   T_uv = softmax over v of c_uv, for the 40 users v with the most items in common with u; c = R R^T, v != u
    score(u, i) = <users_u, items_i>
    L = L_bpr + reg * ( sum_m mean (P^m_u)^2 + mean omega_u^2 )               over the users of the batch

The released code takes the ranking loss in log2, which multiplies that term alone by 1.44; here it is in natural
logarithms, as everywhere. Items have no embedding of their own: an item without train rows is known by its content and
by what resembles it. Edge weights weigh R as well: c_uv = sum_i w_ui w_vi, so that a row of weight 0 is a row that is
not there.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr
from sensorium.nn.sparse import from_scipy
from sensorium.recommenders.base import RANKING_TERM, ModelInfo, Representations
from sensorium.recommenders.collaborative.content import ContentConfig, content_of, mixed_item_graph
from sensorium.recommenders.collaborative.graph import EdgeWeights, GraphBackbone
from sensorium.recommenders.collaborative.overlaps import largest_overlaps
from sensorium.recommenders.collaborative.pairs import gather

HIDDEN = 4
"""The layer between content and its vector is so many times as wide as the vector."""


class DRAGON(GraphBackbone):
    """A propagated view of each modality, over graphs of interactions, of alike items and of alike users."""

    info = ModelInfo(
        summary="each modality propagated by itself, joined over graphs of alike items and alike users",
        citation="Zhou, Zhou, Li, Shen: Enhancing Dyadic Relations with Homogeneous Graphs for Multimodal "
        "Recommendation. ECAI 2023",
        features="required",
    )

    class Config(ContentConfig):
        """The keys of DRAGON."""

        reg: float = Field(1e-3, ge=0, description="weight of the users' squared preferences; search 1e-2 to 1e-4")
        item_neighbours: int = Field(10, ge=1, description="items in a row of the item graph, itself included")
        user_neighbours: int = Field(40, ge=1, description="users in a row of the user graph")
        modality_weights: dict[str, float] = Field(
            default_factory=dict, description="weight of each modality in the item graph; empty = the same for all"
        )

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        # Read by `build_graph`, which the constructor of the base calls.
        self._neighbours = config.user_neighbours
        self._order = view.user_order
        super().__init__(view, config)
        self.content = content_of(view, config, model="dragon")
        self._alike_items = mixed_item_graph(view, self.content, config.item_neighbours, config.modality_weights)
        widths = {name: columns.stop - columns.start for name, columns in self.content.columns.items()}
        self.inner = nn.ModuleList(self.linear(f"inner of {m}", w, HIDDEN * config.dim) for m, w in widths.items())
        self.outer = nn.ModuleList(self.linear(f"outer of {m}", HIDDEN * config.dim, config.dim) for m in widths)
        known = torch.from_numpy(view.user_count > 0)
        self.preferences = nn.ParameterList(self._preference(m, known) for m in widths)
        noise = torch.empty(view.n_users, len(widths))
        nn.init.xavier_normal_(noise, generator=self.generator("shares"))
        self.shares = nn.Parameter(torch.softmax(noise, dim=1))  # omega

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Build Â, and the users' graph T, with the same weights."""
        super().build_graph(weight)
        values = np.ones(len(self._rows[0]), dtype=np.float32) if weight is None else weight
        self._alike_users = from_scipy(
            user_graph(csr_matrix((values, self._rows), (self.n_users, self.n_items)), self._neighbours, self._order)
        )

    def represent(self) -> Representations:
        """Return users [U, Md], items [I, Md], and the item part of each y^m [I, d]."""
        views = self._views()
        users, items = zip(*(torch.split(view, [self.n_users, self.n_items]) for view in views), strict=True)
        user = torch.cat([share.unsqueeze(1) * part for share, part in zip(self.shares.T, users, strict=True)], dim=1)
        item = torch.cat(items, dim=1)
        return Representations(
            user + self._alike_users @ user,
            item + self._alike_items @ item,
            dict(zip(self.content.columns, items, strict=True)),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and the size of the preferences of a batch's users."""
        user, item, _ = self.represent()
        preferences = [preference.index_select(0, batch.user) for preference in self.preferences]
        sizes = [part.square().mean() for part in (*preferences, self.shares.index_select(0, batch.user))]
        return {
            RANKING_TERM: bpr(*gather(user, item, batch).scores(), batch.weight),
            "reg": self.config.reg * torch.stack(sizes).sum(),
        }

    def _views(self) -> list[Tensor]:
        """Return y^m of each modality, [U + I, d]."""
        views = []
        for name, inner, outer, preference in zip(
            self.content.columns, self.inner, self.outer, self.preferences, strict=True
        ):
            content = outer(functional.leaky_relu(inner(self.content.of(name))))
            start = functional.normalize(torch.cat([preference, content]))
            once = self._adjacency @ start
            views.append(start + once + self._adjacency @ once)
        return views

    def _preference(self, modality: str, known: Tensor) -> nn.Parameter:
        """Return a new P^m [U, d], Xavier-normal; 0 for a user without train rows, as in `id_embedding`."""
        values = torch.empty(len(known), self.config.dim)
        nn.init.xavier_normal_(values, generator=self.generator(f"preference of {modality}"))
        return nn.Parameter(torch.where(known.unsqueeze(1), values, 0.0))


def user_graph(had: csr_matrix, neighbours: int, order: np.ndarray) -> csr_matrix:
    """Return T [U, U], float32: each row a softmax of common items over the users with the most; empty without any.

    Args:
        had: float [U, I], who had what.
        neighbours: Users of a row, at most.
        order: int64 [U], a permutation: of users with equally many items in common, that with the smaller place counts.
    """
    n_users = had.shape[0]
    what = f"the graph of {n_users:,} users, {neighbours} neighbours each,"
    offset, other, common = largest_overlaps(had, neighbours, tie_order=order, what=what)
    sizes = np.diff(offset)
    # The largest stands first in a row: subtracted, no exponential is above 1.
    first = np.repeat(common[np.minimum(offset[:-1], len(common) - 1)], sizes) if len(common) else common
    share = np.exp(common.astype(np.float64) - first)
    row = np.repeat(np.arange(n_users), sizes)
    total = np.bincount(row, share, minlength=n_users)
    return csr_matrix(((share / total[row]).astype(np.float32), other, offset), (n_users, n_users))
