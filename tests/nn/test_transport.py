"""Entropic transport: against definitions written out, against POT, and by its gradient."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensorium.nn.transport import divergence, entropic_cost, sinkhorn


def clouds(seed: int, n: int = 40, width: int = 8, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Two clouds of unit vectors that lie near each other, and their masses."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=generator, dtype=dtype)
    y = x + 0.7 * torch.randn(n, width, generator=generator, dtype=dtype)
    a = torch.rand(n, generator=generator, dtype=dtype) + 0.1
    normalise = torch.nn.functional.normalize
    return normalise(x, dim=1), normalise(y, dim=1), a / a.sum()


def value_and_gradient(x: Tensor, y: Tensor, a: Tensor, **settings: object) -> tuple[float, Tensor]:
    x = x.clone().requires_grad_()
    value = divergence(x, y, a, **settings)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), gradient


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
@pytest.mark.parametrize("anchor", [0.0, 0.5])
def test_pot_and_the_own_solver_agree(epsilon: float, anchor: float) -> None:
    pytest.importorskip("ot")
    x, y, a = clouds(0, n=100, width=64)
    value, gradient = value_and_gradient(x, y, a, epsilon=epsilon, anchor=anchor, solver="pot")
    own, own_gradient = value_and_gradient(x, y, a, epsilon=epsilon, anchor=anchor, solver="own")
    assert own == pytest.approx(value, abs=1e-4)
    torch.testing.assert_close(own_gradient, gradient, atol=1e-4, rtol=0)
    assert gradient.abs().max() > 1e-3  # two zeros would agree too


@pytest.mark.parametrize("solver", ["own", "pot"])
def test_a_problem_of_two_points_has_the_value_that_a_search_over_plans_finds(solver: str) -> None:
    if solver == "pot":
        pytest.importorskip("ot")
    cost = torch.tensor([[0.1, 0.9], [0.4, 0.3]], dtype=torch.float64)
    a, b = (torch.tensor(masses, dtype=torch.float64) for masses in ([0.3, 0.7], [0.6, 0.4]))
    epsilon = 0.2
    free = torch.linspace(1e-6, 0.3 - 1e-6, 200_001, dtype=torch.float64)  # Q_00 decides the plan
    plans = torch.stack([free, 0.3 - free, 0.6 - free, 0.7 - 0.6 + free])  # [4, n]
    independent = torch.outer(a, b).flatten()[:, None]
    values = (plans * cost.flatten()[:, None] + epsilon * plans * (plans / independent).log()).sum(0)
    found = entropic_cost(cost, a, b, epsilon=epsilon, iterations=500, tolerance=1e-12, solver=solver)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(float(values.min()), abs=1e-8)


@given(st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_the_plan_has_the_marginals(seed: int) -> None:
    x, y, a = clouds(seed)
    b = a.flip(0)
    plan = sinkhorn(1 - x @ y.T, a, b, epsilon=0.1, iterations=500)
    assert bool((plan >= 0).all())
    assert float((plan.sum(1) - a).abs().sum()) < 1e-3
    assert float((plan.sum(0) - b).abs().sum()) < 1e-3


@pytest.mark.parametrize("solver", ["own", "pot"])
def test_equal_clouds_are_no_distance_apart(solver: str) -> None:
    if solver == "pot":
        pytest.importorskip("ot")
    x, _, a = clouds(1)
    for anchor in (0.0, 0.5):
        value, gradient = value_and_gradient(x, x, a, epsilon=0.05, anchor=anchor, solver=solver)
        assert value == pytest.approx(0, abs=1e-4)
        assert float(gradient.abs().max()) < 1e-3


def test_clouds_in_another_order_are_equal_unless_each_point_is_held_to_its_own() -> None:
    x, _, _ = clouds(2)
    a = torch.full((len(x),), 1 / len(x))
    shuffled = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    assert float(divergence(x, shuffled, a, epsilon=0.05)) == pytest.approx(0, abs=1e-4)
    assert float(divergence(x, shuffled, a, epsilon=0.05, anchor=0.5)) > 0.05


def test_the_gradient_is_that_of_the_value() -> None:
    x, y, a = clouds(3, n=6, width=4, dtype=torch.float64)
    x.requires_grad_()

    def value(cloud: Tensor) -> Tensor:
        cost = 1 - cloud @ y.T
        return entropic_cost(cost, a, a, epsilon=0.2, iterations=2000, tolerance=1e-13, solver="own")

    assert torch.autograd.gradcheck(value, x, eps=1e-6, atol=1e-5)


def test_no_gradient_reaches_the_cloud_that_is_learned_from() -> None:
    x, y, a = clouds(4)
    x.requires_grad_()
    y.requires_grad_()
    divergence(x, y, a, epsilon=0.1, solver="own").backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert y.grad is None


def test_half_precision_is_refused() -> None:
    cost = torch.zeros(2, 2, dtype=torch.float16)
    with pytest.raises(ValueError, match="float16 diverges"):
        entropic_cost(cost, torch.ones(2) / 2, torch.ones(2) / 2, epsilon=0.1)


def test_without_pot_the_own_solver_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.nn import transport

    x, y, a = clouds(5)
    wanted = float(divergence(x, y, a, epsilon=0.1, solver="own"))
    monkeypatch.setattr(transport, "_pot_is_there", lambda: False)
    monkeypatch.setitem(sys.modules, "ot", None)  # an import would raise
    assert float(divergence(x, y, a, epsilon=0.1)) == wanted
