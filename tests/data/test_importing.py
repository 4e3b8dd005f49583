"""Import: ids, faults that are counted or explained, and folders that are whole or not there."""

import errno
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.identifiers import sort_ids
from sensorium.data.importing import ImportConfig, import_dataset, plan_import


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def config(**tree: object) -> ImportConfig:
    return build(ImportConfig, tree, source="test")


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

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(DataError, match="the disk is full"):
            import_dataset(log, out, ImportConfig())
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    import_dataset(log, out, ImportConfig())
    with pytest.raises(DataError, match="is there already"):
        import_dataset(log, out, ImportConfig())
    assert import_dataset(log, out, ImportConfig(), overwrite=True).n_interactions == 4


def test_a_folder_that_is_no_data_set_is_never_overwritten(log: Path, tmp_path: Path):
    write(tmp_path / "thesis" / "chapter1.txt", "precious")
    with pytest.raises(DataError, match="not a data set"):
        import_dataset(log, tmp_path / "thesis", ImportConfig(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "precious"


def test_wrong_separator_is_one_line(tmp_path: Path):
    """DI-2: the file, the separator used, columns found and needed, and what it looks like."""
    path = write(tmp_path / "log.txt", "user_id item_id timestamp\n1 2 3\n4 5 6\n7 8 9\n")
    with pytest.raises(DataError) as caught:
        import_dataset(path, tmp_path / "out", config(reader={"name": "csv", "sep": "tab"}))
    assert str(caught.value) == (
        f"{path}: separated by tab it has 1 column, and 3 are needed; it looks like a space: --sep space"
    )
    assert not (tmp_path / "out").exists()
    assert import_dataset(path, tmp_path / "out", config(reader={"name": "csv", "sep": "space"})).n_interactions == 3


def test_text_in_a_number_column_keeps_its_item(tmp_path: Path):
    """DI-3: values that cannot be read are missing and counted by line; --strict stops; no item is lost."""
    prices = ["12.99", "—", "-", "$5", '"1,299.00"', "", "NaN"]
    write(tmp_path / "items.csv", "item,title,price\n" + "".join(f"i{n},T{n},{p}\n" for n, p in enumerate(prices)))
    log = write(tmp_path / "log.csv", "user,item\n" + "".join(f"u,i{n}\n" for n in range(7)))
    reader = {"name": "csv", "items": str(tmp_path / "items.csv")}
    data = import_dataset(log, tmp_path / "out", config(reader=reader))
    assert data.n_items == 7
    assert data.items().collect()["price"].to_list() == [12.99, None, None, None, None, None, None]
    assert (
        "items.csv: 4 values of 'price' cannot be read and count as missing (first lines: 3, 4, 5)" in data.info.notices
    )
    with pytest.raises(DataError, match=r"4 values of 'price' .* --strict allows none"):
        import_dataset(log, tmp_path / "strict", config(reader=reader | {"strict": True}))


def test_a_filter_that_leaves_nothing(tmp_path: Path):
    """DI-6: the k-core that keeps nothing names the largest k that would keep any."""
    log = write(tmp_path / "log.csv", "user,item\n" + "".join(f"u{n},i{n}\n" for n in range(6)))
    with pytest.raises(DataError) as caught:
        import_dataset(log, tmp_path / "out", config(k_core=5))
    assert str(caught.value) == "5-core keeps 0 of 6 rows (largest k that keeps any: 1)"


def test_rows_that_are_nothing_are_set_aside_and_counted(tmp_path: Path):
    log = write(
        tmp_path / "log.csv",
        "user,item,rating,timestamp\nu1,a,4,1000000001\n,b,3,1000000002\nu2,,3,1000000003\nu1,b,good,1000000004\nu2,a,2,soon\n",
    )
    data = import_dataset(log, tmp_path / "out", ImportConfig())
    rejected = data.rejected().sort("row").collect()
    assert data.n_interactions == 1
    assert rejected["row"].to_list() == [3, 4, 5, 6]  # lines of the file
    assert rejected["reason"].to_list() == ["missing_id", "missing_id", "unreadable_rating", "unreadable_timestamp"]
    assert data.info.counts["rejected"] == 4
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
        ("user,item\n,\n", "no row is left to import"),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, text: str, message: str):
    log = write(tmp_path / "log.csv", text)
    with pytest.raises(DataError, match=message):
        import_dataset(log, tmp_path / "out", ImportConfig())
    assert not (tmp_path / "out").exists()


def test_other_encodings_are_named_or_read(tmp_path: Path):
    log = write(tmp_path / "log.csv", "user,item\nu,Misérables\n", "latin-1")
    with pytest.raises(DataError, match=r"log\.csv: the text is not UTF-8"):
        import_dataset(log, tmp_path / "out", ImportConfig())
    data = import_dataset(log, tmp_path / "out", config(reader={"name": "csv", "encoding": "latin-1"}))
    assert data.item_ids().to_list() == ["Misérables"]


def test_truncated_parquet_is_named(log: Path, tmp_path: Path):
    data = import_dataset(log, tmp_path / "shop", ImportConfig())
    source = tmp_path / "log.parquet"
    pl.DataFrame({"user": ["u"], "item": ["i"]}).write_parquet(source)
    assert import_dataset(source, tmp_path / "from-parquet", ImportConfig()).n_interactions == 1
    for path in (source, data.root / "interactions.parquet"):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"log\.parquet: cannot be read as Parquet"):
        import_dataset(source, tmp_path / "again", ImportConfig())
    with pytest.raises(DataError, match=r"interactions\.parquet cannot be read as Parquet, it may be truncated"):
        Dataset.open(data.root).interactions()


