"""How much an interaction looks like its user's others, in each modality, against what chance would give.

    z_i [d]         unit vector of item i's standardised features; 0 where it has no content
    p = (1 / (n_u - 1)) sum_{i' in I_u, i' != i} z_i'          profile of the user's other items; never the item itself
    q_j = n_j / sum n    over items with content: the null is an item drawn by its popularity
    mu = sum_j q_j z_j,  Sigma = sum_j q_j z_j z_j^T - mu mu^T
    e(u, i) = <p, z_i - mu> / sqrt(p^T Sigma p + 1e-12)        about N(0, 1) for an item that has nothing to do with u

The moments are exact: nothing is sampled, and a fixed level of e is a threshold of the user's own on the raw
similarity, <p, mu> + level * sqrt(p^T Sigma p). Since the null follows popularity, e is no popularity filter. Where the
item or all of the user's others lack content, e is 0: no information, no verdict.

With s_u = sum z over I_u, p is (s_u - z_i) / (n_u - 1), so that every term is a product of rows of four matrices: S
[U, d], S Sigma, Z [I, d] and Z Sigma. Time O(E d + (U + I) d^2), memory one block of rows beside them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.nn.features import standardise

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ROWS_AT_ONCE = 4096
"""Rows whose vectors are gathered together: few enough for a core's cache."""

CELLS_FOR_A_FETCH = 50
"""So many cells of a product of whole matrices cost as much as one pair whose two rows are fetched."""

CELLS_AT_ONCE = 1 << 20
"""Cells of such a product that are held at a time."""

VARIANCE_FLOOR = 1e-12


class Pairs(NamedTuple):
    """User and item of each of n pairs, int64 [n]."""

    user: Integers
    item: Integers


def unit_vectors(features: Features, trained_items: npt.NDArray[np.bool_]) -> Tensor:
    """Return z: float32 [I, d], standardised over items with content and a train row, of length 1 or 0.

    Standardising is not optional: raw feature vectors nearly all point the same way (mean cosine .86 to .98 on the sets
    tried), and the signal all but vanishes.
    """
    return torch.nn.functional.normalize(torch.from_numpy(standardise(features, trained_items).x), dim=1)


class Similarity:
    """One modality's evidence about any pair of a view.

    Args:
        view: Whose train rows.
        z: float32 [I, d], unit vectors, 0 where an item has no content.
        present: bool [I].
    """

    def __init__(self, view: TrainView, z: Tensor, present: npt.NDArray[np.bool_]) -> None:
        self._z, self._present = z, present
        share = view.item_count * present
        q = torch.from_numpy((share / max(share.sum(), 1)).astype(np.float32))
        self._mu = q @ z
        sigma = z.T @ (q[:, None] * z) - torch.outer(self._mu, self._mu)
        self._s = torch.from_numpy(view.matrix @ z.numpy())  # [U, d]
        self._s_sigma = self._s @ sigma
        self._content_of_user = np.bincount(view.user, present[view.item], minlength=view.n_users)
        self._s_mu = (self._s @ self._mu).double()
        self._z_mu = (z @ self._mu).double()
        self._s_variance = (self._s_sigma * self._s).sum(1).double()
        self._z_variance = ((z @ sigma) * z).sum(1).double()
        self._z_square = (z * z).sum(1).double()

    def of_rows(self, pairs: Pairs) -> Floats:
        """Return e of pairs that are train rows, each against the user's other rows: float64 [n]."""
        user, item = torch.from_numpy(pairs.user), torch.from_numpy(pairs.item)
        product = _row_products(self._s, user, self._z, item)
        spread = _row_products(self._s_sigma, user, self._z, item)
        own = self._z_square[item]
        raw = product - own - self._s_mu[user] + self._z_mu[item]
        variance = self._s_variance[user] - 2 * spread + self._z_variance[item]
        known = self._present[pairs.item] & (self._content_of_user[pairs.user] > 1)
        return _ratio(raw, variance, known)

    def of_others(self, pairs: Pairs) -> Floats:
        """Return e of pairs that are no train rows, against all of the user's rows: float64 [n]."""
        user, item = torch.from_numpy(pairs.user), torch.from_numpy(pairs.item)
        raw = _row_products(self._s, user, self._z, item) - self._s_mu[user]
        known = self._present[pairs.item] & (self._content_of_user[pairs.user] > 0)
        return _ratio(raw, self._s_variance[user], known)


