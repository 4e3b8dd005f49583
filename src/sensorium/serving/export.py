"""Lists for everybody, into one Parquet file: blocks of users, flat memory, no work lost with a killed process.

Each block is a small Parquet file in a folder beside the output (`.<name>.parts/`); a second call with the same run and
the same options finds the blocks that are done and makes the others. At the end they become one file, and the folder
goes.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError
from sensorium.core.files import atomic_path, digest, read_json, sha256_file, write_json, write_parquet
from sensorium.core.progress import Progress
from sensorium.experiments.run import LoadedRun, load_run
from sensorium.serving.filters import Ids, candidates
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
    dataset = loaded.dataset
    competing = candidates(dataset, only, exclude)
    parts = out.with_name(f".{out.name}.parts")
    _start(parts, _key(loaded, k, competing.items, as_evaluated, block))
    seen = hidden(loaded, as_evaluated)
    reused = 0
    with Progress(dataset.n_users, "recommend", unit="users") as bar:
        for start in range(0, dataset.n_users, block):
            users = np.arange(start, min(start + block, dataset.n_users))
            part = parts / f"{start:012d}.parquet"
            if part.exists():
                reused += len(users)
            else:
                items, scores, _ = ranked_lists(loaded, users, seen, k=k, competing=competing.items)
                write_parquet(part, _table(loaded, users, items, scores))
            bar.advance(len(users))
    rows, answered = _join(parts, out)
    shutil.rmtree(parts)
    empty = dataset.n_users - answered
    return Export(out, answered, rows, empty, reused, time.monotonic() - begun, competing.notices)


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


def _start(parts: Path, key: str) -> None:
    """Make the folder of parts, or empty it when its parts answer another question."""
    mark = parts / "key.json"
    if mark.exists() and read_json(mark) == key:
        return
    if parts.exists():
        shutil.rmtree(parts)
    write_json(mark, key)


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


def _join(parts: Path, out: Path) -> tuple[int, int]:
    """Put the parts together, one row group each, and return the numbers of rows and of users."""
    import pyarrow.parquet as pq

    rows = users = 0
    with atomic_path(out) as temporary:
        writer: pq.ParquetWriter | None = None
        for part in sorted(parts.glob("*.parquet")):
            table = pq.read_table(part)
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
            rows += table.num_rows
            users += int(np.count_nonzero(table["rank"].to_numpy() == 1))
        assert writer is not None  # a data set has at least one user
        writer.close()
    return rows, users
