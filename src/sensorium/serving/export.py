"""Lists for everybody, into one Parquet file: blocks of users, flat memory, no work lost with a killed process.

Each block is a small Parquet file in a folder beside the output (`.<name>.parts/`); a second call with the same run and
the same options finds the blocks that are done and makes the others. At the end they become one file, and the folder
goes.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import atomic_path, digest, read_json, sha256_file, write_json, write_parquet
from sensorium.core.progress import Progress
from sensorium.experiments.run import LoadedRun, load_run
from sensorium.serving.filters import Ids, candidates
from sensorium.serving.items import with_added_items
from sensorium.serving.recommend import hidden, ranked_lists

BLOCK = 16_384  # users in one part file: a second or two of work


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: The Parquet file: user_id, item_id, rank (from 1), score; users in the order of the data set, best item
            first.
        users: Users with at least one item.
        rows: Rows of the file.
        empty: Users for whom nothing is left to recommend.
        reused: Users whose lists an earlier, interrupted call had made.
        seconds: Wall time of this call.
        notices: About the filters, one sentence each.
    """

    path: Path
    users: int
    rows: int
    empty: int
    reused: int
    seconds: float
    notices: tuple[str, ...]


def recommend_all(
    run: str | Path | LoadedRun,
    out: str | Path,
    *,
    k: int = 10,
    only: Ids | None = None,
    exclude: Ids | None = None,
    as_evaluated: bool = False,
    block: int = BLOCK,
) -> Export:
    """Write the k best items of every user of the data set to a Parquet file.

    Args:
        run: A run's folder, or a run that is already loaded.
        out: The file to write; a file of that name is replaced at the end.
        k: How many items per user; users with fewer left get fewer rows.
        only: Recommend nothing but these items: external ids, or a file with one a line.
        exclude: Never recommend these.
        as_evaluated: Hide what the test hid instead of everything that the user has interacted with.
        block: Users that are ranked and written at once.

    Raises:
        ConfigError: k or block below 1, or the output is not named `.parquet`.
        RunError: The run is not there, or holds no weights.
    """
    out = Path(out)
    if out.suffix != ".parquet":
        raise ConfigError(f"{out}: lists are written as Parquet: name the file {out.stem}.parquet")
    if k < 1 or block < 1:
        raise ConfigError(f"k and block must be at least 1, they are {k} and {block}")
    begun = time.monotonic()
    loaded = run if isinstance(run, LoadedRun) else load_run(run)
    if not as_evaluated:
        loaded = with_added_items(loaded)
    dataset = loaded.dataset
    competing = candidates(dataset, only, exclude)
    parts = out.with_name(f".{out.name}.parts")
    with _own_parts(parts, _key(loaded, k, competing.items, as_evaluated, block)):
        seen = hidden(loaded, as_evaluated)

        def make(start: int) -> int:
            users = np.arange(start, min(start + block, dataset.n_users))
            items, scores, _ = ranked_lists(
                loaded, users, seen, k=k, competing=competing.items, as_evaluated=as_evaluated
            )
            write_parquet(_part(parts, start), _table(loaded, users, items, scores))
            return len(users)

        starts = range(0, dataset.n_users, block)
        missing = [start for start in starts if not _part(parts, start).exists()]
        made = 0
        with Progress(dataset.n_users, "recommend", unit="users") as bar:
            bar.advance(dataset.n_users - sum(min(block, dataset.n_users - start) for start in missing))
            for count in _side_by_side(make, missing):
                made += count
                bar.advance(count)
        rows, answered = _join([_part(parts, start) for start in starts], out)
        shutil.rmtree(parts)
    seconds = time.monotonic() - begun
    return Export(out, answered, rows, dataset.n_users - answered, dataset.n_users - made, seconds, competing.notices)


def _side_by_side(make: Callable[[int], int], starts: Sequence[int]) -> Iterator[int]:
    """Make parts in as many threads as torch may use, each with kernels of one thread, and yield as they end.

    A product of the size of a tile gains little from a second thread, and waits for it where another program has the
    core; blocks of users wait for nothing.
    """
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(make, start) for start in starts]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:  # after an error, or an interruption, what has not begun does not begin
                for future in futures:
                    future.cancel()
    finally:
        torch.set_num_threads(workers)


def _key(run: LoadedRun, k: int, competing: npt.NDArray[np.bool_] | None, as_evaluated: bool, block: int) -> str:
    """Return what tells one question from another: blocks of another run or other options are never reused."""
    weights = run.path / "weights" / "best.safetensors"
    return digest(
        dump(run.config),
        sha256_file(weights) if weights.exists() else None,
        run.dataset.fingerprint(),
        k,
        competing,
        as_evaluated,
        block,
    )


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:012d}.parquet"


@contextmanager
def _own_parts(parts: Path, key: str) -> Iterator[None]:
    """Hold the folder of parts for this process; parts that answer another question are removed.

    Raises:
        RunError: Another process writes the same file.
    """
    parts.mkdir(parents=True, exist_ok=True)
    with (parts / "lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"another process writes its lists into {parts}: wait for it, or choose another --out"
            ) from None
        mark = parts / "key.json"
        if not mark.exists() or read_json(mark) != key:
            for old in parts.glob("*.parquet"):
                old.unlink()
            write_json(mark, key)
        yield


def _table(
    run: LoadedRun, users: npt.NDArray[np.int64], items: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
) -> pl.DataFrame:
    """Return the lists of a block as rows with external ids."""
    filled = items >= 0  # [n, k]
    return pl.DataFrame(
        {
            "user_id": run.dataset.user_ids().gather(np.repeat(users, filled.sum(axis=1))),
            "item_id": run.dataset.item_ids().gather(items[filled]),
            "rank": np.nonzero(filled)[1].astype(np.int32) + 1,
            "score": scores[filled],
        }
    )


def _join(parts: Sequence[Path], out: Path) -> tuple[int, int]:
    """Put the parts together, one row group each, and return the numbers of rows and of users."""
    import pyarrow.parquet as pq

    rows = users = 0
    with atomic_path(out) as temporary:
        writer: pq.ParquetWriter | None = None
        for part in parts:
            table = pq.read_table(part)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
            rows += table.num_rows
            users += int(np.count_nonzero(table["rank"].to_numpy() == 1))
        assert writer is not None  # a data set has at least one user
        writer.close()
    return rows, users
