"""Predictions of every row of some students, each exactly once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sensorium.tracing.base import TracingOutput
from sensorium.tracing.data.dataset import Answers
from sensorium.tracing.data.windows import Windows, evaluation_batches, evaluation_windows, whole_histories


@dataclass(frozen=True)
class Predictions:
    """Predicted rows, sorted by (student, position).

    Attributes:
        student: int32 [n].
        position: int32 [n], place in the student's history; 0 is never predicted.
        question: int32 [n].
        response: int8 [n], the true answer.
        p: float32 [n], predicted probability of a right answer.
        variance: float32 [n] or None, epistemic variance of p.
    """

    student: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    question: npt.NDArray[np.int32]
    response: npt.NDArray[np.int8]
    p: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.student)


def windows_for(
    model: nn.Module, answers: Answers, students: npt.NDArray[np.int64], *, size: int, stride: int
) -> Windows:
    """Return the windows in which a model is asked: whole histories where it counts, else overlapping ones."""
    if getattr(model, "whole_history", False):
        return whole_histories(answers.lengths, students)
    return evaluation_windows(answers.lengths, students, size, stride)


@torch.no_grad()
def predict(
    model: nn.Module,
    answers: Answers,
    students: npt.NDArray[np.int64],
    *,
    size: int = 200,
    stride: int = 100,
    response: npt.NDArray[np.int8] | None = None,
) -> Predictions:
    """Predict every row of some students but the first of each, in evaluation mode.

    Args:
        model: A tracer.
        answers: All rows.
        students: Whose rows.
        size: Longest window, L.
        stride: New rows of a further window, S.
        response: int8 [N], what stands in the histories instead of the answers; targets stay the answers.
    """
    was_training, device = model.training, device_of(model)
    model.eval()
    rows, p, variance = [], [], []
    for batch in evaluation_batches(
        answers, windows_for(model, answers, students, size=size, stride=stride), response=response
    ):
        output: TracingOutput = model(batch.to(device))
        counted = batch.score_mask
        begin = torch.from_numpy(answers.offsets[batch.student.numpy()])
        rows.append((begin[:, None] + batch.position)[counted].numpy())
        p.append(output.p().cpu()[counted].float().numpy())
        if output.variance is not None:
            variance.append(output.variance.cpu()[counted].float().numpy())
    model.train(was_training)
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    row = row[order]
    return Predictions(
        student=answers.student[row],
        position=answers.position[row],
        question=answers.question[row],
        response=answers.response[row],
        p=np.concatenate(p)[order],
        variance=np.concatenate(variance)[order] if variance else None,
    )


def device_of(model: nn.Module) -> torch.device:
    """Return where the tensors of a model lie."""
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    return torch.device("cpu") if tensor is None else tensor.device
