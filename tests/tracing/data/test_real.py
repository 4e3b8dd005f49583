"""The four folders of research data, with the counts that their documentation states."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sensorium.tracing.data.catalogue import RESEARCH_SETS, open_tracing
from sensorium.tracing.data.dataset import Answers, TracingDataset
from sensorium.tracing.expanded import expand

EXPECTED = {
    "assist2009": {"students": 3114, "questions": 17708, "concepts": 123, "links": 21202, "responses": 278336},
    "assist2015": {"students": 19093, "questions": 100, "concepts": 100, "responses": 682797},
    "assist2017": {"students": 1704, "questions": 3874, "concepts": 102, "links": 3874, "responses": 941500},
    "statics": {"students": 330, "questions": 1223, "concepts": 1223, "responses": 186642},
}
SIDES = {  # of the source's own split: students, rows
    "assist2009": {"train": (2491, 220070), "test": (623, 58266)},
    "assist2015": {
        "0": (3055, 105831), "1": (3055, 106663), "2": (3055, 107443), "3": (3055, 112027), "4": (3055, 112375),
        "test": (3818, 138458),
    },
    "assist2017": {  # of fold 5, a student of two answers is set aside
        "test": (341, 204110), "fold2": (341, 192064), "fold3": (341, 179427), "fold4": (341, 183373),
        "fold5": (340, 182526),
    },
    "statics": {
        "test": (66, 36412), "fold2": (66, 45673), "fold3": (66, 36914), "fold4": (66, 35562), "fold5": (66, 32081),
    },
}  # fmt: skip
RIGHT = {"assist2009": 0.659, "assist2015": 0.733, "assist2017": 0.373, "statics": 0.766}
LENGTHS = {  # shortest, longest, median, share over 200
    "assist2009": (3, 1061, 32, 0.10),
    "assist2015": (3, 618, 21, 0.01),
    "assist2017": (12, 3057, 442, 0.81),
    "statics": (5, 1181, 626.5, 0.73),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_counts(name: str, shared_data: Path, sensorium_home: Path) -> None:
    if not (shared_data / RESEARCH_SETS[name][0]).is_dir():
        pytest.skip(f"{RESEARCH_SETS[name][0]} is not there")
    data = open_tracing(name)
    counts = data.info.counts
    assert {key: counts[key] for key in EXPECTED[name]} == EXPECTED[name]
    answers, split = data.answers(), data.source_split
    assert split is not None
    sides = {side: (int((split == side).sum()), int(answers.lengths[split == side].sum())) for side in set(split)}
    assert sides == SIDES[name]
    assert abs(float(answers.response.mean()) - RIGHT[name]) < 0.001
    lengths = answers.lengths
    found = int(lengths.min()), int(lengths.max()), float(np.median(lengths)), round(float((lengths > 200).mean()), 2)
    assert found == LENGTHS[name]
    assert data.info.has_questions == (name in ("assist2009", "assist2017"))
    assert not data.info.has_time
    FACTS[name](data, answers, split == "test")


def facts_of_2009(data: TracingDataset, answers: Answers, test: np.ndarray) -> None:
    sizes = np.bincount((answers.concepts[:-1].numpy() < 123).sum(1))[1:]
    assert sizes.tolist() == [14692, 2619, 316, 81]
    assert round(data.info.multi_concept_share, 3) == 0.168
    assert int((answers.lengths[test] - 1).sum()) == 57643
    wide = expand(answers)
    assert (len(wide.source), round(float(wide.repeat.mean()), 3)) == (332990, 0.164)
    pairs = answers.student.astype(np.int64) * answers.n_questions + answers.question
    assert round(1 - len(np.unique(pairs)) / len(pairs), 3) == 0.015  # repeated (student, question)
    tested = test[answers.student]
    met = np.bincount(answers.question[~tested], minlength=answers.n_questions)[answers.question[tested]]
    assert (round(float((met == 0).mean()), 3), round(float((met < 5).mean()), 3)) == (0.008, 0.081)


def facts_of_2015(data: TracingDataset, answers: Answers, test: np.ndarray) -> None:
    assert data.info.counts["source_rows"] == 682797  # 544,339 and 138,458: nothing is set aside
    assert (answers.concepts[:-1, 0].numpy() == np.arange(100)).all()


def facts_of_2017(data: TracingDataset, answers: Answers, test: np.ndarray) -> None:
    counts = data.info.counts
    assert counts["source_rows"] == 941502
    assert counts["rejected: student with fewer than 3 answers"] == 2
    assert counts["questions_with_several_sets"] == 697
    again = (answers.student[1:] == answers.student[:-1]) & (answers.question[1:] == answers.question[:-1])
    before, now = answers.response[:-1][again], answers.response[1:][again]
    assert round(len(now) / len(answers.question), 2) == 0.52
    assert int((before == 1).sum()) == 3104
    assert round(float(now[before == 0].mean()), 3) == 0.318  # after a wrong try
    assert len(data.answers("first").question) == len(answers.question) - len(now)


def facts_of_statics(data: TracingDataset, answers: Answers, test: np.ndarray) -> None:
    assert data.table("students.parquet")["student_id"].to_list()[:2] == ["fold1:1", "fold1:2"]  # there are no ids
    bounds = zip(answers.offsets[:-1], answers.offsets[1:], strict=True)
    rows = [(answers.question[a:b].tobytes(), answers.response[a:b].tobytes()) for a, b in bounds]
    assert Counter(Counter(rows).values()) == {1: 327, 3: 1}  # one sequence stands three times


FACTS = {
    "assist2009": facts_of_2009,
    "assist2015": facts_of_2015,
    "assist2017": facts_of_2017,
    "statics": facts_of_statics,
}
