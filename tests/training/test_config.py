"""The training configuration: defaults of the specification, overrides by phase, combinations that cannot be."""

from typing import Any

import pytest

from sensorium.core.config import build, describe, dump
from sensorium.core.errors import ConfigError
from sensorium.training.config import TrainingConfig


def test_defaults_are_those_of_the_specification():
    """The schedule of the literature's protocol."""
    config = TrainingConfig()
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("adam", 1e-3, 0.0)
    assert (config.batch_size, config.negatives, config.epochs) == (2048, 1, 1000)
    assert (config.validate_every, config.patience, config.precision) == (1, 20, "32")


def test_a_phase_takes_what_it_does_not_name_from_all_phases():
    tree = {
        "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
        "clip_norm": 5,
        "schedule": {"name": "cosine"},
        "phases": {"critic": {"optimizer": {"lr": 0.5}, "clip_norm": 0}},
    }
    config = build(TrainingConfig, tree, source="x.yaml")
    for again in (config, build(TrainingConfig, dump(config), source="dumped")):
        own, others = again.settings("critic"), again.settings("table")
        assert (own.optimizer.name, own.optimizer.lr, own.optimizer.weight_decay) == ("adamw", 0.5, 0.1)
        assert (own.clip_norm, own.schedule.name) == (0.0, "cosine")
        assert (others.optimizer.lr, others.clip_norm) == (0.01, 5.0)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"optimizer": {"momentum": 0.9}}, r"optimizer.momentum is for sgd, and the optimiser is adam"),
        (
            {"optimizer": {"name": "sgd", "momentum": 0.9}, "phases": {"a": {"optimizer": {"name": "adam"}}}},
            r"phases.a.optimizer.momentum is for sgd, and the optimiser is adam",
        ),
        ({"epochs": 3, "schedule": {"warmup": 3}}, r"schedule.warmup \(3 epochs\) must be shorter than training \(3\)"),
        ({"optimizer": {"lr": 0}}, r"training.optimizer.lr: .*greater than 0"),
        ({"phases": {"a": {"lr": 1}}}, r"training.phases.a.lr: unknown key"),
        ({"patince": 3}, r"training.patince: unknown key; did you mean training.patience\?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tree: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        build(TrainingConfig, tree, source="x.yaml", prefix="training")
    assert "\n" not in str(caught.value)


def test_every_key_has_a_meaning():
    assert all(row.meaning for row in describe(TrainingConfig))
