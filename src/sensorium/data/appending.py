"""Growth: a log that came later joins a data set. Who and what was known keeps its id; what is new follows.

    grown = append_to_dataset("march.csv", "shop", ImportConfig())
    grown.counts      # rows_added, rows_known, new_users, new_items, ...

Rows, users and items are added at the end of their tables, so that the data set as it was stays readable
(`Dataset.earlier`): runs and splits made on it still open. What is known of an item or user stays as it is. Feature
rows follow ids: new items have none until they are encoded. The folder is replaced whole; a killed append leaves the
old one.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.config import dump
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import digest, write_json
from sensorium.data.contents import bring_media, matrix_in_order
from sensorium.data.dataset import Dataset
from sensorium.data.estimating import say_estimate
from sensorium.data.features import check_features, write_features
from sensorium.data.identifiers import KEYS, table_in_order
from sensorium.data.importing import (
    ImportConfig,
    describe_source,
    explained,
    read_source,
    rejected_rows,
    settle,
)
from sensorium.data.readers.base import Reading
from sensorium.data.schema import (
    DESCRIPTION,
    GENERATIONS,
    INTERACTIONS,
    ITEMS,
    REJECTED,
    USERS,
    WEIGHT,
    FeatureInfo,
    Generation,
)
from sensorium.data.store import features_lock, new_folder, write_info, write_tables
from sensorium.data.weighting import with_weights

logger = logging.getLogger(__name__)

TABLES = (INTERACTIONS, ITEMS, USERS, REJECTED)
CLOCKS = ("timestamp", "order")


@dataclass(frozen=True)
class Grown:
    """What an append did.

    Attributes:
        dataset: The data set as it now is.
        counts: rows_added, rows_known (exact repetitions of rows that were there), new_users, new_items,
            items_described_again, users_described_again, and what was set aside.
        notices: Sentences that people should read.
    """

    dataset: Dataset
    counts: dict[str, int]
    notices: list[str]


def append_to_dataset(path: str | Path, out: str | Path, config: ImportConfig) -> Grown:
    """Add the rows, users and items of a file or folder to a data set.

    Args:
        path: What the reader reads.
        out: The data set's folder.
        config: The reader, its options, and filters; they hold for the new rows.

    Raises:
        ConfigError: A k-core was asked for: it would leave out who is known.
        DataError: There is no data set, the source cannot be read, or its rows cannot stand beside those there.
    """
    path, out = Path(path), Path(out)
    if config.k_core is not None:
        raise ConfigError("k_core and append exclude each other: the core of all rows would leave out who is known")
    if not (out / DESCRIPTION).is_file():
        raise DataError(f"{out} holds no data set to append to: import one first, without --append")
    say_estimate(path)
    with features_lock(out), new_folder(out, overwrite=True) as folder:
        old = Dataset.open(out)
        known = {"user": old.user_ids(), "item": old.item_ids()}
        with explained(path):
            reader, reading = read_source(path, config)
            work = folder / ".work"
            work.mkdir()
            rows, ids, counts = settle(reading, path, config, work, known)
            if config.weights is not None:
                assert isinstance(rows, pl.DataFrame)  # with weights it is held in memory
                rows, notice = with_weights(rows, ids, Path(config.weights))
                reading.notices.append(notice)
                reading.files.append(Path(config.weights))
            new = {
                kind: _new_rows(kind, table, known[kind], ids[kind])
                for kind, table in (("item", reading.items), ("user", reading.users))
            }
            again = {f"{kind}s_described_again": _again(kind, table, known[kind]) for kind, table in _tables(reading)}
        rows, added, repeated = _without_known(old, _beside_old(old, rows.lazy(), path))
        items, lost = bring_media(new["item"], reading.media, folder)
        report = {
            "rows_added": added, "rows_known": repeated, "new_users": new["user"].height,
            "new_items": items.height, **again, **{kind: count for kind, count in counts.items() if count},
        }  # fmt: skip
        _link(old.root, folder)
        _remember(old, folder)
        source = describe_source(reader, reading, config)
        notices = _sentences(report, path, reading)
        info = write_tables(
            folder,
            name=old.name,
            source=old.info.source.model_copy(update={"files": [*old.info.source.files, *source.files]}),
            interactions=_with_weights(_joined(old.interactions(), rows, path.name)),
            items=_joined(old.items(), items.lazy(), path.name).collect(),
            users=_joined(old.users(), new["user"].lazy(), path.name).collect(),
            rejected=pl.concat([old.rejected().collect(), rejected_rows(reading), lost]),
            counts=_sum(old.info.counts, reading.counts, {**counts, "rows_known": repeated}),
            licence=old.info.licence,
            sensitive=old.info.sensitive,
            planted=old.info.planted,
        ).info
        shutil.rmtree(work)
        features, said = _grow_features(old, reading, ids["item"], folder)
        notices += said
        kept = [*old.info.notices, *(notice for notice in notices if notice not in old.info.notices)]
        write_info(folder, info.model_copy(update={"features": features, "notices": kept}))
    data = Dataset.open(out)
    logger.info("appended to %s: %s", data.name, report)
    return Grown(data, report, notices)


# --- tables ---


def _tables(reading: Reading) -> list[tuple[str, pl.LazyFrame | None]]:
    return [("item", reading.items), ("user", reading.users)]


def _new_rows(kind: str, table: pl.LazyFrame | None, known: pl.Series, ids: pl.Series) -> pl.DataFrame:
    """Return the rows of ids that were not known, numbered after the known ones."""
    fresh = table_in_order(table, kind, ids[len(known) :])
    return fresh.with_columns(pl.col(kind) + pl.lit(len(known), dtype=pl.Int32))


def _again(kind: str, table: pl.LazyFrame | None, known: pl.Series) -> int:
    """Return how many ids that were known the source describes; they stay as they are."""
    if table is None:
        return 0
    return int(table.select(pl.col(KEYS[kind]).is_in(known.implode()).sum()).collect().item())


def _beside_old(old: Dataset, rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Return the rows with an order that follows those that are there.

    Raises:
        DataError: One has times or an order, and the other not.
    """
    columns, names = old.interactions().collect_schema().names(), rows.collect_schema().names()
    for clock in CLOCKS:
        if (clock in columns) != (clock in names):
            has, lacks = (f"'{old.name}'", str(path)) if clock in columns else (str(path), f"'{old.name}'")
            raise DataError(f"the rows of {has} have a {clock} and those of {lacks} have none: they cannot be one log")
    if "order" not in columns:
        return rows
    last = old.interactions().select(pl.col("order").max()).collect().item()
    return rows.with_columns(pl.col("order") + (0 if last is None else last + 1) - pl.col("order").min())


