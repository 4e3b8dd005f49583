"""Lists of any system: the same numbers as the model's own, and a sentence for what can't be measured."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.errors import DataError
from sensorium.core.seeds import catalogue_order
from sensorium.evaluation.lists import evaluate_lists
from sensorium.evaluation.ranking import evaluate, rank
from sensorium.evaluation.tasks import ranking_task

from .brute_force import PER_QUERY
from .doubles import Parts, Table, TextIds

KS = [5, 20]
METRICS = [*PER_QUERY, "coverage", "novelty", "gini"]


def a_split(seed: int = 0, n_users: int = 50, n_items: int = 70) -> Parts:
    draw = np.random.default_rng(seed).random((n_users, n_items))
    parts = [np.argwhere((draw >= low) & (draw < high)).tolist() for low, high in ((0, 0.15), (0.15, 0.2), (0.2, 0.25))]
    return Parts(n_users, n_items, *parts)


def lists_of(scores: np.ndarray, split: Parts, k: int) -> pl.DataFrame:
    """The model's own lists, as `lists.parquet` holds them."""
    task = ranking_task(split, "test")
    found = rank(Table(scores), task, k=k, tie_order=catalogue_order(split.n_items, 0))
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in np.repeat(task.query, k)],
            "item_id": [f"i{item}" for item in found.items.ravel()],
            "rank": np.tile(np.arange(1, k + 1), len(task)),
            "score": found.scores.ravel(),
        }
    ).filter(pl.col("item_id") != "i-1")


@pytest.mark.parametrize("by", ["rank", "score"])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl", "table"])
def test_own_lists_give_own_numbers(tmp_path: Path, suffix: str, by: str) -> None:
    split = a_split()
    scores = np.random.default_rng(1).integers(0, 25, (50, 70)).astype(np.float32) / 3  # ties
    counts = np.bincount(split.part(0).item, minlength=70)
    own = evaluate(
        Table(scores), ranking_task(split, "test"), ks=KS, metrics=METRICS, item_count=counts, n_users=split.n_users
    )
    table = (
        lists_of(scores, split, 25)
        .drop({"rank": "score", "score": "rank"}[by])
        .sample(fraction=1, shuffle=True, seed=0)
    )
    path = tmp_path / f"lists.{suffix}"
    if suffix == "parquet":
        table.write_parquet(path)
    elif suffix == "jsonl":
        table.write_ndjson(path)
    elif suffix != "table":
        table.write_csv(path, separator="\t" if suffix == "tsv" else ",")
    lists = table if suffix == "table" else path
    found = evaluate_lists(lists, TextIds(50, 70), split, ks=KS, metrics=METRICS)
    assert found.summary == pytest.approx(own.summary, abs=1e-9)
    for name, values in own.per_query.items():
        assert found.per_query[name] == pytest.approx(values, abs=1e-9)
    assert found.excluded == own.excluded
    assert not any(found.counts.values())
    if by == "score":
        assert found.ties == own.ties
    else:
        assert found.tie_share is None
    json.dumps(found.report(), allow_nan=False)


def test_a_k_that_the_file_does_not_hold_is_refused() -> None:
    split = a_split()
    table = lists_of(np.random.default_rng(0).random((50, 70), np.float32), split, 10)
    assert evaluate_lists(table, TextIds(50, 70), split, ks=[10], metrics=["recall"]).n > 0
    with pytest.raises(DataError, match="k = 20 was asked for and its longest list holds 10 items: ask for k <= 10"):
        evaluate_lists(table, TextIds(50, 70), split, ks=[5, 20], metrics=["recall"])


def test_a_k_beyond_the_catalogue_is_not_the_files_fault() -> None:
    """Lists that hold every candidate can't be longer: k = 100 of 70 items is answered as the model itself is."""
    split = a_split()
    scores = np.random.default_rng(0).random((50, 70), np.float32)
    own = evaluate(Table(scores), ranking_task(split, "test"), ks=[100], metrics=PER_QUERY)
    found = evaluate_lists(lists_of(scores, split, 70), TextIds(50, 70), split, ks=[100], metrics=PER_QUERY)
    assert found.summary == pytest.approx(own.summary, abs=1e-9)
    assert found.counts["lists_shorter_than_k"] == 0


SMALL = Parts(4, 6, train=[(0, 0), (1, 1), (2, 2)], test=[(0, 1), (1, 2), (2, 3)])


def small(rows: list[tuple[str, str, float]], by: str = "rank") -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "item_id", by], orient="row")


def test_unknown_users_and_items_are_counted() -> None:
    """CS-1, CS-6, EV-5: counts by kind; an unknown item holds its place, a user without a list scores 0."""
    rows = [("u0", "x", 1), ("u0", "i1", 2), ("u1", "i2", 1), ("u1", "y", 2), ("who", "i1", 1), ("u3", "i1", 1)]
    rows += [("who", "x", 2)]
    found = evaluate_lists(small(rows), TextIds(4, 6), SMALL, ks=[1, 2], metrics=["recall"])
    assert found.per_query["recall@1"].tolist() == [0, 1, 0]
    assert found.per_query["recall@2"].tolist() == [1, 1, 0]
    assert found.n == 3
    assert found.counts == {
        "unknown_users": 1,
        "unknown_items": 2,
        "entries_of_unknown_users": 2,
        "entries_of_unknown_items": 3,
        "lists_of_users_without_targets": 1,
        "users_without_a_list": 1,
        "lists_shorter_than_k": 0,
        "masked_entries": 0,
    }


