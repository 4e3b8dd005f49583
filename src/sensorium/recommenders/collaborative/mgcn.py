"""MGCN: content purified by behaviour, averaged over alike items, and weighed against what the modalities share.

Yu, Tan, Lu, Bao: Multi-View Graph Convolutional Network for Multimedia Recommendation. MM 2023; here for any number of
modalities.

    z^m = W_m x^m + c_m,   g^m = sigmoid(G_m(z^m))                    which parts of an embedding the content speaks of
    h^m_I = S_m (E_I * g^m),  S_m each item's k nearest by modality m, weighted by their cosines;   h^m_U = R̂ h^m_I
    a = softmax_m(q^T tanh(W h^m)),   common = sum_m a_m h^m
    side = (sum_m sigmoid(P_m(behaviour)) * (h^m - common) + common) / (M + 1)

and behaviour, final vectors and loss as in `content_views`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.data.view import TrainView
from sensorium.nn.sparse import from_scipy
from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.collaborative.content import item_graphs, project
from sensorium.recommenders.collaborative.content_views import ContentViews, ContentViewsConfig


class MGCN(ContentViews):
    """LightGCN beside gated content views, joined by attention and by each node's preference."""

    info = ModelInfo(
        summary="LightGCN beside content views that behaviour has purified, joined by attention",
        citation="Yu, Tan, Lu, Bao: Multi-View Graph Convolutional Network for Multimedia Recommendation. MM 2023",
        features="required",
    )

    class Config(ContentViewsConfig):
        """The keys of MGCN."""

        contrast: float = Field(
            0.01, ge=0, description="weight of the contrast of side and behaviour, cl; search {.001, .01, .1}"
        )

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config, model="mgcn")
        names = list(self.content.columns)
        self.gates = nn.ModuleList(self.linear(f"gate of {name}", config.dim, config.dim) for name in names)
        self.preferences = nn.ModuleList(
            self.linear(f"preference for {name}", config.dim, config.dim) for name in names
        )
        self.attention = nn.Sequential(
            self.linear("attention", config.dim, config.dim),
            nn.Tanh(),
            self.linear("attention's query", config.dim, 1, bias=False),
        )
        graphs = item_graphs(view, self.content, config.item_neighbours, "cosine")
        self._alike = [from_scipy(graph) for graph in graphs]

    def item_views(self) -> list[Tensor]:
        """Return h^m_I [I, d] of each modality."""
        projected = project(self.content, self.projections).values()
        return [
            alike @ (self.item_embedding * torch.sigmoid(gate(z)))
            for alike, gate, z in zip(self._alike, self.gates, projected, strict=True)
        ]

    def join(self, views: list[Tensor], behaviour: Tensor) -> Tensor:
        """Return what the views share, and of what is special to each as much as the node's behaviour asks for."""
        stacked = torch.stack(views)  # [M, n, d]
        common = (torch.softmax(self.attention(stacked), dim=0) * stacked).sum(0)
        special = torch.stack(
            [
                torch.sigmoid(preference(behaviour)) * (view - common)
                for preference, view in zip(self.preferences, views, strict=True)
            ]
        )
        return (special.sum(0) + common) / (len(views) + 1)
