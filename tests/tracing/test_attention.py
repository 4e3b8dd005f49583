"""Attention of the tracers against a loop over rows, and its edges."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from sensorium.core.errors import ConfigError
from sensorium.tracing.attention import (
    AttentionBlock,
    MultiHeadAttention,
    attend,
    decayed,
    distances,
    sinusoids,
    stretches,
    visible_keys,
)


def by_hand(scores, visible, gamma, decay):
    """The definition, row by row, without a row's invisible keys."""
    result = torch.zeros_like(scores)
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in scores.shape[:3])).tolist():
        keys = visible[b, 0, i].nonzero().flatten().tolist()
        if not keys:
            continue
        row = scores[b, h, i, keys]
        belief = row.softmax(0)
        dist = torch.stack([(belief[n + 1 :].sum() * abs(i - j)).sqrt() for n, j in enumerate(keys)])
        faded = functional.softplus(gamma[h]) * dist
        if decay == "multiply":
            row = row * (-faded).exp().clamp(1e-5, 1)
        elif decay == "subtract":
            row = row - faded
        result[b, h, i, keys] = row.softmax(0)
    return result


@pytest.mark.parametrize("decay", ["multiply", "subtract", "none"])
def test_decay_equals_the_definition_row_by_row(decay):
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 7, 7, dtype=torch.float64) * 2
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    visible, gamma = visible_keys(mask, current=False), torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    values = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    found = attend(decayed(scores, visible, gamma, decay), visible, values)
    assert torch.allclose(found, by_hand(scores, visible, gamma, decay), atol=1e-7)
    assert found[:, :, 0].abs().max() == 0  # no visible key


def test_subtracted_decay_ignores_a_constant_of_the_row_and_multiplied_decay_does_not():
    torch.manual_seed(1)
    scores, gamma = torch.randn(1, 1, 6, 6, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    visible = visible_keys(torch.ones(1, 6, dtype=torch.bool), current=True)
    shift = torch.randn(1, 1, 6, 1, dtype=torch.float64)
    values = torch.randn(1, 1, 6, 4, dtype=torch.float64)

    def result(a, decay):
        return attend(decayed(a, visible, gamma, decay), visible, values)

    assert torch.allclose(result(scores, "subtract"), result(scores + shift, "subtract"), atol=1e-12)
    assert not torch.allclose(result(scores, "multiply"), result(scores + shift, "multiply"), atol=1e-3)


def test_distance_is_zero_at_the_last_visible_key_and_carries_no_gradient():
    scores = torch.randn(1, 2, 5, 5, requires_grad=True)
    visible = visible_keys(torch.ones(1, 5, dtype=torch.bool), current=True)
    dist = distances(scores, visible)
    assert not dist.requires_grad
    assert dist.diagonal(dim1=-2, dim2=-1).abs().max() < 1e-3
    assert (dist[..., 4, 0] > dist[..., 4, 3]).all()


def test_block_is_causal_and_blind_to_padding():
    torch.manual_seed(2)
    block = AttentionBlock(8, 2, 16, dropout=0.1, decay="subtract").eval()
    x = torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    before = block(x, x, x, visible_keys(mask, current=True))
    changed = x.clone()
    changed[0, 4] += 5
    changed[1, 3:] = 1e4
    after = block(changed, changed, changed, visible_keys(mask, current=True))
    assert torch.allclose(before[0, :4], after[0, :4], atol=1e-6)
    assert not torch.allclose(before[0, 5], after[0, 5], atol=1e-3)
    assert torch.allclose(before[1, :3], after[1, :3], atol=1e-6)


def test_a_first_row_without_history_is_finite_in_value_and_gradient():
    attention = MultiHeadAttention(4, 2, dropout=0.0, decay="multiply", share_query_key=True)
    assert attention.key is attention.query
    x = torch.randn(1, 3, 4, requires_grad=True)
    out = attention(x, x, x, visible_keys(torch.ones(1, 3, dtype=torch.bool), current=False))
    assert torch.equal(out[0, 0], attention.out.bias)
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in attention.parameters())


def test_gradients_of_the_subtracted_decay():
    torch.manual_seed(3)
    scores = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    gamma = torch.randn(2, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    visible = visible_keys(torch.ones(1, 4, dtype=torch.bool), current=False)
    assert torch.autograd.gradcheck(
        lambda g, v: attend(decayed(scores, visible, g, "subtract"), visible, v), (gamma, values)
    )


def test_sinusoids_have_their_scale_and_their_shape():
    table = sinusoids(200, 64, scale=0.5)
    assert table.shape == (200, 64)
    assert table.square().mean().sqrt().item() == pytest.approx(0.5 / math.sqrt(2), rel=1e-3)
    assert torch.equal(table[0], 0.5 * torch.tensor([0.0, 1.0]).repeat(32))
    assert sinusoids(3, 5).shape == (3, 5)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="not a multiple of heads"):
        MultiHeadAttention(10, 4, dropout=0.0)


@pytest.mark.parametrize("decay", ["multiply", "subtract", "none"])
def test_stretches_give_what_the_whole_gives(decay, monkeypatch):
    """Forward and backward, over the edges of stretches, on padded sequences of 120 rows."""
    torch.manual_seed(4)
    attention = MultiHeadAttention(8, 2, dropout=0.0, decay=decay).double()
    x = torch.randn(2, 120, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(120) < torch.tensor([[120], [77]])
    found = []
    for longest in (50, 1000):
        monkeypatch.setattr("sensorium.tracing.attention._STRETCH", longest)
        out = attention(x, x, x, visible_keys(mask, current=False))
        gradients = torch.autograd.grad(out.square().sum(), [x, *attention.parameters()])
        found.append([out, *gradients])
    assert [stop for _, stop in stretches(120)] == [120]  # of the last setting
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


def test_stretches_cover_all_rows_once():
    for length in (1, 49, 50, 51, 200, 999):
        cut = stretches(length)
        assert cut[0][0] == 0
        assert cut[-1][1] == length
        assert all(a[1] == b[0] for a, b in pairwise(cut))
        assert max(stop - start for start, stop in cut) <= 50
