"""MicroLens (arXiv 2309.15379) as its owners distribute it: 50k, 100k and 1M, with raw titles, covers, sound and video.

    MicroLens-X_pairs.csv             user,item,timestamp (ms)
    MicroLens-X_pairs.tsv             user<TAB>item item ...   oldest first; read where there is no .csv
    MicroLens-50k_titles.csv, MicroLens-100k_title_en.csv or .tsv, MicroLens-1M_title.csv
    MicroLens-X_likes_and_views.txt   item<TAB>likes<TAB>views: without times, for display, never to train on
    MicroLens-100k_comment_en.txt     user<TAB>item<TAB>comment
    tags_to_summary.csv               item,tag
    MicroLens-1M_items.tsv            not documented: joined where a column of it holds item ids
    MicroLens-X_covers/<item>.jpg, ..._audio/<item>.*, ..._videos/<item>.mp4
    MicroLens-X_frames_interval_1_number_5/<item>-<k>.jpg   counted: encoders take their frames from the videos
    extracted_modality_features/*_features_*.npy or .json   row i-1, or key i, is item i

Titles hold commas and unbalanced quotes: each physical line is split at its first comma, and one enclosing pair of
quotes is taken off.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import Reading
from sensorium.data.readers.delimited import CsvReader
from sensorium.data.readers.lines import NEGATIVE_TIME, apply_rules, first_line, scan_fields
from sensorium.data.readers.microlens_content import find_media, given_features
from sensorium.data.readers.official import OfficialConfig, attributes, find_file, need_folder
from sensorium.data.readers.sequences import read_sequences
from sensorium.data.tables import Options, Table, interactions_table

SUBSETS = ("50k", "100k", "1M")
TITLES = ("MicroLens-{}_titles.csv", "MicroLens-{}_title_en.csv", "MicroLens-{}_title.csv", "MicroLens-{}_title_en.tsv")


class MicroLensReader:
    """A folder of one subset."""

    summary: ClassVar[str] = "folder of MicroLens 50k, 100k or 1M: pairs, titles, media, features"

    class Config(OfficialConfig):
        """Options of MicroLens."""

        subset: Literal["50k", "100k", "1M"] | None = Field(None, description="which subset; null = the one there")
        comments: bool = Field(True, description="whether the rows keep their comment, where the subset has them")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder.

        Raises:
            DataError: There are no pairs or several subsets, or a file is empty or separated otherwise.
        """
        subset, log = self._log(need_folder(path))
        strict = self.config.strict
        rows, rejected = self._rows(log)
        files = [log]
        catalogue, notices, found = _Catalogue(subset, path, strict).read(rows.frame)
        notices = [*rows.notices, *notices]
        files += found
        comments = path / f"MicroLens-{subset}_comment_en.txt"
        if self.config.comments and comments.is_file():
            fields = scan_fields(comments, "\t", ("user_id", "item_id", "comment"), rest=True, strict=strict)
            said = fields.frame.drop(ROW).unique(["user_id", "item_id"], keep="first", maintain_order=True)
            rows.frame = rows.frame.join(said, on=["user_id", "item_id"], how="left", maintain_order="left")
            rejected += fields.rejected
            files.append(comments)
        media, paths, said_of_media = find_media(path, subset)
        frame = None if catalogue is None else catalogue.frame
        if paths is not None:
            ids = [paths.select("item_id")] if frame is None else [frame.select("item_id"), paths.select("item_id")]
            everyone = pl.concat(ids).unique("item_id", keep="first", maintain_order=True)
            for table in (paths,) if frame is None else (frame, paths):
                everyone = everyone.join(table, on="item_id", how="left", maintain_order="left")
            frame = everyone
        features, sources = given_features(path)
        return Reading(
            interactions=rows.frame,
            files=[*files, *sources],
            items=frame,
            media=media,
            features=features,
            columns=rows.roles,
            rejected=[*rejected, *rows.rejected, *(catalogue.rejected if catalogue is not None else [])],
            licence="MicroLens: research use, no redistribution (westlake-repl)",
            closed=True,
            notices=[*notices, *said_of_media],
        )

    def _log(self, path: Path) -> tuple[str, Path]:
        wanted = SUBSETS if self.config.subset is None else (self.config.subset,)
        found = {
            subset: log
            for subset in wanted
            if (log := find_file(path, [f"MicroLens-{subset}_pairs.csv", f"MicroLens-{subset}_pairs.tsv"])) is not None
        }
        if len(found) != 1:
            named = " or ".join(f"MicroLens-{subset}_pairs.csv" for subset in wanted)
            what = "there is no" if not found else "one is needed, and there is more than one of"
            raise DataError(f"{path}: {what} {named}")
        return next(iter(found.items()))

    def _rows(self, log: Path) -> tuple[Table, list[pl.DataFrame]]:
        if ".csv" in log.suffixes:
            options = Options(time_unit="ms", strict=self.config.strict)
            try:
                table = interactions_table(CsvReader().scan(log), log.name, options)
            except pl.exceptions.PolarsError as error:
                raise CsvReader.explain(log, error) from None
            apply_rules(table, [NEGATIVE_TIME], log.name, strict=self.config.strict)
            return table, []
        rows, rejected = read_sequences(log, "\t", strict=self.config.strict)
        return Table(rows, {"user_id": "user", "item_id": "item"}), rejected


