"""Means, intervals, bounds, and orders that cells without a score could turn round."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.judging.aggregation import DimensionMeans, means_of
from sensorium.judging.dimensions import dimension
from sensorium.judging.records import JudgeName, Record, Status

JUDGE = JudgeName("j", "mllm", "1")
DIMENSION = dimension("temporal_consistency")  # 1 to 5


def record(model: str, prompt: int, score: float | None, *, sample: int = 0, status: Status = "unparsed") -> Record:
    known: Status = "ok" if score is not None else status
    return Record(DIMENSION.id, f"{prompt:03d}", sample, model, score, known, "" if score else "cut off", JUDGE)


def worked_example() -> list[Record]:
    """7.15: 40 prompts, one sample; scores chosen so that their sums are those of the table."""
    sums = {"P": (40, 128), "Q": (36, 126), "S": (38, 125), "T": (30, 138)}
    records = []
    for model, (readable, total) in sums.items():
        low, extra = divmod(total, readable)
        scores = [low + 1] * extra + [low] * (readable - extra) + [None] * (40 - readable)
        records += [record(model, prompt, score) for prompt, score in enumerate(scores)]
    return records


def means(records: list[Record], **options: object) -> DimensionMeans:
    found = means_of(records, DIMENSION, resamples=200, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_worked_example() -> None:
    """7.15: means, null shares, bounds and the one determined order."""
    found = means(worked_example(), which="available")
    table = {one.model: (one.n, one.mean, one.null_share, *one.bounds) for one in found.models}
    assert table["P"] == pytest.approx((40, 3.2, 0, 3.2, 3.2))
    assert table["Q"] == pytest.approx((36, 3.5, 0.10, 3.25, 3.65))
    assert table["S"] == pytest.approx((38, 125 / 38, 0.05, 3.175, 3.375))
    assert table["T"] == pytest.approx((30, 4.6, 0.25, 3.7, 4.7))
    pairs = {frozenset(pair) for pair in ("PS", "PT", "QS", "QT", "ST")}
    assert found.undetermined == pairs  # Q above P alone is determined
    assert found.unordered == set("PQST")
    assert (found.nulls, found.cells, found.incomplete) == (16, 160, True)


@settings(max_examples=60, deadline=None)
@given(fill=st.lists(st.integers(1, 5), min_size=16, max_size=16))
def test_no_filling_leaves_the_bounds_or_turns_a_determined_order(fill: list[int]) -> None:
    """7.15, property: bounds hold each full mean, and Q stays above P."""
    records = worked_example()
    found = means(records, which="available")
    levels = iter(fill)
    full = means([one if one.score is not None else replace(one, score=next(levels), status="ok") for one in records])
    mean = {one.model: one.mean for one in full.models}
    for one in found.models:
        value = mean[one.model]
        assert value is not None
        assert one.bounds[0] - 1e-9 <= value <= one.bounds[1] + 1e-9
    assert (mean["Q"] or 0) > (mean["P"] or 0)
    assert not full.undetermined


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_determined_order_holds_however_nulls_are_filled(data: st.DataObject) -> None:
    """7.15, property: for any table, the extreme fillings of two determined models never reverse them."""
    cell = st.one_of(st.none(), st.integers(1, 5))
    table = {m: data.draw(st.lists(cell, min_size=8, max_size=8)) for m in "AB"}
    found = means([record(m, p, score) for m, row in table.items() for p, score in enumerate(row)], which="available")
    if frozenset("AB") in found.undetermined:
        return
    low = {m: np.mean([score or 1 for score in row]) for m, row in table.items()}
    high = {m: np.mean([score or 5 for score in row]) for m, row in table.items()}
    assert low["A"] > high["B"] or low["B"] > high["A"] or not found.nulls


def test_equal_means_without_nulls_are_a_tie() -> None:
    """7.15: a tie is not an undetermined order."""
    found = means([record(model, prompt, 3) for model in "AB" for prompt in range(3)])
    assert not found.undetermined
    assert not found.incomplete


def test_what_cannot_be_read_is_no_zero() -> None:
    """VJ-1: 5, 5, 4, 5, a refusal and a cut-off JSON: mean 4.75, n = 4, two listed by reason."""
    records = [record("A", prompt, score) for prompt, score in enumerate([5, 5, 4, 5])]
    records += [
        replace(record("A", 4, None, status="refused"), reason="declined"),
        replace(record("A", 5, None), reason="the JSON ends early"),
    ]
    found = means(records)
    assert (found.models[0].mean, found.models[0].n) == (4.75, 4)
    assert found.reasons == {("refused", "declined"): 1, ("unparsed", "the JSON ends early"): 1}
    assert found.models[0].bounds == pytest.approx((21 / 6, 29 / 6))


def test_common_counts_what_all_models_have() -> None:
    records = [record("A", 0, 5), record("A", 1, 1), record("A", 2, 2), record("B", 0, 4), record("B", 1, None)]
    common, available = means(records), means(records, which="available")
    assert [(one.mean, one.n) for one in common.models] == [(5, 1), (4, 1)]
    assert [(one.mean, one.n) for one in available.models] == [(pytest.approx(8 / 3), 3), (4, 1)]
    assert [one.bounds for one in common.models] == [one.bounds for one in available.models]
    assert common.models[0].cells == 3


def test_the_interval_draws_prompts_not_videos() -> None:
    """Trap 2: ten samples of one prompt are one draw."""
    draw = numpy_generator(0, "prompts")
    level = draw.uniform(1, 5, 30)
    records = [record("A", prompt, float(level[prompt]), sample=k) for prompt in range(30) for k in range(10)]
    interval = means_of(records, DIMENSION).models[0].interval  # type: ignore[union-attr]
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 == pytest.approx(1.96 * level.std() / 30**0.5, rel=0.1)


def test_order_shares_are_paired_over_prompts() -> None:
    """A is above B by .1 in every prompt: intervals overlap widely, the order holds in every draw."""
    level = numpy_generator(1, "paired").uniform(1, 4, 20)
    rows = [record(m, p, float(v) + (0.1 if m == "A" else 0)) for m in "AB" for p, v in enumerate(level)]
    found = means(rows)
    first, second = (one.interval for one in found.models)
    assert first is not None
    assert second is not None
    assert first[0] < second[1]
    assert (found.share_above("A", "B"), found.share_above("B", "A")) == (1, 0)
    assert found.normalised("A") == pytest.approx((level.mean() + 0.1 - 1) / 4)


def test_rubrics_and_judges_share_no_board_and_unsupported_ones_have_none() -> None:
    """7.11 and trap 11."""
    rows = [record("A", 0, 3), replace(record("B", 0, 3), judge=replace(JUDGE, protocol_version="2"))]
    with pytest.raises(DataError, match="never share a board"):
        means(rows)
    unsupported = [record("A", p, None, status="unsupported") for p in range(3)]
    assert means_of(unsupported, DIMENSION) is None
    with pytest.raises(DataError, match="no records"):
        means_of([], DIMENSION)