def _without_known(old: Dataset, rows: pl.LazyFrame) -> tuple[pl.LazyFrame, int, int]:
    """Return the rows that do not stand there already, to the millisecond; how many they are, and how many do."""
    height = int(rows.select(pl.len()).collect(engine="streaming").item())
    if "timestamp" not in rows.collect_schema().names():
        return rows, height, 0
    key = ["user", "item", "timestamp"]
    # The log that is there streams by the new rows, and leaves those that it holds.
    there = old.interactions().select(key).join(rows.select(key), on=key, how="semi").collect(engine="streaming")
    fresh = rows.join(there.lazy(), on=key, how="anti", maintain_order="left") if there.height else rows
    added = int(fresh.select(pl.len()).collect(engine="streaming").item())
    return fresh, added, height - added


def _joined(old: pl.LazyFrame, new: pl.LazyFrame, file: str) -> pl.LazyFrame:
    """Return the old rows and then the new, columns of either side missing in the other's rows.

    Raises:
        DataError: A column holds values that are no values of the column that is there.
    """
    before, after = old.collect_schema(), new.collect_schema()
    for name in [name for name in after if name in before and after[name] != before[name]]:
        cast = pl.col(name).cast(before[name])
        try:
            new.select(cast.is_null().sum()).collect(engine="streaming")
        except pl.exceptions.PolarsError:
            raise DataError(
                f"{file}: '{name}' is {after[name]} and was {before[name]} in the data set: values do not fit"
            ) from None
        new = new.with_columns(cast)
    return pl.concat([old, new], how="diagonal")


