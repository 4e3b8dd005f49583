"""What an import will take: rows told from the beginning of the file, and work that does not fit refused."""

import gzip
import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core import resources
from sensorium.core.errors import ResourceError
from sensorium.data import estimating
from sensorium.data.estimating import estimate_import, say_estimate

from .sources import imported


def log(rows: int) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    user, item = (pl.Series(draw.integers(0, 10**12, rows)).cast(pl.String) for _ in range(2))
    return pl.DataFrame({"user": user, "item": item, "timestamp": draw.integers(10**9, 2 * 10**9, rows)})


def test_rows_of_text_gzip_and_parquet(tmp_path: Path):
    frame = log(60_000)
    frame.write_csv(tmp_path / "log.csv")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes(), 1))
    frame.write_parquet(tmp_path / "log.parquet")
    for name in ("log.csv", "log.csv.gz", "log.parquet"):
        found = estimate_import(tmp_path / name)
        assert found is not None
        assert found.rows == pytest.approx(60_000, rel=0.02), name
    assert estimate_import(tmp_path) == estimate_import(tmp_path / "log.csv")  # the largest text of a folder


def test_more_rows_take_more(tmp_path: Path):
    estimates = []
    for rows in (1_000, 100_000):
        log(rows).write_csv(tmp_path / "log.csv")
        estimates.append(estimate_import(tmp_path / "log.csv"))
    small, large = estimates
    assert small is not None
    assert large is not None
    assert large.memory - estimating.BASE == pytest.approx(100 * (small.memory - estimating.BASE), rel=0.05)
    assert large.seconds == pytest.approx(100 * small.seconds, rel=0.05)


@pytest.mark.parametrize("content", [b"", b"no line", b"\x1f\x8b damaged"])
def test_what_cannot_be_told_is_left_to_the_reader(tmp_path: Path, content: bytes):
    for name in ("x.csv", "x.csv.gz", "x.parquet"):
        (tmp_path / name).write_bytes(content)
        assert estimate_import(tmp_path / name) is None
    assert estimate_import(tmp_path / "nothing") is None


def test_it_is_said_before_and_refused_where_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    log(5_000).write_csv(tmp_path / "log.csv")
    with caplog.at_level(logging.INFO):
        say_estimate(tmp_path / "log.csv")
    assert not caplog.text  # a small one takes a moment
    monkeypatch.setattr(estimating, "WORTH_SAYING", 1_000)
    with caplog.at_level(logging.INFO):
        say_estimate(tmp_path / "log.csv")
    assert "importing about 5,0" in caplog.text
    monkeypatch.setattr(resources, "available_memory", lambda: 1_000)
    with pytest.raises(ResourceError, match=r"rows of log\.csv needs about .* of memory and 1000 bytes are free"):
        imported(tmp_path / "log.csv")
    assert not (tmp_path / "out").exists()
