"""Import: ids, faults that are counted or explained, and folders that are whole or not there."""

import errno
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import registry
from sensorium.core.config import NoOptions
from sensorium.core.errors import DataError
from sensorium.data.importing import ImportConfig, import_dataset, plan_import
from sensorium.data.readers.base import GivenFeatures, Reading

from .sources import config, imported, write

LOG = "user,item,rating,timestamp\nu2,b,5,1000000002\nu1,a,4,1000000001\nu1,b,3,1000000003\nu2,a,1,1000000004\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "log.csv", LOG)


def test_a_log_becomes_a_data_set(log: Path, tmp_path: Path):
    data = import_dataset(log, tmp_path / "shop", ImportConfig())
    assert (data.n_users, data.n_items, data.n_interactions) == (2, 2, 4)
    rows = data.interactions().collect()
    assert rows.schema == {"user": pl.Int32, "item": pl.Int32, "rating": pl.Float32, "timestamp": pl.Int64}
    assert rows["user"].to_list() == [1, 0, 0, 1]  # the order of the file
    assert rows["timestamp"].to_list()[0] == 1_000_000_002_000  # seconds became milliseconds
    assert data.user_ids().to_list() == ["u1", "u2"]
    assert data.users_of(["u2", "nobody", "u1"]).tolist() == [1, -1, 0]
    assert data.info.has_time
    assert data.info.source.files[0].name == "log.csv"
    assert any("read as seconds" in notice for notice in data.info.notices)


