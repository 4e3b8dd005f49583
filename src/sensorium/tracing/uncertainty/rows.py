"""Every predicted row with its uncertainty, whatever makes it: a state's Gaussian, passes with dropout, an ensemble.

All return rows in the order of `evaluation.predicting.predict`, so that what one model says stands beside another's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.core.errors import DataError
from sensorium.core.seeds import derive
from sensorium.tracing.base import Tracer, TracingBatch
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.data.windows import Windows, evaluation_batches, evaluation_windows
from sensorium.tracing.evaluation.predicting import Predictions, device_of, windows_for
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.uncertainty.decomposition import Decomposed, decompose, gaussian_nodes

Floats = npt.NDArray[np.float64]
Students = npt.NDArray[np.int64]

PASSES = 20


@dataclass(frozen=True)
class Asked:
    """Which rows are predicted, and from what.

    Attributes:
        answers: All rows of the data set.
        students: int64 [s], whose.
        response: int8 [N], what stands in the histories instead of the answers; None = the answers.
        size: Longest window.
        stride: New rows of a further window.
        cut: Whether models that count read windows too, and not whole histories.
    """

    answers: Answers
    students: Students
    response: npt.NDArray[np.int8] | None = None
    size: int = 200
    stride: int = 100
    cut: bool = False


@contextmanager
def dropout_on(model: nn.Module) -> Iterator[None]:
    """While it lasts, a model in evaluation mode drops as in training; question dropout stays off.

    Raises:
        DataError: The model has no dropout, so that all passes would be the same.
    """
    modules = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    if not modules:
        raise DataError(f"{type(model).__name__} has no dropout: passes with dropout would all be the same")
    try:
        for module in modules:
            module.train()
        yield
    finally:
        for module in modules:
            module.eval()


def by_state(model: UKT, asked: Asked) -> Decomposed:
    """Return what UKT's own Gaussian says, by Gauss–Hermite nodes."""

    def numbers(batch: TracingBatch, _: int) -> Tensor:
        logit, state = model.read(batch, batch.response)
        variance = torch.zeros_like(logit) if state.loading is None else state.loading.square().sum(-1)
        return torch.stack([logit, variance])

    logit, variance = _collect(model, asked, numbers)
    return decompose(*gaussian_nodes(logit, variance))


def by_dropout(model: Tracer, asked: Asked, *, passes: int = PASSES, seed: int = 0) -> Decomposed:
    """Return what passes with dropout say (Gal and Ghahramani, ICML 2016)."""

    def numbers(batch: TracingBatch, number: int) -> Tensor:
        torch.manual_seed(derive(seed, "dropout rows", number))
        return torch.stack([model(batch).p() for _ in range(passes)])

    with dropout_on(model), torch.random.fork_rng(devices=[]):
        return decompose(_collect(model, asked, numbers))


def by_members(models: Sequence[Tracer], asked: Asked) -> Decomposed:
    """Return what the members of an ensemble say; a single model has no epistemic part."""
    return decompose(np.concatenate([_collect(model, asked, partial(_answers, model)) for model in models]))


def _answers(model: Tracer, batch: TracingBatch, _: int) -> Tensor:
    p: Tensor = model(batch).p()
    return p[None]


def own_uncertainty(model: Tracer, asked: Asked) -> Decomposed:
    """Return what a model says by itself: its state's Gaussian, or its probability alone."""
    return by_state(model, asked) if isinstance(model, UKT) else by_members([model], asked)


def has_state(model: Tracer) -> bool:
    """Return whether a model has a distribution of the learner's state, from which its own doubt follows."""
    return isinstance(model, UKT) and model.readout.loading is not None


def targets(asked: Asked) -> Predictions:
    """Return the rows and their true answers, in the order of all functions here; p is 0."""
    answers = asked.answers
    rows = np.concatenate([np.arange(answers.offsets[s] + 1, answers.offsets[s + 1]) for s in np.sort(asked.students)])
    return Predictions(
        answers.student[rows],
        answers.position[rows],
        answers.question[rows],
        answers.response[rows],
        np.zeros(len(rows), dtype=np.float32),
    )


@torch.no_grad()
def _collect(model: Tracer, asked: Asked, numbers: Callable[[TracingBatch, int], Tensor]) -> Floats:
    """Return float64 [k, n] from a function of a batch to float [k, B, T]."""
    rows, found = [], []
    device = device_of(model)
    for number, batch in enumerate(evaluation_batches(asked.answers, _windows(model, asked), response=asked.response)):
        begin = torch.from_numpy(asked.answers.offsets[batch.student.numpy()])
        rows.append((begin[:, None] + batch.position)[batch.score_mask].numpy())
        found.append(numbers(batch.to(device), number).cpu()[:, batch.score_mask].double().numpy())
    order = np.argsort(np.concatenate(rows), kind="stable")
    return np.concatenate(found, axis=1)[:, order]


def _windows(model: Tracer, asked: Asked) -> Windows:
    if asked.cut:
        return evaluation_windows(asked.answers.lengths, asked.students, asked.size, asked.stride)
    return windows_for(model, asked.answers, asked.students, size=asked.size, stride=asked.stride)
