"""The job of kind "trace": train on some students, select on others, predict every answer of the test once.

data.json             which data the run began with
predictions.parquet   student, position, question, response, p of every tested row, dense ids; [variance] of p; where
                      the model has a distribution of the state, entropies in nats: total = aleatory + epistemic
result.json           the outcome: what was measured, by which rules, on which data
weights/, checkpoint/ written by training
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.config import Component, dump
from sensorium.core.files import read_parquet, write_parquet
from sensorium.core.resources import peak_memory
from sensorium.core.rundir import RunDirectory
from sensorium.tracing.averaging import Averaged, answering
from sensorium.tracing.base import Tracer
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data.catalogue import open_tracing
from sensorium.tracing.data.windows import WindowBatches, training_windows
from sensorium.tracing.evaluation.intervals import auc_interval
from sensorium.tracing.evaluation.metrics import auc, by_length, by_practice, measure
from sensorium.tracing.evaluation.predicting import Predictions, predict
from sensorium.tracing.expanded import LEAKY, predict_expanded
from sensorium.tracing.setup import TraceSetup, open_origin, set_up, write_origin
from sensorium.tracing.uncertainty.decomposition import Decomposed
from sensorium.tracing.uncertainty.rows import Asked, has_state, own_uncertainty
from sensorium.training.loop import TIMING, TrainingResult, train
from sensorium.training.protocols import TrainingData

PREDICTIONS = "predictions.parquet"


class TraceJob:
    """Trains and tests one tracer. See `experiments.jobs.Job` for what each method is."""

    Config = TraceConfig

    def __init__(self, config: TraceConfig) -> None:
        self.config = config
        self.setup: TraceSetup | None = None

    @staticmethod
    def tables_digest(config: TraceConfig) -> str:
        """Return the digest of the data's tables as they are now."""
        return open_tracing(config.data.dataset).digest()

    def folder_name(self) -> str:
        """Return `<dataset>-<model>-<seed>-<digits of the configuration>`."""
        dataset = Path(self.config.data.dataset).name
        leaky = "-expanded" if self.config.protocol == "pykt-expanded" else ""
        return f"{dataset}-{self.config.model.name}{leaky}-{self.config.seed}-{self.config.key()}"

    def prepare(self, run: RunDirectory | None) -> None:
        """Open the data and build the model; refuse data that changed since the run began."""
        self.setup = set_up(self.config, None if run is None else open_origin(run.path, self.config))

    def work(self, run: RunDirectory) -> None:
        """Train, predict the test, write: each step is done again as a whole when it was interrupted."""
        assert self.setup is not None  # prepare comes first
        setup = self.setup
        if run.writes:
            write_origin(run.path, self.config, setup.dataset)
        trained = fit(setup, run)
        begun = time.perf_counter()
        tested = measure_test(setup)
        seconds = time.perf_counter() - begun
        if run.writes:
            write_parquet(run.path / PREDICTIONS, predictions_table(tested.found, decomposed(setup)))
        result = _result(setup, trained, tested)
        _write_timing(run, seconds, time.perf_counter() - begun, len(tested.found))
        run.write_result(result)

    def write_report(self, path: Path) -> None:
        """Write the page for people."""
        from sensorium.tracing.report import write_report

        write_report(path)


# --- training and testing -------------------------------------------------------------------------------------------


def fit(setup: TraceSetup, run: RunDirectory | None = None) -> TrainingResult:
    """Train the model of a setup and leave its best state in it; a model that is complete once built is validated."""
    config = setup.config
    batches = None
    if setup.model.phases():
        windows = training_windows(setup.answers.lengths, setup.split.train, config.windows.length)
        size = None if config.windows.positions else config.training.batch_size
        batches = WindowBatches(setup.answers, windows, size=size, positions=config.windows.positions or 1)

    def validate(model: Tracer | Averaged) -> Mapping[str, float]:
        return measure(_predict(setup, model, setup.split.valid))

    return train(
        setup.model,
        TrainingData(batches, validate),
        config.training,
        selection=config.parsed_selection(),
        seed=config.seed,
        run=run,
    )


def _predict(setup: TraceSetup, model: Tracer | Averaged, students: Any) -> Predictions:
    windows = setup.config.windows
    return predict(model, setup.answers, students, size=windows.length, stride=windows.stride)


@dataclass(frozen=True)
class Tested:
    """The test of one model.

    Attributes:
        found: The rows that the numbers of the run are about.
        readings: By name, further readings of the same weights (protocol pykt-expanded), each with its rows.
    """

    found: Predictions
    readings: Mapping[str, Predictions]


def measure_test(setup: TraceSetup) -> Tested:
    """Predict every row of the test students: the one time that they are read."""
    if setup.config.protocol == "question":
        return Tested(_predict(setup, setup.model, setup.split.test), {})
    windows = setup.config.windows
    answers = setup.dataset.answers(setup.config.data.attempts)
    found = predict_expanded(setup.model, answers, setup.split.test, size=windows.length, stride=windows.stride)
    readings = {"kc_one_by_one": found.one_by_one, "kc_all_in_one": found.all_in_one, "question": found.question}
    return Tested(found.one_by_one, readings)


