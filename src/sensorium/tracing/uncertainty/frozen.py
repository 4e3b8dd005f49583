"""The next m answers from a frozen history: none of the answers between is seen.

Here a state's doubt shows: were the state known, the m answers would be independent; where it is not, they go up and
down together. Each predictor gives probabilities under K draws that the answers of a block share:

    FromState    draws of UKT's eps
    FromDropout  passes with dropout, one mask for all answers of a block
    FromMembers  members of an ensemble; a single model has no doubt, K = 1

    joint gain = (log mean_k prod_t p_kt(r_t) - sum_t log mean_k p_kt(r_t)) / m        nats per answer
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.seeds import derive, numpy_generator, torch_generator
from sensorium.tracing.base import Tracer, TracingBatch
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.uncertainty.rows import PASSES, dropout_on

Floats = npt.NDArray[np.float64]

STATE_DRAWS = 256  # few draws underestimate log E
LONGEST = 199  # rows of history that a prediction sees
_POSITIONS = 20_000  # padded positions of a batch


@dataclass(frozen=True)
class Blocks:
    """n blocks of m rows that follow each other.

    Attributes:
        student: int64 [n].
        start: int64 [n], row of the block's first answer in the packed arrays.
        history: int64 [n], rows of the student before it.
        size: m.
    """

    student: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    history: npt.NDArray[np.int64]
    size: int

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the rows of the blocks, int64 [n, m]."""
        return self.start[:, None] + np.arange(self.size)

    def __len__(self) -> int:
        return len(self.start)


