"""Objectives of a model's own: terms beside the ranking one, made of a batch whose items were encoded once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sensorium.data.batches import Step
from sensorium.data.windows import WindowBatch
from sensorium.recommenders.sequential.encoded import EncodedBatch
from sensorium.recommenders.sequential.sasrec import SASRec
from sensorium.testing.histories import ordered_view

OPTIONS: dict[str, Any] = {"dim": 8, "length": 5, "blocks": 1, "dropout": 0.0}


class Pulling(SASRec):
    """Pulls states to the vectors of the items that they follow, by a number that stands beside each vector."""

    encoded_tokens = 0

    def encode_items(self, tokens: Tensor) -> Tensor:
        """Return the vectors and, beside them, half the token."""
        self.encoded_tokens += len(tokens)
        return torch.cat([super().encode_items(tokens), tokens.unsqueeze(1) / 2], dim=1)

    def extra_losses(self, batch: WindowBatch, encoded: EncodedBatch) -> dict[str, Tensor]:
        """Return one term."""
        here = encoded.place[:, :-1]
        apart = (encoded.states - encoded.vectors[here]).square().sum(-1) * encoded.beside[here].squeeze(-1)
        return {"apart": 0.1 * apart[encoded.mask].mean()}


def batch_of(model: SASRec) -> WindowBatch:
    return model.make_batches(7, 2).batch(Step(0, "main", 0, 0))


@pytest.mark.parametrize("objective", ["in_batch", "sampled", "full"])
def test_a_term_joins_the_loss_and_trains(objective: str) -> None:
    """By hand from the tower and the encoder; the ranking term stays what it is, and no item is encoded twice."""
    plain = SASRec(ordered_view(), SASRec.Config(objective=objective, **OPTIONS))
    model = Pulling(ordered_view(), Pulling.Config(objective=objective, **OPTIONS))
    model.load_state_dict(plain.state_dict())
    batch = batch_of(model)
    terms = model.loss(batch)
    assert list(terms) == ["ranking", "apart"]
    assert torch.equal(terms["ranking"], plain.loss(batch)["ranking"])
    distinct = torch.cat([batch.items.flatten(), batch.neg[batch.items[:, :-1] >= 0].flatten()]).unique()
    assert model.encoded_tokens == len(distinct)

    history = batch.items[:, :-1] + 1
    vectors = model.tower(history.flatten()).view(*history.shape, -1)
    states = model.encoder(vectors, history > 0)
    apart = [
        (states[row, place] - vectors[row, place]).square().sum() * history[row, place] / 2
        for row, place in torch.nonzero(history > 0).tolist()
    ]
    wanted = 0.1 * torch.stack(apart).mean()
    torch.testing.assert_close(terms["apart"], wanted)
    parameters = [value for value in model.parameters() if value.requires_grad]
    found = torch.autograd.grad(terms["apart"], parameters, allow_unused=True)
    by_hand = torch.autograd.grad(wanted, parameters, allow_unused=True)
    assert any(value is not None and bool(value.any()) for value in found)
    for one, other in zip(found, by_hand, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_model_without_terms_of_its_own_has_one() -> None:
    model = SASRec(ordered_view(), SASRec.Config(**OPTIONS))
    assert list(model.loss(batch_of(model))) == ["ranking"]


def test_the_encoded_batch_is_of_the_windows() -> None:
    model = SASRec(ordered_view(), SASRec.Config(**OPTIONS))
    batch = batch_of(model)
    encoded = model.encoded_batch(batch)
    assert torch.equal(encoded.distinct[encoded.place] - 1, batch.items)
    assert torch.equal(encoded.places_of(encoded.tokens), encoded.place)
    assert encoded.count.sum() == batch.items.numel()
    assert torch.equal(encoded.vectors, model.tower(encoded.distinct))
    assert torch.equal(encoded.distinct[encoded.target], encoded.tokens[:, 1:][encoded.asked])
    assert encoded.beside.shape == (len(encoded.distinct), 0)
    assert len(encoded) == len(batch)
