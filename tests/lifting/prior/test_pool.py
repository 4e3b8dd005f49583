"""Pools of views: they grow, continue, and keep out what is for evaluation."""

from pathlib import Path

import pytest
import torch

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import write_json
from sensorium.lifting.prior.objects import TRAINING_SEEDS
from sensorium.lifting.prior.pool import PoolConfig, generate, read, render_views

CONFIG = PoolConfig(objects=2, views=2, side=16)


def test_a_pool_holds_the_views_of_its_seeds_and_grows(tmp_path: Path) -> None:
    generate(tmp_path, CONFIG, threads=2)
    before = read(tmp_path)
    assert before.rgba.shape == (2, 2, 16, 16, 4)
    assert torch.equal(before.rgba[1], render_views(1, 2, 16)[0])
    generate(tmp_path, CONFIG.model_copy(update={"objects": 3}), threads=1)
    grown = read(tmp_path)
    assert len(grown) == 3
    assert torch.equal(grown.rgba[:2], before.rgba)
    generate(tmp_path, CONFIG)  # fewer than there are: nothing is lost
    assert len(read(tmp_path)) == 3
    assert read(tmp_path, 1).seeds.tolist() == [0]


def test_a_pool_that_was_cut_short_may_be_made_smaller(tmp_path: Path) -> None:
    generate(tmp_path, CONFIG)
    write_json(tmp_path / "pool.json", CONFIG.model_copy(update={"objects": 2_000}).model_dump())
    generate(tmp_path, CONFIG)
    assert len(read(tmp_path)) == 2


def test_a_pool_of_something_else_is_refused(tmp_path: Path) -> None:
    generate(tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="another pool"):
        generate(tmp_path, CONFIG.model_copy(update={"views": 3}))
    with pytest.raises(DataError, match="generate more"):
        read(tmp_path, 5)


@pytest.mark.parametrize("first", [TRAINING_SEEDS.stop, TRAINING_SEEDS.stop - 1])
def test_seeds_of_the_evaluation_never_reach_a_pool(tmp_path: Path, first: int) -> None:
    with pytest.raises(ConfigError, match="evaluation"):
        generate(tmp_path, CONFIG.model_copy(update={"first_seed": first}))
    assert not list(tmp_path.iterdir())
