"""The joint loss against its formula, blocks, flips, and the contrastive term's sign."""

from __future__ import annotations

import math

import pytest
import torch

from sensorium.tracing.ukt.contrastive import contrastive_loss, pooled, released_loss
from sensorium.tracing.ukt.views import (
    earlier_blocks,
    flipped_history,
    joint_loss,
    random_blocks,
    released_augmentation,
)
from sensorium.tracing.uncertainty.planted import plant


def test_joint_loss_equals_the_formula_for_the_same_draws():
    batch = plant(3, 9, seed=1).batch(slice(None))
    batch = batch.replace(score_mask=batch.score_mask & (torch.rand(3, 9) < 0.8))
    block = random_blocks(batch.mask, 4)
    logit, loading = torch.randn(3, 9), torch.randn(3, 9, 6)
    torch.manual_seed(7)
    found = joint_loss(logit, loading, batch, block, 8)
    torch.manual_seed(7)
    eps = torch.randn(3, int(block[:, -1].max()) + 1, 8, 6)
    total = 0.0
    for b in range(3):
        for name in range(eps.shape[1]):
            rows = [t for t in range(9) if block[b, t] == name and batch.score_mask[b, t]]
            products = []
            for k in range(8):
                product = 1.0
                for t in rows:
                    p = torch.sigmoid(logit[b, t] + loading[b, t] @ eps[b, name, k]).item()
                    product *= p if batch.response[b, t] else 1 - p
                products.append(product)
            total += math.log(sum(products) / 8)
    assert found.item() == pytest.approx(-total / batch.score_mask.sum().item(), rel=1e-4)


def test_joint_loss_without_loading_is_the_marginal_one():
    batch = plant(4, 12, seed=2).batch(slice(None))
    block = random_blocks(batch.mask, 5)
    logit = torch.randn(4, 12)
    plain = joint_loss(logit, None, batch, block, 8)
    assert torch.allclose(plain, joint_loss(logit, torch.zeros(4, 12, 3), batch, block, 8), atol=1e-6)


def test_what_is_not_scored_changes_nothing():
    batch = plant(2, 10, seed=3).batch(slice(None))
    counted = batch.score_mask.clone()
    counted[:, 6:] = False
    block = random_blocks(batch.mask, 5)
    logit, loading = torch.randn(2, 10), torch.randn(2, 10, 4)
    torch.manual_seed(0)
    first = joint_loss(logit, loading, batch.replace(score_mask=counted), block, 4)
    logit[:, 6:], loading[:, 6:] = 50, 9.0
    torch.manual_seed(0)
    assert torch.allclose(first, joint_loss(logit, loading, batch.replace(score_mask=counted), block, 4))


def test_correlated_answers_are_worth_a_loading_and_independent_ones_are_not():
    torch.manual_seed(0)
    batch = plant(2000, 6, questions=1, concepts=2, sd=0.0, seed=4).batch(slice(None))
    block = torch.zeros(2000, 6, dtype=torch.long)
    same = batch.replace(response=batch.response[:, :1].expand(-1, 6))  # all of a block or none
    share = batch.response.float().mean().logit()
    logit = share.expand(2000, 6)
    loads, none = torch.full((2000, 6, 1), 2.0), torch.zeros(2000, 6, 1)
    assert joint_loss(logit, loads, same, block, 32) < joint_loss(logit, none, same, block, 32) - 0.1
    assert joint_loss(logit, loads, batch, block, 32) > joint_loss(logit, none, batch, block, 32)


def test_blocks_have_a_phase_of_their_own_and_hide_themselves():
    mask = torch.ones(200, 12, dtype=torch.bool)
    block = random_blocks(mask, 5)
    first_of_block = torch.cat([torch.ones(200, 1, dtype=torch.bool), block.diff(dim=1) > 0], dim=1)
    assert (first_of_block[:, 1:].float().mean(0) - 0.2).abs().max() < 0.12  # no place is always a first
    visible = earlier_blocks(mask, block)[:, 0]
    assert not (visible & (block[:, :, None] <= block[:, None, :])).any()
    assert (visible == (block[:, None, :] < block[:, :, None])).all()


def test_flips_have_their_rate_and_their_side():
    torch.manual_seed(0)
    response = torch.randint(2, (4000, 50))
    flipped = flipped_history(response, largest=0.4, flip="symmetric")
    rate = (flipped != response).float().mean(1)
    assert (rate == 0).float().mean() == pytest.approx(0.25, abs=0.05)
    assert rate.mean().item() == pytest.approx(0.75 * 0.2, abs=0.01)
    slips, guesses = (flipped_history(response, largest=0.4, flip=side) for side in ("slip", "guess"))
    assert ((slips != response) <= (response == 1)).all()
    assert ((guesses != response) <= (response == 0)).all()
    assert (slips != response).any()
    assert (guesses != response).any()
    assert torch.equal(flipped_history(response, largest=0.0, flip="symmetric"), response)


def test_released_augmentation_touches_at_most_the_first_two_answers():
    response = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 9]])
    mask = torch.tensor([[True] * 4, [True] * 4, [True] * 3 + [False]])
    found = released_augmentation(response, mask)
    assert found[:, :2].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert torch.equal(found[:, 2:], response[:, 2:])


def distance_after_a_step(term):
    torch.manual_seed(0)
    a = torch.randn(16, 8, requires_grad=True)
    b = (a + 0.1 * torch.randn(16, 8)).detach().requires_grad_()
    before = (a - b).square().sum(-1).mean()
    term(a, b).backward()
    with torch.no_grad():
        return before, ((a - 0.5 * a.grad) - (b - 0.5 * b.grad)).square().sum(-1).mean()


def test_a_step_brings_views_together_and_the_released_term_drives_them_apart():
    before, after = distance_after_a_step(contrastive_loss)
    assert after < before
    before, after = distance_after_a_step(released_loss)
    assert after > before


def test_chance_level_of_the_contrastive_term():
    alike = torch.ones(20, 6)  # all states the same: nothing to pick by
    assert contrastive_loss(alike, alike).item() == pytest.approx(math.log(39), abs=1e-4)


def test_pooling_leaves_padding_out_and_the_released_one_does_not():
    state = torch.randn(1, 4, 3)
    mask = torch.tensor([[True, True, False, False]])
    assert torch.allclose(pooled(state, None, mask), state[:, :2].mean(1))
    assert torch.allclose(pooled(state, None, mask, padding=True), state.mean(1))
