"""Files: atomic writes, readable errors, digests."""

import errno
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core import files
from sensorium.core.errors import DataError


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "table.parquet"
    files.write_parquet(path, pl.DataFrame({"a": [1]}))

    def no_space(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(DataError, match=r"the disk is full: could not write .*note\.json"):
        files.write_json(tmp_path / "note.json", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet"]


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_truncated_files_are_named(tmp_path: Path, keep: int):
    files.write_parquet(tmp_path / "t.parquet", pl.DataFrame({"a": list(range(1000))}))
    files.write_npy(tmp_path / "t.npy", np.arange(1000))
    files.write_safetensors(tmp_path / "t.safetensors", {"a": torch.arange(1000)})
    for name, read in [
        ("t.parquet", files.read_parquet),
        ("t.npy", files.read_npy),
        ("t.safetensors", files.read_safetensors),
    ]:
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=name):
            read(path)
        path.unlink()
        with pytest.raises(DataError, match=f"{name} does not exist"):
            read(path)


def test_python_objects_are_never_read(tmp_path: Path):
    with (tmp_path / "o.npy").open("wb") as handle:
        np.save(handle, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"o\.npy"):
        files.read_npy(tmp_path / "o.npy")


def test_round_trips(tmp_path: Path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    files.write_npy(tmp_path / "a.npy", array)
    assert np.array_equal(files.read_npy(tmp_path / "a.npy", mmap=True), array)
    table = torch.arange(6.0).reshape(2, 3)
    files.write_safetensors(tmp_path / "a.safetensors", {"whole": table, "view": table[1]}, {"format": "1"})
    loaded = files.read_safetensors(tmp_path / "a.safetensors")
    assert torch.equal(loaded["view"], table[1])
    files.write_json(tmp_path / "a.json", {"n": np.int64(3), "x": np.arange(2)})
    assert files.read_json(tmp_path / "a.json") == {"n": 3, "x": [0, 1]}


def test_json_refuses_nan(tmp_path: Path):
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_digest_tells_apart_what_differs():
    distinct = [
        ("ab",), ("a", "b"), (b"ab",), (["a", "b"],), (1,), ("1",), (1.0,), (True,), (None,), ("None",), ({"a": 1},),
        ([("a", 1)],), (np.array([1]),), (np.array([1.0]),), (np.array([[1]]),), (np.array([1], dtype=np.int32),),
    ]  # fmt: skip
    assert len({files.digest(*parts) for parts in distinct}) == len(distinct)
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})
