"""One short run of UKT on simulated learners, and a bundle of it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sensorium.experiments.run import run
from sensorium.tracing.data.simulated import SimulationConfig, simulate
from sensorium.tracing.pages.bundle import from_run
from sensorium.tracing.pages.log import make_log

SMALL = {"dim": 16, "heads": 2, "hidden": 16}


@pytest.fixture(scope="session")
def learners(tmp_path_factory):
    config = SimulationConfig(students=50, questions=30, concepts=6, shortest=20, longest=40, seed=1)
    return simulate(tmp_path_factory.mktemp("learners") / "simulated", config)


@pytest.fixture(scope="session")
def make_run(learners, tmp_path_factory):
    def make(model, epochs=4, windows=None, **keys):
        tree = {
            "kind": "trace",
            "data": {"dataset": str(learners.root)},
            "model": {"name": model, **keys},
            "training": {"epochs": epochs, "batch_size": 8, "device": "cpu", "optimizer": {"lr": 1e-2}},
            "draws": 100,
        }
        more = {} if windows is None else {"windows": windows}
        return run(tree | more, out=tmp_path_factory.mktemp("runs") / model).path

    return make


@pytest.fixture(scope="session")
def ukt_run(make_run):
    return make_run("ukt", epochs=14, **SMALL, ema=0.8)


@pytest.fixture(scope="session")
def bundle(ukt_run):
    return from_run(ukt_run)


@pytest.fixture(scope="session")
def table():
    """Answers of three learners to questions of the model, the third with two only."""
    rng = np.random.default_rng(0)
    rows = [
        {"student": name, "question": f"question-{rng.integers(30)}", "response": int(rng.random() < chance)}
        for name, chance, count in [("ada", 0.8, 25), ("ben", 0.3, 25), ("eve", 0.5, 2)]
        for _ in range(count)
    ]
    return pl.DataFrame(rows)


@pytest.fixture(scope="session")
def log(table, bundle):
    return make_log(table, bundle)
