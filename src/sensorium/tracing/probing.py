"""What a tracer says when answers, questions or padding are others: the two checks of the audit that train nothing.

Logits are compared, and probabilities where they are no sigmoid of the logit: a probability near 0 or 1 hides what
moves its logit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.seeds import numpy_generator
from sensorium.tracing.averaging import answering
from sensorium.tracing.base import TracingBatch, TracingOutput
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.data.windows import evaluation_batches
from sensorium.tracing.evaluation.predicting import device_of, windows_for
from sensorium.tracing.setup import TraceSetup

Ints = npt.NDArray[np.int64]

CAUSAL, PADDED = 1e-5, 1e-4
STUDENTS = 20  # who are asked, of each place that is flipped
FURTHER = (0, 1, 37)  # padded cells behind the longest sequence of a batch


@dataclass(frozen=True)
class Read:
    """What a model says of rows, sorted by (student, position).

    Attributes:
        student: int32 [n].
        position: int32 [n].
        value: float32 [n, 2], logit and probability.
    """

    student: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    value: npt.NDArray[np.float32]

    def moved_from(self, other: Read) -> npt.NDArray[np.float32]:
        """Return by how much logit or probability of each row differ, float32 [n]."""
        gap: npt.NDArray[np.float32] = np.abs(self.value - other.value).max(axis=1)
        return gap


@torch.no_grad()
def read(
    setup: TraceSetup,
    answers: Answers,
    students: Ints,
    *,
    response: npt.NDArray[np.int8] | None = None,
    further: int | None = None,
) -> Read:
    """Read some students in the windows of the evaluation, in evaluation mode.

    Args:
        setup: The model and its windows.
        answers: All rows.
        students: Whose rows.
        response: int8 [N], what stands in the histories instead of the answers.
        further: Padded cells that each batch gets in addition; all its padded cells hold any question and any answer
            then. None leaves the batches as they are.
    """
    model, windows = setup.model.eval(), setup.config.windows
    device, generator = device_of(model), torch.Generator().manual_seed(0)
    stretches = windows_for(model, answers, students, size=windows.length, stride=windows.stride)
    rows, values = [], []
    for batch in evaluation_batches(answers, stretches, response=response):
        given = batch if further is None else with_padding(batch, further, generator)
        output: TracingOutput = model(given.to(device))
        said = torch.stack([output.logit, output.p()], dim=-1)[:, : batch.mask.shape[1]]
        begin = torch.from_numpy(answers.offsets[batch.student.numpy()])
        rows.append((begin[:, None] + batch.position)[batch.score_mask].numpy())
        values.append(said.cpu()[batch.score_mask].float().numpy())
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    return Read(answers.student[row[order]], answers.position[row[order]], np.concatenate(values)[order])


def with_padding(batch: TracingBatch, further: int, generator: torch.Generator) -> TracingBatch:
    """Return a batch with further padded cells, and any question and any answer in all of its padded cells."""

    def wider(cells: Tensor, fill: float) -> Tensor:
        return torch.cat([cells, cells.new_full((len(cells), further), fill)], dim=1)

    mask = wider(batch.mask, False)
    question = torch.randint(0, len(batch.concepts) - 1, mask.shape, generator=generator)
    response = torch.randint(0, 2, mask.shape, generator=generator)
    changes = {
        "question": torch.where(mask, wider(batch.question, 0), question),
        "response": torch.where(mask, wider(batch.response, 0), response),
        "mask": mask,
        "score_mask": wider(batch.score_mask, False),
        "position": wider(batch.position, -1),
    }
    if batch.time is not None:
        changes["time"] = torch.where(mask, wider(batch.time, 0.0), torch.rand(mask.shape, generator=generator) * 1e6)
    return batch.replace(**changes)


# --- causality ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moved:
    """How far changes of one row per student move what is said of the others; the largest of all students.

    Attributes:
        early: By a flipped answer, at or before it.
        late: By a flipped answer, after it.
        ahead: By a changed question, before it.
    """

    early: float
    late: float
    ahead: float


def places(setup: TraceSetup) -> Iterator[tuple[str, Ints, Ints]]:
    """Yield places that are changed: their name, test students, int64 [s], and a row of each one's history.

    Rows anywhere, and those at the edges of the first two windows, of students who have a further row behind them.
    """
    random, lengths = numpy_generator(0, "causality"), setup.answers.lengths
    shuffled = random.permutation(setup.split.test)
    anyone = np.sort(shuffled[lengths[shuffled] > 3][:STUDENTS])
    yield "anywhere", anyone, (random.random(len(anyone)) * (lengths[anyone] - 2)).astype(np.int64) + 1
    size, stride = setup.config.windows.length, setup.config.windows.stride
    for edge in sorted({size - 1, size, size + stride - 1, size + stride}):
        long = np.sort(shuffled[lengths[shuffled] > edge + 1][:STUDENTS])
        if len(long):
            yield f"{edge}", long, np.full(len(long), edge)


def moved(setup: TraceSetup, students: Ints, place: Ints) -> Moved:
    """Flip the answer and change the question in one row of each student, int64 [s] each."""
    answers = setup.answers
    row = answers.offsets[students] + place
    before = read(setup, answers, students)
    at = place[np.searchsorted(students, before.student)]
    flipped, question = answers.response.copy(), answers.question.copy()
    flipped[row] = 1 - flipped[row]
    question[row] = (question[row] + 1) % answers.n_questions
    gap = read(setup, answers, students, response=flipped).moved_from(before)
    asked = read(setup, replace(answers, question=question), students).moved_from(before)
    return Moved(
        float(gap[before.position <= at].max(initial=0.0)),
        float(gap[before.position > at].max(initial=0.0)),
        float(asked[before.position < at].max(initial=0.0)),
    )


def causality(setup: TraceSetup) -> tuple[bool, str]:
    """Return whether no answer and no question reaches what stands before it, and a sentence with the numbers."""
    found = {name: moved(setup, students, place) for name, students, place in places(setup)}
    early, late, ahead = (max(getattr(one, part) for one in found.values()) for part in ("early", "late", "ahead"))
    reads = answering(setup.model).reads_answers
    passed = early <= CAUSAL and ahead <= CAUSAL and (late > CAUSAL or not reads)
    edges = ", ".join(list(found)[1:])
    return passed, (
        f"a flipped answer moves logits at or before it by {early:.1e}, after it by up to {late:.1e}; a changed "
        f"question moves earlier ones by {ahead:.1e} (allowed {CAUSAL:g}, and more than that after an answer); rows "
        + (f"anywhere and {edges}, at the edges of windows" if edges else "anywhere; nobody tested reaches an edge")
    )


# --- padding --------------------------------------------------------------------------------------------------------


def padding(setup: TraceSetup) -> tuple[bool, str]:
    """Return whether padding and company are in no number, and a sentence with the numbers."""
    answers = setup.answers
    students = np.sort(numpy_generator(0, "padding").permutation(setup.split.test)[:STUDENTS])
    together = read(setup, answers, students)
    company = max(
        float(
            np.abs(read(setup, answers, np.array([student])).value - together.value[together.student == student]).max()
        )
        for student in students[answers.lengths[students] > 1]
    )
    content = max(float(read(setup, answers, students, further=more).moved_from(together).max()) for more in FURTHER)
    once = len(together.student) == int((answers.lengths[students] - 1).sum())
    return max(company, content) <= PADDED and once, (
        f"logits of students alone and together differ by {company:.1e}, under other padding of any content by "
        f"{content:.1e} (allowed {PADDED:g}), each row predicted once"
    )
