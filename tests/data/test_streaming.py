"""A log that goes over files gives the data set that one held in memory gives."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data import importing, streaming
from sensorium.data.appending import append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.importing import ImportConfig, import_dataset


def over_files(patch: pytest.MonkeyPatch, batch: int = 7) -> None:
    patch.setattr(importing, "STREAMED_FROM", 0)
    patch.setattr(streaming, "BATCH", batch)


def write(path: Path, users: list[str], items: list[str], **columns: list) -> Path:
    pl.DataFrame({"user_id": users, "item_id": items, **columns}).write_csv(path)
    return path


def same(one: Dataset, two: Dataset) -> None:
    for table in (Dataset.interactions, Dataset.users, Dataset.items, Dataset.rejected):
        assert table(one).collect().equals(table(two).collect())
    assert one.info.counts == two.info.counts
    assert one.info.notices == two.info.notices


IDS = st.one_of(st.integers(0, 10**6).map(str), st.text("abcxyz-é", min_size=1, max_size=30))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(IDS, IDS, st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=60),
    options=st.sampled_from([{}, {"min_rating": 1.0}, {"min_rating": 3.0}, {"k_core": 2}]),
    batch=st.integers(1, 20),
)
def test_it_is_what_an_import_in_memory_gives(
    rows: list[tuple[str, str, int, int]], options: dict, batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ids as integers and as text, repeated rows, filters that leave little or nothing; and an append to it."""
    folder = tmp_path_factory.mktemp("both")
    users, items, ratings, times = map(list, zip(*rows, strict=True))
    log = write(folder / "log.csv", users, items, rating=ratings, timestamp=[1_600_000_000 + t for t in times])
    config = ImportConfig(**options)
    try:
        whole = import_dataset(log, folder / "whole", config)
    except DataError as error:
        said = str(error)
        with pytest.MonkeyPatch.context() as patch:
            over_files(patch, batch)
            with pytest.raises(DataError) as found:
                import_dataset(log, folder / "files", config)
        assert str(found.value) == said
        return
    with pytest.MonkeyPatch.context() as patch:
        over_files(patch, batch)
        streamed = import_dataset(log, folder / "files", config)
        same(whole, streamed)
        assert not list(streamed.root.glob(".*"))
        again = import_dataset(log, folder / "again", config)
        assert digests(streamed.root) == digests(again.root)
    if "k_core" in options:
        return
    more = write(
        folder / "more.csv",
        [*users[:3], "new"],
        [*items[:3], "thing"],
        rating=[*ratings[:3], 5],
        timestamp=[*(1_600_000_000 + t for t in times[:3]), 1_700_000_000],
    )
    grown = append_to_dataset(more, whole.root, config)
    with pytest.MonkeyPatch.context() as patch:
        over_files(patch, batch)
        streamed_too = append_to_dataset(more, streamed.root, config)
    assert grown.counts == streamed_too.counts
    same(grown.dataset, streamed_too.dataset)
    known = streamed.item_ids()
    assert streamed_too.dataset.item_ids()[: len(known)].equals(known)


def digests(root: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.glob("*.parquet")}


def test_two_ids_of_one_hash_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first hash takes all ids for one: another is tried. When none tells them apart, that is said."""
    log = write(tmp_path / "log.csv", ["a", "b", "c"], ["x", "y", "x"])
    over_files(monkeypatch)
    right = pl.Series.hash
    tried = []

    def blunt(self: pl.Series, seed: int) -> pl.Series:
        tried.append(seed)
        return right(self, seed) if seed else right(self, seed) * 0

    monkeypatch.setattr(pl.Series, "hash", blunt)
    assert import_dataset(log, tmp_path / "data", ImportConfig()).user_ids().to_list() == ["a", "b", "c"]
    assert set(tried) == {0, 1}
    monkeypatch.setattr(pl.Series, "hash", lambda self, seed: right(self, seed) * 0)
    with pytest.raises(DataError, match="cannot be told apart by 3 hashes"):
        import_dataset(log, tmp_path / "other", ImportConfig())
    assert not (tmp_path / "other").exists()


def test_repeated_rows_are_found_across_batches(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({name: draw.integers(6, size=2_000, dtype=np.int32) for name in ("user", "item", "timestamp")})
    with streaming.Writer(tmp_path / "rows.arrow") as writer:
        for start in range(0, 2_000, 300):
            writer.write(frame.slice(start, 300))
        spool = writer.done()
    assert spool.rows == 2_000
    wanted = ~frame.select(pl.struct(frame.columns).is_first_distinct()).to_series()
    assert streaming.repeated_rows(spool, ("user", "item", "timestamp")).tolist() == wanted.to_list()
    assert not streaming.repeated_rows(spool, ("user", "item", "timestamp"))[:1].any()


KILLED = """
import sys, time
from pathlib import Path
from sensorium.data import importing, streaming

importing.STREAMED_FROM = 0
work = streaming.kept_log

def halt(*arguments):
    found = work(*arguments)
    Path(sys.argv[3]).touch()
    time.sleep(600)
    return found

importing.kept_log = halt
importing.import_dataset(sys.argv[1], sys.argv[2], importing.ImportConfig())
"""


def test_a_killed_import_leaves_nothing_and_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write(tmp_path / "log.csv", ["a", "b"], ["x", "y"], timestamp=[1_600_000_000, 1_600_000_001])
    out, begun = tmp_path / "home" / "data", tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(log), str(out), str(begun)])
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert list(out.parent.glob(".data.*.tmp"))  # what it left, with its files
    over_files(monkeypatch)
    assert import_dataset(log, out, ImportConfig()).n_interactions == 2
    assert [path.name for path in out.parent.iterdir()] == ["data"]


def test_the_reader_must_not_give_rows_without_ids(tmp_path: Path) -> None:
    rows = pl.LazyFrame({"user_id": ["a", None], "item_id": ["x", "y"]})
    with pytest.raises(DataError, match="rows without a user or an item"):
        streaming.encode_log(rows, tmp_path, Path("log.csv"))
