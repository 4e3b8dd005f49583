"""Next answers of living learners: a question at hand, the answers before it, no label anywhere.

Each open row of a log is predicted from the answered rows of the same learner above it in the file: what the evaluation
says at that position.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from sensorium.core.errors import DataError
from sensorium.tracing.pages.asking import behind
from sensorium.tracing.pages.bundle import Bundle
from sensorium.tracing.pages.log import OPEN, Log
from sensorium.tracing.ukt.model import State
from sensorium.tracing.uncertainty.decomposition import decompose, entropy, gaussian_nodes

Floats = npt.NDArray[np.float64]


def predict_open(bundle: Bundle, log: Log) -> pl.DataFrame:
    """Return one row for every open question: student, question, row, answers_before, p, epistemic_variance (null where
    the model has none), total_entropy H(p) in nats, aleatory_entropy (the part of it that would remain were the state
    known; null where the model has no distribution of the state), known (false: known by its concepts alone).

    Raises:
        DataError: No row is open.
    """
    if not (log.response == OPEN).any():
        raise DataError("nothing to predict: leave 'response' empty where an answer is still to come")
    found: dict[str, list[object]] = {name: [] for name in _COLUMNS}
    for student in log.students():
        rows = log.rows_of(student)
        answered = log.response[rows] != OPEN
        for count in np.unique(np.cumsum(answered)[~answered]):
            open_rows = rows[(np.cumsum(answered) == count) & ~answered]
            history = rows[answered][:count]
            if bundle.reach is not None:
                history = history[-bundle.reach :]
            said = _next(bundle, log, history, open_rows)
            for place, row in enumerate(open_rows.tolist()):
                values = (
                    student,
                    log.question_id[row],
                    row + 1,
                    int(count),
                    *(None if numbers is None else float(numbers[place]) for numbers in said),
                    bool(log.question[row] < len(bundle.question_ids)),
                )
                for name, value in zip(_COLUMNS, values, strict=True):
                    found[name].append(value)
    return pl.DataFrame(found, schema=_COLUMNS).sort("row")


def escaped(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table whose texts no spreadsheet takes for a formula: leading = + - @ get an apostrophe."""
    return table.with_columns(pl.col(pl.String).str.replace(r"^([=+\-@\t\r])", "'$1"))


_COLUMNS = {
    "student": pl.String,
    "question": pl.String,
    "row": pl.Int64,
    "answers_before": pl.Int64,
    "p": pl.Float64,
    "epistemic_variance": pl.Float64,
    "total_entropy": pl.Float64,
    "aleatory_entropy": pl.Float64,
    "known": pl.Boolean,
}


class _Said(NamedTuple):
    """What a model says of N questions, float64 [N] each: p, its epistemic variance, its entropy, the aleatory part."""

    p: Floats
    variance: Floats | None
    total: Floats
    aleatory: Floats | None


@torch.no_grad()
def _next(bundle: Bundle, log: Log, history: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> _Said:
    """Ask some questions after one history."""
    length = len(history)
    batch = log.batch(log.question[history][None], log.response[history][None])
    output = bundle.model(behind(batch, torch.from_numpy(log.question[rows]), length))
    p = output.p()[:, length].double().numpy()
    variance = None if output.variance is None else output.variance[:, length].double().numpy()
    aleatory = None
    if isinstance(output.state, State) and output.state.loading is not None:
        logit, loading = output.logit[:, length], output.state.loading[:, length]
        nodes = gaussian_nodes(logit.double().numpy(), loading.square().sum(-1).double().numpy())
        aleatory = decompose(*nodes).aleatory
    return _Said(p, variance, entropy(p), aleatory)
