"""Numbers against brute force, intervals over students against copies of their rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sensorium.core.errors import DataError
from sensorium.evaluation.bootstrap import draw_counts
from sensorium.testing.tracers import CONCEPTS, tiny_answers
from sensorium.tracing.evaluation.intervals import auc_difference, auc_draws, auc_interval, over_folds
from sensorium.tracing.evaluation.metrics import (
    WeightedAUC,
    auc,
    by_length,
    by_practice,
    measure,
    reliability,
    student_auc,
)
from sensorium.tracing.evaluation.predicting import Predictions


def predictions(seed: int, students: int = 25, ties: bool = True, skill: float = 1.0) -> Predictions:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 30, students)
    student = np.repeat(np.arange(students), lengths).astype(np.int32)
    level = random.normal(0, 1, students)[student] + random.normal(0, 1, len(student))
    p = 1 / (1 + np.exp(-skill * level))
    response = (random.random(len(p)) < 1 / (1 + np.exp(-level))).astype(np.int8)
    position = np.concatenate([np.arange(1, n + 1) for n in lengths]).astype(np.int32)
    shown = np.round(p, 1) if ties else p
    return Predictions(student, position, np.zeros_like(student), response, shown.astype(np.float32))


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7]), st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=25
    )
)
def test_weighted_auc_is_that_of_copies(rows: list[tuple[float, int, int]]) -> None:
    p, r, weight = (np.array(column) for column in zip(*rows, strict=True))
    copies_p, copies_r = np.repeat(p, weight), np.repeat(r, weight)
    value = float(WeightedAUC(p, r).of(weight.astype(float)))
    if len(set(copies_r.tolist())) < 2:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(copies_r, copies_p), abs=1e-12)


def test_student_auc_is_the_mean_over_students_with_both_answers() -> None:
    found = predictions(3)
    values = []
    for student in range(25):
        own = found.student == student
        if len(set(found.response[own].tolist())) == 2:
            values.append(roc_auc_score(found.response[own], found.p[own]))
    assert student_auc(found) == pytest.approx(np.mean(values), abs=1e-12)


def test_measured_numbers_against_loops() -> None:
    found = predictions(1, ties=False)
    p, r = found.p.astype(float), found.response.astype(float)
    numbers = measure(found)
    assert numbers["auc"] == pytest.approx(roc_auc_score(r, p))
    assert numbers["brier"] == pytest.approx(np.mean((p - r) ** 2))
    assert numbers["rmse"] == pytest.approx(np.sqrt(np.mean((p - r) ** 2)))
    assert numbers["nll"] == pytest.approx(-np.mean(r * np.log(p) + (1 - r) * np.log(1 - p)))
    assert numbers["acc"] == pytest.approx(np.mean((p >= 0.5) == (r == 1)))
    ece = 0.0
    for place in range(15):
        inside = (p >= place / 15) & (p < (place + 1) / 15) | ((p == 1.0) & (place == 14))
        if inside.any():
            ece += inside.mean() * abs(p[inside].mean() - r[inside].mean())
    assert numbers["ece"] == pytest.approx(ece)


def test_equal_mass_bins_and_their_intervals() -> None:
    found = predictions(5, students=60, ties=False)
    bins = reliability(found.p, found.response, by="mass")
    assert bins.count.max() - bins.count.min() <= 1
    assert (bins.low <= bins.right).all()
    assert (bins.right <= bins.high).all()
    assert bins.count.sum() == len(found)


def test_lengths_of_history_partition_the_rows() -> None:
    found = predictions(2)
    assert sum(part["n"] for part in by_length(found).values()) == len(found)
    first = found.position <= 4
    assert by_length(found)["1-4"]["auc"] == pytest.approx(auc(found.p[first], found.response[first]))


def test_first_answers_per_concept_against_a_loop() -> None:
    answers = tiny_answers(students=40)
    tested = np.arange(25, 40)
    first, later = [], []
    for student in tested:
        met: set[int] = set()
        for row in range(answers.offsets[student], answers.offsets[student + 1]):
            own = {c for c in answers.concepts[answers.question[row]].tolist() if c < CONCEPTS}
            if answers.position[row]:  # the first row of a student is nobody's prediction
                (first if own - met else later).append(row)
            met |= own
    rows = np.sort(first + later)
    p = np.random.default_rng(0).random(len(answers.question)).astype(np.float32)
    columns = (answers.student, answers.position, answers.question, answers.response, p)
    parts = by_practice(Predictions(*(column[rows] for column in columns)), answers)
    assert list(parts) == ["first on a concept", "later"]
    for part, own in zip(parts.values(), (first, later), strict=True):
        assert part["n"] == len(own) > 0
        assert part["auc"] == pytest.approx(roc_auc_score(answers.response[own], p[own]))


def test_draws_are_draws_of_students() -> None:
    found = predictions(4)
    values = auc_draws(found, draws=20, seed=7)
    counts = np.concatenate(list(draw_counts(25, 7, 20))).astype(int)
    for value, count in zip(values, counts, strict=True):
        rows = np.concatenate([np.flatnonzero(found.student == s).repeat(n) for s, n in enumerate(count)])
        assert value == pytest.approx(roc_auc_score(found.response[rows], found.p[rows]), abs=1e-12)


def test_intervals_over_students_are_wider_than_over_rows() -> None:
    found = predictions(6, students=80, ties=False)
    interval = auc_interval(found)
    rows = Predictions(np.arange(len(found), dtype=np.int32), found.position, found.question, found.response, found.p)
    narrow = auc_interval(rows)
    assert interval.low < interval.mean < interval.high
    assert interval.high - interval.low > 1.05 * (narrow.high - narrow.low)


def test_paired_differences() -> None:
    found = predictions(8, students=100, ties=False)
    random = np.random.default_rng(0)
    noisy = np.clip(found.p + random.normal(0, 0.25, len(found)), 0, 1).astype(np.float32)
    worse = Predictions(found.student, found.position, found.question, found.response, noisy)
    gap = auc_difference([found], [worse])
    assert gap.low > 0
    assert gap.difference == pytest.approx(measure(found)["auc"] - measure(worse)["auc"])
    assert auc_difference([found], [found]).difference == 0
    alone = auc_interval(found)
    assert gap.high - gap.low < alone.high - alone.low  # pairing takes the students' spread out
    with pytest.raises(DataError, match="the same rows"):
        auc_difference([found], [predictions(9)])


def test_a_mean_over_folds_is_as_sure_as_students_and_folds_let_it_be() -> None:
    first, second = predictions(8, students=100, ties=False), predictions(9, students=100, ties=False)
    random = np.random.default_rng(0)

    def worse(found: Predictions, much: float) -> Predictions:
        noisy = np.clip(found.p + random.normal(0, much, len(found)), 0, 1).astype(np.float32)
        return Predictions(found.student, found.position, found.question, found.response, noisy)

    alike = auc_difference([first, first], [worse(first, 0.2)] * 2)
    once = auc_difference([first], [worse(first, 0.2)])
    assert alike.high - alike.low == pytest.approx(once.high - once.low, rel=0.3)  # equal folds add nothing
    apart = auc_difference([first, second, first], [worse(first, 0.05), worse(second, 0.4), worse(first, 0.2)])
    assert apart.high - apart.low > 2 * (once.high - once.low)
    drawn = [np.full(20_000, value) for value in (0.1, 0.2, 0.4)]  # no spread of students at all
    low, high = np.quantile(over_folds(drawn, [0.1, 0.2, 0.4]), [0.025, 0.975])
    half = 4.303 * np.std([0.1, 0.2, 0.4], ddof=1) / np.sqrt(3)  # Student's t with two degrees of freedom
    assert (low, high) == pytest.approx((0.7 / 3 - half, 0.7 / 3 + half), abs=0.06 * half)
