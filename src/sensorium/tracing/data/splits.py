"""Who is trained on, who selects and who tests: by student, never by row.

The test is the source's own where it brings one, else a seeded share of the students. The others are cut into folds:
run f trains on all but fold f and selects on fold f. Where the source brings exactly as many folds, they are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core.config import Config
from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.tracing.base import TracingView
from sensorium.tracing.data.dataset import Answers, TracingDataset

TEST = "test"
Students = npt.NDArray[np.int64]


class SplitConfig(Config):
    """How students are divided."""

    test: Literal["official", "random"] = Field(
        "official", description="official = the source's own test where it brings one, else random"
    )
    test_share: float = Field(0.2, gt=0, lt=1, description="random: share of the students that are the test")
    folds: int = Field(5, ge=2, description="parts of the other students")
    fold: int | None = Field(
        None, ge=0, description="the part that selects, the others train; null = the run's seed, modulo the folds"
    )
    seed: int = Field(1024, ge=0, description="of the draws; apart from the run's, so that all runs share one test")


@dataclass(frozen=True)
class StudentSplit:
    """The three sides of a run, by dense id, each sorted.

    Attributes:
        train: int64, whose answers train.
        valid: int64, whose answers select.
        test: int64, whose answers are predicted once.
        origin: "official" or "random": where the test came from.
        folds: "official" or "random": where the folds came from.
        fold: Which fold selects.
    """

    train: Students
    valid: Students
    test: Students
    origin: Literal["official", "random"]
    folds: Literal["official", "random"]
    fold: int


def split_students(dataset: TracingDataset, answers: Answers, config: SplitConfig, *, seed: int = 0) -> StudentSplit:
    """Divide the students of a data set.

    Args:
        dataset: Knows the source's own split.
        answers: Its rows.
        config: The rule.
        seed: The run's, which names the fold where the config does not.

    Raises:
        DataError: There is no such fold, or a side would be empty.
    """
    fold = seed % config.folds if config.fold is None else config.fold
    if fold >= config.folds:
        raise DataError(f"data.split.fold: there are {config.folds} folds, counted from 0, and no fold {fold}")
    n = answers.n_students
    source = dataset.source_split if config.test == "official" else None
    official = source is not None and bool((source == TEST).any())
    rest_folds: npt.NDArray[np.int64] | None = None
    if official:
        assert source is not None
        test = np.flatnonzero(source == TEST)
        rest = np.flatnonzero(source != TEST)
        names = sorted(set(source[rest]))
        if len(names) == config.folds:
            rest_folds = np.searchsorted(np.array(names), source[rest].astype(str))
    else:
        order = numpy_generator(config.seed, "test students").permutation(n)
        test = np.sort(order[: max(1, round(config.test_share * n))])
        rest = np.setdiff1d(np.arange(n), test)
    own = rest_folds is not None
    if rest_folds is None:
        rest_folds = np.empty(len(rest), dtype=np.int64)
        rest_folds[numpy_generator(config.seed, "folds").permutation(len(rest))] = np.arange(len(rest)) % config.folds
    valid, train = rest[rest_folds == fold], rest[rest_folds != fold]
    # one answer alone is nothing to predict
    train, valid, test = (side[answers.lengths[side] > 1] for side in (train, valid, test))
    for name, side in (("train", train), ("valid", valid), ("test", test)):
        if not len(side):
            raise DataError(f"{dataset.name}: no student with two answers is left for {name} ({n} students in all)")
    return StudentSplit(train, valid, test, "official" if official else "random", "official" if own else "random", fold)


def tracing_view(answers: Answers, students: Students, *, seed: int = 0) -> TracingView:
    """Return what training may see: the rows of these students and the concepts of all questions."""
    lengths = answers.lengths[students]
    rows = rows_of(answers, students)
    return TracingView(
        n_questions=answers.n_questions,
        n_concepts=answers.n_concepts,
        has_questions=answers.has_questions,
        concepts=answers.concepts,
        concept_weight=answers.concept_weight,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        question=answers.question[rows],
        response=answers.response[rows],
        time=None if answers.time is None else answers.time[rows],
        seed=seed,
    )


def rows_of(answers: Answers, students: Students) -> npt.NDArray[np.int64]:
    """Return the rows of some students, in the order of the students: int64 [n]."""
    lengths = answers.lengths[students]
    begin = np.repeat(answers.offsets[students], lengths)
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return begin + within
