"""Sparse matrices of fixed values that can be multiplied with a dense matrix, forwards and backwards.

The values are data, not parameters: a product is differentiable with respect to the dense side alone, and its
gradient is the transposed matrix times the gradient that arrives:

    Y = S X      S [n, m] sparse, X [m, d], Y [n, d]
    dL/dX = S^T dL/dY

So a matrix is kept in both directions, each in compressed rows (CSR); a symmetric one needs a single copy for both.
A matrix follows its operand: the copy on another device is made at the first product there, and kept.

On the CPU a product in compressed rows is a sum of bags of weighted rows, and torch's `embedding_bag` has the faster
kernel for it: two to four times as fast as torch's CSR product and seven to twelve times as fast as its COO product, on
one core at d = 64 (benchmarks/sparse.py; 32- and 64-bit indices are equally fast). The CSR product stands beside it as
the reference, and serves the other devices.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional


class SparseMatrix:
    """A sparse matrix [n, m] and its transpose, float32 or float64. Made by `from_scipy`."""

    def __init__(self, rows: CompressedRows, columns: CompressedRows) -> None:
        """Join the two directions of one matrix: `rows` [n, m] and `columns` [m, n], one object if it is symmetric."""
        self.rows = rows
        self.columns = columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (n, m)."""
        return self.rows.shape

    @property
    def symmetric(self) -> bool:
        """Whether one copy serves both directions."""
        return self.rows is self.columns

    @property
    def T(self) -> SparseMatrix:  # noqa: N802 - as everywhere else
        """The transpose [m, n]; nothing is copied."""
        return self if self.symmetric else SparseMatrix(self.columns, self.rows)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Return the product [n, d] with a dense matrix [m, d], on its device and in this matrix's precision."""
        product: Tensor = _Product.apply(self, dense)  # type: ignore[no-untyped-call]
        return product


class CompressedRows:
    """One direction of a matrix in compressed rows, with a copy on every device that has asked for one."""

    def __init__(self, matrix: csr_matrix) -> None:
        index = np.int32 if matrix.nnz <= np.iinfo(np.int32).max else np.int64  # half the memory where it can be
        self.shape: tuple[int, int] = matrix.shape
        self._copies: dict[torch.device, Tensor] = {
            torch.device("cpu"): _csr_tensor(
                torch.from_numpy(matrix.indptr.astype(index)),
                torch.from_numpy(matrix.indices.astype(index)),
                torch.from_numpy(matrix.data.copy()),
                self.shape,
            )
        }

    def times(self, dense: Tensor) -> Tensor:
        """Return the product [n, d] with a dense matrix [m, d]; not differentiable by itself."""
        if dense.ndim != 2 or dense.shape[0] != self.shape[1]:
            raise ValueError(f"a sparse matrix {list(self.shape)} cannot be multiplied with {list(dense.shape)}")
        matrix = self.on(dense.device)
        multiply = bag_product if dense.device.type == "cpu" else csr_product
        return multiply(matrix, dense.detach().to(matrix.dtype).contiguous())

    def on(self, device: torch.device) -> Tensor:
        """Return the matrix as a `torch.sparse_csr` tensor on a device."""
        if device not in self._copies:
            self._copies[device] = self._copies[torch.device("cpu")].to(device)
        return self._copies[device]


def from_scipy(matrix: csr_matrix, *, symmetric: bool = False) -> SparseMatrix:
    """Return a SparseMatrix from any SciPy sparse matrix [n, m]; float64 stays, every other kind becomes float32.

    Args:
        matrix: The values; entries that stand twice are added up.
        symmetric: Keep one copy for both directions.

    Raises:
        ValueError: A value is not finite, or the matrix is called symmetric and is not.
    """
    rows = csr_matrix(matrix, dtype=np.float64 if matrix.dtype == np.float64 else np.float32, copy=True)
    rows.sum_duplicates()
    if not np.isfinite(rows.data).all():
        raise ValueError("a sparse matrix must hold finite values only")
    transposed = rows.T.tocsr()
    if not symmetric:
        return SparseMatrix(CompressedRows(rows), CompressedRows(transposed))
    if rows.shape != transposed.shape or np.any((rows - transposed).data):
        raise ValueError("the matrix is not symmetric: its gradient needs the transpose, so leave out symmetric=True")
    both = CompressedRows(rows)
    return SparseMatrix(both, both)


class _Product(torch.autograd.Function):
    """S X, with the gradient S^T dL/dY."""

    @staticmethod
    def forward(ctx: Any, matrix: SparseMatrix, dense: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix.rows.times(dense)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix.T @ gradients[0]


def bag_product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Return the product of a `torch.sparse_csr` tensor [n, m] and a dense matrix [m, d], by sums of weighted rows."""
    return functional.embedding_bag(
        matrix.col_indices(),
        dense,
        matrix.crow_indices(),
        mode="sum",
        per_sample_weights=matrix.values(),
        include_last_offset=True,
    )


def csr_product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Return the product of a `torch.sparse_csr` tensor [n, m] and a dense matrix [m, d], by torch's own CSR kernel."""
    with torch.autocast(dense.device.type, enabled=False):
        return matrix @ dense


def _csr_tensor(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # torch calls its CSR tensors "beta" at the first one
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_csr_tensor(offsets, columns, values, shape, check_invariants=False)
