"""Propagation over the user–item graph, as LightGCN and the models that build on it use it.

    A [(U+I), (U+I)]:  A_{u, U+i} = A_{U+i, u} = w_ui for each train row, no self loops
    D_jj = sum_k A_jk + 1e-7,   Â = D^-1/2 A D^-1/2
    LGN_L(E) = (1/(L+1)) sum_{l=0..L} Â^l E                  E [U+I, d]: users first, then items

He, Deng, Wang, Li, Zhang, Wang: LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation.
SIGIR 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from sensorium.nn.sparse import CompressedRows, SparseMatrix

DEGREE_OFFSET = 1e-7
"""Added to every degree, so that a node without an edge has a zero row instead of a division by zero."""


def bipartite_adjacency(
    user: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    weight: npt.NDArray[np.floating[Any]] | None,
    n_users: int,
    n_items: int,
) -> SparseMatrix:
    """Return Â [(U+I), (U+I)], float32, symmetric: one copy serves the product and its gradient.

    Args:
        user: int64 [E], the user of each train row.
        item: int64 [E], the item of each train row.
        weight: [E], at least 0 each, or None for 1 each. The weights of a pair that stands twice are added up.
        n_users: U.
        n_items: I.

    Raises:
        ValueError: The lengths differ, or a weight is negative or not finite.
    """
    weight = np.ones(len(user)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(user) == len(item) == len(weight):
        raise ValueError(f"{len(user)} users, {len(item)} items and {len(weight)} weights do not make rows")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("weights of train rows must be finite and at least 0")
    user_degree = np.bincount(user, weight, minlength=n_users) + DEGREE_OFFSET
    item_degree = np.bincount(item, weight, minlength=n_items) + DEGREE_OFFSET
    value = (weight / np.sqrt(user_degree[user] * item_degree[item])).astype(np.float32)
    upper = csr_matrix((value, (user, item)), (n_users, n_items))  # R̂, the upper right block
    lower = upper.T.tocsr()
    nodes = n_users + n_items
    both = CompressedRows(
        csr_matrix(
            (
                np.concatenate([upper.data, lower.data]),
                np.concatenate([upper.indices.astype(np.int64) + n_users, lower.indices]),
                np.concatenate([upper.indptr, upper.nnz + lower.indptr[1:].astype(np.int64)]),
            ),
            (nodes, nodes),
        )
    )
    return SparseMatrix(both, both)


def lightgcn(adjacency: SparseMatrix, embeddings: Tensor, layers: int) -> Tensor:
    """Return the mean of the embeddings [n, d] and their propagations over 1 to `layers` steps: float [n, d]."""
    if layers == 0:
        return embeddings
    mean: Tensor = _MeanOfLayers.apply(adjacency, embeddings, layers)  # type: ignore[no-untyped-call]
    return mean


class _MeanOfLayers(torch.autograd.Function):
    """The polynomial (1 + Â + ... + Â^L) E / (L + 1) as one step of the graph of gradients.

    By Horner's rule, E + Â(E + Â(E + ...)), so that no layer is kept; its gradient is the same polynomial of the
    transposed matrix, applied to the gradient that arrives.
    """

    @staticmethod
    def forward(ctx: Any, adjacency: SparseMatrix, embeddings: Tensor, layers: int) -> Tensor:
        ctx.adjacency, ctx.layers = adjacency, layers
        total = embeddings
        for _ in range(layers):
            total = adjacency.rows.times(total).add_(embeddings)
        return total.div_(layers + 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        return None, lightgcn(ctx.adjacency.T, gradients[0], ctx.layers), None