def test_json_lines_with_lists_and_missing_keys(tmp_path: Path):
    items = [{"item": "a", "title": "A", "description": ["one", "two"]}, {"item": "b"}]
    write(tmp_path / "items.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    log = write(tmp_path / "log.jsonl", '{"user": 7, "item": "a"}\n{"user": 12, "item": "b"}\n')
    data = import_dataset(
        log, tmp_path / "out", config(reader={"name": "jsonl", "items": str(tmp_path / "items.jsonl")})
    )
    assert data.user_ids().to_list() == ["7", "12"]
    assert data.items().collect()["description"].to_list() == ["one two", None]
    write(log, '{"user": 7\n')
    with pytest.raises(DataError, match="cannot be read as JSON Lines"):
        import_dataset(log, tmp_path / "broken", ImportConfig())


def test_dry_run_shows_the_guess_and_writes_nothing(log: Path, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    plan = plan_import(log, ImportConfig())
    assert plan.reader == "csv"
    assert list(plan.columns) == ["user_id", "item_id", "rating", "timestamp"]
    assert plan.counts == {"rows": 4, "users": 2, "items": 2}
    assert plan.head.height == 4
    assert sorted(tmp_path.iterdir()) == before


def test_media_come_along_and_lost_ones_are_counted(log: Path, tmp_path: Path):
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.png").write_bytes(b"picture")
    write(tmp_path / "items.csv", "item,image\na,covers/a.png\nb,covers/b.png\nc,\n")
    reader = {"name": "csv", "items": str(tmp_path / "items.csv")}
    data = import_dataset(log, tmp_path / "out", config(reader=reader))
    paths = data.items().collect()["image"].to_list()
    assert data.media_path(paths[0]).read_bytes() == b"picture"
    assert paths[1:] == [None, None]
    assert data.item_ids().to_list() == ["a", "b", "c"]  # an item that nobody had is part of the catalogue
    assert data.rejected().select("column", "reason").collect().row(0) == ("image", "missing_file")
    write(tmp_path / "items.csv", "item,image\na,../../etc/passwd\n")
    with pytest.raises(DataError, match=r"item a: the path '\.\./\.\./etc/passwd' leads out of"):
        import_dataset(log, tmp_path / "escape", config(reader=reader))


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "media/../../secret"])
def test_media_paths_stay_below_the_root(log: Path, tmp_path: Path, path: str):
    data = import_dataset(log, tmp_path / "out", ImportConfig())
    with pytest.raises(DataError, match="leads out of"):
        data.media_path(path)


def test_users_file_brings_attributes(log: Path, tmp_path: Path):
    users = write(tmp_path / "users.csv", "user,gender\nu1,f\nu3,m\nu3,f\n")
    data = import_dataset(
        log, tmp_path / "out", config(reader={"name": "csv", "users": str(users), "sensitive": ["gender"]})
    )
    values, classes = data.attributes()["gender"]
    assert (values.tolist(), classes) == ([0, -1, 1], ["f", "m"])
    assert any("id that stood before" in notice for notice in data.info.notices)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=40))
def test_ids_are_distinct_sorted_and_complete(ids: list[str]):
    found = sort_ids(pl.Series(ids, dtype=pl.String)).to_list()
    assert set(found) == set(ids)
    assert len(found) == len(set(ids))
    assert found == sorted(set(ids), key=lambda text: text.encode())


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=40))
def test_integer_ids_are_sorted_by_value(ids: list[int]):
    assert sort_ids(pl.Series([str(value) for value in ids])).to_list() == [str(value) for value in sorted(set(ids))]


def test_numbers_with_leading_zeros_stay_text():
    assert sort_ids(pl.Series(["10", "9", "007"])).to_list() == ["007", "10", "9"]


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
