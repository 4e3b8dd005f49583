"""The metadata of Amazon's items in their three forms: Python literals of 2014, JSON of 2018 and of 2023."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.lines import first_line, set_aside, unescape
from sensorium.data.readers.official import attributes, joined_text
from sensorium.data.readers.records import Schema, scan_literals, scan_records
from sensorium.data.tables import Table

TEXTS = pl.List(pl.String)
OLD: Schema = {
    "asin": pl.String, "title": pl.String, "price": pl.String, "brand": pl.String, "imUrl": pl.String,
    "description": TEXTS,
}  # fmt: skip
MIDDLE: Schema = {
    "asin": pl.String, "title": pl.String, "price": pl.String, "brand": pl.String, "imageURLHighRes": TEXTS,
    "imageURL": TEXTS, "category": TEXTS, "description": TEXTS, "feature": TEXTS,
}  # fmt: skip
NEW: Schema = {
    "parent_asin": pl.String, "title": pl.String, "price": pl.String, "store": pl.String, "main_category": pl.String,
    "images": pl.List(pl.Struct({"large": pl.String, "hi_res": pl.String})), "categories": TEXTS, "description": TEXTS,
    "features": TEXTS,
}  # fmt: skip
MONEY = r"^\$?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?$"
SCRIPT = "getTime"  # titles of 2018 that are a page's program text, as the publisher's own notebook says


def read_items(path: Path, media: Path | None, *, strict: bool) -> tuple[Table, list[pl.DataFrame]]:
    """Return item_id, title, description, price, brand, categories, image_url, [image], and the lines set aside.

    Args:
        path: A file meta_*.
        media: Folder of downloaded pictures, named by the item's id; `image` names those that are there.
        strict: Stop at a value that cannot be read.

    Raises:
        DataError: The file is missing, empty or of no edition.
    """
    line = first_line(path)
    if line.startswith("{'") or (line.startswith('{"') and "'asin':" in line):
        raw, rejected = scan_literals(path, OLD, strict=strict)
        frame = raw.select(
            ROW, item_id="asin", title="title", description=joined_text("description"), price="price", brand="brand",
            image_url="imUrl",
        )  # fmt: skip
    elif '"parent_asin"' in line:
        raw, rejected = scan_records(path, NEW, strict=strict)
        picture = pl.col("images").list.first().struct
        frame = raw.select(
            ROW, item_id="parent_asin", title="title", description=_text("features", "description"), price="price",
            brand="store", categories=joined_text("categories", "|"), main_category="main_category",
            image_url=pl.coalesce(picture.field("hi_res"), picture.field("large")),
        )  # fmt: skip
    elif '"asin"' in line:
        raw, rejected = scan_records(path, MIDDLE, strict=strict)
        frame = raw.select(
            ROW, item_id="asin", title="title", description=_text("feature", "description"), price="price",
            brand="brand", categories=joined_text("category", "|"),
            image_url=pl.coalesce(pl.col("imageURLHighRes", "imageURL").list.first()),
        )  # fmt: skip
    else:
        raise DataError(f"{path}: its lines have no asin and no parent_asin: this is no file of Amazon's items")
    no_items = frame.filter(pl.col("title").str.contains(SCRIPT, literal=True)).collect()
    if no_items.height:
        rejected = [*rejected, set_aside(path.name, no_items, "title", "unformatted_record")]
        frame = frame.filter(~pl.col("title").str.contains(SCRIPT, literal=True).fill_null(False))
    frame = frame.with_columns(unescape("title"), unescape("description"), price=_price())
    if media is not None:
        pictures = {file.stem: file.name for file in sorted(media.iterdir()) if file.suffix.lower() in _PICTURES}
        frame = frame.with_columns(
            image=pl.col("item_id").replace_strict(pictures, default=None, return_dtype=pl.String)
        )
    return attributes(frame, path.name, "item_id", strict=strict), rejected


_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


def _text(*columns: str) -> pl.Expr:
    return pl.concat_str([joined_text(column) for column in columns], separator="\n", ignore_nulls=True)


def _price() -> pl.Expr:
    """Return prices as plain numbers where they are amounts of dollars; "—", "from 3.99" and the like stay, and are
    counted as values that cannot be read."""
    price = pl.col("price").str.strip_chars()
    plain = price.str.replace_all(r"[$,\s]", "")
    return pl.when(price.str.contains(MONEY)).then(plain).otherwise(price)
