"""Amazon Reviews of 2014, 2018 and 2023, as their publishers distribute them (McAuley lab).

    2014   ratings_X.csv       user, item, rating, time (s); no header
           reviews_X_5.json.gz reviewerID, asin, overall, unixReviewTime (s), summary, reviewText
           meta_X.json.gz      Python literals: asin, title, price, imUrl, brand, categories, description
    2018   X.csv               item, user, rating, time (s); no header: the other way round
           X_5.json.gz         as of 2014
           meta_X.json.gz      JSON: asin, title, price "$12.34", imageURLHighRes, brand, category, description, feature
    2023   X.jsonl.gz          user_id, asin, parent_asin, rating, timestamp (ms), title, text
           X.csv               user_id, parent_asin, rating, timestamp (ms); with a header
           meta_X.jsonl.gz     parent_asin, title, price, images, store, categories, description, features

Which edition a file is shows by its first lines. Items of 2023 are parents: variants (`asin`) of one product share a
`parent_asin`. Ratings outside 1 to 5 and times before 1970 are set aside. An item without metadata stays. What an item
is described by is `features` and `description` together.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.amazon_items import read_items
from sensorium.data.readers.base import Reading
from sensorium.data.readers.delimited import CsvReader
from sensorium.data.readers.lines import (
    NEGATIVE_TIME,
    apply_rules,
    first_line,
    rating_between,
    require_file,
    scan_fields,
)
from sensorium.data.readers.official import OfficialConfig
from sensorium.data.readers.records import Schema, scan_records
from sensorium.data.tables import Options, Table, interactions_table

ASIN = r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$"
LICENCE = "Amazon Reviews (McAuley lab): research use; see the publisher's terms"
OLD: Schema = dict.fromkeys(("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText"), pl.String)
NEW: Schema = dict.fromkeys(("user_id", "asin", "parent_asin", "rating", "timestamp", "title", "text"), pl.String)


class AmazonReader:
    """A file of reviews or ratings of one category, and the file of its items' metadata beside it."""

    summary: ClassVar[str] = "Amazon Reviews 2014, 2018, 2023: reviews or ratings, and meta_* beside them"

    class Config(OfficialConfig):
        """Options of Amazon Reviews."""

        item: Literal["parent", "variant"] = Field(
            "parent", description="of 2023: what an item is, the product (parent_asin) or its variant (asin)"
        )
        metadata: str | None = Field(None, description="file of the items; null = meta_* beside the log")
        review_text: bool = Field(False, description="whether the rows keep the review's title and text")
        media: str | None = Field(None, description="folder of downloaded pictures, named by the item's id")
        catalogue: Literal["rows", "all"] = Field(
            "rows", description="which items: those that have a row, or all of the metadata"
        )

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read a file, or a folder with one log and its metadata.

        Raises:
            DataError: A file is missing, empty or of no edition, or the folder holds several logs.
        """
        log, meta = self._files(path)
        table, rejected = self._log(log)
        apply_rules(table, [rating_between(1, 5), NEGATIVE_TIME], log.name, strict=self.config.strict)
        notices = list(table.notices)
        items = None
        media = None if self.config.media is None else Path(self.config.media)
        if media is not None and not media.is_dir():
            raise DataError(f"{media}: there is no such folder of pictures")
        if meta is not None:
            items, broken = read_items(meta, media, strict=self.config.strict)
            rejected = [*rejected, *broken, *items.rejected]
            notices += items.notices
        else:
            notices.append("there is no file of metadata (meta_*): items have ids alone")
        return Reading(
            interactions=table.frame,
            files=[log, *([meta] if meta is not None else [])],
            items=None if items is None else items.frame,
            media=media,
            columns={**(items.roles if items is not None else {}), **table.roles},
            rejected=[*rejected, *table.rejected],
            licence=LICENCE,
            closed=self.config.catalogue == "rows",
            notices=notices,
        )

    def _files(self, path: Path) -> tuple[Path, Path | None]:
        if self.config.metadata is not None:
            meta: Path | None = require_file(Path(self.config.metadata))
        else:
            folder = path if path.is_dir() else path.parent
            category = "" if path.is_dir() else _category(path)
            found = [file for file in sorted(folder.glob("meta_*")) if category in ("", _category(file))]
            if len(found) > 1:
                raise DataError(f"{folder}: several files of metadata: name one with --set reader.metadata=FILE")
            meta = found[0] if found else None
        if path.is_file():
            return path, meta
        endings = (".csv", ".json", ".jsonl", ".csv.gz", ".json.gz", ".jsonl.gz")
        logs = [
            file for file in sorted(path.iterdir()) if file.name.endswith(endings) and not file.name.startswith("meta_")
        ]
        if len(logs) != 1:
            names = ", ".join(file.name for file in logs) or "none"
            raise DataError(f"{path}: one file of reviews or ratings is needed and there are: {names}; import the file")
        return logs[0], meta

    def _log(self, path: Path) -> tuple[Table, list[pl.DataFrame]]:
        line = first_line(path)
        if line.startswith("{"):
            return self._reviews(path, line)
        return self._ratings(path, line)

    def _reviews(self, path: Path, line: str) -> tuple[Table, list[pl.DataFrame]]:
        strict = self.config.strict
        if '"reviewerID"' in line:
            raw, rejected = scan_records(path, OLD, strict=strict)
            texts = {"review_title": "summary", "review_text": "reviewText"}
            raw = raw.rename({"reviewerID": "user_id", "asin": "item_id", "overall": "rating"}).rename(
                {"unixReviewTime": "timestamp"}
            )
            return self._table(raw, path, "s", texts), rejected
        if '"user_id"' in line:
            raw, rejected = scan_records(path, NEW, strict=strict)
            texts = {"review_title": "title", "review_text": "text"}
            if self.config.item == "variant":
                raw = raw.rename({"asin": "item_id"}).drop("parent_asin")
                table = self._table(raw, path, "ms", texts)
                table.notices.append(f"{path.name}: items are variants (asin)")
                return table, rejected
            raw = raw.with_columns(item_id=pl.coalesce("parent_asin", "asin")).rename({"asin": "variant"})
            table = self._table(raw.drop("parent_asin"), path, "ms", texts)
            table.notices.append(f"{path.name}: items are parents (parent_asin); the column 'variant' keeps the asin")
            return table, rejected
        raise DataError(f"{path}: its records have neither reviewerID nor user_id: this is no file of Amazon reviews")

    def _ratings(self, path: Path, line: str) -> tuple[Table, list[pl.DataFrame]]:
        if "parent_asin" in line:
            raw = CsvReader().scan(path)
            names = raw.collect_schema().names()
            raw = raw.select(
                ROW, *(name for name in names if name in ("user_id", "parent_asin", "rating", "timestamp"))
            )
            return self._table(raw.rename({"parent_asin": "item_id"}), path, "ms", {}), []
        fields = scan_fields(path, ",", ("first", "second", "rating", "timestamp"), strict=self.config.strict)
        shares = fields.frame.head(1_000).select(pl.col("first", "second").str.contains(ASIN).mean()).collect().row(0)
        if shares[0] == shares[1]:
            raise DataError(
                f"{path}: neither its first nor its second column looks like Amazon's item ids (asin): this is no file "
                "of Amazon ratings"
            )
        item, user, edition = ("first", "second", "2018") if shares[0] > shares[1] else ("second", "first", "2014")
        table = self._table(fields.frame.rename({user: "user_id", item: "item_id"}), path, "s", {})
        table.notices.append(f"{path.name}: read as of {edition}: the {item} column holds the items")
        return table, fields.rejected

    def _table(self, raw: pl.LazyFrame, path: Path, unit: Literal["s", "ms"], texts: dict[str, str]) -> Table:
        kept = [ROW, "user_id", "item_id", "rating", "timestamp"]
        names = raw.collect_schema().names()
        if "variant" in names:
            kept.append("variant")
        renamed = [pl.col(column).alias(name) for name, column in texts.items()] if self.config.review_text else []
        options = Options(time_unit=unit, strict=self.config.strict)
        try:
            return interactions_table(raw.select(*kept, *renamed), path.name, options)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path}: cannot be read, it may be truncated: {str(error).splitlines()[0]}") from None


def _category(path: Path) -> str:
    """Return the category in a file's name: "Beauty" of ratings_Beauty.csv, reviews_Beauty_5.json.gz, Beauty.jsonl."""
    name = path.name.split(".")[0]
    for prefix in ("meta_", "reviews_", "ratings_"):
        name = name.removeprefix(prefix)
    return name.removesuffix("_5").removesuffix("_10")