def decomposed(setup: TraceSetup) -> Decomposed | None:
    """Return the parts of the uncertainty of every tested row, in nats; None for a model without states that vary."""
    model = answering(setup.model)
    if not has_state(model):
        return None
    windows = setup.config.windows
    model.eval()
    return own_uncertainty(model, Asked(setup.answers, setup.split.test, size=windows.length, stride=windows.stride))


# --- files ----------------------------------------------------------------------------------------------------------


def predictions_table(found: Predictions, parts: Decomposed | None = None) -> pl.DataFrame:
    """Return predictions as a table, with the parts of their uncertainty where there are any."""
    columns: dict[str, Any] = {
        name: getattr(found, name) for name in ("student", "position", "question", "response", "p")
    }
    if found.variance is not None:
        columns["variance"] = found.variance
    if parts is not None:
        for name in ("total", "aleatory", "epistemic"):
            columns[name] = getattr(parts, name).astype(np.float32)
    return pl.DataFrame(columns)


def read_predictions(run: str | Path) -> Predictions:
    """Read the predictions of a complete run."""
    table = read_parquet(Path(run) / PREDICTIONS)
    columns: dict[str, Any] = {
        entry.name: table[entry.name].to_numpy() for entry in fields(Predictions) if entry.name in table.columns
    }
    return Predictions(**columns)


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _measured(found: Predictions, *, draws: int) -> dict[str, Any]:
    interval = auc_interval(found, draws=draws)
    return {
        "n": len(found),
        "students": len(np.unique(found.student)),
        "metrics": _finite(measure(found)),
        "intervals": {"auc": [interval.low, interval.high]},
    }


def _result(setup: TraceSetup, trained: TrainingResult, tested: Tested) -> dict[str, Any]:
    config = setup.config
    chosen: Component = config.model
    leaky = config.protocol == "pykt-expanded"
    notices = [*setup.dataset.info.notices, *answering(setup.model).notices()]
    result: dict[str, Any] = {
        "kind": "trace",
        "model": chosen.name,
        "seed": config.seed,
        "protocol": config.protocol,
        "leaky": leaky,
        "data": _data(setup),
        "selection": {"name": config.selection, "value": trained.best_value, "epoch": trained.best_epoch},
        "training": {
            "best_epoch": trained.best_epoch,
            "best_value": trained.best_value,
            "epochs": trained.epochs,
            "stopped": trained.stopped,
            "parameters": sum(parameter.numel() for parameter in answering(setup.model).parameters()),
            "repeats": trained.repeats,
        },
        "valid": {"metrics": dict(trained.validation)},
        "test": _measured(tested.found, draws=config.draws),
        "by_length": {name: _finite(part) for name, part in by_length(tested.found).items()},
        "by_practice": {name: _finite(part) for name, part in by_practice(tested.found, setup.answers).items()},
        "unseen": _unseen(setup, tested.found),
        "notices": ([LEAKY] if leaky else []) + notices,
    }
    if tested.readings:
        result["readings"] = {name: _measured(found, draws=config.draws) for name, found in tested.readings.items()}
    return result


def _data(setup: TraceSetup) -> dict[str, Any]:
    info, split, answers = setup.dataset.info, setup.split, setup.answers
    sides = {"train": split.train, "valid": split.valid, "test": split.test}
    how = {**dump(setup.config.data.split), "origin": split.origin, "folds_from": split.folds, "fold": split.fold}
    return {
        "name": info.name,
        "tables": setup.dataset.digest(),
        "attempts": setup.config.data.attempts,
        "has_questions": info.has_questions,
        "counts": dict(info.counts),
        "students": {name: len(side) for name, side in sides.items()},
        "rows": {name: int(answers.lengths[side].sum()) for name, side in sides.items()},
        "split": how,
        "uses_future": False,  # students are divided, not rows
    }


def _unseen(setup: TraceSetup, found: Predictions) -> dict[str, Any]:
    """Return how many tested rows ask a question, or a concept, that training never met, and the AUC on the others."""
    seen = setup.view.question_count() > 0
    concept_seen = np.append(setup.view.concept_count() > 0, True)  # padding is no concept
    listed = setup.answers.concepts[:-1].numpy()
    known = concept_seen[listed].all(1)[found.question]
    rare = setup.view.question_count()[found.question] < 5
    return {
        "rows_of_unseen_questions": int((~seen[found.question]).sum()),
        "rows_of_unseen_concepts": int((~known).sum()),
        "rows_of_questions_under_5_rows": int(rare.sum()),
        "finite": bool(np.isfinite(found.p).all()),
        "auc_on_questions_under_5_rows": _finite({"auc": auc(found.p[rare], found.response[rare])})["auc"],
    }


def _write_timing(run: RunDirectory, test_seconds: float, seconds: float, rows: int) -> None:
    """Add what the whole took, training of earlier processes included."""
    epochs = run.records(TIMING)
    run.append(
        TIMING,
        {
            "stage": "test",
            "train_seconds": sum(record.get("train_seconds", 0.0) for record in epochs),
            "validation_seconds": sum(record.get("validation_seconds", 0.0) for record in epochs),
            "test_seconds": test_seconds,
            "test_rows_per_second": rows / test_seconds,
            "after_training_seconds": seconds,
            "peak_memory_bytes": max([peak_memory(), *(record.get("peak_memory_bytes", 0) for record in epochs)]),
        },
    )
