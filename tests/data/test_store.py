"""Folders that appear whole or not at all, whatever happens on the way."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, update_info, write_tables

from .made import make_dataset


def made(out: Path, rows: int = 1, *, overwrite: bool = False) -> None:
    with new_folder(out, overwrite=overwrite) as folder:
        make_dataset(folder / "x", [0] * rows, list(range(rows)))
        for path in (folder / "x").iterdir():
            path.replace(folder / path.name)
        (folder / "x").rmdir()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_but_the_folder_is_left(tmp_path: Path) -> None:
    made(tmp_path / "deep" / "shop")
    assert names(tmp_path / "deep") == ["shop"]
    made(tmp_path / "deep" / "shop", 3, overwrite=True)
    assert names(tmp_path / "deep") == ["shop"]
    assert Dataset.open(tmp_path / "deep" / "shop").n_interactions == 3


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    made(tmp_path / "shop")

    def fail() -> None:
        with new_folder(tmp_path / "shop", overwrite=True) as folder:
            (folder / "half").write_text("written")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == ["shop"]
    assert Dataset.open(tmp_path / "shop").n_interactions == 1


def _stop_half_way(out: str) -> None:
    with new_folder(out, overwrite=True) as folder:
        (folder / "half").write_text("written")
        time.sleep(60)


@pytest.mark.parametrize("before", [False, True], ids=["new", "overwritten"])
def test_a_killed_process_leaves_nothing_half_written(tmp_path: Path, before: bool) -> None:
    if before:
        made(tmp_path / "shop")
    process = multiprocessing.get_context("spawn").Process(target=_stop_half_way, args=(str(tmp_path / "shop"),))
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".shop.*.tmp/half")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (tmp_path / "shop").exists() == before
    made(tmp_path / "shop", 2, overwrite=before)  # what the killed one left is no obstacle
    assert names(tmp_path) == ["shop"]
    assert Dataset.open(tmp_path / "shop").n_interactions == 2


def test_a_process_killed_between_the_renames_gives_the_old_data_back(tmp_path: Path) -> None:
    made(tmp_path / "shop", 4)
    (tmp_path / "shop").replace(tmp_path / ".shop.0123abcd.old")
    with pytest.raises(DataError, match="is there already"):
        made(tmp_path / "shop")
    assert Dataset.open(tmp_path / "shop").n_interactions == 4


def test_the_unfinished_folder_of_a_longer_name_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / ".shop.v2.0123abcd.tmp"  # of an import into "shop.v2" that runs right now
    other.mkdir()
    made(tmp_path / "shop")
    assert other.exists()


def test_files_and_foreign_folders_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("precious")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("precious")
    for name in ("notes", "thesis"):
        with pytest.raises(DataError, match="is not a data set"):
            made(tmp_path / name, overwrite=True)
    with pytest.raises(DataError, match=r"notes cannot be made|notes cannot be written"):
        made(tmp_path / "notes" / "shop")
    assert (tmp_path / "notes").read_text() == (tmp_path / "thesis" / "chapter").read_text() == "precious"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("2000000 requested and 781280 written"),  # numpy
        pl.exceptions.ComputeError("underlying IO error: No space left on device (os error 28)"),  # polars
    ],
    ids=["system", "numpy", "polars"],
)
def test_a_full_disk_is_one_line_whoever_says_it(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(DataError, match=r"the disk is full: could not write .*shop; nothing was changed"),
        new_folder(tmp_path / "shop"),
    ):
        raise error
    assert names(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="strange"), new_folder(tmp_path / "shop"):
        raise OSError(errno.EIO, "strange")


def test_the_pieces_of_a_table_leave_no_trace(tmp_path: Path) -> None:
    whole = pl.DataFrame({"user": [0, 0, 0], "item": [0, 1, 2]}, schema={"user": pl.Int32, "item": pl.Int32})
    tables = [whole, pl.concat([whole[:1], whole[1:]], rechunk=False)]
    assert [table.n_chunks() for table in tables] == [1, 2]
    for number, table in enumerate(tables):
        (tmp_path / str(number)).mkdir()
        write_tables(
            tmp_path / str(number),
            name="shop",
            source=Source(reader="made"),
            interactions=table,
            items=pl.DataFrame({"item": [0, 1, 2], "item_id": ["a", "b", "c"]}),
            users=pl.DataFrame({"user": [0], "user_id": ["u"]}),
        )
    first, second = ((tmp_path / str(number) / "interactions.parquet").read_bytes() for number in (0, 1))
    assert first == second


def test_a_sensitive_attribute_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the sensitive attribute 'age' is no column of the users of made"):
        make_dataset(tmp_path / "shop", [0], [0], sensitive=["age"])


def _enter(root: str, name: str) -> None:
    for turn in range(20):
        update_info(
            Path(root),
            lambda info: info.model_copy(update={"notices": [*info.notices, f"{name} {turn}"]}),  # noqa: B023
        )


def test_changes_of_two_processes_are_both_kept(tmp_path: Path) -> None:
    make_dataset(tmp_path / "shop", [0], [0])
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_enter, args=(str(tmp_path / "shop"), name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = Dataset.open(tmp_path / "shop").info.notices
    assert sorted(found) == sorted(f"{name} {turn}" for name in "ab" for turn in range(20))
