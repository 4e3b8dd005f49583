"""Parquet logs: their types, and files that are cut or something else."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sensorium.core.errors import DataError

from ..sources import imported, write


def test_types_of_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "user": pl.Series(["b", "a", "b"]).cast(pl.Categorical),
            "item": [10.0, 9.0, None],  # whole numbers beside a gap
            "time": [datetime(2020, 1, 1), datetime(2020, 1, 2), datetime(2020, 1, 3)],
            "rating": [4, 5, 1],
            "flag": [True, False, True],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet")
    data = imported(tmp_path / "log.parquet")
    assert (data.user_ids().to_list(), data.item_ids().to_list()) == (["a", "b"], ["9", "10"])
    rows = data.interactions().collect()
    assert rows.rows() == [(1, 1, 4.0, 1_577_836_800_000, True), (0, 0, 5.0, 1_577_923_200_000, False)]
    assert data.rejected().collect().select("row", "reason").rows() == [(3, "missing_id")]


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user": ["u"], "item": ["i"]}).write_parquet(path)
    assert imported(path).n_interactions == 1
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"log\.parquet: cannot be read as Parquet, it may be truncated"):
        imported(path, out="again")


def test_another_format_under_the_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.parquet: cannot be read as Parquet"):
        imported(write(tmp_path / "log.parquet", "user,item\nu,i\n"))
