"""An open data set: lazy tables, titles, paths that stay inside, and damage that is named."""

from pathlib import Path

import polars as pl
import pytest

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.dataset import Dataset

from .made import make_dataset
from .sources import imported, write


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "shop", [0, 1], [0, 1])


def test_tables_are_lazy(data: Dataset) -> None:
    for table in (data.interactions(), data.items(), data.users(), data.rejected()):
        assert isinstance(table, pl.LazyFrame)


def test_external_ids_are_found_and_unknown_ones_are_told(data: Dataset) -> None:
    assert data.users_of(["user 1", "nobody", "user 0"]).tolist() == [1, -1, 0]
    assert data.items_of([]).tolist() == []


def test_titles_fall_back_to_ids(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item\nu,a\nu,b\n")
    assert imported(log).titles().to_list() == ["a", "b"]
    items = write(tmp_path / "items.csv", "item,title\na,First\nb, \n")
    assert imported(log, reader={"name": "csv", "items": items}, out="titled").titles().to_list() == ["First", "b"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "media/../../secret", "link/secret"])
def test_media_paths_stay_below_the_root(data: Dataset, tmp_path: Path, path: str) -> None:
    (data.root / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads out of"):
        data.media_path(path)


@pytest.mark.parametrize("table", ["interactions", "items", "users", "rejected"])
def test_a_truncated_table_is_named(data: Dataset, table: str) -> None:
    path = data.root / f"{table}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{table}\.parquet cannot be read as Parquet, it may be truncated"):
        getattr(Dataset.open(data.root), table)()


def test_a_later_format_is_told(data: Dataset) -> None:
    description = data.root / "dataset.json"
    description.write_text(description.read_text().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(DataError, match="format 9, this release reads up to 1: update sensorium"):
        Dataset.open(data.root)


def test_a_description_that_was_changed_by_hand_names_the_key(data: Dataset) -> None:
    description = data.root / "dataset.json"
    description.write_text(description.read_text().replace('"licence"', '"license"'))
    with pytest.raises(ConfigError, match=r"dataset\.json.*license.*licence"):
        Dataset.open(data.root)


def test_the_fingerprint_follows_the_content(tmp_path: Path, data: Dataset) -> None:
    same = make_dataset(tmp_path / "same", [0, 1], [0, 1])
    other = make_dataset(tmp_path / "other", [0, 1], [1, 0])
    assert data.fingerprint() == same.fingerprint() != other.fingerprint()
