"""Packed histories: the same as a loop over users, memory-mapped, made once, and free of the file's order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core import resources
from sensorium.core.errors import DataError, ResourceError
from sensorium.data.appending import append_to_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.histories import sequence_store

from .made import make_dataset
from .sources import config, imported, write

logs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=40)


@settings(max_examples=30, deadline=None)
@given(logs, st.integers(1, 6))
def test_as_a_loop_over_users_would_have_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], length: int
):
    user, item, time = (list(column) for column in zip(*rows, strict=True))
    data = make_dataset(tmp_path_factory.mktemp("h") / "d", user, item, n_users=7, n_items=9, timestamp=time)
    store = sequence_store(data)
    assert (store.values.dtype, store.offsets.dtype) == (np.int32, np.int64)
    assert (store.n_users, store.offsets[0], store.offsets[-1]) == (7, 0, len(rows))
    window, there = store.last(np.arange(7), length)
    for u in range(7):
        mine = sorted((t, i) for w, i, t in rows if w == u)
        history = store.history(u).tolist()
        times = store.timestamps[store.offsets[u] : store.offsets[u + 1]].tolist()  # type: ignore[index]
        assert times == [t for t, _ in mine]
        assert sorted(zip(times, history, strict=True)) == mine
        assert window[u][there[u]].tolist() == history[-length:]
        assert there[u].tolist() == sorted(there[u].tolist())  # padded on the left
        assert not window[u][~there[u]].any()


def test_the_order_of_the_file_leaves_no_trace(tmp_path: Path):
    rows = [f"u{n % 4},i{n % 7},{1_000_000_000 + n // 9}\n" for n in range(60)]
    stores = []
    for name, text in (("a", rows), ("b", rows[::-1])):
        data = imported(write(tmp_path / name / "log.csv", "user,item,timestamp\n" + "".join(text)))
        stores.append(sequence_store(data, seed=3))
    assert np.array_equal(stores[0].values, stores[1].values)
    other = sequence_store(imported(write(tmp_path / "c" / "log.csv", "user,item,timestamp\n" + "".join(rows))), seed=4)
    assert not np.array_equal(stores[0].values, other.values)  # ties fall otherwise


def test_it_is_made_once_and_mapped(tmp_path: Path):
    data = imported(write(tmp_path / "log.csv", "user,item,timestamp\nu,a,2\nu,b,1\nv,a,3\n"))
    first = sequence_store(data)
    assert first.values.tolist() == [1, 0, 0]
    assert not first.values.flags.writeable
    assert not first.values.flags.owndata
    files = {path: path.stat().st_mtime_ns for path in (data.root / "sequences").rglob("*.arrow")}
    assert len(files) == 2
    sequence_store(Dataset.open(data.root))
    assert {path: path.stat().st_mtime_ns for path in (data.root / "sequences").rglob("*.arrow")} == files
    for path in files:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="is damaged"):
        sequence_store(data)


def test_growth_makes_another_and_the_old_one_stays(tmp_path: Path):
    data = imported(write(tmp_path / "a.txt", "u 1 2\nv 2\n"), reader="s3rec", out="shop")
    before = sequence_store(data)
    assert before.timestamps is None
    grown = append_to_dataset(write(tmp_path / "b.txt", "u 3\n"), data.root, config(reader="s3rec")).dataset
    assert [grown.item_ids()[int(item)] for item in sequence_store(grown).history(0)] == ["1", "2", "3"]
    assert sequence_store(grown.earlier()[0]).values.tolist() == before.values.tolist()


def test_without_order_and_without_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="neither time nor order"):
        sequence_store(make_dataset(tmp_path / "x", [0], [0]))
    monkeypatch.setattr(resources, "available_memory", lambda: 10)
    with pytest.raises(ResourceError, match="packing 1 rows by user needs about 64 bytes"):
        sequence_store(make_dataset(tmp_path / "y", [0], [0], timestamp=[1]))
