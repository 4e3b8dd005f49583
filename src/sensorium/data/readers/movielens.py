"""MovieLens as GroupLens publishes it: 100K, 1M, 10M, and the CSV editions 20M, 25M, 32M and latest.

    100K      u.data   user, item, rating, time (s), tab       u.item  id|title|date||url|19 flags, Latin-1
              u.user   id|age|gender|occupation|zip
    1M        ratings.dat  user::movie::rating::time           movies.dat  id::title::genres, Latin-1
              users.dat    id::gender::age code::occupation code::zip
    10M       ratings.dat, movies.dat (UTF-8), tags.dat        no users
    CSV       ratings.csv  userId,movieId,rating,timestamp     movies.csv  movieId,title,genres
              links.csv    movieId,imdbId,tmdbId               tags.csv    userId,movieId,tag,timestamp
              genome-scores.csv  movieId,tagId,relevance       genome-tags.csv  tagId,tag

Times are seconds. Ratings outside 0.5 to 5 and times before 1970 are set aside. Zip codes are not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.readers.delimited import CsvReader
from sensorium.data.readers.lines import NEGATIVE_TIME, apply_rules, first_line, rating_between, scan_fields
from sensorium.data.readers.movielens_codes import AGE_OF_CODE, OCCUPATION_OF_CODE, age_bucket
from sensorium.data.readers.official import OfficialConfig, attributes, need_folder, single_folder
from sensorium.data.tables import Options, Table, interactions_table

GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
LATIN = ("utf-8", "latin-1")
LOG = ("userId", "movieId", "rating", "timestamp")
GENOME = ("genome-scores.csv", "genome-tags.csv")
NO_GENRES = "(no genres listed)"
MOST_TAGS = 20  # of one film
LICENCE = "GroupLens: research use, no redistribution without permission (see the README of the edition)"


class MovieLensReader:
    """A folder of an official MovieLens archive."""

    summary: ClassVar[str] = "folder of GroupLens: MovieLens 100K, 1M, 10M, 20M, 25M, 32M, latest"

    class Config(OfficialConfig):
        """Options of MovieLens."""

        tags: bool = Field(True, description="whether the tags that people gave become a text column of the films")
        genome: bool = Field(False, description="whether the tag genome becomes the features 'genome' of the films")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read a folder; which edition it is shows by its files.

        Raises:
            DataError: No edition has these files, one is missing or empty, or a file is separated otherwise.
        """
        editions: dict[str, Callable[[Path], Reading]] = {
            "u.data": self._read_100k,
            "ratings.dat": self._read_dat,
            "ratings.csv": self._read_csv,
        }
        folder = single_folder(need_folder(path), *editions)
        for log, read in editions.items():
            if (folder / log).is_file():
                return read(folder)
        raise DataError(f"{path}: there is none of {', '.join(editions)} here: this is no MovieLens folder")

    # --- editions ---

    def _read_100k(self, folder: Path) -> Reading:
        fields = scan_fields(folder / "u.data", "\t", LOG, strict=self.config.strict)
        film_names = ("item_id", "title", "release_date", "video_release", "url", *GENRES_100K)
        films = scan_fields(_need(folder, "u.item"), "|", film_names, encodings=LATIN, strict=self.config.strict)
        flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K[1:]]
        items = films.frame.select(
            ROW, "item_id", "title", "release_date", genres=pl.concat_str(flags, separator="|", ignore_nulls=True)
        )
        people_names = ("user_id", "age", "gender", "occupation", "zip")
        people = scan_fields(_need(folder, "u.user"), "|", people_names, encodings=LATIN, strict=self.config.strict)
        users = people.frame.select(
            ROW, "user_id", pl.col("age").cast(pl.Int32, strict=False), "gender", "occupation", age_bucket=age_bucket()
        )
        return self._reading(
            folder, "u.data", fields.frame, [*fields.rejected, *films.rejected, *people.rejected],
            items=(items, "u.item"), users=(users, "u.user"),
        )  # fmt: skip

    def _read_dat(self, folder: Path) -> Reading:
        fields = scan_fields(folder / "ratings.dat", "::", LOG, strict=self.config.strict)
        names = ("item_id", "title", "genres")
        films = scan_fields(_need(folder, "movies.dat"), "::", names, encodings=LATIN, strict=self.config.strict)
        rejected = [*fields.rejected, *films.rejected]
        users = None
        if (folder / "users.dat").is_file():
            coded_names = ("user_id", "gender", "age_code", "occupation_code", "zip")
            people = scan_fields(folder / "users.dat", "::", coded_names, strict=self.config.strict)
            rejected += people.rejected
            coded = {"age_bucket": ("age_code", AGE_OF_CODE), "occupation": ("occupation_code", OCCUPATION_OF_CODE)}
            named = {
                name: pl.col(column).replace_strict(codes, default=None, return_dtype=pl.String)
                for name, (column, codes) in coded.items()
            }
            users = (people.frame.select(ROW, "user_id", "gender", **named), "users.dat")
        tags = None
        if self.config.tags and (folder / "tags.dat").is_file():
            given = scan_fields(folder / "tags.dat", "::", ("userId", "movieId", "tag", "timestamp"), encodings=LATIN)
            rejected += given.rejected
            tags = given.frame
        return self._reading(
            folder, "ratings.dat", fields.frame, rejected, items=(films.frame, "movies.dat"), users=users, tags=tags
        )

    def _read_csv(self, folder: Path) -> Reading:
        scan = CsvReader().scan
        log = folder / "ratings.csv"
        if not first_line(log).replace('"', "").startswith("userId,movieId"):
            raise DataError(f"{log}: its first line is not userId,movieId,rating,timestamp: this is no MovieLens file")
        films = scan(_need(folder, "movies.csv")).select(ROW, pl.col("movieId").alias("item_id"), "title", "genres")
        if (folder / "links.csv").is_file():
            links = scan(folder / "links.csv").select(
                pl.col("movieId").alias("item_id"), imdb_id=pl.col("imdbId"), tmdb_id=pl.col("tmdbId")
            )
            films = films.join(links.unique("item_id", keep="first"), on="item_id", how="left", maintain_order="left")
        tags = scan(folder / "tags.csv") if self.config.tags and (folder / "tags.csv").is_file() else None
        return self._reading(folder, log.name, scan(log), [], items=(films, "movies.csv"), tags=tags)

    # --- what they share ---

    def _reading(
        self,
        folder: Path,
        log: str,
        raw: pl.LazyFrame,
        rejected: list[pl.DataFrame],
        *,
        items: tuple[pl.LazyFrame, str],
        users: tuple[pl.LazyFrame, str] | None = None,
        tags: pl.LazyFrame | None = None,
    ) -> Reading:
        strict = self.config.strict
        try:
            table = interactions_table(raw, log, Options(time_unit="s", strict=strict))
        except pl.exceptions.PolarsError as error:
            raise CsvReader.explain(folder / log, error) from None
        apply_rules(table, [rating_between(0.5, 5), NEGATIVE_TIME], log, strict=strict)
        films = _films(items[0], tags)
        catalogue = attributes(films, items[1], "item_id", strict=strict)
        people: Table | None = None
        if users is not None:
            people = attributes(users[0], users[1], "user_id", strict=strict)
        tables = [table, catalogue, *([people] if people is not None else [])]
        files = [log, items[1], *([users[1]] if users else []), "links.csv", "tags.csv", "tags.dat"]
        notices = [notice for part in tables for notice in part.notices]
        if tags is not None:
            notices.append(
                "tags were given at any time, so later than some rows: no content to train on without thought"
            )
        if users is not None:
            notices.append(f"{users[1]}: zip codes are not kept")
        features = {}
        if self.config.genome:
            features["genome"] = _genome(_need(folder, GENOME[0]), _need(folder, GENOME[1]))
            files.extend(GENOME)
            notices.append(
                "the tag genome was computed from tags and ratings of any time: it knows later rows of the log"
            )
        return Reading(
            interactions=table.frame,
            files=[folder / name for name in files if (folder / name).is_file()],
            features=features,
            items=catalogue.frame,
            users=None if people is None else people.frame,
            columns=table.roles,
            rejected=[*rejected, *(found for part in tables for found in part.rejected)],
            licence=LICENCE,
            sensitive=["gender", "age_bucket", "occupation"] if people is not None else [],
            notices=notices,
        )


