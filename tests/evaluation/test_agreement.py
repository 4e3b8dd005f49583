"""Agreement: each statistic against a slow one written from its definition, or against a published package."""

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.evaluation import agreement
from sensorium.evaluation.agreement import Level

NAN = float("nan")
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")


def alpha_by_pairs(ratings: np.ndarray, level: Level) -> float:
    """Krippendorff's alpha pair by pair, as its definition reads: no coincidence matrix, no cumulative sums."""
    units = [[v for v in row if not np.isnan(v)] for row in ratings]
    units = [unit for unit in units if len(unit) >= 2]
    n = Counter(value for unit in units for value in unit)

    def squared(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        return (sum(n[g] for g in n if low <= g <= high) - (n[a] + n[b]) / 2) ** 2

    total = sum(n.values())
    observed = sum(squared(a, b) / (len(unit) - 1) for unit in units for a, b in permutations(unit, 2)) / total
    everyone = [value for unit in units for value in unit]
    expected = sum(squared(a, b) for a, b in permutations(everyone, 2)) / (total * (total - 1))
    return 1 - observed / expected if expected else NAN


ratings_tables = arrays.arrays(
    np.float64,
    st.tuples(st.integers(2, 9), st.integers(2, 4)),
    elements=st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, 7.5, NAN]),
)


@settings(max_examples=60, deadline=None)
@given(ratings=ratings_tables, level=st.sampled_from(LEVELS))
def test_alpha_is_its_definition(ratings: np.ndarray, level: Level) -> None:
    """7.2: the committed reference."""
    if (np.isfinite(ratings).sum(axis=1) >= 2).sum() == 0:
        with pytest.raises(DataError, match="two ratings"):
            agreement.krippendorff_alpha(ratings, level)
        return
    assert agreement.krippendorff_alpha(ratings, level) == pytest.approx(alpha_by_pairs(ratings, level), nan_ok=True)


@pytest.mark.parametrize("level", LEVELS)
def test_alpha_agrees_with_the_krippendorff_package(level: Level) -> None:
    """7.2: to 1e-9."""
    package = pytest.importorskip("krippendorff", reason="the package krippendorff is not installed")
    draw = numpy_generator(0, "alpha")
    for _ in range(5):
        ratings = draw.integers(1, 6, (200, 4)).astype(float)
        ratings[:, 1] = np.clip(ratings[:, 0] + draw.integers(-1, 2, 200), 1, 5)
        ratings[draw.random(ratings.shape) < 0.1] = NAN
        expected = package.alpha(reliability_data=ratings.T, level_of_measurement=level)
        assert agreement.krippendorff_alpha(ratings, level) == pytest.approx(expected, abs=1e-9)


def test_alpha_of_krippendorffs_own_example() -> None:
    """The table of four observers and twelve units of "Computing Krippendorff's Alpha-Reliability", section D."""
    table = """
        1 2 3 3 2 1 4 1 2 * * *
        1 2 3 3 2 2 4 1 2 5 * 3
        * 3 3 3 2 3 4 2 2 5 1 *
        1 2 3 3 2 4 4 1 2 5 1 *"""
    ratings = np.array([[NAN if v == "*" else float(v) for v in line.split()] for line in table.split("\n")[1:]]).T
    found = [agreement.krippendorff_alpha(ratings, level) for level in LEVELS]
    assert found == pytest.approx([0.743, 0.815, 0.849], abs=5e-4)


def tau_b_by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    untied = sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / untied**0.5 if untied else NAN


small = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(pairs=small)
def test_tau_b_counts_pairs_and_rows_agree_with_single_calls(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    expected = tau_b_by_pairs(x, y)
    assert agreement.kendall(x, y) == pytest.approx(expected, nan_ok=True)
    rows = agreement.kendall_rows(np.stack([x, y]), np.stack([y, -x]))
    assert rows == pytest.approx([expected, -expected], nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(pairs=small)
def test_spearman_is_pearson_of_mid_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    ranks = [np.array([(v < one).sum() + ((v == one).sum() + 1) / 2 for one in v]) for v in (x, y)]
    if ranks[0].std() == 0 or ranks[1].std() == 0:
        assert np.isnan(agreement.spearman(x, y))
    else:
        assert agreement.spearman(x, y) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(DataError, match="shapes"):
        agreement.spearman([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="not finite"):
        agreement.pearson([1, NAN], [1, 2])


def test_raters_of_other_levels_agree_after_standardising() -> None:
    base = numpy_generator(1, "raters").normal(size=50)
    ratings = np.column_stack([base, 3 * base + 10, 0.2 * base - 4])
    ratings[3, 1] = NAN
    z = agreement.standardised_raters(ratings[:, [0, 2]])
    assert z[:, 0] == pytest.approx(z[:, 1])
    assert z.mean(axis=0) == pytest.approx([0, 0])
    assert z.std(axis=0) == pytest.approx([1, 1])
    pooled = ratings[~np.isnan(ratings)]
    rescaled = agreement.rescaled_means(ratings)
    assert agreement.spearman(rescaled, base) > 0.999
    assert abs(rescaled.mean() - pooled.mean()) < 0.1 * pooled.std()
    assert (agreement.standardised_raters(np.full((4, 1), 3.0)) == 0).all()


def test_leave_one_out_compares_each_with_the_mean_of_the_others() -> None:
    ratings = np.array([[1, 2, 3.0], [2, NAN, 1], [3, 4, 5], [4, 5, 4], [NAN, 2, NAN]])
    expected = agreement.spearman(ratings[:4, 0], [2.5, 1, 4.5, 4.5])
    assert agreement.leave_one_out(ratings)[0] == pytest.approx(expected)
    assert len(agreement.leave_one_out(ratings, agreement.kendall)) == 3


def test_judge_as_a_rater_is_rounded_and_may_be_mapped() -> None:
    ratings = np.array([[1.0, 1], [2, 2], [3, 3], [4, 4], [5, 5]])
    assert agreement.alpha_with_judge(ratings, np.array([1.2, 1.9, 3.4, 3.6, 5.0])) == 1
    halved = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
    assert agreement.alpha_with_judge(ratings, halved) < 0.9
    assert agreement.alpha_with_judge(ratings, halved, affine=True) == 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_preferences_count_pairs_inside_groups(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 12))
    group = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    human = np.array(data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)), dtype=float)
    score = np.array(data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)), dtype=float)
    right = pairs = 0.0
    for i, j in combinations(range(n), 2):
        if group[i] == group[j] and human[i] != human[j]:
            pairs += 1
            right += 0.5 if score[i] == score[j] else float((human[i] > human[j]) == (score[i] > score[j]))
    found = agreement.preference_counts(human, score, group)
    assert (found[0].sum(), found[1].sum()) == (right, pairs)
    accuracy = agreement.preference_accuracy(human, score, group, resamples=50)
    assert accuracy.value == pytest.approx(right / pairs if pairs else NAN, nan_ok=True)


def test_calibration_never_sees_the_group_it_is_applied_to() -> None:
    group = np.repeat([0, 1, 2], 10)
    scores = np.tile(np.arange(10.0), 3)
    human = 1 + scores / 3
    human[:10] = 1000.0
    mapped = agreement.isotonic_by_others(scores, human, group)
    assert mapped[:10] == pytest.approx(1 + scores[:10] / 3)  # fitted on groups 1 and 2 alone
    assert (np.diff(mapped[10:20]) >= 0).all()
    assert mapped[10:].min() > 100
    with pytest.raises(DataError, match="only one"):
        agreement.isotonic_by_others(scores, human, np.zeros(30, dtype=np.int64))


def test_draws_take_whole_groups() -> None:
    group = np.array([5, 2, 5, 9, 2, 5])
    for rows in agreement.group_draws(group, seed=3, resamples=50):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]
        assert counts[0] + counts[1] + counts[3] == 3


def test_the_interval_over_groups_is_that_of_group_means() -> None:
    """Groups of equal items: 20 groups of 50 are 20 values, not 1,000."""
    value = np.repeat(numpy_generator(2, "values").normal(size=20), 50)
    group = np.repeat(np.arange(20), 50)
    found = agreement.estimate_over_groups(lambda rows: float(value[rows].mean()), group, resamples=1000)
    error = value[::50].std() / 20**0.5
    assert found.value == pytest.approx(value.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert found == agreement.estimate_over_groups(lambda rows: float(value[rows].mean()), group, resamples=1000)


def test_within_is_blind_to_which_part_an_item_is_from() -> None:
    part = np.repeat([0, 1, 2], 20)
    noise = numpy_generator(4, "noise").normal(size=(2, 60))
    x, y = 10 * part + noise[0], 10 * part + noise[1]
    assert agreement.spearman(x, y) > 0.85
    assert abs(agreement.within(agreement.spearman, x, y, part)) < 0.3
    assert agreement.part_means(x, part) == pytest.approx([x[:20].mean(), x[20:40].mean(), x[40:].mean()])
    assert np.isnan(agreement.within(agreement.spearman, np.ones(60), y, part))
