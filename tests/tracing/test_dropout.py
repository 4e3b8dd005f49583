"""Dropout by 16-bit draws: the share, the scale, the seed, and what PyTorch's own promises."""

from __future__ import annotations

import pytest
import torch

from sensorium.tracing.dropout import Dropout, kept


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_the_share_that_stays_is_one_minus_p(p: float) -> None:
    torch.manual_seed(0)
    n = 1_000_003  # no multiple of the numbers of a draw
    share = float(kept(torch.Size([n]), p).float().mean())
    assert abs(share - (1 - p)) < 4 * (p * (1 - p) / n) ** 0.5 + 2**-17


def test_numbers_of_one_draw_and_of_neighbouring_draws_are_independent() -> None:
    torch.manual_seed(1)
    keep = kept(torch.Size([400_000]), 0.5).float().view(-1, 4) - 0.5
    covariance = keep.T @ keep / len(keep)
    assert (covariance - 0.25 * torch.eye(4)).abs().max() < 4 * 0.25 / len(keep) ** 0.5
    assert abs(float((keep[:-1, 3] * keep[1:, 0]).mean())) < 4 * 0.25 / len(keep) ** 0.5


def test_what_stays_is_scaled_and_its_gradient_too() -> None:
    torch.manual_seed(2)
    x = torch.ones(50, 40, requires_grad=True)
    y = Dropout(0.2).train()(x)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_the_seed_decides_and_evaluation_drops_nothing() -> None:
    layer, x = Dropout(0.3), torch.randn(7, 9)

    def seeded() -> torch.Tensor:
        torch.manual_seed(3)
        return layer(x)

    assert torch.equal(seeded(), seeded())
    assert layer.eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert torch.equal(Dropout(1.0).train()(x), torch.zeros_like(x))