def choose_blocks(
    offsets: npt.NDArray[np.int64], students: npt.ArrayLike, size: int, *, seed: int = 0, most: int | None = None
) -> Blocks:
    """Cut the histories of students into blocks at a random phase; the first row of a student is in none.

    Args:
        offsets: int64 [S + 1].
        students: int [s], whose.
        size: m.
        seed: Of phases, and of the choice.
        most: Blocks at most, a random choice of them; None takes all.

    Raises:
        DataError: No student has m rows after the first.
    """
    chosen = np.asarray(students, dtype=np.int64)
    draws = numpy_generator(seed, "frozen blocks", size)
    begin, length = offsets[chosen], offsets[chosen + 1] - offsets[chosen]
    phase = 1 + draws.integers(0, size, len(chosen))
    count = np.maximum((length - phase) // size, 0)
    if not count.sum():
        raise DataError(f"no student has {size} answers after the first: choose a smaller block")
    which = np.repeat(np.arange(len(chosen)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    history = phase[which] + within * size
    blocks = Blocks(chosen[which], begin[which] + history, history, size)
    if most is None or most >= len(blocks):
        return blocks
    kept = np.sort(draws.permutation(len(blocks))[:most])
    return Blocks(blocks.student[kept], blocks.start[kept], blocks.history[kept], size)


@dataclass(frozen=True)
class _Part:
    """Some blocks as a batch: histories with a free place behind each, the questions asked, where they belong."""

    place: npt.NDArray[np.int64]
    batch: TracingBatch
    question: Tensor  # int64 [n, m]
    length: Tensor  # int64 [n]

    def with_question(self, number: int) -> TracingBatch:
        """Return the batch with one of the asked questions behind each history."""
        question = self.batch.question.clone()
        question[torch.arange(len(question)), self.length] = self.question[:, number]
        return self.batch.replace(question=question)


def _parts(data: Answers, blocks: Blocks) -> Iterator[_Part]:
    order = np.argsort(blocks.history, kind="stable")
    lengths = np.minimum(blocks.history, LONGEST)
    sizes = lengths[order] + 1  # they ascend, so that a part is as wide as its last block
    start = 0
    while start < len(order):
        cells = np.arange(1, len(order) - start + 1) * sizes[start:]
        stop = start + max(1, int(np.searchsorted(cells, _POSITIONS, side="right")))
        place = order[start:stop]
        yield _part(data, blocks, place, lengths[place])
        start = stop


def _part(data: Answers, blocks: Blocks, place: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> _Part:
    width = int(length.max()) + 1
    columns = np.arange(width)
    rows = np.minimum(blocks.start[place, None] - length[:, None] + columns, len(data.question) - 1)
    past = columns < length[:, None]
    padding = len(data.concepts) - 1
    mask = torch.from_numpy(columns <= length[:, None])
    batch = TracingBatch(
        question=torch.from_numpy(np.where(past, data.question[rows], padding).astype(np.int64)),
        concepts=data.concepts,
        concept_weight=data.concept_weight,
        response=torch.from_numpy(np.where(past, data.response[rows], 0).astype(np.int64)),
        time=None,
        mask=mask,
        score_mask=mask,
        student=torch.from_numpy(blocks.student[place].astype(np.int32)),
        position=torch.from_numpy((blocks.history[place, None] - length[:, None] + columns).astype(np.int32)),
    )
    asked = torch.from_numpy(data.question[blocks.rows()[place]].astype(np.int64))
    return _Part(place, batch, asked, torch.from_numpy(length.astype(np.int64)))


class Predictor(Protocol):
    """Predicts the answers of blocks under draws that the answers of a block share."""

    def predict(self, part: _Part, number: int) -> Tensor:
        """Return probabilities, float [K, n, m], of one part; `number` counts the parts."""
        ...


@dataclass(frozen=True)
class FromState:
    """Draws of UKT's state.

    Attributes:
        model: A UKT model.
        draws: K.
        seed: Of the draws.
    """

    model: UKT
    draws: int = STATE_DRAWS
    seed: int = 0

    def predict(self, part: _Part, number: int) -> Tensor:
        """Ask all questions of a block of one state."""
        after = part.length[:, None].expand_as(part.question)
        history = self.model.history(part.batch)
        m, loading = self.model.ask(history, part.batch, part.question, after)
        if loading is None:
            return m.sigmoid()[None]
        n, _, dim = loading.shape
        eps = torch.randn(n, dim, self.draws, generator=torch_generator(self.seed, "state", number))
        return (m[..., None] + loading @ eps.to(loading)).sigmoid().permute(2, 0, 1)


@dataclass(frozen=True)
class FromDropout:
    """Passes with dropout on; one mask for all answers of a block, so that a pass is one network.

    Attributes:
        model: Any model with dropout.
        passes: K.
        seed: Of the masks.
    """

    model: Tracer
    passes: int = PASSES
    seed: int = 0

    def predict(self, part: _Part, number: int) -> Tensor:
        """Ask question by question, each pass with its own seed."""
        found = []
        with dropout_on(self.model), torch.random.fork_rng(devices=[]):
            for draw in range(self.passes):
                answers = []
                for place in range(part.question.shape[1]):
                    torch.manual_seed(derive(self.seed, "dropout", draw, number))
                    answers.append(_next_answer(self.model, part, place))
                found.append(torch.stack(answers, dim=1))
        return torch.stack(found)


@dataclass(frozen=True)
class FromMembers:
    """Members of an ensemble, each one draw; a single model is one that has no doubt.

    Attributes:
        models: K models that were trained with different seeds.
    """

    models: Sequence[Tracer]

    def predict(self, part: _Part, number: int) -> Tensor:
        """Ask question by question, member by member."""
        places = range(part.question.shape[1])
        return torch.stack(
            [torch.stack([_next_answer(model, part, place) for place in places], dim=1) for model in self.models]
        )


def _next_answer(model: Tracer, part: _Part, place: int) -> Tensor:
    p = model(part.with_question(place)).p()
    return torch.as_tensor(p[torch.arange(len(p)), part.length])


@torch.no_grad()
def predict_blocks(predictor: Predictor, data: Answers, blocks: Blocks) -> Floats:
    """Return probabilities of right answers, float64 [K, n, m], for models in evaluation mode."""
    found: Floats | None = None
    for number, part in enumerate(_parts(data, blocks)):
        p = predictor.predict(part, number).double().numpy()
        if found is None:
            found = np.empty((len(p), len(blocks), blocks.size))
        found[:, part.place] = p
    assert found is not None  # choose_blocks gives at least one
    return found


@dataclass(frozen=True)
class Joint:
    """Log-likelihoods of blocks, float64 [n] each, in nats per answer.

    Attributes:
        together: Of all answers of a block under shared draws.
        apart: Sum of those of the single answers.
    """

    together: Floats
    apart: Floats

    @property
    def gain(self) -> Floats:
        """What shared draws add."""
        return self.together - self.apart


def joint_likelihood(draws: Floats, response: npt.ArrayLike) -> Joint:
    """Compare joint and marginal likelihood.

    Args:
        draws: float64 [K, n, m].
        response: [n, m] of 0 and 1.
    """
    p = np.clip(draws, 1e-6, 1 - 1e-6)
    right = np.asarray(response) == 1
    each = np.log(np.where(right, p, 1 - p))  # [K, n, m]
    size = each.shape[2]

    def log_mean(values: Floats) -> Floats:
        top = values.max(axis=0)
        return np.asarray(top + np.log(np.exp(values - top).mean(axis=0)))

    return Joint(log_mean(each.sum(axis=2)) / size, log_mean(each).sum(axis=1) / size)
