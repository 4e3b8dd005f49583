"""The Yelp Open Dataset: JSON Lines of reviews, businesses, users and photos.

    yelp_academic_dataset_review.json     review_id, user_id, business_id, stars, useful, funny, cool, text, date
    yelp_academic_dataset_business.json   business_id, name, city, state, latitude, longitude, stars, categories, ...
    yelp_academic_dataset_user.json       user_id, yelping_since, review_count, ...
    photos.json, photos/<photo_id>.jpg    photo_id, business_id, caption, label: of each business, the first photo there

Totals that Yelp counted at the time of the release (stars of a business, counts of a user) know the future of every
row and are not read. Dates without a zone are taken as UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.lines import NEGATIVE_TIME, apply_rules, rating_between, unescape
from sensorium.data.readers.official import OfficialConfig, attributes, find_file, need_folder
from sensorium.data.readers.records import Schema, scan_records
from sensorium.data.tables import Options, interactions_table

REVIEW: Schema = dict.fromkeys(("user_id", "business_id", "stars", "date", "text"), pl.String)
BUSINESS: Schema = dict.fromkeys(
    ("business_id", "name", "city", "state", "latitude", "longitude", "categories"), pl.String
)
USER: Schema = {"user_id": pl.String, "yelping_since": pl.String}
PHOTO: Schema = dict.fromkeys(("photo_id", "business_id", "caption", "label"), pl.String)


class YelpReader:
    """A folder of Yelp's files."""

    summary: ClassVar[str] = "folder of the Yelp Open Dataset: reviews, businesses, users, photos"

    class Config(OfficialConfig):
        """Options of Yelp."""

        review_text: bool = Field(False, description="whether the rows keep the review's text")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder.

        Raises:
            DataError: The reviews or the businesses are missing, or a file is empty or no JSON Lines.
        """
        need_folder(path)
        strict = self.config.strict
        log, places = _named(path, "review"), _named(path, "business")
        if log is None or places is None:
            raise DataError(f"{path}: there is no yelp_academic_dataset_review.json with ..._business.json here")
        raw, rejected = scan_records(log, REVIEW, strict=strict)
        kept = [pl.col(ROW, "user_id"), pl.col("business_id").alias("item_id"), pl.col("stars").alias("rating")]
        text = [pl.col("text").alias("review_text")] if self.config.review_text else []
        rows = interactions_table(
            raw.select(*kept, pl.col("date").alias("timestamp"), *text), log.name, Options(strict=strict)
        )
        apply_rules(rows, [rating_between(1, 5), NEGATIVE_TIME], log.name, strict=strict)
        raw, broken = scan_records(places, BUSINESS, strict=strict)
        rejected += broken
        frame = raw.rename({"business_id": "item_id", "name": "title"}).with_columns(
            unescape("title"),
            description=pl.col("categories"),
            **{side: pl.col(side).cast(pl.Float64, strict=False) for side in ("latitude", "longitude")},
        )
        media = None
        if (path / "photos").is_dir() and (photos := find_file(path, ["photos.json", "photo.json"])):
            media = path / "photos"
            frame = frame.join(_pictures(photos, media, strict=strict), on="item_id", how="left", maintain_order="left")
        items = attributes(frame, places.name, "item_id", strict=strict)
        tables, files = [rows, items], [log, places]
        users = None
        if people := _named(path, "user"):
            raw, broken = scan_records(people, USER, strict=strict)
            rejected += broken
            users = attributes(raw, people.name, "user_id", strict=strict)
            tables.append(users)
            files.append(people)
        return Reading(
            interactions=rows.frame,
            files=files,
            items=items.frame,
            users=None if users is None else users.frame,
            media=media,
            columns={**items.roles, **rows.roles},
            rejected=[*rejected, *(found for table in tables for found in table.rejected)],
            licence="Yelp Open Dataset: academic use under Yelp's terms, no redistribution",
            closed=True,
            notices=[notice for table in tables for notice in table.notices],
        )


def _named(path: Path, what: str) -> Path | None:
    return find_file(path, [f"yelp_academic_dataset_{what}.json", f"{what}.json"])


def _pictures(photos: Path, folder: Path, *, strict: bool) -> pl.LazyFrame:
    """Return item_id and image: of each business, the first photo of the list whose file is there."""
    there = pl.Series([file.stem for file in folder.glob("*.jpg")], dtype=pl.String)
    raw, _ = scan_records(photos, PHOTO, strict=strict)
    named = raw.filter(pl.col("photo_id").is_in(there.implode()))
    return named.unique("business_id", keep="first", maintain_order=True).select(
        item_id=pl.col("business_id"), image=pl.col("photo_id") + ".jpg"
    )
