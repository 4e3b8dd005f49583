"""Numbers of diagonal Gaussians: spreads, distances, and probabilities under a Gaussian logit.

A spread is an unconstrained number; its standard deviation is softplus(.) + 1e-3, taken where it is used and nowhere
else, so that no layer can make it negative.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_SD = 1e-3
NODES = 9


def deviation(spread: Tensor) -> Tensor:
    """Return the standard deviations of unconstrained numbers, all above 0."""
    return functional.softplus(spread) + SMALLEST_SD


def squared_wasserstein(mean_a: Tensor, sd_a: Tensor, mean_b: Tensor, sd_b: Tensor) -> Tensor:
    """Return the squared 2-Wasserstein distances of diagonal Gaussians, over the last dimension: the definition.

    ||mu_a - mu_b||² + ||sigma_a - sigma_b||², with differences of standard deviations, not of variances.
    """
    return (mean_a - mean_b).square().sum(-1) + (sd_a - sd_b).square().sum(-1)


def negative_wasserstein(query: Tensor, key: Tensor, scale: Tensor, *, row_constant: bool = False) -> Tensor:
    """Return -scale W², up to a constant of the row, as one product.

    W²_ij = ||f_i||² + ||f_j||² - 2 f_i·f_j with f = [mean; sd]; ||f_i||² is the same for all keys of a row and cancels
    in a softmax, so the scores are [2 f_i, 1]·[f_j, -||f_j||²].

    Args:
        query: float [..., n, 2 d_k].
        key: float [..., m, 2 d_k].
        scale: float, broadcast to [..., 1, 1]; above 0.
        row_constant: Subtract ||f_i||² too: the whole distance.

    Returns:
        float [..., n, m].
    """
    left = torch.cat([2 * query, query.new_ones(()).expand(*query.shape[:-1], 1)], dim=-1) * scale
    right = torch.cat([key, -key.square().sum(-1, keepdim=True)], dim=-1)
    scores = left @ right.transpose(-1, -2)
    return scores - scale * query.square().sum(-1, keepdim=True) if row_constant else scores


def released_distance(mean_q: Tensor, raw_q: Tensor, mean_k: Tensor, raw_k: Tensor) -> Tensor:
    """Return the released code's "distance": raw variances of any sign in the trace, clamped roots in the cross term.

    Kept to reproduce it: that of a point to itself can be negative.

    Args:
        mean_q: float [..., n, d_k], and `raw_q` alike.
        raw_q: The queries' raw variances.
        mean_k: float [..., m, d_k], and `raw_k` alike.
        raw_k: The keys' raw variances.

    Returns:
        float [..., n, m].
    """
    squares = mean_q.square().sum(-1)[..., :, None] + mean_k.square().sum(-1)[..., None, :]
    means = squares - 2 * mean_q @ mean_k.transpose(-1, -2)
    roots = raw_q.clamp(min=1e-24).sqrt() @ raw_k.clamp(min=1e-24).sqrt().transpose(-1, -2)
    return means + raw_q.sum(-1)[..., :, None] + raw_k.sum(-1)[..., None, :] - 2 * roots


def quadrature(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return nodes n and weights w [9] with E f(n) = sum w f(n) for n ~ N(0, 1) (Gauss–Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    return torch.as_tensor(nodes, device=device, dtype=dtype), torch.as_tensor(weights, device=device, dtype=dtype)


def under_nodes(logit: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logit at the nodes of its Gaussian, float [..., 9], and the weights of the nodes [9]."""
    nodes, weights = quadrature(logit.device, logit.dtype)
    return logit[..., None] + (variance + 1e-12).sqrt()[..., None] * nodes, weights


def expected_answer(logit: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return E sigma(m + sqrt(v) n) and its variance, for n ~ N(0, 1): float [...] each, without sampling."""
    at_nodes, weights = under_nodes(logit, variance)
    p = at_nodes.sigmoid()
    mean = p @ weights
    return mean, ((p - mean[..., None]).square() @ weights)


def log_likelihood(logit: Tensor, variance: Tensor, response: Tensor) -> Tensor:
    """Return log p(r) with the logit's noise integrated out: float [...], nats, stable for certain predictions."""
    at_nodes, weights = under_nodes(logit, variance)
    signs = (2 * response - 1).to(logit.dtype)[..., None]
    return torch.logsumexp(functional.logsigmoid(signs * at_nodes) + weights.log(), dim=-1)
