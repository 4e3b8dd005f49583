"""External ids and dense ones: the same for any order of the file, and back again."""

from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.identifiers import encode_ids, rows_in_order, settle_ids, sort_ids, table_in_order

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
PAIRS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=40)


LOG = Path("log.csv")


def log(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String}
    return pl.DataFrame(pairs, schema=schema, orient="row").with_columns(place=pl.int_range(pl.len()))


@settings(deadline=None)
@given(st.lists(IDS, min_size=1, max_size=40))
def test_ids_are_distinct_sorted_and_complete(ids: list[str]) -> None:
    found = sort_ids(pl.Series(["x", *ids])).to_list()
    assert found == sorted({"x", *ids}, key=lambda text: text.encode())


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**17), min_size=1, max_size=40))
def test_integer_ids_are_sorted_by_value(ids: list[int]) -> None:
    assert sort_ids(pl.Series([str(value) for value in ids])).to_list() == [str(value) for value in sorted(set(ids))]


def test_what_is_no_plain_integer_is_sorted_as_text() -> None:
    assert sort_ids(pl.Series(["10", "9", "007"])).to_list() == ["007", "10", "9"]
    assert sort_ids(pl.Series(["10", "9", "-1"])).to_list() == ["-1", "10", "9"]
    assert sort_ids(pl.Series(["10", "9", "1.5"])).to_list() == ["1.5", "10", "9"]


@settings(deadline=None)
@given(PAIRS)
def test_encoding_can_be_undone_and_keeps_the_order(pairs: list[tuple[str, str]]) -> None:
    rows, ids = encode_ids(log(pairs), LOG)
    assert rows["place"].to_list() == list(range(len(pairs)))
    assert rows.schema["user"] == rows.schema["item"] == pl.Int32
    back = zip(ids["user"].gather(rows["user"]), ids["item"].gather(rows["item"]), strict=True)
    assert list(back) == pairs


@settings(deadline=None)
@given(PAIRS, st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_the_order_of_the_file(pairs: list[tuple[str, str]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert encode_ids(log(pairs), LOG)[1]["item"].to_list() == encode_ids(log(shuffled), LOG)[1]["item"].to_list()


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.lists(st.integers(0, 300)), st.data())
def test_rows_that_stay_keep_their_ids_among_the_settled_ones(
    values: list[int], more: list[int], data: st.DataObject
) -> None:
    ids = sort_ids(pl.Series([str(value) for value in values]))
    code = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1)), dtype=np.int32)
    further = pl.Series([str(value) for value in more], dtype=pl.String)
    used = np.isin(np.arange(len(ids)), code)
    settled, moved = settle_ids(ids, used, further)
    assert settled.gather(moved[code]).to_list() == ids.gather(code).to_list()
    assert settled.to_list() == [str(v) for v in sorted({int(v) for v in ids.gather(code)} | set(more))]
    alone, place = settle_ids(ids, used, None)
    assert set(alone) == set(ids.gather(code))
    assert (place[~used] == -1).all()


def test_tables_and_matrices_follow_the_ids() -> None:
    ids = pl.Series(["a", "b", "c"])
    table = pl.LazyFrame({"item_id": ["c", "a", "z"], "title": ["C", "A", "Z"]})
    assert table_in_order(table, "item", ids).rows() == [(0, "a", "A"), (1, "b", None), (2, "c", "C")]
    assert rows_in_order(pl.Series(["c", "a", "z"]), ids).tolist() == [1, -1, 0]
