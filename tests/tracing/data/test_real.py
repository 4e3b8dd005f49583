"""The four folders of research data, with the counts that their documentation states."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.tracing.data.catalogue import RESEARCH_SETS, open_tracing

EXPECTED = {
    "assist2009": {"students": 3114, "questions": 17708, "concepts": 123, "links": 21202, "responses": 278336},
    "assist2015": {"students": 19093, "questions": 100, "concepts": 100, "responses": 682797},
    "assist2017": {"students": 1704, "questions": 3874, "concepts": 102, "links": 3874, "responses": 941500},
    "statics": {"students": 330, "questions": 1223, "concepts": 1223, "responses": 186642},
}
TESTS = {"assist2009": (623, 58266), "assist2015": (3818, 138458), "assist2017": (341, 204110), "statics": (66, 36412)}
RIGHT = {"assist2009": 0.659, "assist2015": 0.733, "assist2017": 0.373, "statics": 0.766}


@pytest.mark.parametrize("name", EXPECTED)
def test_counts(name: str, shared_data: Path, sensorium_home: Path) -> None:
    if not (shared_data / RESEARCH_SETS[name][0]).is_dir():
        pytest.skip(f"{RESEARCH_SETS[name][0]} is not there")
    data = open_tracing(name)
    counts = data.info.counts
    assert {key: counts[key] for key in EXPECTED[name]} == EXPECTED[name]
    answers, split = data.answers(), data.source_split
    assert split is not None
    test = split == "test"
    assert (int(test.sum()), int(answers.lengths[test].sum())) == TESTS[name]
    assert abs(float(answers.response.mean()) - RIGHT[name]) < 0.001
    if name == "assist2009":
        sizes = np.bincount((answers.concepts[:-1].numpy() < 123).sum(1))[1:]
        assert sizes.tolist() == [14692, 2619, 316, 81]
        assert round(data.info.multi_concept_share, 3) == 0.168
        assert int((answers.lengths[test] - 1).sum()) == 57643
    if name == "assist2017":
        assert counts["source_rows"] == 941502
        assert counts["rejected: student with fewer than 3 answers"] == 2
        assert counts["questions_with_several_sets"] == 697
    assert data.info.has_questions == (name in ("assist2009", "assist2017"))
    assert not data.info.has_time
