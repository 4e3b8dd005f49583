"""Asking a tracer any question at any point of a learner's history.

UKT reads the history once and answers all questions against it, with the draws of its state that they share; every
other model is given the history with the question behind it, once for each. A model that is asked window by window sees
at each point the last answers that fit its window, one that counts sees all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.seeds import torch_generator
from sensorium.tracing.base import Tracer, TracingBatch
from sensorium.tracing.ukt.gaussian import expected_answer
from sensorium.tracing.ukt.model import UKT

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 200
_TOGETHER = 2048  # questions asked at once of one history
_POSITIONS = 40_000  # rows of a batch of the slow way


@dataclass(frozen=True)
class Asked:
    """What a learner would answer.

    Attributes:
        p: float64 [M, N], at M points of the history, to N questions.
        draws: float64 [K, M, N] under draws of the state that all questions of a point share; None without any.
    """

    p: Floats
    draws: Floats | None


@torch.no_grad()
def ask(
    models: Sequence[Tracer],
    batch: TracingBatch,
    question: Ints,
    after: Ints,
    *,
    reach: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Asked:
    """Ask questions at points of one history.

    Args:
        models: One tracer in evaluation mode, or the members of an ensemble.
        batch: One history, [1, T].
        question: int64 [N].
        after: int64 [M], rising, how many answers of the history stand before each point.
        reach: Most answers before a question that a model sees, the last ones; a model that reads whole histories sees
            all. None: all.
        draws: Of UKT's state.
        seed: Of the draws.
    """
    if len(models) > 1:
        every = np.stack([_slowly(model, batch, question, after, reach) for model in models])
        return Asked(every.mean(axis=0), every)
    model = models[0]
    if not isinstance(model, UKT):
        return Asked(_slowly(model, batch, question, after, reach), None)
    m, loading = _of_ukt(model, batch, question, after, reach)
    if loading is None:
        return Asked(m.sigmoid().double().numpy(), None)
    p, _ = expected_answer(m, loading.square().sum(-1))
    eps = torch.randn(loading.shape[-1], draws, generator=torch_generator(seed, "mastery"))
    sampled = (m[..., None] + loading @ eps).sigmoid().permute(2, 0, 1)
    return Asked(p.double().numpy(), sampled.double().numpy())


def _of_ukt(
    model: UKT, batch: TracingBatch, question: Ints, after: Ints, reach: int | None
) -> tuple[Tensor, Tensor | None]:
    parts = []
    for begin, points in _histories(after, reach):
        read = _rows(batch, begin, int(points[-1]))
        history = model.history(read)
        asked = torch.from_numpy(np.tile(question, len(points)))[None]
        seen = torch.from_numpy(np.repeat(points - begin, len(question)))[None]
        parts += [
            model.ask(history, read, asked[:, start : start + _TOGETHER], seen[:, start : start + _TOGETHER])
            for start in range(0, asked.shape[1], _TOGETHER)
        ]
    shape = (len(after), len(question))
    m = torch.cat([part[0] for part in parts], dim=1)[0].view(shape)
    loadings = [part[1] for part in parts if part[1] is not None]
    return m, torch.cat(loadings, dim=1)[0].view(*shape, -1) if loadings else None


def _histories(after: Ints, reach: int | None) -> Iterator[tuple[int, Ints]]:
    """Yield rising points with the first answer that they see; those within reach of the beginning share a history."""
    near = len(after) if reach is None else int(np.searchsorted(after, reach, side="right"))
    if near:
        yield 0, after[:near]
    for place in range(near, len(after)):
        yield int(after[place]) - (reach or 0), after[place : place + 1]


def _rows(batch: TracingBatch, begin: int, end: int) -> TracingBatch:
    """Return a stretch of one history, [1, end - begin]."""
    names = ("question", "response", "mask", "score_mask", "position")
    return batch.replace(**{name: getattr(batch, name)[:, begin:end] for name in names})


def _slowly(model: Tracer, batch: TracingBatch, question: Ints, after: Ints, reach: int | None) -> Floats:
    found = np.empty((len(after), len(question)))
    for place, end in enumerate(after.tolist()):
        length = end if reach is None or model.whole_history else min(end, reach)
        history = _rows(batch, end - length, end)
        together = max(1, _POSITIONS // (length + 1))
        for start in range(0, len(question), together):
            asked = torch.from_numpy(question[start : start + together])
            p = model(behind(history, asked, length)).p()
            found[place, start : start + together] = p[:, length].double().numpy()
    return found


def behind(batch: TracingBatch, question: Tensor, length: int) -> TracingBatch:
    """Return the first rows of one history with each of N questions behind them: [N, length + 1]."""
    n = len(question)

    def with_next(rows: Tensor, last: Tensor) -> Tensor:
        return torch.cat([rows[:, :length].expand(n, -1), last.to(rows.dtype)[:, None]], dim=1)

    ones = torch.ones(n)
    position = torch.arange(length + 1, dtype=torch.int32).expand(n, -1)
    return batch.replace(
        question=with_next(batch.question, question),
        response=with_next(batch.response, torch.zeros(n)),
        mask=with_next(batch.mask, ones),
        score_mask=position > 0,
        student=torch.zeros(n, dtype=torch.int32),
        position=position,
    )
