"""SMORE: content filtered and fused in the spectrum of its channels, one more view for what the modalities share.

Ong, Khong: Spectrum-based Modality Representation Fusion Graph Convolutional Network for Multimodal Recommendation.
WSDM 2025; here for any number of modalities.

    z^m = W_m x^m + c_m,   F^m = rfft(z^m) over the d channels, orthonormal
    c^m = irfft(F^m * K_m),  c^f = irfft(prod_m F^m * K_f)             K complex [d/2 + 1], trained, from N(0, 1)
    h^v_I = S_v (E_I * sigmoid(G_v(c^v))) for each modality and the fusion;   h^v_U = R̂ h^v_I
    S_m each item's k_m nearest by modality m, weighted by their cosines;  S_f the element-wise largest of them
    h^m <- softmax over channels(Q_m(h^f)) * h^m,    Q_m linear, tanh, linear
    side = mean over the M + 1 views of dropout(sigmoid(P_v(behaviour))) * h^v

and behaviour, final vectors and loss as in `content_views`. A product of spectra is a circular convolution: noise that
one modality has alone is damped where the other one has no energy.
"""

from __future__ import annotations

from functools import reduce
from operator import mul

import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import ConfigError
from sensorium.data.view import TrainView
from sensorium.nn.sparse import from_scipy
from sensorium.recommenders.base import ModelInfo
from sensorium.recommenders.collaborative.content import item_graphs, project
from sensorium.recommenders.collaborative.content_views import ContentViews, ContentViewsConfig


class SMORE(ContentViews):
    """LightGCN beside content views that were filtered in their spectrum, and a fused one."""

    info = ModelInfo(
        summary="LightGCN beside content views that are filtered and fused in the spectrum of their channels",
        citation="Ong, Khong: Spectrum-based Modality Representation Fusion Graph Convolutional Network for Multimodal "
        "Recommendation. WSDM 2025",
        features="required",
    )

    class Config(ContentViewsConfig):
        """The keys of SMORE."""

        layers: int = Field(3, ge=0, description="propagations over the user–item graph, L; published 3 or 4")
        neighbours_by_modality: dict[str, int] = Field(
            default_factory=dict,
            description="for some modalities, other item_neighbours than the rest; search {10, 15, 20, 40}",
        )
        dropout: float = Field(0.1, ge=0, lt=1, description="share of the preferences left out in training")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config, model="smore")
        modalities = list(self.content.columns)
        views = [f"modality {name}" for name in modalities] + ["fusion"]
        dim = config.dim
        spectrum = torch.empty(len(views), dim // 2 + 1, 2)  # real and imaginary parts
        self.filters = nn.Parameter(spectrum.normal_(generator=self.generator("filters")))
        self.gates = nn.ModuleList(self.linear(f"gate of {name}", dim, dim) for name in views)
        self.preferences = nn.ModuleList(self.linear(f"preference for {name}", dim, dim) for name in views)
        self.channels = nn.ModuleList(
            nn.Sequential(
                self.linear(f"channels of {name}", dim, dim),
                nn.Tanh(),
                self.linear(f"channels of {name}, second", dim, dim, bias=False),
            )
            for name in modalities
        )
        graphs = item_graphs(view, self.content, self._neighbours(modalities), "cosine")
        largest = reduce(csr_matrix.maximum, graphs)
        self._alike = [from_scipy(graph) for graph in (*graphs, largest)]

    def item_views(self) -> list[Tensor]:
        """Return h^m_I [I, d] of each modality, and of the fusion last."""
        return [
            alike @ (self.item_embedding * torch.sigmoid(gate(filtered)))
            for alike, gate, filtered in zip(self._alike, self.gates, self._filtered(), strict=True)
        ]

    def join(self, views: list[Tensor], behaviour: Tensor) -> Tensor:
        """Return the mean of the views, each by the channels that the fusion and the node's behaviour ask for."""
        *modalities, fusion = views
        chosen = [
            torch.softmax(channels(fusion), dim=1) * view
            for channels, view in zip(self.channels, modalities, strict=True)
        ]
        preferred = [
            functional.dropout(torch.sigmoid(preference(behaviour)), self.config.dropout, self.training) * view
            for preference, view in zip(self.preferences, (*chosen, fusion), strict=True)
        ]
        return torch.stack(preferred).mean(0)

    def _filtered(self) -> list[Tensor]:
        """Return c^m of each modality and c^f, [I, d] each."""
        filters = torch.view_as_complex(self.filters)
        projected = project(self.content, self.projections).values()
        spectra = [torch.fft.rfft(z.to(self.filters.dtype), dim=1, norm="ortho") for z in projected]
        return [
            torch.fft.irfft(spectrum * own, n=self.config.dim, dim=1, norm="ortho")
            for spectrum, own in zip((*spectra, reduce(mul, spectra)), filters, strict=True)
        ]

    def _neighbours(self, modalities: list[str]) -> dict[str, int]:
        """Return k_m by modality.

        Raises:
            ConfigError: A number is given for a modality that the model does not read.
        """
        given = self.config.neighbours_by_modality
        if unknown := sorted(given.keys() - set(modalities)):
            raise ConfigError(
                f"model.neighbours_by_modality: '{unknown[0]}' is not read by the model (read: {', '.join(modalities)})"
            )
        return {name: given.get(name, self.config.item_neighbours) for name in modalities}
