"""The tested learners of a run as a log, for pages of learners that the model never saw in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sensorium.core.errors import DataError
from sensorium.tracing.data import schema
from sensorium.tracing.data.splits import rows_of
from sensorium.tracing.pages.bundle import DESCRIPTION
from sensorium.tracing.pages.log import Log
from sensorium.tracing.setup import load_trained


def log_of_tested(run: str | Path) -> Log:
    """Return the answers of a run's test students, by their external ids.

    Raises:
        DataError: It is a bundle, which holds nobody's answers.
    """
    if (Path(run) / DESCRIPTION).exists():
        raise DataError(f"{run} is a bundle and holds nobody's answers: give a file of answers (--answers)")
    setup = load_trained(run)
    answers, rows = setup.answers, rows_of(setup.answers, setup.split.test)
    names = setup.dataset.table(schema.STUDENTS)["student_id"].to_list()
    questions = setup.dataset.table(schema.QUESTIONS)["question_id"].to_list()
    question = answers.question[rows].astype(np.int64)
    return Log(
        [names[student] for student in answers.student[rows].tolist()],
        question,
        [questions[number] for number in question.tolist()],
        answers.response[rows].astype(np.int64),
        answers.concepts,
        answers.concept_weight,
    )
