"""Any system's lists on a data set's split, by external ids, measured exactly as the project's own.

A file has one row per recommended item: a user id, an item id, and the item's `rank` (1 or 0 first) or a `score`
(larger is better; equal scores are ordered by the permutation that orders them for every model). Where a split asks a
user several times, `turn` numbers the user's lists from 1, the oldest target first. Lists are measured as they are: an
item that the catalogue does not know, or that the split's mask holds, keeps its place as a miss and is counted. A user
of the split without a list scores 0, a user without a row in the part is left out; both are counted (cases CS-6, EV-5).
What can't be measured honestly is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_parquet
from sensorium.core.registry import did_you_mean
from sensorium.core.seeds import catalogue_order
from sensorium.data.splits import TRAIN, users_of_items
from sensorium.evaluation.metrics import Integers
from sensorium.evaluation.results import Lists, RankingResult, measure
from sensorium.evaluation.tasks import RankingTask, SplitLike, ranking_task


class Names(Protocol):
    """What is needed of a data set (`data.dataset.Dataset` is one): external ids to dense ones, -1 = unknown."""

    def users_of(self, ids: Sequence[str], /) -> Integers:
        """Return dense user ids: int64."""

    def items_of(self, ids: Sequence[str], /) -> Integers:
        """Return dense item ids: int64."""


def evaluate_lists(
    lists: pl.DataFrame | str | Path,
    dataset: Names,
    split: SplitLike,
    *,
    ks: Sequence[int],
    metrics: Sequence[str],
    part: Literal["valid", "test"] = "test",
    mask: Literal["train", "train+valid"] = "train",
    task: RankingTask | None = None,
    item_count: Integers | None = None,
    tie_seed: int = 0,
    user: str = "user_id",
    item: str = "item_id",
) -> RankingResult:
    """Measure lists from a file (Parquet, CSV, TSV or JSONL) or a table.

    Args:
        lists: One row per recommended item, with the columns `user`, `item` and `rank` or `score` (rank decides if both
            are there), and `turn` where the task asks a user several times.
        dataset: Whose ids the lists use.
        split: The split whose part holds the right answers.
        ks: The list lengths.
        metrics: Names of registered metrics.
        part: Which rows are the right answers, where no task is given.
        mask: What the system was allowed to leave out, where no task is given: targets in it are unreachable, entries
            in it are counted.
        task: What was asked: histories, for example (`histories.history_task`).
        item_count: int64 [I], train users of each item; None counts those of the split.
        tie_seed: Seed of the permutation that orders equal scores.
        user: Name of the column of user ids.
        item: Name of the column of item ids.

    Raises:
        DataError: A missing column, an empty or repeated entry, broken ranks, a k that the file does not hold, or no
            user of the split.
    """
    source = "the lists" if isinstance(lists, pl.DataFrame) else Path(lists).name
    if task is None:
        task = ranking_task(split, part, mask=mask, candidates=getattr(split, "candidates", None))
    given = lists if isinstance(lists, pl.DataFrame) else _read(Path(lists))
    table = _checked(given, source, user, item, in_turn=task.owner is not None)
    order = catalogue_order(split.n_items, tie_seed)
    entries, counts = _dense(table, dataset, task)
    if not len(entries):
        users = table["user"].n_unique()
        raise DataError(
            f"{source}: none of its {users} users has a row in the {part} part; are the ids those of this data set?"
        )
    entries = _in_order(entries, order, source)
    longest = int(entries["place"].max()) + 1  # type: ignore[arg-type]
    k = max(ks)
    if longest < min(k, int(task.n_candidates.max())):
        raise DataError(
            f"{source}: k = {k} was asked for and its longest list holds {longest} items: ask for k <= {longest}"
        )
    row, place = entries["row"].to_numpy(), entries["place"].to_numpy()
    items = _table(row, place, entries["item"].to_numpy(), len(task), k, np.int32(-1))
    lengths = np.bincount(row, minlength=len(task))
    counts |= {
        "users_without_a_list": int((lengths == 0).sum()),
        "lists_shorter_than_k": int(((lengths > 0) & (lengths < np.minimum(k, task.n_candidates))).sum()),
        "masked_entries": _masked_entries(task, items),
    }
    by = "rank" if "rank" in entries.columns else "score"
    scores = None
    if by == "score":  # one place more than asked for, where there is one, shows a tie at the cut
        scores = _table(row, place, entries["score"].to_numpy(), len(task), max(k, min(longest, k + 1)), -np.inf)
    if item_count is None:
        train = split.part(TRAIN)
        item_count = users_of_items(train.user, train.item, split.n_items)
    masked = task.rules.get("masked", "nothing")
    return measure(
        task,
        items,
        ks=ks,
        metrics=metrics,
        scores=scores,
        item_count=item_count,
        n_users=split.n_users,
        rules={
            "ranking": f"lists from {source}, by {by}, measured as they are",
            "ties": f"equal scores in the order of one permutation of the catalogue, tie_seed {tie_seed}",
            "masked": masked if masked == "nothing" else f"entries in {masked} count as misses",
        },
        counts=counts,
    )


def _read(path: Path) -> pl.DataFrame:
    """Read a table; text formats keep every column of ids as text."""
    kind = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        if kind == ".parquet":
            return read_parquet(path)
        if kind in {".csv", ".tsv"}:
            return pl.read_csv(path, separator="\t" if kind == ".tsv" else ",", infer_schema=False)
        if kind in {".jsonl", ".ndjson"}:
            return pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: cannot be read as {kind[1:]}: {str(error).splitlines()[0]}") from None
    raise DataError(f"{path}: lists are read from .parquet, .csv, .tsv, .jsonl or .ndjson files")


def _checked(table: pl.DataFrame, source: str, user: str, item: str, *, in_turn: bool) -> pl.DataFrame:
    """Return columns user, item (text), turn (int64) and rank (int64) or score (float64), every entry there and once.

    Without `in_turn` all lists are a user's first. Rows are counted from 1 in messages, a header apart.
    """
    for name in (user, item, *(["turn"] if in_turn else [])):
        if name not in table.columns:
            known = ", ".join(table.columns) or "none"
            why = "; it numbers the lists of a user, whom this split asks several times" if name == "turn" else ""
            raise DataError(
                f"{source} has no column '{name}'{did_you_mean(name, table.columns)} (columns: {known}){why}"
            )
    by = next((name for name in ("rank", "score") if name in table.columns), None)
    if by is None:
        raise DataError(f"{source} has neither 'rank' nor 'score' (columns: {', '.join(table.columns)})")
    for name in (user, item):
        if table[name].dtype.is_float():
            raise DataError(
                f"{source}: column '{name}' holds fractional numbers, not ids: write ids as text or whole numbers"
            )
    checked = table.select(
        pl.col(user).cast(pl.String).alias("user"),
        pl.col(item).cast(pl.String).alias("item"),
        _number(table, "turn", source) if in_turn else pl.lit(1, pl.Int64).alias("turn"),
        _number(table, by, source),
    )
    _refuse_first(checked["user"].is_null() | (checked["user"] == ""), source, lambda _: f"no {user}")
    _refuse_first(checked["item"].is_null() | (checked["item"] == ""), source, lambda _: f"no {item}")
    if by == "score":
        _refuse_first(~checked["score"].is_finite(), source, lambda row: f"the score is {checked['score'][row]}")
    again = ~checked.select(pl.struct("user", "turn", "item").is_first_distinct()).to_series()
    why = "; this split asks each user once, not in turn" if "turn" in table.columns and not in_turn else ""
    _refuse_first(
        again,
        source,
        lambda row: "item '{1}' stands twice in the list of user '{0}': keep one".format(*checked.row(row)) + why,
    )
    return checked


def _number(table: pl.DataFrame, name: str, source: str) -> pl.Series:
    """Return the column of ranks, turns or scores as numbers."""
    whole = name != "score"
    column = table[name].cast(pl.Int64() if whole else pl.Float64(), strict=False)
    if whole and table[name].dtype.is_float():
        column = column.set(column.cast(pl.Float64) != table[name], None)
    what = "a whole number" if whole else "a number"
    _refuse_first(column.is_null(), source, lambda row: f"{name} '{table[name][row]}' is not {what}")
    return column


def _refuse_first(wrong: pl.Series, source: str, what: Callable[[int], str]) -> None:
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        raise DataError(f"{source}, row {row + 1}: {what(row)}")


def _dense(table: pl.DataFrame, dataset: Names, task: RankingTask) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the entries of the task's lists (columns user, row, dense item, rank or score), and the counts."""
    users, items = table["user"].unique(), table["item"].unique()
    user_code = dataset.users_of(users.to_list())
    item_code = dataset.items_of(items.to_list())
    known = pl.DataFrame({"user": users, "code": user_code})
    lists = table.select("user", "turn").unique(maintain_order=True).join(known, on="user", maintain_order="left")
    code, turn = (lists[name].to_numpy() for name in ("code", "turn"))
    first, end = (np.searchsorted(task.users, code, side=side) for side in ("left", "right"))
    asked = (turn >= 1) & (turn <= end - first)
    lists = lists.with_columns(row=np.where(asked, first + turn - 1, -1))
    joined = table.join(lists, on=["user", "turn"], how="left", maintain_order="left").join(
        pl.DataFrame({"item": items, "dense": item_code}), on="item", how="left", maintain_order="left"
    )
    counts = {
        "unknown_users": int((user_code < 0).sum()),
        "unknown_items": int((item_code < 0).sum()),
        "entries_of_unknown_users": int((joined["code"] < 0).sum()),
        "entries_of_unknown_items": int((joined["dense"] < 0).sum()),
        "lists_of_users_without_targets": int(((code >= 0) & ~asked).sum()),
    }
    entries = joined.filter(pl.col("row") >= 0).drop("item", "code", "turn").rename({"dense": "item"})
    return entries, counts


