"""Entropic optimal transport between two weighted clouds, in the log domain, and its debiased divergence.

    OT_eps(a, b; C) = min over plans Q with marginals a, b of <Q, C> + eps KL(Q || a b^T)
    D(X, Y) = OT(X, Y) - OT(X, X) / 2 - OT(Y, Y) / 2           0 for equal clouds, whatever eps

Cuturi: Sinkhorn Distances. NeurIPS 2013; Feydy et al.: Interpolating between Optimal Transport and MMD using Sinkhorn
Divergences. AISTATS 2019. The gradient is that of the optimum: dOT/dC is the plan (the envelope theorem), and the
iterations themselves are not differentiated.

    cost(x, y) = 1 - <x, y> + gamma [i != j]       clouds whose i-th points are one and the same thing

Plain transport does not know which point is which. Where it is known, gamma > 0 charges for mass that leaves its own.

With the package `ot` (POT: Flamary et al., JMLR 2021) installed, it solves the problem; else `sinkhorn` here does, to
the same value and gradient. Both work in float32 or float64, never in half precision: there they diverge.
"""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

Solver = Literal["auto", "own", "pot"]

ITERATIONS = 50
TOLERANCE = 1e-4
ROUNDS_BETWEEN_CHECKS = 10


def entropic_cost(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    epsilon: float,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    solver: Solver = "auto",
) -> Tensor:
    """Return OT_eps, one number, differentiable in the cost.

    Args:
        cost: [n, m], float32 or float64.
        a: [n], masses that sum to 1.
        b: [m], masses that sum to 1.
        epsilon: Weight of the entropy, against costs between 0 and about 2; below .02 the iterations do not suffice.
        iterations: At most so many.
        tolerance: Stop when the marginals are met to it.
        solver: "pot", "own", or whichever is there.

    Raises:
        ValueError: Half precision.
    """
    if cost.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"transport in {cost.dtype} diverges: give costs in float32 or float64")
    if solver == "pot" or (solver == "auto" and _pot_is_there()):
        return _with_pot(cost, a, b, epsilon, iterations, tolerance)
    plan = sinkhorn(cost.detach(), a, b, epsilon=epsilon, iterations=iterations, tolerance=tolerance)
    independent = torch.outer(a, b)
    entropy = torch.where(plan > 0, plan * (plan / independent.clamp_min(1e-38)).clamp_min(1e-38).log(), 0.0)
    # The plan is optimal: only the cost moves the value, <Q, C> has the gradient Q.
    value: Tensor = (plan * cost).sum() + epsilon * (entropy.sum() - plan.sum() + independent.sum())
    return value


def sinkhorn(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    epsilon: float,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Return the plan Q [n, m] by Sinkhorn's iterations in the log domain; arguments as for `entropic_cost`."""
    scaled = -cost / epsilon
    log_a, log_b = a.log(), b.log()
    v = torch.zeros_like(b)
    for step in range(iterations):
        u = log_a - torch.logsumexp(scaled + v, dim=1)
        v = log_b - torch.logsumexp(scaled + u[:, None], dim=0)
        if step % ROUNDS_BETWEEN_CHECKS == 0:
            rows = torch.logsumexp(scaled + u[:, None] + v, dim=1).exp()
            if float((rows - a).norm()) < tolerance:
                break
    return (scaled + u[:, None] + v).exp()


def divergence(
    x: Tensor, y: Tensor, a: Tensor, *, epsilon: float, anchor: float = 0.0, solver: Solver = "auto"
) -> Tensor:
    """Return D between two clouds of unit vectors whose i-th points belong together, at the same masses: one number.

    Args:
        x: [n, d], the cloud that learns.
        y: [n, d], the cloud that is learned from; no gradient goes there.
        a: [n], masses of both, sum 1.
        epsilon: See `entropic_cost`.
        anchor: gamma, what it costs to leave one's own point.
        solver: See `entropic_cost`.
    """
    y = y.detach()
    away = anchor * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))

    def cost(left: Tensor, right: Tensor) -> Tensor:
        return entropic_cost(1 - left @ right.T + away, a, a, epsilon=epsilon, solver=solver)

    return cost(x, y) - 0.5 * cost(x, x) - 0.5 * cost(y, y)


@cache
def _pot_is_there() -> bool:
    return importlib.util.find_spec("ot") is not None


def _with_pot(cost: Tensor, a: Tensor, b: Tensor, epsilon: float, iterations: int, tolerance: float) -> Tensor:
    import ot  # type: ignore[import-untyped, unused-ignore]

    with warnings.catch_warnings():  # the number of iterations is a setting, and no surprise
        warnings.filterwarnings("ignore", message="Sinkhorn did not converge")
        found: Any = ot.solve(
            cost, a, b, reg=epsilon, method="sinkhorn_log", grad="envelope", max_iter=iterations, tol=tolerance
        )
    value: Tensor = found.value
    return value