def _with_weights(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(pl.col(WEIGHT).fill_null(1.0)) if WEIGHT in rows.collect_schema().names() else rows


def _sum(*parts: dict[str, int]) -> dict[str, int]:
    own = ("users", "items", "interactions", "rejected")  # counted anew
    total: dict[str, int] = {}
    for part in parts:
        for kind, count in part.items():
            if kind not in own:
                total[kind] = total.get(kind, 0) + count
    return total


# --- what the folder keeps ---


def _link(old: Path, folder: Path) -> None:
    """Give everything but the tables a second name in the new folder: media, features, splits, earlier states."""
    for source in sorted(old.rglob("*")):
        relative = source.relative_to(old)
        if not source.is_file() or relative.name.startswith(".") or relative.as_posix() in (*TABLES, DESCRIPTION):
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a disk without links
            shutil.copyfile(source, target)


def _remember(old: Dataset, folder: Path) -> None:
    """Write down what the data set was."""
    past = Generation(
        info=old.info,
        columns={
            INTERACTIONS: old.interactions().collect_schema().names(),
            ITEMS: old.items().collect_schema().names(),
            USERS: old.users().collect_schema().names(),
            REJECTED: old.rejected().collect_schema().names(),
        },
    )
    (folder / GENERATIONS).mkdir(exist_ok=True)
    number = len(list((folder / GENERATIONS).glob("*.json")))
    write_json(folder / GENERATIONS / f"{number:04d}.json", dump(past))


# --- features ---


def _grow_features(
    old: Dataset, reading: Reading, item_ids: pl.Series, folder: Path
) -> tuple[dict[str, FeatureInfo], list[str]]:
    """Return the entries of all features, with a row for every item, and what people should know."""
    features: dict[str, FeatureInfo] = {}
    notices: list[str] = []
    n_new = len(item_ids) - old.n_items
    for name, info in old.info.features.items():
        given = info.folder.startswith(f"features/{name}-given")
        if not n_new:
            features[name] = info
            continue
        x, present = old.features(name)
        rows = np.zeros((n_new, info.dim), dtype=np.float32)
        there = np.zeros(n_new, dtype=bool)
        if given and name in reading.features:
            found, mask = matrix_in_order(name, reading.features[name], item_ids[old.n_items :])
            if found.shape[1] != info.dim:
                raise DataError(
                    f"features '{name}' have width {found.shape[1]} in the source and {info.dim} in '{old.name}': they "
                    "are not of one kind"
                )
            rows, there, said = check_features(name, found, mask, n_new)
            notices += said
        grown, mask = np.concatenate([x, rows]), np.concatenate([present, there])
        kept = f"{name}-given-{digest(grown, mask)[:8]}" if given else f"{Path(info.folder).name}-{digest(mask)[:8]}"
        features[name] = write_features(folder / "features" / kept, folder, grown, mask, info.provenance)
        if not there.all():
            how = "give them with add_features" if given else f"sensorium encode {old.name}"
            notices.append(f"features '{name}': {int((~there).sum()):,} new items have none yet ({how})")
    for name in reading.features:
        if name not in features:
            found, mask = matrix_in_order(name, reading.features[name], item_ids)
            x, present, said = check_features(name, found, mask, len(item_ids))
            kept = f"{name}-given-{digest(x, present)[:8]}"
            provenance: Any = reading.features[name].provenance
            features[name] = write_features(folder / "features" / kept, folder, x, present, provenance)
            notices += said
    return features, notices


def _sentences(report: dict[str, int], path: Path, reading: Reading) -> list[str]:
    said = [
        f"{path.name}: {report['rows_added']:,} rows added, {report['new_users']:,} users and {report['new_items']:,} "
        "items are new"
    ]
    if report["rows_known"]:
        said.append(f"{path.name}: {report['rows_known']:,} rows stood there already and were not added again")
    for kind in ("item", "user"):
        if again := report[f"{kind}s_described_again"]:
            said.append(f"{path.name}: {again:,} {kind}s were known: what the data set says of them stays")
    return [*said, *reading.notices]