def _need(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise DataError(f"{folder}: there is no {name} beside the ratings")
    return folder / name


def _genome(scores: Path, tags: Path) -> GivenFeatures:
    """Return the relevance of each tag for each film; one that lacks a cell, or has no number in it, is missing."""
    scan = CsvReader().scan
    names = scan(tags).select("tagId").collect().to_series().str.strip_chars().drop_nulls().unique(maintain_order=True)
    cells = (
        scan(scores)
        .select(
            film=pl.col("movieId").str.strip_chars(),
            tag=pl.col("tagId").str.strip_chars(),
            relevance=pl.col("relevance").str.strip_chars().cast(pl.Float32, strict=False),
        )
        .drop_nulls("film")
    )
    films = cells.select(pl.col("film").unique(maintain_order=True)).collect().to_series()

    def load() -> npt.NDArray[np.float32]:
        row = pl.col("film").replace_strict(films, pl.int_range(len(films), eager=True), return_dtype=pl.Int64)
        column = pl.col("tag").replace_strict(
            names, pl.int_range(len(names), eager=True), default=None, return_dtype=pl.Int64
        )
        known = cells.select(row=row, column=column, relevance="relevance").drop_nulls("column").collect()
        x = np.full((len(films), len(names)), np.nan, dtype=np.float32)
        x[known["row"].to_numpy(), known["column"].to_numpy()] = known["relevance"].to_numpy()
        return x

    return GivenFeatures(load, films, {"file": scores.name, "encoder": "tag genome", "tags": len(names)})


def _films(films: pl.LazyFrame, tags: pl.LazyFrame | None) -> pl.LazyFrame:
    """Return the films, genres missing where none is listed, with their tags: the most given first."""
    genres = pl.col("genres").replace({NO_GENRES: None, "": None})
    films = films.with_columns(pl.when(genres == "unknown").then(None).otherwise(genres).alias("genres"))
    if tags is None:
        return films
    words = tags.select(pl.col("movieId").alias("item_id"), tag=pl.col("tag").str.strip_chars().str.to_lowercase())
    counted = words.filter(pl.col("tag") != "").group_by("item_id", "tag").len()
    joined = (
        counted.sort("item_id", "len", "tag", descending=[False, True, False])
        .group_by("item_id", maintain_order=True)
        .agg(pl.col("tag").head(MOST_TAGS).str.join("|").alias("tags"))
    )
    return films.join(joined, on="item_id", how="left", maintain_order="left")