def _in_order(entries: pl.DataFrame, order: Integers, source: str) -> pl.DataFrame:
    """Sort the entries of each list best first and number their places from 0.

    Raises:
        DataError: The ranks of a list are not consecutive from the file's first rank.
    """
    by_rank = "rank" in entries.columns
    if by_rank:
        entries = entries.sort("row", "rank")
    else:
        item = entries["item"].to_numpy()
        tie = np.where(item < 0, len(order), order[item])
        entries = entries.with_columns(tie=tie).sort("row", "score", "tie", descending=[False, True, False])
    entries = entries.with_columns(place=pl.int_range(pl.len()).over("row"))
    if by_rank:
        first = entries["rank"].min()
        wrong = entries.filter(pl.col("rank") != pl.col("place") + (first if first in (0, 1) else 1))
        if len(wrong):
            raise DataError(
                f"{source}: the ranks of user '{wrong['user'][0]}' do not run from 1 (or 0) without a gap: "
                f"place {wrong['place'][0] + 1} of the list has rank {wrong['rank'][0]}"
            )
    return entries


def _table(
    row: Integers, place: Integers, values: npt.NDArray[Any], n: int, width: int, empty: float | np.int32
) -> npt.NDArray[Any]:
    """Lay entries out as one row per list: [n, width]."""
    table = np.full((n, width), empty, dtype=np.int32 if isinstance(empty, np.int32) else np.float64)
    inside = place < width
    table[row[inside], place[inside]] = values[inside]
    return table


def _masked_entries(task: RankingTask, items: Lists) -> int:
    """Count the entries that the mask of their user holds."""
    mask = np.repeat(np.arange(len(task)), np.diff(task.mask_offsets)) * task.n_items + task.mask_items
    keys = (np.arange(len(task))[:, None] * task.n_items + items)[items >= 0]
    return int(np.isin(keys, mask).sum())
