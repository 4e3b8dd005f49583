"""Sequences on disk are those in memory, whatever the size of a bucket, and are made in a part of the log's memory."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data import packing
from sensorium.data import sequences as room
from sensorium.data.appending import append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.schema import Source
from sensorium.data.sequences import everything, sequences, stored_sequences
from sensorium.data.splits import TEST, TRAIN, VALID, make_split
from sensorium.data.store import write_tables


def log(
    root: Path, user: np.ndarray, item: np.ndarray, clocks: dict[str, np.ndarray], users: int, items: int
) -> Dataset:
    """A data set of these rows, written without an import."""
    root.mkdir(parents=True)
    return write_tables(
        root,
        name="log",
        source=Source(reader="made"),
        interactions=pl.DataFrame({"user": user.astype(np.int32), "item": item.astype(np.int32), **clocks}),
        items=pl.DataFrame({"item": np.arange(items, dtype=np.int32), "item_id": [f"i{n}" for n in range(items)]}),
        users=pl.DataFrame({"user": np.arange(users, dtype=np.int32), "user_id": [f"u{n}" for n in range(users)]}),
    )


def small_buckets(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(packing, "BUCKET", rows)
    monkeypatch.setattr(packing, "BATCH", 2 * rows + 1)


def same(one: room.SequenceStore, two: room.SequenceStore) -> bool:
    return np.array_equal(one.values, two.values) and np.array_equal(one.offsets, two.offsets)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), clock=st.sampled_from(["timestamp", "order"]), bucket=st.integers(1, 40))
def test_stored_sequences_are_those_in_memory(
    data: st.DataObject, clock: str, bucket: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any log, ties included, and any bucket; users without a row at either end and in between."""
    rows, users, items = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    user, item = draw.integers(users, size=rows), draw.integers(items, size=rows)
    times = draw.permutation(rows) if clock == "order" else draw.integers(5, size=rows) * 1000
    found = log(tmp_path_factory.mktemp("log") / "d", user, item, {clock: times.astype(np.int64)}, users + 2, items)
    with pytest.MonkeyPatch.context() as patch:
        small_buckets(patch, bucket)
        stored = stored_sequences(found, seed=3, timestamps=clock == "timestamp")
    assert len(stored) == users + 2
    whole = everything(found, 3)
    assert np.array_equal(stored.offsets, whole.offsets)
    for number in range(users + 2):
        start, end = stored.offsets[number : number + 2]
        mine = stored.values[start:end]
        if clock == "timestamp":  # exact repetitions, which an import drops, may stand either way round
            assert stored.timestamps is not None
            assert (np.diff(stored.timestamps[start:end]) >= 0).all()
            pairs = sorted(zip(stored.timestamps[start:end].tolist(), mine.tolist(), strict=True))
            assert pairs == sorted(zip(times[user == number].tolist(), item[user == number].tolist(), strict=True))
        assert mine.tolist() == whole.values[start:end].tolist()


def drawn(tmp_path: Path, rows: int = 3_000) -> Dataset:
    draw = np.random.default_rng(1)
    source = tmp_path / "log.csv"
    pl.DataFrame(
        {
            "user_id": draw.integers(100, size=rows),
            "item_id": draw.integers(80, size=rows),
            "timestamp": 1_600_000_000 + draw.integers(400, size=rows),
        }
    ).write_csv(source)
    return import_dataset(source, tmp_path / "data", ImportConfig())


def test_sequences_of_a_split_are_made_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_buckets(monkeypatch, 100)
    found = drawn(tmp_path)
    split = make_split(found, "leave_last_out", seed=5)
    wanted = {labels: sequences(found, split, labels) for labels in ((TRAIN,), (TRAIN, VALID), (TEST,))}
    assert not (found.root / "sequences").exists()  # few rows: in memory
    monkeypatch.setattr(room, "STORED_FROM", 1_000)
    for labels, store in wanted.items():
        stored = sequences(found, split, labels)
        assert same(stored, store)
        assert not stored.values.flags.writeable
        assert stored.timestamps is None
    made = {path: path.stat().st_mtime_ns for path in (found.root / "sequences").rglob("*") if path.is_file()}
    assert len(made) == 6
    assert not [path for path in made if path.name.startswith(".")]  # buckets are gone
    sequences(found, split, [TRAIN])
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with_times = stored_sequences(found, split, [TRAIN], timestamps=True)
    assert with_times.timestamps is not None
    assert (with_times.of(np.array([7])).timestamps == np.sort(with_times.of(np.array([7])).timestamps)).all()
    assert np.array_equal(
        with_times.tail(2).timestamps, with_times.timestamps[np.concatenate(_last(with_times.offsets, 2))]
    )


