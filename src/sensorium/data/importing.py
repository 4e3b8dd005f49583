"""Import: a reader's frames become a data set with dense ids, checked features and media of its own.

    plan = plan_import("log.csv", ImportConfig())               # what would happen: nothing is written
    data = import_dataset("log.csv", "shop", ImportConfig())

Everything is written into a folder beside the target and renamed at the end: an import that is killed leaves nothing,
and two imports of one input give the same bytes. A large log is never held in memory (`data.streaming`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from sensorium.core.config import Component, Config, component, dump
from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file
from sensorium.data.contents import bring_media, matrix_in_order
from sensorium.data.dataset import Dataset
from sensorium.data.estimating import STREAMED_FROM, estimate_import, say_estimate
from sensorium.data.features import check_features, write_features
from sensorium.data.filtering import is_first, require_k_core
from sensorium.data.identifiers import KEYS, encode_ids, settle_ids, table_in_order
from sensorium.data.readers.base import Reading
from sensorium.data.readers.lines import line_not_utf8
from sensorium.data.schema import FeatureInfo, Source, SourceFile
from sensorium.data.store import REJECTED_SCHEMA, new_folder, write_info, write_tables
from sensorium.data.streaming import Codes, Spool, encode_log, kept_log, repeated_rows
from sensorium.data.weighting import with_weights

logger = logging.getLogger(__name__)

READERS = "sensorium.readers"
_BY_ENDING = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".inter": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_TABLES = {".csv", ".tsv", ".inter", ".item", ".user"}  # endings of tables with a header line, which are UTF-8


class ImportConfig(Config):
    """How foreign data become a data set."""

    reader: component(READERS) | None = Field(  # type: ignore[valid-type]
        None, description="the format and its options; null = by the file's ending"
    )
    name: str | None = Field(None, description="name of the data set; null = that of the target folder")
    licence: str | None = Field(None, description="terms of the data, in a few words")
    min_rating: float | None = Field(None, description="rows below this rating are left out of the data set")
    weights: str | None = Field(
        None, description="table with user_id, item_id and weight (sensorium noise --out): how far each row counts"
    )
    k_core: int | None = Field(
        None, ge=1, description="users and items with fewer rows are left out, until none is left"
    )


@dataclass(frozen=True)
class ImportPlan:
    """What an import would do.

    Attributes:
        reader: The reader's name.
        mapping: What was taken for what: role -> column of the source.
        columns: The columns of the interactions, by the names they will have, with their types.
        counts: Rows, users, items, and what was set aside, by reason.
        head: The first rows.
        items: The columns of the items, with their types.
        users: The columns of the users, with their types.
        notices: Sentences that people should read.
    """

    reader: str
    mapping: dict[str, str]
    columns: dict[str, str]
    counts: dict[str, int]
    head: pl.DataFrame
    items: dict[str, str]
    users: dict[str, str]
    notices: list[str]


def plan_import(path: str | Path, config: ImportConfig) -> ImportPlan:
    """Read the source, and say what an import would do. Nothing is written.

    Raises:
        DataError: The source cannot be read.
    """
    path = Path(path)
    with explained(path):
        reader, reading = read_source(path, config)
        rows = reading.interactions.drop("row")
        facts = rows.select(
            rows=pl.len(), users=pl.col("user_id").n_unique(), items=pl.col("item_id").n_unique()
        ).collect(engine="streaming")
        return ImportPlan(
            reader=reader.name,
            mapping=reading.columns,
            columns=_types(rows),
            counts={
                **facts.row(0, named=True),
                **reading.counts,
                **{f"rejected: {reason}": count for reason, count in _by_reason(reading).items()},
            },
            head=rows.head(5).collect(),
            items=_types(reading.items),
            users=_types(reading.users),
            notices=reading.notices,
        )


def import_dataset(path: str | Path, out: str | Path, config: ImportConfig, *, overwrite: bool = False) -> Dataset:
    """Import a file or folder into a new data set.

    Args:
        path: What the reader reads.
        out: The data set's folder.
        config: The reader, its options, and filters.
        overwrite: Replace a data set that is there.

    Raises:
        DataError: The source cannot be read, nothing is left of it, or `out` is there already.
        ResourceError: By its size, it needs more memory than is free.
    """
    path, out = Path(path), Path(out)
    say_estimate(path)
    with new_folder(out, overwrite=overwrite) as folder:
        with explained(path):
            reader, reading = read_source(path, config)
            work = folder / ".work"
            work.mkdir()
            rows, ids, counts = settle(reading, path, config, work)
            if config.weights is not None:
                assert isinstance(rows, pl.DataFrame)  # with weights it is held in memory
                rows, notice = with_weights(rows, ids, Path(config.weights))
                reading.notices.append(notice)
                reading.files.append(Path(config.weights))
            items_table = table_in_order(reading.items, "item", ids["item"])
            users = table_in_order(reading.users, "user", ids["user"])
        items, lost = bring_media(items_table, reading.media, folder)
        info = write_tables(
            folder,
            name=config.name or out.absolute().name,
            source=describe_source(reader, reading, config),
            interactions=rows,
            items=items,
            users=users,
            rejected=pl.concat([rejected_rows(reading), lost]),
            counts={**reading.counts, **counts},
            licence=config.licence or reading.licence,
            sensitive=reading.sensitive,
            notices=reading.notices,
        ).info
        shutil.rmtree(work)
        features, notices = _write_features(reading, ids["item"], folder)
        write_info(folder, info.model_copy(update={"features": features, "notices": [*info.notices, *notices]}))
    data = Dataset.open(out)
    logger.info("imported %s: %s users, %s items, %s rows", data.name, data.n_users, data.n_items, data.n_interactions)
    return data


# --- reading ---


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what only shows while a lazy table is read into a message that names the source, and in a folder the file
    whose text is not UTF-8.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        if "utf-8" in reason.lower() or "utf8" in reason.lower():
            _require_utf8(path)
        raise DataError(f"{path}: cannot be read: {reason}") from error


def _require_utf8(path: Path) -> None:
    """Raise a DataError that names the first table with a line that is not UTF-8."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    for file in sorted(files):
        if _TABLES & set(file.suffixes) and (line := line_not_utf8(file)):
            raise DataError(f"{file} line {line}: the text is not UTF-8")


