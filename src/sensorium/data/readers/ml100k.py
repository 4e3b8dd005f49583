"""MovieLens-100K with posters and texts, as the folder `movielens` of the research data holds it.

    ml100k/ratings.tsv   user_id, item_id, rating, timestamp (s), movie_id (a film's MovieLens id; empty for 28 rows)
    ml100k/users.tsv     user_id, age, gender, occupation
    items.tsv            movie_id, title, genres, plot_omdb, overview_tmdb, abstract_dbpedia, director, ...
    posters/<movie_id>.jpg

Several item ids map to one film: items are films, and of rows with the same (user, film) the first in the file stays. A
poster counts when its file is there, a text when any of plot, overview and abstract is.

    ml100k       poster and text                                    943 x 1,458, 99,118 rows
    ml100k+      poster; rating >= 4; then the 5-core               938 x 996, 54,213 rows
    ml100k-all   poster; every rating; then the 5-core              943 x 1,307, 98,776 rows
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.data.readers.base import Reading
from sensorium.data.readers.films import scan_table
from sensorium.data.readers.movielens_codes import age_bucket

TEXTS = ("plot_omdb", "overview_tmdb", "abstract_dbpedia")  # a film's description is the first that it has


class MovieLens100KReader:
    """The films that people rated in 1997 and 1998, with posters, plots and demographics."""

    summary: ClassVar[str] = "folder movielens: MovieLens-100K with posters, texts and demographics"

    class Config(core_config.Config):
        """Which of the three sets."""

        variant: Literal["ml100k", "ml100k+", "ml100k-all"] = Field(
            "ml100k",
            description="ml100k: poster and text; ml100k+: poster, rated 4 or 5; ml100k-all: poster, any rating",
        )

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> Reading:
        """Read the folder `movielens`.

        Raises:
            DataError: A file or a column is missing.
        """
        files = [path / "ml100k" / "ratings.tsv", path / "ml100k" / "users.tsv", path / "items.tsv"]
        for file in files:
            if not file.is_file():
                raise DataError(f"{path}: there is no {file.relative_to(path)} here")
        items = self._items(path, files[2])
        raw = scan_table(
            path, files[0], ("user_id", "rating", "timestamp", "movie_id"), row_index_name="row", row_index_offset=2
        )
        rows = (
            raw.filter(pl.col("movie_id").is_not_null())
            .select(
                "user_id",
                pl.col("movie_id").alias("item_id"),
                pl.col("row").cast(pl.Int64),
                pl.col("rating").cast(pl.Float32),
                pl.col("timestamp").cast(pl.Int64) * 1000,
            )
            .collect()
        )
        chosen = rows.join(items.select("item_id").collect(), on="item_id", how="semi", maintain_order="left")
        distinct = chosen.unique(["user_id", "item_id"], keep="first", maintain_order=True)
        kept = distinct if self.config.variant != "ml100k+" else distinct.filter(pl.col("rating") >= 4)
        counts = {
            "rows_without_film": raw.select(pl.len()).collect().item() - rows.height,
            "rows_of_films_left_out": rows.height - chosen.height,
            "repeated_pairs": chosen.height - distinct.height,
            "rows_below_rating": distinct.height - kept.height,
        }
        return Reading(
            interactions=kept.lazy(),
            files=files,
            items=items,
            users=_users(files[1]),
            media=path,
            columns={"item_id": "movie_id"},
            counts=counts,
            licence="GroupLens: research use, no redistribution; posters: film studios; texts: non-commercial",
            sensitive=["gender", "age_bucket", "occupation"],
            closed=True,
        )

    def _items(self, path: Path, file: Path) -> pl.LazyFrame:
        """Return the films of the variant, with the columns that encoders read."""
        posters = {poster.stem for poster in (path / "posters").glob("*.jpg")}
        films = scan_table(path, file, ("movie_id", "title", "genres", *TEXTS)).select(
            item_id=pl.col("movie_id"),
            title=pl.col("title"),
            description=pl.coalesce(TEXTS),
            genres=pl.col("genres"),
            image="posters/" + pl.col("movie_id") + ".jpg",
        )
        films = films.filter(pl.col("item_id").is_in(sorted(posters)))
        return films.filter(pl.col("description").is_not_null()) if self.config.variant == "ml100k" else films


def _users(file: Path) -> pl.LazyFrame:
    """Return the users with the age in years and in the seven buckets of MovieLens-1M."""
    age = pl.col("age").cast(pl.Int32)
    users = scan_table(file.parent, file, ("user_id", "age", "gender", "occupation"))
    return users.select("user_id", age, "gender", "occupation", age_bucket=age_bucket())
