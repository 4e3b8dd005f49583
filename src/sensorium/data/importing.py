"""Import: a reader's frames become a data set with dense ids, checked features and media of its own.

    plan = plan_import("log.csv", ImportConfig())               # what would happen: nothing is written
    data = import_dataset("log.csv", "shop", ImportConfig())

Everything is written into a folder beside the target and renamed at the end: an import that is killed leaves nothing,
and two imports of one input give the same bytes.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from sensorium.core.config import Component, Config, component, dump
from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file
from sensorium.data.columns import MEDIA
from sensorium.data.dataset import Dataset
from sensorium.data.features import check_features, write_features
from sensorium.data.filtering import require_k_core
from sensorium.data.readers.base import Reading
from sensorium.data.schema import Source, SourceFile
from sensorium.data.store import REJECTED_SCHEMA, new_folder, write_info, write_tables

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


class ImportConfig(Config):
    """How foreign data become a data set."""

    reader: component(READERS) | None = Field(  # type: ignore[valid-type]
        None, description="the format and its options; null = by the file's ending"
    )
    name: str | None = Field(None, description="name of the data set; null = that of the target folder")
    licence: str | None = Field(None, description="terms of the data, in a few words")
    min_rating: float | None = Field(None, description="rows below this rating are left out of the data set")
    k_core: int | None = Field(
        None, ge=1, description="users and items with fewer rows are left out, until none is left"
    )


@dataclass(frozen=True)
class ImportPlan:
    """What an import would do.

    Attributes:
        reader: The reader's name.
        columns: The columns of the interactions, by the names they will have, with their types.
        counts: Rows, users, items, and what was set aside, by reason.
        head: The first rows.
        items: The columns of the items, with their types.
        notices: Sentences that people should read.
    """

    reader: str
    columns: dict[str, str]
    counts: dict[str, int]
    head: pl.DataFrame
    items: dict[str, str]
    notices: list[str]


def plan_import(path: str | Path, config: ImportConfig) -> ImportPlan:
    """Read the source, and say what an import would do. Nothing is written.

    Raises:
        DataError: The source cannot be read.
    """
    reader, reading = _read(Path(path), config)
    rows = reading.interactions.collect()
    rejected = _rejected(reading)
    counts = {
        "rows": rows.height,
        "users": rows["user_id"].n_unique(),
        "items": rows["item_id"].n_unique(),
        **reading.counts,
        **{
            f"rejected: {reason}": count
            for reason, count in rejected.group_by("reason").len().sort("reason").iter_rows()
        },
    }
    schema = reading.items.collect_schema() if reading.items is not None else {}
    return ImportPlan(
        reader=reader.name,
        columns={name: str(dtype) for name, dtype in rows.schema.items() if name != "row"},
        counts=counts,
        head=rows.drop("row").head(5),
        items={name: str(dtype) for name, dtype in schema.items()},
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
    """
    out = Path(out)
    with new_folder(out, overwrite=overwrite) as folder:
        reader, reading = _read(Path(path), config)
        rows, counts = _filter(reading, config)
        user_ids, item_ids = _identify(reading, rows, closed=reading.closed or config.k_core is not None)
        interactions = rows.select(
            _dense(rows["user_id"], user_ids).alias("user"),
            _dense(rows["item_id"], item_ids).alias("item"),
            pl.exclude("user_id", "item_id", "row"),
        )
        items, lost = _with_media(_attributes(reading.items, "item", item_ids), reading, folder)
        info = write_tables(
            folder,
            name=config.name or out.name,
            source=_source(reader, reading, config),
            interactions=interactions,
            items=items,
            users=_attributes(reading.users, "user", user_ids),
            rejected=pl.concat([_rejected(reading), lost]),
            counts={**reading.counts, **counts},
            licence=config.licence or reading.licence,
            sensitive=reading.sensitive,
            notices=reading.notices,
        ).info
        features, notices = dict(info.features), list(info.notices)
        for name, given in reading.features.items():
            matrix = _in_id_order(name, given.load(), given.item_ids, item_ids)
            x, present, said = check_features(name, *matrix, len(item_ids))
            target = folder / "features" / f"{name}-given"
            features[name] = write_features(target, folder, x, present, given.provenance)
            notices += said
        write_info(folder, info.model_copy(update={"features": features, "notices": notices}))
    data = Dataset.open(out)
    logger.info("imported %s: %s users, %s items, %s rows", data.name, data.n_users, data.n_items, data.n_interactions)
    return data


# --- reading ---


def _read(path: Path, config: ImportConfig) -> tuple[Component, Reading]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    reader: Component | None = config.reader
    if reader is None:
        ending = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
        if ending not in _BY_ENDING:
            raise DataError(f"{path}: the ending '{ending}' names no format: choose a reader (sensorium list readers)")
        reader = ImportConfig.model_validate({"reader": _BY_ENDING[ending]}).reader
        assert isinstance(reader, Component)
    reading: Reading = reader.target(reader.config).read(path)
    return reader, reading


def _rejected(reading: Reading) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=REJECTED_SCHEMA), *reading.rejected])