def read_source(path: Path, config: ImportConfig) -> tuple[Component, Reading]:
    """Return the reader and what it reads.

    Raises:
        DataError: There is no such file, or no reader for it.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    reader: Component | None = config.reader
    if reader is None:
        ending = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
        if ending not in _BY_ENDING:
            raise DataError(f"{path}: the ending '{ending}' names no format: choose a reader (sensorium list readers)")
        reader = ImportConfig.model_validate({"reader": _BY_ENDING[ending]}).reader
        assert isinstance(reader, Component)
    if getattr(reader.target, "kind", "interactions") == "tracing":
        raise DataError(f"'{reader.name}' reads answers of learners: sensorium trace import {reader.name} {path} NAME")
    reading: Reading = reader.target(reader.config).read(path)
    return reader, reading


def _types(table: pl.LazyFrame | None) -> dict[str, str]:
    return {} if table is None else {name: str(dtype) for name, dtype in table.collect_schema().items()}


def rejected_rows(reading: Reading) -> pl.DataFrame:
    """Return what the reader set aside, as `store.REJECTED_SCHEMA`."""
    return pl.concat([pl.DataFrame(schema=REJECTED_SCHEMA), *reading.rejected])


def _by_reason(reading: Reading) -> dict[str, int]:
    return dict(rejected_rows(reading).group_by("reason").len().sort("reason").iter_rows())


def describe_source(reader: Component, reading: Reading, config: ImportConfig) -> Source:
    """Return where the data came from: reader, options and files with their checksums, and no folder."""
    options = {"reader": reader.tree(), **dump(config.model_copy(update={"reader": None}))}
    files = [SourceFile(name=file.name, sha256=sha256_file(file), bytes=file.stat().st_size) for file in reading.files]
    return Source(reader=reader.name, options=_without_paths(options), files=files)


def _without_paths(options: Any) -> Any:
    """Keep no folder of this machine in the data set: files are named in `files`."""
    if isinstance(options, dict):
        return {
            key: _without_paths(value)
            for key, value in options.items()
            if key not in ("items", "users", "media", "weights")
        }
    return options


# --- rows ---


def settle(
    reading: Reading,
    path: Path,
    config: ImportConfig,
    work: Path,
    known: Mapping[str, pl.Series] | None = None,
) -> tuple[pl.DataFrame | pl.LazyFrame, dict[str, pl.Series], dict[str, int]]:
    """Return the rows that stay, in the file's order and with dense ids; the external ids; and what was left out.

    Args:
        reading: What was read.
        path: Of what: by its size the rows are held in memory, or come as a lazy table over files.
        config: The filters.
        work: A folder for these files.
        known: "user" and "item" -> external ids that have their place already; None = all ids are new.

    Raises:
        DataError: Nothing is left, or the reader broke the rules.
    """
    estimate = estimate_import(path)
    large = estimate is not None and estimate.rows >= STREAMED_FROM and config.weights is None
    if large:
        coded, ids = encode_log(reading.interactions.drop("row"), work, path)
        height = coded.rows
    else:
        rows, ids = encode_ids(reading.interactions.drop("row").collect(engine="streaming"), path)
        height = rows.height
    if not height:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in _by_reason(reading).items())
        raise DataError(f"{path}: no row is left to import (set aside: {reasons or 'none'})")
    if large:
        kept, counts = _choose(coded, config)
        used = {kind: np.zeros(len(ids[kind]), dtype=bool) for kind in KEYS}
        row = 0
        for frame in coded.batches():
            here = kept[row : row + frame.height]
            row += frame.height
            for kind in KEYS:
                used[kind][frame[kind].to_numpy()[here]] = True
    else:
        rows, counts = _filter(rows, config)
        used = {kind: np.bincount(rows[kind], minlength=len(ids[kind])) > 0 for kind in KEYS}
    closed = reading.closed or config.k_core is not None
    moved: dict[str, Codes] = {}
    for kind, table in (("user", reading.users), ("item", reading.items)):
        # items and users without a row are part of the catalogue, unless the rows alone say who belongs to it
        more = None if closed or table is None else table.select(f"{kind}_id").collect().to_series()
        before = None if known is None else known[kind]
        ids[kind], moved[kind] = settle_ids(ids[kind], used[kind], more, before)
    if large:
        return kept_log(coded, kept, moved, work / "kept.parquet"), ids, counts
    codes = [pl.Series(kind, moved[kind][rows[kind].to_numpy()]) for kind in KEYS]
    return rows.with_columns(codes), ids, counts


def _choose(coded: Spool, config: ImportConfig) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Return which rows of a log in a file stay, bool [rows], and what was left out by kind: the rules of `_filter`."""
    kept = np.ones(coded.rows, dtype=bool)
    counts: dict[str, int] = {"duplicates": 0}
    if "timestamp" in coded.names:
        kept = ~repeated_rows(coded, ("user", "item", "timestamp"))
        counts["duplicates"] = int((~kept).sum())
    if config.min_rating is not None:
        if "rating" not in coded.names:
            raise _no_rating(config.min_rating)
        rating = coded.column("rating")
        before = int(kept.sum())
        largest = rating[kept].max()
        kept &= rating >= config.min_rating
        if not kept.any():
            raise _below_min_rating(config.min_rating, before, largest)
        counts["below_min_rating"] = before - int(kept.sum())
    if config.k_core is not None:
        before = int(kept.sum())
        user, item = (coded.column(kind)[kept].astype(np.int64) for kind in KEYS)
        kept[kept] = require_k_core(user, item, config.k_core)
        counts["outside_k_core"] = before - int(kept.sum())
    return kept, counts


