"""MovieLens latest-small with posters and texts, all of it and the films that MovieLens-100K has not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.data.importing import import_dataset

from ..sources import config

COLUMNS = (
    "movie_id", "title", "genres", "plot_omdb", "overview_tmdb", "abstract_dbpedia", "audio_row", "in_ml100k",
)  # fmt: skip
FILMS = [
    ("1", "Old", "Drama", "a plot", "", "", "0", "1"),
    ("2", "New", "Comedy", "", "an overview", "", "-1", "0"),
    ("3", "Mute", "Comedy", "", "", "", "1", "0"),  # no text
    ("4", "Bare", "Drama", "a plot", "", "", "-1", "0"),  # no poster
    ("5", "Heard", "Drama", "", "", "an abstract", "2", "0"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "movielens"
    for name in ("mlls", "ml1m", "posters"):
        (root / name).mkdir(parents=True)
    (root / "items.tsv").write_text("\n".join("\t".join(row) for row in (COLUMNS, *FILMS)) + "\n")
    rows = [("7", film, "4.5", str(1_000 + place)) for place, (film, *_) in enumerate(FILMS)] + [("8", "1", "3", "5")]
    heading = ("user_id", "movie_id", "rating", "timestamp")
    (root / "mlls" / "ratings.tsv").write_text("\n".join("\t".join(row) for row in (heading, *rows)) + "\n")
    for film in ("1", "2", "3", "5"):
        (root / "posters" / f"{film}.jpg").write_bytes(b"a picture, in name")
    np.save(root / "ml1m" / "audio_vggish.f16.npy", np.arange(12, dtype=np.float16).reshape(3, 4))
    return root


@pytest.mark.parametrize(
    ("variant", "films", "users", "sound"),
    [("mlls", ["1", "2", "5"], 2, [True, False, True]), ("mlls-apart", ["2", "5"], 1, [False, True])],
)
def test_films_with_poster_and_text(
    variant: str, films: list[str], users: int, sound: list[bool], folder: Path, tmp_path: Path
) -> None:
    data = import_dataset(folder, tmp_path / variant, config(reader={"name": "mlls", "variant": variant}))
    assert data.item_ids().to_list() == films
    assert (data.n_users, data.n_interactions) == (users, len(films) + (variant == "mlls"))
    assert data.features("audio").present.tolist() == sound
    assert data.features("audio").x[films.index("5")].tolist() == [8, 9, 10, 11]


def test_sound_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "ml1m" / "audio_vggish.f16.npy", np.zeros((2, 4), dtype=np.float16))
    with pytest.raises(DataError, match=r"2 rows and items\.tsv names row 2"):
        import_dataset(folder, tmp_path / "made", config(reader="mlls"))
