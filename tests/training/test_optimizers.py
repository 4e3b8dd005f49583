"""Optimisers by name, and phases that cannot be trained."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn, optim

from sensorium.core.errors import ConfigError, TrainingError
from sensorium.evaluation.selection import Selection
from sensorium.training.config import GroupOverrides, OptimizerConfig, TrainingConfig
from sensorium.training.device import make_fabric
from sensorium.training.loop import train
from sensorium.training.optimizers import activate, build_optimizer
from sensorium.training.protocols import Phase, TrainingData

REFERENCE = {
    "adam": (optim.Adam, {}),
    "adamw": (optim.AdamW, {}),
    "sgd": (optim.SGD, {"momentum": 0.9}),
    "adagrad": (optim.Adagrad, {}),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_fused_step_equals_the_plain_one(name: str):
    cls, extra = REFERENCE[name]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(7, 5, generator=generator)
    plain, fast = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    config = OptimizerConfig(name=name, lr=0.01, weight_decay=0.1, **extra)
    reference: Any = cls([plain], lr=0.01, weight_decay=0.1, foreach=False, **extra)
    optimizer = build_optimizer(config, [fast], fused=True)
    for _ in range(5):
        plain.grad = torch.randn(7, 5, generator=generator)
        fast.grad = plain.grad.clone()
        reference.step()
        optimizer.step()
    assert optimizer.param_groups[0]["fused"]
    torch.testing.assert_close(fast, plain)


def test_complex_parameters_take_the_plain_step():
    parameter = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = build_optimizer(OptimizerConfig(lr=0.1), [parameter], fused=True)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.testing.assert_close(parameter.detach().real, torch.full((3,), 0.9))


def phases(model: Any, *names: str, **keys: Any) -> list[Phase]:
    return [
        Phase(name, keys.get("parameters", [model.table]), model.table_loss, steps=keys.get("steps", "pass"))
        for name in names
    ]


@pytest.mark.parametrize(
    ("names", "keys", "message"),
    [
        (("a", "a"), {}, "phase 'a' of Toy has the name of another phase"),
        (("a",), {"steps": 0}, "takes 0 steps in a round: use a number from 1, or 'pass'"),
        (("a",), {"parameters": []}, "has no parameter to train"),
        (("a",), {"parameters": [nn.Parameter(torch.ones(1), requires_grad=False)]}, "has no parameter to train"),
        (("a",), {"parameters": [nn.Parameter(torch.ones(1))]}, "trains a parameter that is not the model's own"),
    ],
)
def test_phases_that_cannot_be_trained(toy: ModuleType, names: tuple[str, ...], keys: dict[str, Any], message: str):
    config = TrainingConfig(device="cpu")
    model = toy.Toy(toy.Batches(1))
    with pytest.raises(TrainingError, match=message):
        activate(phases(model, *names, **keys), model, model.batches, config, make_fabric(config))


def test_no_batches_at_all(toy: ModuleType):
    config = TrainingConfig(device="cpu")
    model = toy.Toy(toy.Batches(1))
    with pytest.raises(TrainingError, match="has no batches: neither the phase nor the data brings any"):
        activate(phases(model, "a"), model, None, config, make_fabric(config))


@pytest.mark.parametrize(
    ("names", "keys", "message"),
    [
        (
            ("table", "critic"),
            {"phases": {"crtic": {}}},
            r"training.phases.crtic: Toy has no such phase; did you mean critic\?",
        ),
        (("table",), {"phases": {"zzz": {}}}, "no such phase: its phases are table"),
        ((), {"phases": {"a": {}}}, "no such phase: it is complete without training"),
        (("table",), {"steps_per_epoch": 3}, "steps_per_epoch is 3, but an epoch of Toy is one pass of phase 'table'"),
    ],
)
def test_configs_that_do_not_fit_the_model(toy: ModuleType, names: tuple[str, ...], keys: dict[str, Any], message: str):
    config = TrainingConfig(device="cpu", **keys)
    model = toy.Toy(toy.Batches(1))
    with pytest.raises(ConfigError, match=message):
        activate(phases(model, *names), model, model.batches, config, make_fabric(config))


class Pulled(nn.Module):
    """Two numbers that are pulled to 0 by the same gradient, one of them in a group of its own."""

    def __init__(self, **defaults: float) -> None:
        super().__init__()
        self.defaults = {"encoder": GroupOverrides(**defaults)}
        self.head, self.inner = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def loss(self, batch: object) -> dict[str, torch.Tensor]:
        return {"pull": (self.head + self.inner).sum()}

    def phases(self) -> list[Phase]:
        groups = {"encoder": [self.inner]}
        return [Phase("main", self.parameters(), self.loss, groups=groups, group_defaults=self.defaults)]


def trained(toy: ModuleType, model: Pulled | None = None, decay: float = 0.0, **keys: Any) -> Pulled:
    optimizer = OptimizerConfig(name="sgd", lr=0.1, weight_decay=decay)
    config = TrainingConfig(device="cpu", epochs=2, optimizer=optimizer, **keys)
    model = Pulled() if model is None else model
    data: TrainingData[Pulled] = TrainingData(toy.Batches(1), lambda trained: {"score": -trained.head.item()})
    train(model, data, config, selection=Selection("score"), seed=0)
    return model


def test_a_group_has_its_own_rate_and_weight_decay(toy: ModuleType):
    """Two steps by hand: x - lr (1 + decay x); the schedule multiplies both rates."""
    own = {"main": {"groups": {"encoder": {"lr": 0.01, "weight_decay": 0.5}}}}
    halved = {"name": "exponential", "gamma": 0.5, "every": 1}
    model = trained(toy, phases=own, schedule=halved)
    head = inner = 1.0
    for factor in (1.0, 0.5):
        head -= 0.1 * factor
        inner -= 0.01 * factor * (1 + 0.5 * inner)
    torch.testing.assert_close(model.head.item(), head)
    torch.testing.assert_close(model.inner.item(), inner)
    with pytest.raises(ConfigError, match=r"training.phases.main.groups.encdoer: there is no such group .*encoder"):
        trained(toy, phases={"main": {"groups": {"encdoer": {"lr": 1.0}}}})


@pytest.mark.parametrize("said", [None, 0.3])
def test_a_model_says_what_its_groups_have_and_the_configuration_wins(toy: ModuleType, said: float | None):
    """The phase's decay is for what is in no group; a rate that neither says is the phase's."""
    phases = {} if said is None else {"main": {"groups": {"encoder": {"weight_decay": said}}}}
    model = trained(toy, Pulled(weight_decay=0.0), decay=0.5, phases=phases)
    head = inner = 1.0
    for _ in range(2):
        head -= 0.1 * (1 + 0.5 * head)
        inner -= 0.1 * (1 + (said or 0.0) * inner)
    torch.testing.assert_close(model.head.item(), head)
    torch.testing.assert_close(model.inner.item(), inner)
