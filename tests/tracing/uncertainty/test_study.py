"""The study's numbers against models that are asked by hand: histories cut to their last answers, widths of bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.experiments.run import run
from sensorium.tracing.base import Tracer
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.windows import Windows, make_batch
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.setup import TraceSetup, load_trained
from sensorium.tracing.uncertainty.bands import judge_bands, poisson_binomial, score_distribution
from sensorium.tracing.uncertainty.frozen import FromMembers, choose_blocks, predict_blocks
from sensorium.tracing.uncertainty.page import write_study
from sensorium.tracing.uncertainty.study import StudyConfig, study


def trained(dataset: TracingDataset, path: Path, model: str, seed: int = 0, **keys: Any) -> Path:
    tree = {
        "kind": "trace",
        "data": {"dataset": str(dataset.root)},
        "model": {"name": model, **keys},
        "training": {"epochs": 3, "device": "cpu", "batch_size": 4, "optimizer": {"lr": 0.03}},
        "seed": seed,
        "draws": 100,
    }
    return run(tree, out=path).path


def last_answers(setup: TraceSetup, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return p and answer of every tested row, each from its last `length` answers alone."""
    answers, p, response = setup.answers, [], []
    assert isinstance(setup.model, Tracer)
    for student in setup.split.test:
        for row in range(1, answers.lengths[student]):
            start = max(0, row - length)
            size = row - start + 1
            window = Windows(*(np.array([value]) for value in (student, start, size, size - 1)))
            p.append(float(setup.model(make_batch(answers, window)).p()[0, -1]))
            response.append(int(answers.response[answers.offsets[student] + row]))
    return np.array(p), np.array(response)


@pytest.mark.parametrize("model", ["bestlr", "bkt"])
def test_models_that_count_are_asked_with_histories_cut_to_their_last_answers(
    few_learners: TracingDataset, tmp_path: Path, model: str
) -> None:
    path = trained(few_learners, tmp_path / "run", model)
    (found,) = study({model: path}, config=StudyConfig(passes=0, noise=False))
    last = found.numbers["short"]["last"]
    assert last["50"]["auc"] == pytest.approx(found.numbers["raw"]["auc"])  # no learner has more answers
    p, response = last_answers(load_trained(path), 5)
    assert last["5"]["auc"] == pytest.approx(auc(p, response))
    assert last["5"]["auc"] != pytest.approx(last["50"]["auc"], abs=1e-6)
    assert last["5"]["n"] == len(found.rows)


def test_the_mean_width_of_independent_bands_stands_beside_that_of_the_shared_ones(
    learners: TracingDataset, tmp_path: Path
) -> None:
    runs = {str(seed): trained(learners, tmp_path / str(seed), "dkt", seed, dim=16, ema=0.0) for seed in (0, 1)}
    found = study(runs, ensemble=("0", "1"), config=StudyConfig(passes=0, noise=False, short=False))
    single, both = found[0].numbers["frozen"]["10"], found[2].numbers["frozen"]["10"]
    assert single["width"] == single["width_independent"] > 0  # one model alone has one distribution
    setup, *_ = setups = [load_trained(path) for path in runs.values()]
    blocks = choose_blocks(setup.answers.offsets, setup.split.test, 10)
    draws = predict_blocks(FromMembers([one.model for one in setups]), setup.answers, blocks)
    right = setup.answers.response[blocks.rows()].sum(axis=1)
    widths = [
        judge_bands(pmf, right).width.mean() for pmf in (score_distribution(draws), poisson_binomial(draws.mean(0)))
    ]
    assert widths[0] > widths[1]
    assert [both["width"], both["width_independent"]] == pytest.approx(widths)
    page = write_study(tmp_path, found)[1].read_text()
    assert "mean width, answers" in page
    assert f"{both['width_independent']:.2f}" in page