class TopSimilarity:
    """The same with the mean of the k largest similarities in place of the mean over all of the user's items.

    Its null has no closed form: the moments are sums over the whole catalogue for each user, time O(E I d). An option
    to compare with; the mean is better on every set tried.
    """

    def __init__(self, view: TrainView, z: Tensor, present: npt.NDArray[np.bool_], k: int) -> None:
        self._z, self._present, self._k = z, torch.from_numpy(present), k
        share = view.item_count * present
        self._q = torch.from_numpy(share / max(share.sum(), 1))
        self._start = np.concatenate([[0], np.cumsum(view.user_count)])
        self._item = view.item

    def of_rows(self, pairs: Pairs) -> Floats:
        """Return e of pairs that are train rows; see `Similarity.of_rows`."""
        return self._evidence(pairs, own=True)

    def of_others(self, pairs: Pairs) -> Floats:
        """Return e of pairs that are no train rows; see `Similarity.of_others`."""
        return self._evidence(pairs, own=False)

    def _evidence(self, pairs: Pairs, *, own: bool) -> Floats:
        found = np.zeros(len(pairs.user))
        order = np.argsort(pairs.user, kind="stable")
        users, first = np.unique(pairs.user[order], return_index=True)
        for user, rows in zip(users, np.split(order, first[1:]), strict=True):
            found[rows] = self._of_user(int(user), torch.from_numpy(pairs.item[rows]), own=own)
        return found

    def _of_user(self, user: int, asked: Tensor, *, own: bool) -> Floats:
        items = torch.from_numpy(self._item[self._start[user] : self._start[user + 1]])
        items = items[self._present[items]]
        k = min(self._k, len(items) - own)
        if k < 1:
            return np.zeros(len(asked))
        similar = self._z @ self._z.index_select(0, items).T  # [I, n]
        null = similar.topk(k, dim=1).values.mean(1).double()
        mean = self._q @ null
        variance = self._q @ (null - mean) ** 2
        similar = similar.index_select(0, asked)
        if own:
            similar = similar.masked_fill(asked[:, None] == items[None], -torch.inf)
        raw = similar.topk(k, dim=1).values.mean(1).double() - mean
        return _ratio(raw, variance, self._present[asked].numpy())


def vector_evidence(user: Tensor, item: Tensor, view: TrainView) -> Floats:
    """Return the same evidence of a model's final vectors, about the train rows: float64 [E].

    e(u, i) = <U_u, I_i - mu> / sqrt(U_u^T Sigma U_u + 1e-12), moments over all items by popularity. It is what "small
    loss" means, without a drawn negative, which makes a BPR loss a poor detector (docs/results/guider.md).

    Args:
        user: float32 [U, d].
        item: float32 [I, d].
        view: Whose rows.
    """
    q = torch.from_numpy((view.item_count / view.item_count.sum()).astype(np.float32))
    user, item = user.detach().cpu(), item.detach().cpu()
    mu = q @ item
    centred = item - mu
    sigma = centred.T @ (q[:, None] * centred)
    variance = ((user @ sigma) * user).sum(1).double()
    rows = torch.from_numpy(view.user), torch.from_numpy(view.item)
    raw = _row_products(user, rows[0], centred, rows[1])
    return _ratio(raw, variance[rows[0]], np.ones(len(view.user), dtype=bool))


def _row_products(left: Tensor, left_row: Tensor, right: Tensor, right_row: Tensor) -> Tensor:
    """Return <left[a], right[b]> for each pair of rows (a, b): float64 [n]. The rows of the left side ascend.

    Fetching two rows for each pair is bound by memory; where pairs are dense, products of whole blocks are faster.
    Measured on one core, 512 wide: 1.25 microseconds for a pair, .02 for a cell of the whole product.
    """
    found = torch.empty(len(left_row), dtype=torch.float64)
    if len(left_row) * CELLS_FOR_A_FETCH > len(left) * len(right):
        step = max(1, CELLS_AT_ONCE // len(right))
        ends = torch.searchsorted(left_row, torch.arange(0, len(left) + step, step)).tolist()
        for block, (start, stop) in enumerate(pairwise(ends)):
            products = left[block * step : (block + 1) * step] @ right.T  # [step, m]
            found[start:stop] = products[left_row[start:stop] - block * step, right_row[start:stop]]
        return found
    for start in range(0, len(left_row), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        found[part] = (left.index_select(0, left_row[part]) * right.index_select(0, right_row[part])).sum(1)
    return found


def _ratio(raw: Tensor, variance: Tensor, known: npt.NDArray[np.bool_]) -> Floats:
    found = (raw / (variance.clamp(min=0) + VARIANCE_FLOOR).sqrt()).numpy()
    return np.where(known, found, 0.0)
