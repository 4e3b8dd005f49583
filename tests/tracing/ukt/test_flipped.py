"""A network trained on flipped histories: true targets, its own weights, and what cannot be wrapped."""

from __future__ import annotations

import pytest
import torch

from sensorium.core.config import build
from sensorium.core.errors import ConfigError
from sensorium.tracing.averaging import Averaged, averaged
from sensorium.tracing.base import answer_loss, build_tracer
from sensorium.tracing.models.flipped import Flipped
from sensorium.tracing.uncertainty.planted import plant

WORLD = plant(10, 12, seed=4)


def made(**keys):
    inner = {"name": "simplekt", "dim": 8, "heads": 2, "hidden": 8, "dropout": 0.0, "question_dropout": 0.0}
    config = build(Flipped.Config, {"model": inner | keys.pop("inner", {}), **keys}, source="test")
    return build_tracer(Flipped, WORLD.view(slice(0, 10)), config)


def test_histories_flip_and_targets_stay(monkeypatch):
    model, batch = made(flip_max=1.0), WORLD.batch(slice(None))
    seen = []
    forward = model.inner.forward
    monkeypatch.setattr(model.inner, "forward", lambda given: seen.append(given.response) or forward(given))
    torch.manual_seed(0)
    found = model.train().loss(batch)["answers"]
    assert (seen[0] != batch.response).float().mean() > 0.1
    with torch.no_grad():
        expected = answer_loss(forward(batch.replace(response=seen[0])).logit, batch)
    assert torch.allclose(found, expected)


def test_evaluation_is_the_network_alone_and_averages_as_it_says():
    model, batch = made().eval(), WORLD.batch(slice(None))
    assert torch.equal(model(batch).p(), model.inner(batch).p())
    assert isinstance(averaged(model), Averaged)
    assert not isinstance(averaged(made(inner={"ema": 0.0})), Averaged)


@pytest.mark.parametrize("name", ["bestlr", "bkt", "ukt"])
def test_what_has_another_loss_is_refused(name):
    config = build(Flipped.Config, {"model": {"name": name}}, source="test")
    with pytest.raises(ConfigError, match="flipped histories from outside"):
        build_tracer(Flipped, WORLD.view(slice(0, 10)), config)