class _Catalogue:
    """The tables of a subset that say something about its items."""

    def __init__(self, subset: str, path: Path, strict: bool) -> None:
        self.subset, self.path, self.strict = subset, path, strict
        self.rejected: list[pl.DataFrame] = []
        self.notices: list[str] = []
        self.files: list[Path] = []

    def read(self, rows: pl.LazyFrame) -> tuple[Table | None, list[str], list[Path]]:
        """Return the items with title, tags, likes and views; what people should know; and the files."""
        parts = [part for part in (self._titles(), self._tags(), self._counts()) if part is not None]
        if (other := self._undocumented(rows)) is not None:
            parts.append(other)
        if not parts:
            return None, self.notices, self.files
        ids = pl.concat([part.select(ROW, "item_id") for part in parts]).unique(
            "item_id", keep="first", maintain_order=True
        )
        frame = ids
        for part in parts:
            part = part.drop(ROW).unique("item_id", keep="first", maintain_order=True)
            frame = frame.join(part, on="item_id", how="left", maintain_order="left")
        table = attributes(frame, "the items' files", "item_id", strict=self.strict)
        table.rejected += self.rejected
        self.notices += table.notices
        return table, self.notices, self.files

    def _titles(self) -> pl.LazyFrame | None:
        file = find_file(self.path, [name.format(self.subset) for name in TITLES])
        if file is None:
            self.notices.append(f"there is no file of titles of MicroLens-{self.subset}")
            return None
        self.files.append(file)
        fields = scan_fields(
            file, "\t" if ".tsv" in file.suffixes else ",", ("item_id", "title"), rest=True, strict=self.strict
        )
        self.rejected += fields.rejected
        frame = fields.frame
        if first_line(file).replace('"', "").lower().startswith("item,"):
            frame = frame.filter(pl.col("item_id").str.replace_all('"', "").str.to_lowercase() != "item")
        return frame.with_columns(_unquoted("item_id"), _unquoted("title"))

    def _tags(self) -> pl.LazyFrame | None:
        file = self.path / "tags_to_summary.csv"
        if not file.is_file():
            return None
        self.files.append(file)
        fields = scan_fields(file, ",", ("item_id", "tag"), rest=True, strict=self.strict)
        self.rejected += fields.rejected
        tags = fields.frame.with_columns(_unquoted("tag")).group_by("item_id", maintain_order=True)
        return tags.agg(pl.col(ROW).first(), pl.col("tag").unique(maintain_order=True).str.join("|").alias("tags"))

    def _counts(self) -> pl.LazyFrame | None:
        file = self.path / f"MicroLens-{self.subset}_likes_and_views.txt"
        if not file.is_file():
            return None
        self.files.append(file)
        fields = scan_fields(file, "\t", ("item_id", "likes", "views"), strict=self.strict)
        self.rejected += fields.rejected
        self.notices.append(f"{file.name}: likes and views have no time: they are for display, never to train on")
        return fields.frame.with_columns(pl.col("likes", "views").cast(pl.Int64, strict=False))

    def _undocumented(self, rows: pl.LazyFrame) -> pl.LazyFrame | None:
        file = self.path / f"MicroLens-{self.subset}_items.tsv"
        if not file.is_file():
            return None
        width = first_line(file).count("\t") + 1
        names = [f"items_tsv_{place}" for place in range(1, width + 1)]
        fields = scan_fields(file, "\t", names, strict=self.strict)
        self.rejected += fields.rejected
        known = rows.select(pl.col("item_id").unique()).collect(engine="streaming")["item_id"]
        shares = fields.frame.select(pl.col(names).is_in(known.implode()).mean()).collect().row(0)
        best = max(range(width), key=lambda place: shares[place])
        if shares[best] < 0.5:
            self.notices.append(f"{file.name}: not documented, and no column of it holds item ids: not read")
            return None
        self.files.append(file)
        self.notices.append(f"{file.name}: not documented; column {best + 1} was taken for the item ids")
        return fields.frame.rename({names[best]: "item_id"})


def _unquoted(column: str) -> pl.Expr:
    """Return text without one enclosing pair of quotes, and then with doubled quotes as one."""
    text = pl.col(column).str.strip_chars()
    enclosed = text.str.contains(r'^"(?s:.*)"$') & (text.str.len_chars() >= 2)
    inner = text.str.slice(1, text.str.len_chars() - 2).str.replace_all('""', '"', literal=True)
    return pl.when(enclosed).then(inner).otherwise(text).alias(column)
