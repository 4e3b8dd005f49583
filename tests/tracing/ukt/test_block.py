"""What a UKT block passes on: variances against counts and draws, evidence that no norm may remove."""

from __future__ import annotations

import pytest
import torch

from sensorium.tracing.attention import visible_keys
from sensorium.tracing.ukt.block import Keys, UKTBlock
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.gaussian import deviation


def block(**options):
    torch.manual_seed(0)
    return UKTBlock(UKTConfig(dim=8, heads=2, hidden=16, dropout=0.0, **options)).double().eval()


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 4, 16])
def test_n_identical_rows_have_a_variance_of_the_prior_part_and_one_nth(n):
    layer = block(decay="none")
    row, spread = drawn(1, 1, 8), drawn(1, 1, 8)
    x, x_spread = row.expand(1, n + 1, 8), spread.expand(1, n + 1, 8)
    keys = layer.keys(x, x_spread, x, x_spread)
    visible = visible_keys(torch.ones(1, n + 1, dtype=torch.bool), current=False)
    prior, past = layer.weights(keys.mean, keys.spread, keys, visible, None)
    _, variance = layer.propagate(prior, past, keys)
    share = prior[0, :, -1, 0]  # [H]
    s0 = deviation(layer.prior_value_spread)[:, 0].square()
    expected = share[:, None].square() * s0 + (1 - share[:, None]).square() * keys.variance[0, :, 0] / n
    assert torch.allclose(variance[0, :, -1], expected, atol=1e-12)


def test_variance_without_a_prior_falls_like_one_over_the_number_of_rows():
    layer = block(decay="none", first_row="zero")
    x, spread = drawn(1, 1, 8).expand(1, 17, 8), drawn(1, 1, 8).expand(1, 17, 8)
    keys = layer.keys(x, spread, x, spread)
    visible = visible_keys(torch.ones(1, 17, dtype=torch.bool), current=False)
    _, variance = layer.propagate(*layer.weights(keys.mean, keys.spread, keys, visible, None), keys)
    counts = torch.arange(1, 17, dtype=torch.float64)
    assert torch.allclose(variance[0, 0, 1:, 0] * counts, keys.variance[0, 0, 0, 0].expand(16), atol=1e-12)
    assert variance[0, :, 0].abs().max() == 0  # the row without a past


def test_draws_of_the_values_have_the_propagated_mean_and_variance():
    layer = block(decay="subtract")
    x, spread = drawn(1, 6, 8), drawn(1, 6, 8)
    keys = layer.keys(x, spread, x.flip(1), spread.flip(1))
    visible = visible_keys(torch.ones(1, 6, dtype=torch.bool), current=False)
    prior, past = layer.weights(keys.mean, keys.spread, keys, visible, None)
    mean, variance = layer.propagate(prior, past, keys)
    n, generator = 100_000, torch.Generator().manual_seed(0)
    row, total, squares = 5, 0.0, 0.0
    sd, sd0 = keys.variance[0].sqrt(), deviation(layer.prior_value_spread)
    for _ in range(4):
        values = keys.value[0] + sd * torch.randn(n, 2, 6, 4, generator=generator, dtype=torch.float64)
        first = layer.prior_value + sd0 * torch.randn(n, 2, 1, 4, generator=generator, dtype=torch.float64)
        h = prior[0, :, row, 0, None] * first[:, :, 0] + torch.einsum("hj,nhjd->nhd", past[0, :, row], values)
        total, squares = total + h.mean(0) / 4, squares + h.square().mean(0) / 4
    assert torch.allclose(total, mean[0, :, row], atol=0.02)
    assert torch.allclose((squares - total.square()) / variance[0, :, row], torch.ones(2, 4).double(), atol=0.02)


def moved_by_a_shift(layer):
    """How much the spread changes its shape, beyond nothing, when the log of the variance moves as one."""
    spread, variance = drawn(1, 3, 8), drawn(1, 3, 8).square() + 0.1
    with torch.no_grad():
        layer.spread_out.weight.copy_(torch.eye(8))
        layer.spread_forward[3].weight.zero_()
        layer.spread_forward[3].bias.zero_()
    return (layer._spread(spread, variance * 4) - layer._spread(spread, variance)).abs().max()


def test_evidence_moves_the_spread_and_a_layer_norm_would_remove_it():
    assert moved_by_a_shift(block()) > 1
    assert moved_by_a_shift(block(spread_norm="layer")) < 1e-3


def test_prior_share_falls_with_evidence_and_is_all_without():
    layer = block(decay="none")
    x, spread = drawn(1, 9, 8), drawn(1, 9, 8)
    keys = layer.keys(x, spread, x, spread)
    visible = visible_keys(torch.ones(1, 9, dtype=torch.bool), current=False)
    prior, past = layer.weights(keys.mean, keys.spread, keys, visible, None)
    assert torch.equal(prior[0, :, 0, 0], torch.ones(2, dtype=torch.float64))
    assert torch.allclose(prior[..., 0] + past.sum(-1), torch.ones(1, 2, 9, dtype=torch.float64))
    assert (prior[0, :, 8, 0] < prior[0, :, 1, 0]).all()


def test_dropout_is_for_the_mean_alone():
    layer = block().train()
    layer.weight_dropout.p = 0.5
    x, spread = drawn(1, 6, 8), drawn(1, 6, 8)
    keys = layer.keys(x, spread, x, spread)
    visible = visible_keys(torch.ones(1, 6, dtype=torch.bool), current=False)
    weights = layer.weights(keys.mean, keys.spread, keys, visible, None)
    (m1, v1), (m2, v2) = layer.propagate(*weights, keys), layer.propagate(*weights, keys)
    assert torch.equal(v1, v2)
    assert not torch.allclose(m1, m2)


@pytest.mark.parametrize("decay", ["subtract", "none"])
def test_gradients_of_a_block(decay):
    layer = block(decay=decay)
    visible = visible_keys(torch.ones(1, 3, dtype=torch.bool), current=False)

    def run(x, spread, y, y_spread):
        return layer(x, spread, layer.keys(x, spread, y, y_spread), visible)

    if decay == "none":
        inputs = tuple(drawn(1, 3, 8).mul(n + 1).requires_grad_() for n in range(4))
        assert torch.autograd.gradcheck(run, inputs, atol=1e-6)
        return
    x, spread = drawn(1, 3, 8), drawn(1, 3, 8)  # distances carry no gradient: only what does not move them is checked
    inputs = (drawn(1, 3, 8).mul(2).requires_grad_(), drawn(1, 3, 8).mul(3).requires_grad_())
    assert torch.autograd.gradcheck(lambda y, y_spread: run(x, spread, y, y_spread), inputs, atol=1e-6)


def test_keys_of_a_point_model_have_no_spread():
    layer = block(covariance="none")
    keys = layer.keys(drawn(1, 3, 8), None, drawn(1, 3, 8), None)
    assert keys.spread is None
    assert keys.variance is None
    assert isinstance(keys, Keys)
