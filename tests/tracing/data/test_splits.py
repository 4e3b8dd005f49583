"""Students are divided, never rows."""

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.splits import SplitConfig, split_students, tracing_view


def test_folds_partition_the_students_and_share_one_test(few_learners: TracingDataset) -> None:
    answers = few_learners.answers()
    splits = [split_students(few_learners, answers, SplitConfig(), seed=seed) for seed in range(5)]
    assert all(np.array_equal(split.test, splits[0].test) for split in splits)
    for split in splits:
        everyone = np.concatenate([split.train, split.valid, split.test])
        assert sorted(everyone) == list(range(answers.n_students))
    valid = np.concatenate([split.valid for split in splits])
    assert len(valid) == len(set(valid.tolist())) == answers.n_students - len(splits[0].test)
    assert splits[3].fold == 3
    assert np.array_equal(split_students(few_learners, answers, SplitConfig(fold=3), seed=1).valid, splits[3].valid)


def test_the_view_holds_training_rows_alone(few_learners: TracingDataset) -> None:
    answers = few_learners.answers()
    split = split_students(few_learners, answers, SplitConfig())
    view = tracing_view(answers, split.train)
    rows = np.isin(answers.student, split.train)
    assert view.question.tolist() == answers.question[rows].tolist()
    assert view.response.tolist() == answers.response[rows].tolist()
    assert view.question_count().sum() == rows.sum()
    expected = np.zeros(answers.n_concepts, dtype=int)
    for question in answers.question[rows]:
        for concept in answers.concepts[question].tolist():
            if concept < answers.n_concepts:
                expected[concept] += 1
    assert view.concept_count().tolist() == expected.tolist()


def test_a_fold_that_is_not_there(few_learners: TracingDataset) -> None:
    with pytest.raises(DataError, match="no fold 7"):
        split_students(few_learners, few_learners.answers(), SplitConfig(fold=7))