def _source(reader: Component, reading: Reading, config: ImportConfig) -> Source:
    options = {"reader": reader.tree(), **dump(config.model_copy(update={"reader": None}))}
    files = [SourceFile(name=file.name, sha256=sha256_file(file), bytes=file.stat().st_size) for file in reading.files]
    return Source(reader=reader.name, options=_without_paths(options), files=files)


def _without_paths(options: Any) -> Any:
    """Keep no folder of this machine in the data set: files are named in `files`."""
    if isinstance(options, dict):
        return {key: _without_paths(value) for key, value in options.items() if key not in ("items", "users", "media")}
    return options


# --- rows ---


def _filter(reading: Reading, config: ImportConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows that stay, in the order of the file, and what was left out by kind."""
    rows = reading.interactions.collect()
    counts: dict[str, int] = {"duplicates": 0}
    if "timestamp" in rows.columns:  # without a time, equal rows may be two visits
        distinct = rows.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
        counts["duplicates"] = rows.height - distinct.height
        rows = distinct
    if config.min_rating is not None:
        if "rating" not in rows.columns:
            raise DataError(f"min_rating is {config.min_rating} and the data have no rating")
        kept = rows.filter(pl.col("rating") >= config.min_rating)
        counts["below_min_rating"] = rows.height - kept.height
        rows = kept
    if config.k_core is not None:
        user, item = (rows[name].rank("dense").to_numpy().astype(np.int64) - 1 for name in ("user_id", "item_id"))
        kept = rows.filter(pl.Series(require_k_core(user, item, config.k_core)))
        counts["outside_k_core"] = rows.height - kept.height
        rows = kept
    if not rows.height:
        raise DataError(f"{reading.files[0]}: no row is left to import (set aside: {_rejected(reading).height:,})")
    return rows, counts


# --- ids ---


def _identify(reading: Reading, rows: pl.DataFrame, *, closed: bool) -> tuple[pl.Series, pl.Series]:
    """Return the external ids of users and items in the order of their dense ids."""
    found = []
    for key, table in (("user_id", reading.users), ("item_id", reading.items)):
        ids = [rows[key]]
        if table is not None and not closed:  # items nobody had yet are part of the catalogue
            ids.append(table.select(key).collect()[key])
        found.append(sort_ids(pl.concat(ids)))
    return found[0], found[1]


def sort_ids(ids: pl.Series) -> pl.Series:
    """Return the distinct ids in their order: by value where all are plain integers, else as text."""
    distinct = ids.unique()
    if distinct.str.contains(r"^(0|[1-9]\d{0,17})$").all():
        return distinct.cast(pl.Int64).sort().cast(pl.String)
    return distinct.sort()


def _dense(values: pl.Series, ids: pl.Series) -> pl.Series:
    """Return the dense ids of external ones, int32."""
    table = pl.DataFrame({"id": ids, "dense": np.arange(len(ids), dtype=np.int32)})
    return values.to_frame("id").join(table, on="id", how="left", maintain_order="left")["dense"]


def _attributes(table: pl.LazyFrame | None, kind: str, ids: pl.Series) -> pl.DataFrame:
    """Return a table with one row per dense id: the id, the external id, and the columns of the source."""
    key = f"{kind}_id"
    frame = pl.DataFrame({kind: np.arange(len(ids), dtype=np.int32), key: ids})
    return frame if table is None else frame.join(table.collect(), on=key, how="left", maintain_order="left")


# --- content ---


def _in_id_order(
    name: str, x: np.ndarray[Any, Any], given: pl.Series, ids: pl.Series
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return a matrix with one row per dense id, and which ids the source had a row for."""
    if len(x) != len(given):
        raise DataError(
            f"features '{name}' have {len(x):,} rows and the source has {len(given):,} items: one row per item"
        )
    table = pl.DataFrame({"id": given, "row": np.arange(len(given), dtype=np.int64)})
    row = pl.DataFrame({"id": ids}).join(table, on="id", how="left", maintain_order="left")["row"]
    there = row.is_not_null().to_numpy()
    ordered = x[row.fill_null(0).to_numpy()] if len(x) else np.zeros((len(ids), x.shape[1]), dtype=np.float32)
    return ordered, there


def _with_media(items: pl.DataFrame, reading: Reading, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring the media files into the data set; return the items with their new paths, and what is not there."""
    lost: list[dict[str, Any]] = []
    for column in [name for name in MEDIA if name in items.columns and reading.media is not None]:
        assert reading.media is not None
        root = reading.media.resolve()
        paths: list[str | None] = []
        for item, given in zip(items["item"].to_list(), items[column].to_list(), strict=True):
            target = None
            if given is not None:
                source = (root / given).resolve()
                if PurePosixPath(given).is_absolute() or not source.is_relative_to(root):
                    raise DataError(f"item {items['item_id'][item]}: the path '{given}' leads out of {reading.media}")
                if source.is_file():
                    target = f"media/{column}/{item // 1000:03d}/{item}{source.suffix.lower()}"
                    _bring(source, folder / target)
                else:
                    lost.append({"file": str(given), "row": item, "column": column, "reason": "missing_file"})
            paths.append(target)
        items = items.with_columns(pl.Series(column, paths, dtype=pl.String))
    return items, pl.DataFrame(lost, schema=REJECTED_SCHEMA)


def _bring(source: Path, target: Path) -> None:
    """Give a file a second name in the data set; where that cannot be, copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