def _last(offsets: np.ndarray, length: int) -> list[np.ndarray]:
    return [np.arange(max(start, end - length), end) for start, end in itertools.pairwise(offsets)]


@pytest.mark.parametrize("again_rows", [100, 37])
def test_packing_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again_rows: int) -> None:
    """Specification 7.9: the same log packed anew, in the same buckets and in others."""
    found = drawn(tmp_path)
    split = make_split(found, "leave_last_out", seed=5, repeats="all")
    made = []
    for rows in (100, again_rows):
        small_buckets(monkeypatch, rows)
        stored_sequences(found, split, [TRAIN])
        stored_sequences(found, timestamps=True)
        kept = found.root / "sequences"
        made.append({path.relative_to(kept): path.read_bytes() for path in kept.rglob("*") if path.is_file()})
        shutil.rmtree(kept)
    assert len(made[0]) == 4
    assert made[0] == made[1]


def test_an_earlier_state_has_its_own_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_buckets(monkeypatch, 50)
    found = drawn(tmp_path)
    before = stored_sequences(found)
    wanted = before.values.copy()
    more = tmp_path / "more.csv"
    more.write_text("user_id,item_id,timestamp\n3,500,1700000000\n900,4,1700000000\n")
    grown = append_to_dataset(more, found.root, ImportConfig()).dataset
    assert len(stored_sequences(grown).values) == len(wanted) + 2
    assert np.array_equal(stored_sequences(grown.earlier()[0]).values, wanted)


def test_what_cannot_be_stored_says_so(tmp_path: Path) -> None:
    two = np.array([0, 1])
    bare = log(tmp_path / "bare", two, two, {}, 2, 2)
    with pytest.raises(DataError, match="neither time nor order"):
        stored_sequences(bare)
    assert not list((bare.root / "sequences").glob("*/*"))
    ordered = log(tmp_path / "ordered", two, two, {"order": two.astype(np.int64)}, 2, 2)
    with pytest.raises(DataError, match="has no time: its sequences are kept without"):
        stored_sequences(ordered, timestamps=True)


MEASURE = """
import json, sys
from pathlib import Path
from sensorium.data.dataset import Dataset
from sensorium.data.sequences import stored_sequences

def memory(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
before = memory()
store = stored_sequences(Dataset.open(sys.argv[1]), timestamps=True)
print(json.dumps({"more": memory() - before, "rows": len(store.values)}))
"""


@pytest.mark.parametrize("rows", [300_000, pytest.param(20_000_000, marks=pytest.mark.slow)])
def test_at_scale(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsorted rows of distinct times: the store is the log sorted by user and time, and memory held a part of it."""
    draw = np.random.default_rng(0)
    users, items = rows // 7, 5_000
    user = (users * draw.random(rows) ** 1.5).astype(np.int32)
    item, times = draw.integers(items, size=rows, dtype=np.int32), draw.permutation(rows).astype(np.int64)
    found = log(tmp_path / "data", user, item, {"timestamp": times}, users, items)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(found.root)], check=True, capture_output=True, text=True, timeout=1_200
    )
    measured = json.loads(done.stdout)
    assert measured["rows"] == rows
    store = stored_sequences(found, timestamps=True)  # as the other process made it
    order = np.lexsort((times, user))
    assert np.array_equal(store.values, item[order])
    assert np.array_equal(store.timestamps, times[order])
    assert np.array_equal(store.offsets, np.concatenate([[0], np.cumsum(np.bincount(user, minlength=users))]))
    if rows > packing.BUCKET:
        assert measured["more"] < 250_000_000 + 40 * users  # all of it sorted at once takes over 60 bytes a row
