"""Small matrices of the kinds that models multiply with."""

import numpy as np
import scipy.sparse as sp


def random_matrix(rows: int, columns: int, density: float = 0.15, seed: int = 0) -> sp.csr_matrix:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, columns)) * (generator.random((rows, columns)) < density)
    values[rows // 2] = 0  # a row without an entry
    return sp.csr_matrix(values)


def symmetric_matrix(n: int) -> sp.csr_matrix:
    half = random_matrix(n, n)
    return sp.csr_matrix(half + half.T)


def row_normalised(rows: int, columns: int) -> sp.csr_matrix:
    matrix = abs(random_matrix(rows, columns))
    sums = np.asarray(matrix.sum(1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.maximum(sums, 1e-7)) @ matrix)


def nearest_items(n: int, k: int = 5) -> sp.csr_matrix:
    """The directed graph of each item's k nearest, itself included, as cosine weights."""
    vectors = np.random.default_rng(1).normal(size=(n, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors.T
    nearest = np.argsort(-cosine, axis=1)[:, :k]
    rows = np.repeat(np.arange(n), k)
    return sp.csr_matrix((cosine[rows, nearest.ravel()].clip(0), (rows, nearest.ravel())), (n, n))