def _no_rating(least: float) -> DataError:
    return DataError(f"min_rating is {least} and the data have no rating")


def _below_min_rating(least: float, rows: int, largest: float) -> DataError:
    return DataError(f"min_rating {least} keeps 0 of {rows:,} rows (largest rating: {largest:g})")


def _filter(rows: pl.DataFrame, config: ImportConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows that stay, in their order, and what was left out by kind."""
    counts: dict[str, int] = {"duplicates": 0}
    if "timestamp" in rows.columns:  # without a time, equal rows may be two visits
        distinct = rows.filter(pl.Series(is_first(*(rows[name].to_numpy() for name in ("user", "item", "timestamp")))))
        counts["duplicates"] = rows.height - distinct.height
        rows = distinct
    if config.min_rating is not None:
        if "rating" not in rows.columns:
            raise _no_rating(config.min_rating)
        kept = rows.filter(pl.col("rating") >= config.min_rating)
        if not kept.height:
            raise _below_min_rating(config.min_rating, rows.height, rows["rating"].to_numpy().max())
        counts["below_min_rating"] = rows.height - kept.height
        rows = kept
    if config.k_core is not None:
        user, item = (rows[kind].cast(pl.Int64).to_numpy() for kind in ("user", "item"))
        kept = rows.filter(pl.Series(require_k_core(user, item, config.k_core)))
        counts["outside_k_core"] = rows.height - kept.height
        rows = kept
    return rows, counts


# --- content ---


def _write_features(reading: Reading, item_ids: pl.Series, folder: Path) -> tuple[dict[str, FeatureInfo], list[str]]:
    """Write the source's matrices in id order; return their entries for `dataset.json`, and what people should know."""
    features: dict[str, FeatureInfo] = {}
    notices: list[str] = []
    for name, given in reading.features.items():
        x, present, said = check_features(name, *matrix_in_order(name, given, item_ids), len(item_ids))
        features[name] = write_features(folder / "features" / f"{name}-given", folder, x, present, given.provenance)
        notices += said
    return features, notices