def test_two_imports_are_byte_identical_and_name_no_folder(log: Path, tmp_path: Path):
    first = import_dataset(log, tmp_path / "one" / "shop", ImportConfig())
    second = import_dataset(log, tmp_path / "two" / "shop", ImportConfig())
    files = sorted(path.relative_to(first.root) for path in first.root.rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (first.root / file).read_bytes() == (second.root / file).read_bytes(), file
    assert str(tmp_path) not in (first.root / "dataset.json").read_text()
    assert first.fingerprint() == second.fingerprint()


def test_an_import_that_fails_or_is_repeated_leaves_no_trace(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "shop"

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for target, name in [(pl.DataFrame, "write_parquet"), (json, "dumps")]:
        with monkeypatch.context() as patch:
            patch.setattr(target, name, full)
            with pytest.raises(DataError, match="the disk is full"):
                import_dataset(log, out, ImportConfig())
        assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    import_dataset(log, out, ImportConfig())
    with pytest.raises(DataError, match="is there already"):
        import_dataset(log, out, ImportConfig())
    assert import_dataset(log, out, ImportConfig(), overwrite=True).n_interactions == 4


def test_a_folder_that_is_no_data_set_is_never_overwritten(log: Path, tmp_path: Path):
    write(tmp_path / "thesis" / "chapter1.txt", "precious")
    with pytest.raises(DataError, match="not a data set"):
        import_dataset(log, tmp_path / "thesis", ImportConfig(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "precious"


def test_a_filter_that_leaves_nothing(tmp_path: Path):
    """DI-6: the k-core that keeps nothing names the largest k that would keep any."""
    log = write(tmp_path / "log.csv", "user,item\n" + "".join(f"u{n},i{n}\n" for n in range(6)))
    with pytest.raises(DataError) as caught:
        import_dataset(log, tmp_path / "out", config(k_core=5))
    assert str(caught.value) == "5-core keeps 0 of 6 rows (largest k that keeps any: 1)"


def test_rows_that_are_nothing_are_set_aside_and_counted(tmp_path: Path):
    log = write(
        tmp_path / "log.csv",
        "user,item,rating,timestamp\nu1,a,4,1000000001\n,b,3,1000000002\nu2,,3,1000000003\nu1,b,good,1000000004\nu2,a,2,soon\n"
        ",,none,never\n",
    )
    data = import_dataset(log, tmp_path / "out", ImportConfig())
    rejected = data.rejected().sort("row").collect()
    assert data.n_interactions == 1
    assert rejected["row"].to_list() == [3, 4, 5, 6, 7]  # lines of the file, each once
    assert rejected["reason"].to_list() == [
        "missing_id",
        "missing_id",
        "unreadable_rating",
        "unreadable_timestamp",
        "missing_id",
    ]
    assert rejected["detail"].to_list() == [None, None, "good", "soon", None]
    assert rejected["file"].unique().to_list() == ["log.csv"]
    assert data.info.counts["rejected"] == 5
    with pytest.raises(DataError, match=r"row 3.*--strict"):
        import_dataset(log, tmp_path / "strict", config(reader={"name": "csv", "strict": True}))


def test_exact_duplicates_are_dropped_and_counted_repeats_stay(tmp_path: Path):
    log = write(tmp_path / "log.csv", "user,item,timestamp\nu,a,1000000001\nu,a,1000000001\nu,a,1000000002\n")
    data = import_dataset(log, tmp_path / "out", ImportConfig())
    assert (data.n_interactions, data.info.counts["duplicates"]) == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("customer,thing\n1,2\n", r"no column for user_id among: customer, thing; name it with a mapping"),
        ("user,item\n1,2,3,4\n", "cannot be read as delimited text"),
        ("user,item\n,\n", r"no row is left to import \(set aside: 1 missing_id\)"),
        ("user,item\n", r"no row is left to import \(set aside: none\)"),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, text: str, message: str):
    log = write(tmp_path / "log.csv", text)
    with pytest.raises(DataError, match=message):
        import_dataset(log, tmp_path / "out", ImportConfig())
    assert not (tmp_path / "out").exists()


def test_dry_run_shows_the_guess_and_writes_nothing(log: Path, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    plan = plan_import(log, ImportConfig())
    assert plan.reader == "csv"
    assert list(plan.columns) == ["user_id", "item_id", "rating", "timestamp"]
    assert plan.mapping == {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "timestamp"}
    assert plan.counts == {"rows": 4, "users": 2, "items": 2}
    assert plan.head.height == 4
    assert any("read as seconds" in notice for notice in plan.notices)
    assert sorted(tmp_path.iterdir()) == before


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30))
def test_every_row_can_be_traced_back(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]):
    folder = tmp_path_factory.mktemp("trace")
    log = write(folder / "log.csv", "user,item\n" + "".join(f"u{user},i{item}\n" for user, item in pairs))
    data = import_dataset(log, folder / "out", ImportConfig())
    rows = data.interactions().collect()
    users = data.user_ids().gather(rows["user"]).to_list()
    items = data.item_ids().gather(rows["item"]).to_list()
    assert list(zip(users, items, strict=True)) == [(f"u{user}", f"i{item}") for user, item in pairs]
    assert np.array_equal(data.items_of(data.item_ids().to_list()), np.arange(data.n_items))


def test_the_guess_of_a_dry_run_names_the_columns_of_the_source(tmp_path: Path):
    reviews = write(
        tmp_path / "reviews.csv", "reviewerID,asin,overall,unixReviewTime,vote\nA1,B1,5,1400000000,3\n,B1,4,1,0\n"
    )
    plan = plan_import(reviews, ImportConfig())
    assert plan.mapping == {
        "user_id": "reviewerID",
        "item_id": "asin",
        "rating": "overall",
        "timestamp": "unixReviewTime",
    }
    assert plan.columns["vote"] == "Int64"  # what has no role is kept
    assert plan.counts == {"rows": 1, "users": 1, "items": 1, "rejected: missing_id": 1}


def test_min_rating_leaves_rows_out_before_the_core(tmp_path: Path):
    rows = [(user, item, 5) for user in "abc" for item in "xyz"] + [("a", "w", 1), ("d", "x", 5), ("e", "w", 2)]
    log = write(tmp_path / "log.csv", "user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    data = imported(log, min_rating=4, k_core=3)
    assert (data.n_users, data.n_items, data.n_interactions) == (3, 3, 9)
    assert (data.info.counts["below_min_rating"], data.info.counts["outside_k_core"]) == (2, 1)
    with pytest.raises(DataError, match=r"min_rating 6\.0 keeps 0 of 12 rows \(largest rating: 5\)"):
        imported(log, min_rating=6, out="none")
    bare = write(tmp_path / "bare.csv", "user,item\na,x\n")
    with pytest.raises(DataError, match=r"min_rating is 4\.0 and the data have no rating"):
        imported(bare, min_rating=4, out="none")


def test_columns_that_need_our_names_keep_theirs_with_a_suffix(tmp_path: Path):
    log = write(tmp_path / "log.csv", "userId,itemId,user,row\n1,9,Bob,7\n2,8,Eve,6\n")
    data = imported(log)
    rows = data.interactions().collect()
    assert rows.columns == ["user", "item", "user_raw", "row_raw"]
    assert rows["user_raw"].to_list() == ["Bob", "Eve"]
    assert "log.csv: the column 'user' is kept as 'user_raw'" in data.info.notices


class TwoLists:
    """A reader of another package: one user a line, items by name, and a matrix for some of them."""

    summary = "a user and the items that it had, a line each"
    Config = NoOptions

    def __init__(self, config: NoOptions) -> None:
        self.config = config

    def read(self, path: Path) -> Reading:
        lines = [line.split() for line in path.read_text().splitlines()]
        rows = [(words[0], item, number + 1) for number, words in enumerate(lines) for item in words[1:]]
        return Reading(
            interactions=pl.LazyFrame(rows, schema=["user_id", "item_id", "row"], orient="row"),
            files=[path],
            features={"text": GivenFeatures(lambda: np.array([[1.0, 2], [3, 4]]), pl.Series(["b", "c"]), {"by": "me"})},
        )


def test_a_reader_of_another_package(tmp_path: Path):
    source = write(tmp_path / "lists.txt", "u2 b a\nu1 a\n")
    with registry.registered("sensorium.readers", "lists", TwoLists):
        data = imported(source, reader="lists")
    assert data.info.source.reader == "lists"
    assert data.interactions().collect().rows() == [(1, 1), (1, 0), (0, 0)]
    x, present = data.features("text")  # of "a", which has none, and "b"; "c" is not in the rows
    assert (x.tolist(), present.tolist()) == ([[0, 0], [1, 2]], [False, True])
    assert data.info.features["text"].provenance == {"by": "me"}


class Careless(TwoLists):
    """A reader that does not set aside what it should."""

    def read(self, path: Path) -> Reading:
        rows = pl.LazyFrame({"user_id": ["u", None], "item_id": ["a", "b"], "row": [1, 2]})
        return Reading(interactions=rows, files=[path])


class Wrong(TwoLists):
    """A reader whose rows are not what was agreed."""

    def read(self, path: Path) -> Reading:
        return Reading(interactions=pl.LazyFrame({"who": ["u"], "row": [1]}), files=[path])


@pytest.mark.parametrize(
    ("reader", "message"),
    [(Careless, "rows without a user or an item"), (Wrong, r"lists\.txt: cannot be read: .*user_id")],
)
def test_a_reader_that_breaks_the_rules_is_told(tmp_path: Path, reader: type, message: str):
    source = write(tmp_path / "lists.txt", "u a\n")
    with registry.registered("sensorium.readers", "lists", reader), pytest.raises(DataError, match=message):
        imported(source, reader="lists")
    assert [path.name for path in tmp_path.iterdir()] == ["lists.txt"]