def test_masked_and_short_lists_are_counted() -> None:
    rows = [("u0", "i0", 1), ("u0", "i1", 2), ("u1", "i2", 1)]
    found = evaluate_lists(small(rows), TextIds(4, 6), SMALL, ks=[2], metrics=["recall"])
    assert found.counts["masked_entries"] == 1
    assert found.counts["lists_shorter_than_k"] == 1
    assert found.per_query["recall@2"].tolist() == [1, 1, 0]  # the masked item is a miss that holds its place


def test_scores_of_unknown_items_and_ties() -> None:
    rows = [("u0", "x", 9.0), ("u0", "i1", 1.0), ("u0", "i2", 1.0)]
    place = catalogue_order(6, 0)
    found = evaluate_lists(small(rows, "score"), TextIds(4, 6), SMALL, ks=[2], metrics=["recall"])
    assert found.per_query["recall@2"].tolist() == [float(place[1] < place[2]), 0, 0]
    assert found.ties == {2: pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("rows", "by", "message"),
    [
        (
            [("u0", "i1", 1), ("u1", "i1", 1), ("u0", "i1", 2)],
            "rank",
            "row 3: item 'i1' stands twice in the list of user 'u0'",
        ),
        ([("u0", "i1", 1), ("u0", "i2", 1)], "rank", "ranks of user 'u0' .* place 2 of the list has rank 1"),
        ([("u0", "i1", 1), ("u0", "i2", 3)], "rank", "place 2 of the list has rank 3"),
        ([("u0", "i1", 0), ("u1", "i2", 1)], "rank", "ranks of user 'u1' .* place 1 of the list has rank 1"),
        ([("u0", "i1", 7)], "rank", "place 1 of the list has rank 7"),
        ([("u0", "i1", 1.5)], "rank", "row 1: rank '1.5' is not a whole number"),
        ([("u0", "i1", 1), ("u0", None, 2)], "rank", "row 2: no item_id"),
        ([("u0", "i1", 1), ("", "i1", 2)], "rank", "row 2: no user_id"),
        ([("u0", "i1", 1.0), ("u0", "i2", float("nan"))], "score", "row 2: the score is nan"),
        ([("u0", "i1", 1.0), ("u0", "i2", None)], "score", "row 2: score 'None' is not a number"),
        ([("u0", "i1", "high")], "score", "row 1: score 'high' is not a number"),
        ([("a", "i1", 1), ("b", "i1", 1)], "rank", "none of its 2 users has a row in the test part"),
        ([("u0", "i1", 1)], "place", "has neither 'rank' nor 'score'"),
    ],
)
def test_what_cannot_be_measured_is_refused(rows: list[tuple[str, str, float]], by: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_lists(small(rows, by), TextIds(4, 6), SMALL, ks=[1], metrics=["recall"])


def test_ranks_may_begin_at_zero() -> None:
    rows = [("u0", "i1", 0), ("u0", "i2", 1), ("u1", "i3", 0)]
    found = evaluate_lists(small(rows), TextIds(4, 6), SMALL, ks=[2], metrics=["recall"])
    assert found.per_query["recall@2"].tolist() == [1, 0, 0]


def test_columns_are_named_when_missing() -> None:
    table = small([("u0", "i1", 1)]).rename({"user_id": "user"})
    with pytest.raises(DataError, match=r"no column 'user_id'.*columns: user, item_id, rank"):
        evaluate_lists(table, TextIds(4, 6), SMALL, ks=[1], metrics=["recall"])
    assert evaluate_lists(table, TextIds(4, 6), SMALL, ks=[1], metrics=["recall"], user="user").n == 3


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        evaluate_lists(tmp_path / "none.csv", TextIds(4, 6), SMALL, ks=[1], metrics=["recall"])
    (tmp_path / "lists.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"read from \.parquet, \.csv"):
        evaluate_lists(tmp_path / "lists.xlsx", TextIds(4, 6), SMALL, ks=[1], metrics=["recall"])
    for name, content in (
        ("a.parquet", b"PAR1 cut short"),
        ("b.csv", b""),
        ("c.jsonl", b"{not json\n"),
        ("d.csv", b"a,b\n\xff\xfe,1\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            evaluate_lists(tmp_path / name, TextIds(4, 6), SMALL, ks=[1], metrics=["recall"])


def test_numeric_ids_are_text() -> None:
    """A file may write ids as whole numbers; fractional ones are refused, 1.0 would be another id than 1."""

    class Numbers:
        def users_of(self, ids: list[str]) -> np.ndarray:
            return np.array([int(one) for one in ids])

        items_of = users_of

    table = pl.DataFrame({"user_id": [0, 1], "item_id": [1, 2], "rank": [1, 1]})
    found = evaluate_lists(table, Numbers(), SMALL, ks=[1], metrics=["recall"])
    assert found.per_query["recall@1"].tolist() == [1, 1, 0]
    with pytest.raises(DataError, match="column 'user_id' holds fractional numbers"):
        evaluate_lists(table.cast({"user_id": pl.Float64}), Numbers(), SMALL, ks=[1], metrics=["recall"])
