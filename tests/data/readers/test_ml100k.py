"""MovieLens-100K: films, not item ids; posters that are there; people and their ages."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.data.importing import import_dataset

from ..sources import config, write

FILMS = "movie_id\ttitle\tgenres\tplot_omdb\toverview_tmdb\tabstract_dbpedia\n"


def movielens(root: Path, *, films: str = FILMS) -> Path:
    """Four films: the first with all, the second without text, the third without a poster; two ids of the first."""
    write(
        root / "items.tsv",
        films + '2\tHeat\tCrime\t"Heat" is on\t\t\n10\tUp\tComedy\t\t\t\n'
        "3\tOld\tDrama\tOld men\t\t\n4\tNew\tDrama\t\t\tNew men\n",
    )
    for film in (2, 10, 4):
        write(root / "posters" / f"{film}.jpg", "poster")
    write(
        root / "ml100k" / "ratings.tsv",
        "user_id\titem_id\trating\ttimestamp\tmovie_id\n"
        "1\t50\t3\t881250949\t2\n1\t51\t5\t881250950\t2\n1\t52\t5\t881250951\t10\n"
        "2\t50\t4\t881250952\t2\n2\t53\t4\t881250953\t3\n2\t54\t2\t881250954\t4\n2\t55\t2\t881250955\t\n",
    )
    write(root / "ml100k" / "users.tsv", "user_id\tage\tgender\toccupation\n1\t17\tM\tartist\n2\t56\tF\tother\n")
    return root


def test_films_with_poster_and_text_and_the_first_of_repeated_pairs(tmp_path: Path) -> None:
    data = import_dataset(movielens(tmp_path / "m"), tmp_path / "out", config(reader="ml100k"))
    assert data.item_ids().to_list() == ["2", "4"]
    items = data.items().collect()
    assert items["description"].to_list() == ['"Heat" is on', "New men"]
    assert [data.media_path(path).read_text() for path in items["image"]] == ["poster", "poster"]
    rows = data.interactions().collect()
    assert rows.select("user", "item", "rating").rows() == [(0, 0, 3.0), (1, 0, 4.0), (1, 1, 2.0)]
    assert rows["timestamp"][0] == 881_250_949_000
    assert (data.info.counts["rows_without_film"], data.info.counts["repeated_pairs"]) == (1, 1)
    assert data.info.counts["rows_of_films_left_out"] == 2  # one without text, one without a poster


def test_variants_differ_by_text_and_rating(tmp_path: Path) -> None:
    source = movielens(tmp_path / "m")
    found = {}
    for variant in ("ml100k", "ml100k+", "ml100k-all"):
        data = import_dataset(source, tmp_path / variant, config(reader={"name": "ml100k", "variant": variant}))
        found[variant] = (data.item_ids().to_list(), data.n_interactions)
    # the first rating of (1, film 2) is a 3: the later 5 is a duplicate, and no positive
    assert found == {"ml100k": (["2", "4"], 3), "ml100k+": (["2", "10"], 2), "ml100k-all": (["2", "4", "10"], 4)}


def test_people_have_attributes_and_an_age_bucket(tmp_path: Path) -> None:
    data = import_dataset(movielens(tmp_path / "m"), tmp_path / "out", config(reader="ml100k"))
    assert data.users().collect().select("age", "gender", "age_bucket").rows() == [
        (17, "M", "under 18"),
        (56, "F", "56+"),
    ]
    assert list(data.attributes()) == ["gender", "age_bucket", "occupation"]


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    source = movielens(tmp_path / "m", films=FILMS.replace("genres", "kinds"))
    with pytest.raises(DataError, match=r"items\.tsv: there is no column 'genres'"):
        import_dataset(source, tmp_path / "out", config(reader="ml100k"))
    (source / "ml100k" / "users.tsv").unlink()
    with pytest.raises(DataError, match=r"there is no ml100k/users\.tsv here"):
        import_dataset(source, tmp_path / "out", config(reader="ml100k"))


def test_a_rating_that_is_no_number_names_the_source(tmp_path: Path) -> None:
    source = movielens(tmp_path / "m")
    path = source / "ml100k" / "ratings.tsv"
    path.write_text(path.read_text().replace("\t3\t8812", "\tthree\t8812"))
    with pytest.raises(DataError, match=r"m: cannot be read: .*three"):
        import_dataset(source, tmp_path / "out", config(reader="ml100k"))


def test_the_real_set(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "movielens"
    data = import_dataset(folder, tmp_path / "out", config(reader="ml100k"))
    first = data.items().head(1).collect().row(0, named=True)
    assert (first["item_id"], first["title"]) == ("1", "Toy Story (1995)")
    assert "cowboy doll" in first["description"]
    assert data.media_path(first["image"]).read_bytes()[:2] == b"\xff\xd8"
    assert data.rejected().collect().height == 0
    values, classes = data.attributes()["age_bucket"]
    assert (values >= 0).all()
    assert len(classes) == 7
    everything = config(reader={"name": "ml100k", "variant": "ml100k-all"}, k_core=5)
    ratings = import_dataset(folder, tmp_path / "all", everything).interactions().collect()["rating"]
    assert round(float(np.mean(ratings.to_numpy() <= 2)), 3) == 0.172
