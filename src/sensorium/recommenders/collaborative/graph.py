"""What every backbone over the user–item graph holds: the train rows, and a graph of them that can be weighted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sensorium.data.view import TrainView
from sensorium.nn.propagation import bipartite_adjacency
from sensorium.nn.sparse import SparseMatrix
from sensorium.recommenders.base import Backbone, Recommender

EdgeWeights = npt.NDArray[np.float32]


class GraphBackbone(Backbone):
    """A backbone with the graph Â of `nn.propagation`, built by the constructor and anew for other edge weights.

    A subclass with more graphs of the train rows than that one extends `build_graph`.
    """

    _adjacency: SparseMatrix
    """Â [(U + I), (U + I)]."""

    def __init__(self, view: TrainView, config: Recommender.Config) -> None:
        super().__init__(view, config)
        self._rows = (view.user, view.item)
        self.build_graph(None)

    def set_edge_weight(self, weight: Tensor | None) -> None:
        """Build the graph anew with a weight for each train row of the view: float32 [E], or None for 1."""
        self.build_graph(None if weight is None else weight.detach().cpu().numpy())
        self._forget_vectors()

    def build_graph(self, weight: EdgeWeights | None) -> None:
        """Make all that is derived from the train rows, with a weight of at least 0 for each: [E], or None for 1."""
        self._adjacency = bipartite_adjacency(*self._rows, weight, self.n_users, self.n_items)
