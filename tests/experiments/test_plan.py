"""Experiment files: what they may say, and the order of their cells."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.core.errors import ConfigError
from sensorium.experiments.plan import merge, read_plan

CELLS: dict[str, Any] = {
    "topic": "a-topic",
    "seeds": [0, 1, 2],
    "base": {"data": {"dataset": "somewhere"}, "training": {"epochs": 5}},
    "cells": [
        {"name": "knn", "config": {"model": "itemknn"}, "seeds": [0]},
        {
            "name": "lightgcn",
            "config": {"model": {"name": "lightgcn"}, "training": {"patience": 3}},
            "grid": {"model.layers": [2, 3], "model.reg": [1e-3, 1e-4]},
        },
    ],
}


def write(path: Path, tree: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_plan(tmp_path: Path):
    plan = read_plan(write(tmp_path / "x.yaml", CELLS))
    knn, lightgcn = plan.searches
    assert plan.topic == "a-topic"
    assert (knn.search_seeds, knn.more_seeds, len(knn.points)) == ((0,), (), 1)
    assert (lightgcn.search_seeds, lightgcn.more_seeds) == ((0,), (1, 2))
    assert [(p.config.model.config.layers, p.config.model.config.reg) for p in lightgcn.points] == [
        (2, 1e-3),
        (2, 1e-4),
        (3, 1e-3),
        (3, 1e-4),
    ]
    assert lightgcn.points[2].label == "lightgcn (layers=3, reg=0.001)"
    assert (lightgcn.points[0].config.training.epochs, lightgcn.points[0].config.training.patience) == (5, 3)
    assert lightgcn.points[0].with_seed(2).seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topic": "A Topic"}, "topic"),
        ({"sedes": [1]}, r"sedes: unknown key; did you mean seeds"),
        ({"cells": []}, "cells"),
        ({"cells": [CELLS["cells"][0], CELLS["cells"][0]]}, "two cells are named 'knn'"),
        ({"cells": [{"name": "x", "config": {"model": "itemnn"}}]}, "cell 'x': model.name: 'itemnn' .* 'itemknn'"),
        ({"cells": [{"name": "x", "config": {"model": "bpr"}, "grid": {"model.rge": [1]}}]}, r"model\.rge.*model\.reg"),
        ({"cells": [{"name": "x", "config": {"model": "bpr"}}, {"name": "y", "config": {"model": "bpr"}}]}, "the same"),
    ],
)
def test_a_wrong_file_stops_before_anything_is_run(tmp_path: Path, change: dict[str, Any], message: str):
    file = write(tmp_path / "x.yaml", {**CELLS, **change})
    with pytest.raises(ConfigError, match=message) as caught:
        read_plan(file)
    assert str(file) in str(caught.value)


def test_merging_trees():
    base = {"model": {"name": "bpr", "dim": 8}, "training": {"epochs": 5, "optimizer": {"lr": 1}}, "seed": 1}
    assert merge(base, {"training": {"optimizer": {"lr": 2}}})["training"] == {"epochs": 5, "optimizer": {"lr": 2}}
    assert merge(base, {"model": {"dim": 9}})["model"] == {"name": "bpr", "dim": 9}
    assert merge(base, {"model": {"name": "bpr"}})["model"] == {"name": "bpr", "dim": 8}
    assert merge(base, {"model": {"name": "itemknn", "k": 5}})["model"] == {"name": "itemknn", "k": 5}
    assert merge(base, {"model": "popularity"})["model"] == "popularity"
    assert merge({"model": "bpr"}, {"model": {"dim": 9}})["model"] == {"name": "bpr", "dim": 9}
    assert base["model"] == {"name": "bpr", "dim": 8}
