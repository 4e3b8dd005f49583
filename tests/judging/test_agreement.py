"""A judge against people, on made ratings whose structure is known."""

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.judging.agreement import calibrated, difference, evaluate, pair
from sensorium.judging.human import HumanRatings
from sensorium.judging.records import JudgeName, Record

JUDGE = JudgeName("j", "metric", "1")
KEYS = tuple((str(prompt), 0, model) for prompt in range(25) for model in "abcd")
LEVEL = np.tile([1.0, 2, 3, 4], 25)
DRAW = numpy_generator(5, "meta")
TRUTH = LEVEL + 0.5 * DRAW.normal(size=100)
HUMAN = HumanRatings(KEYS, TRUTH[:, None] + 0.3 * DRAW.normal(size=(100, 3)))


def records(scores: np.ndarray, judge: JudgeName = JUDGE) -> list[Record]:
    return [
        Record("d", prompt, sample, model, float(score), "ok", "", judge)
        for (prompt, sample, model), score in zip(KEYS, scores, strict=True)
    ]


def test_a_judge_that_only_knows_the_model_is_seen_through() -> None:
    """Trap 1: pooled correlation is high, within a model there is nothing."""
    by_level = evaluate(pair(records(LEVEL + 1e-6 * DRAW.normal(size=100)), HUMAN, "d"), resamples=100)
    good = evaluate(pair(records(TRUTH), HUMAN, "d"), resamples=100)
    assert by_level["rho"]["pooled"][0] > 0.85
    assert by_level["rho"]["system"] == 1
    assert abs(by_level["rho"]["within_model"][0]) < 0.25
    assert good["rho"]["within_model"][0] > 0.8
    assert good["preference"][0] > 0.9
    assert good["rho"]["pooled"][1] < good["rho"]["pooled"][0] < good["rho"]["pooled"][2]
    assert good["alpha_with_judge"]["interval"]["affine"] > 0.6


def test_only_what_has_both_counts_and_the_rest_is_counted() -> None:
    """VJ-1: a cell without a score is neither a zero nor a middle."""
    some = records(TRUTH)[:-1]
    some[0] = Record("d", "0", 0, "a", None, "refused", "no", JUDGE)
    some += [Record("d", "99", 0, "a", 1.0, "ok", "", JUDGE), Record("other", "0", 0, "a", 1.0, "ok", "", JUDGE)]
    paired = pair(some, HUMAN, "d")
    assert (len(paired.scores), paired.unscored, paired.unrated) == (98, 2, 1)
    assert paired.human.keys == KEYS[1:-1]
    assert paired.scores == pytest.approx(TRUTH[1:-1])


def test_records_of_two_judges_or_of_other_names_are_refused() -> None:
    mixed = records(TRUTH)[:50] + records(TRUTH, JudgeName("k", "metric", "1"))[50:]
    with pytest.raises(DataError, match="one judge"):
        pair(mixed, HUMAN, "d")
    with pytest.raises(DataError, match="named alike"):
        pair(records(TRUTH), HUMAN.renamed({str(n): f"p{n}" for n in range(25)}), "d")


def test_difference_of_two_judges_is_paired() -> None:
    better, worse = (pair(records(TRUTH + s * DRAW.normal(size=100)), HUMAN, "d") for s in (0.3, 1.5))
    found = difference(better, worse, resamples=200)
    assert found.low > 0
    same = difference(better, better, resamples=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_calibrated_scores_lie_on_the_human_scale() -> None:
    paired = pair(records(10 * TRUTH + 100), HUMAN, "d")
    assert np.abs(calibrated(paired) - paired.target).mean() < 0.4
