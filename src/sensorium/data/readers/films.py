"""Two MovieLens sets of the research folder `movielens`, whose films have texts, posters and the sound of trailers.

    ml1m/interactions.tsv.gz   user_id, movie_id, rating_ge4, colakg_split, loo_last: no stars, no times
    ml1m/users.tsv             user_id, gender, age_code, occupation (a code)
    ml1m/audio_vggish.f16.npy  [3007, 128]; the row of a film is `audio_row` of items.tsv, -1 = none
    mlls/ratings.tsv           user_id, movie_id, rating, timestamp (s)
    items.tsv                  movie_id, title, genres, plot_omdb, overview_tmdb, abstract_dbpedia, audio_row, ...
    posters/<movie_id>.jpg

    ml1m   every film                       6,040 x 3,260, 998,539 rows; without order
    mlls   films with poster and text         610 x 3,600,  78,661 rows
    mlls-apart   those that ml100k has not    2,269 films, 42,701 rows: no film and no user in common with ml100k, which
                 a model is transferred to

Films are joined by MovieLens' own id and by nothing else: lists in the order of sorted ids, and of first appearance,
both circulate for the same set.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.files import read_npy
from sensorium.data.readers.base import GivenFeatures, Reading
from sensorium.data.readers.movielens_codes import AGE_OF_CODE, OCCUPATION_OF_CODE

TEXTS = ("plot_omdb", "overview_tmdb", "abstract_dbpedia")
AUDIO = "ml1m/audio_vggish.f16.npy"
LICENCE = "GroupLens: research use, no redistribution; posters: film studios; texts: non-commercial"


class MovieLens1MReader:
    """MovieLens-1M without its stars and times, with posters, texts, trailers' sound and demographics."""

    summary: ClassVar[str] = "folder movielens: MovieLens-1M, user-item, with posters, texts, sound, demographics"
    Config = core_config.NoOptions

    def __init__(self, config: core_config.NoOptions | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder `movielens`.

        Raises:
            DataError: A file or a column is missing, or the sound's matrix has other rows than items.tsv says.
        """
        log, people = path / "ml1m" / "interactions.tsv.gz", path / "ml1m" / "users.tsv"
        columns = ("user_id", "movie_id", "rating_ge4", "colakg_split", "loo_last")
        rows = scan_table(path, log, columns, row_index_name="row", row_index_offset=2).select(
            "user_id",
            pl.col("movie_id").alias("item_id"),
            pl.col("row").cast(pl.Int64),
            pl.col("rating_ge4").cast(pl.Int8),
            "colakg_split",
            pl.col("loo_last").cast(pl.Int8),
        )
        users = scan_table(path, people, ("user_id", "gender", "age_code", "occupation")).select(
            "user_id",
            "gender",
            age_bucket=pl.col("age_code").replace_strict(AGE_OF_CODE, return_dtype=pl.String),
            occupation=pl.col("occupation").replace_strict(OCCUPATION_OF_CODE, return_dtype=pl.String),
        )
        films = _films(path).drop("in_ml100k")
        return Reading(
            interactions=rows,
            files=[log, people, path / "items.tsv", path / AUDIO],
            items=films.drop("audio_row"),
            users=users,
            media=path,
            features={"audio": _audio(path, films)},
            columns={"item_id": "movie_id"},
            licence=LICENCE,
            sensitive=["gender", "age_bucket", "occupation"],
            closed=True,
            notices=["the rows have no time and no order: only each user's last film is known (loo_last)"],
        )


class MovieLensLatestSmallReader:
    """MovieLens latest-small: the ratings of films that have a poster file and a text."""

    summary: ClassVar[str] = "folder movielens: MovieLens latest-small, films with poster and text, with sound"

    class Config(core_config.Config):
        """Which films."""

        variant: Literal["mlls", "mlls-apart"] = Field(
            "mlls", description="mlls: all with poster and text; mlls-apart: of these, the films that ml100k has not"
        )

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder `movielens`.

        Raises:
            DataError: A file or a column is missing, or the sound's matrix has other rows than items.tsv says.
        """
        log = path / "mlls" / "ratings.tsv"
        films = _films(path).filter(pl.col("image").is_not_null() & pl.col("description").is_not_null())
        if self.config.variant == "mlls-apart":
            films = films.filter(pl.col("in_ml100k") != "1")
        films = films.drop("in_ml100k")
        known = films.select("item_id").collect()["item_id"]
        raw = scan_table(
            path, log, ("user_id", "movie_id", "rating", "timestamp"), row_index_name="row", row_index_offset=2
        )
        rows = raw.filter(pl.col("movie_id").is_in(known.implode())).select(
            "user_id",
            pl.col("movie_id").alias("item_id"),
            pl.col("row").cast(pl.Int64),
            pl.col("rating").cast(pl.Float32),
            pl.col("timestamp").cast(pl.Int64) * 1000,
        )
        left_out = raw.select((~pl.col("movie_id").is_in(known.implode())).sum()).collect().item()
        return Reading(
            interactions=rows,
            files=[log, path / "items.tsv", path / AUDIO],
            items=films.drop("audio_row"),
            media=path,
            features={"audio": _audio(path, films)},
            columns={"item_id": "movie_id"},
            counts={"rows_of_films_left_out": left_out},
            licence=f"{LICENCE}; latest-small: redistribution on the same terms",
            closed=True,
        )


def _films(path: Path) -> pl.LazyFrame:
    """Return all films: the first text that each has, its poster where the file is there, and its row of sound."""
    there = pl.Series([poster.stem for poster in (path / "posters").glob("*.jpg")], dtype=pl.String)
    columns = ("movie_id", "title", "genres", *TEXTS, "audio_row", "in_ml100k")
    return scan_table(path, path / "items.tsv", columns).select(
        item_id=pl.col("movie_id"),
        title=pl.col("title"),
        description=pl.coalesce(TEXTS),
        genres=pl.col("genres"),
        image=pl.when(pl.col("movie_id").is_in(there.implode())).then("posters/" + pl.col("movie_id") + ".jpg"),
        audio_row=pl.col("audio_row").cast(pl.Int64),
        in_ml100k=pl.col("in_ml100k").fill_null(""),
    )


def _audio(path: Path, films: pl.LazyFrame) -> GivenFeatures:
    """Return the trailers' sound: a row for each film that has one."""
    heard = films.filter(pl.col("audio_row") >= 0).select("item_id", "audio_row").collect()
    matrix = path / AUDIO
    length = len(read_npy(matrix, mmap=True))
    last = int(heard["audio_row"].to_numpy().max(initial=-1))
    if last >= length:
        raise DataError(f"{matrix} has {length:,} rows and items.tsv names row {last:,}")
    return GivenFeatures(
        lambda: np.asarray(read_npy(matrix, mmap=True)[heard["audio_row"].to_numpy()], dtype=np.float32),
        heard["item_id"],
        {"file": Path(AUDIO).name, "encoder": "VGGish"},
    )


def scan_table(
    root: Path,
    file: Path,
    columns: tuple[str, ...],
    *,
    row_index_name: str | None = None,
    row_index_offset: int = 0,
) -> pl.LazyFrame:
    """Return a tab-separated file as text. Quotes are letters there, and an empty cell is missing."""
    if not file.is_file():
        raise DataError(f"{root}: there is no {file.relative_to(root)} here")
    frame = pl.scan_csv(
        file,
        separator="\t",
        quote_char=None,
        infer_schema=False,
        row_index_name=row_index_name,
        row_index_offset=row_index_offset,
    )
    found = frame.collect_schema().names()
    for column in columns:
        if column not in found:
            raise DataError(f"{file}: there is no column '{column}' (columns: {', '.join(found)})")
    return frame
