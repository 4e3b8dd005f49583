"""The official MovieLens folders: separators, encodings, codes, and rows that cannot be."""

from pathlib import Path

import pytest

from sensorium.core.errors import DataError

from .official_files import movielens_1m, movielens_100k, movielens_csv, write_text
from .sources import imported

READER = {"name": "movielens"}


def test_100k_in_latin_1(tmp_path: Path):
    """DI-8: tab, bar and Latin-1 in sister files."""
    data = imported(movielens_100k(tmp_path / "ml-100k"), reader=READER)
    assert (data.n_users, data.n_items, data.n_interactions) == (3, 3, 4)
    items = data.items().collect()
    assert items["title"].to_list() == ["Kolya (1996)", "L.A. Confidential (1997)", "Misérables, Les (1995)"]
    assert items["genres"].to_list() == ["War", "Crime|Film-Noir|Mystery|Thriller", "War"]
    users = data.users().collect()
    assert users["user_id"].to_list() == ["22", "186", "196"]
    assert users["age_bucket"].to_list() == ["56+", "under 18", "45-49"]
    assert "55105" not in str(users.to_dicts())  # zip codes
    assert data.info.sensitive == ["gender", "age_bucket", "occupation"]
    assert data.interactions().collect()["timestamp"].to_list()[0] == 881_250_949_000


def test_1m_with_two_colons_and_codes(tmp_path: Path):
    data = imported(movielens_1m(tmp_path / "ml-1m"), reader=READER)
    assert data.interactions().collect()["rating"].to_list() == [5, 3, 4]
    assert data.titles().to_list() == [
        "Misérables, Les (1995)",
        'James "and" the Giant Peach (1996)',
        "One Flew Over the Cuckoo's Nest (1975)",
    ]
    users = data.users().collect()
    assert users["age_bucket"].to_list() == ["under 18", "56+"]
    assert users["occupation"].to_list() == ["K-12 student", "self-employed"]


def test_10m_has_no_users_and_is_utf_8(tmp_path: Path):
    folder = movielens_1m(tmp_path / "ml-10M100K")
    (folder / "users.dat").unlink()
    write_text(folder / "ratings.dat", "1::1193::4.5::838985046\n2::661::0.5::838985046\n1::5\n")
    write_text(folder / "movies.dat", "1193::Misérables, Les (1995)::Drama\n661::x::(no genres listed)\n")
    write_text(folder / "tags.dat", "15::1193::excellent!::1215184630\n")
    data = imported(folder, reader=READER)
    assert data.titles().to_list() == ["x", "Misérables, Les (1995)"]
    assert data.items().collect()["tags"].to_list() == [None, "excellent!"]
    assert data.items().collect()["genres"].to_list() == [None, "Drama"]
    rejected = data.rejected().collect()
    assert rejected.select("file", "row", "reason", "detail").rows() == [("ratings.dat", 3, "wrong_fields", "1::5")]


def test_the_csv_editions(tmp_path: Path):
    data = imported(movielens_csv(tmp_path / "ml-25m"), reader=READER)
    assert (data.n_users, data.n_items, data.n_interactions) == (3, 3, 4)
    items = data.items().collect()
    assert items["item_id"].to_list() == ["5", "296", "306"]
    assert items["title"][1] == 'Pulp Fiction, "uncut" (1994)'
    assert items["genres"].to_list() == [None, "Comedy|Crime", "Drama"]
    assert items["imdb_id"].to_list() == [None, "0110912", "0111495"]  # leading zeros stay
    assert items["tags"].to_list() == [None, "cult|noir", None]
    rejected = data.rejected().sort("row").collect()
    assert rejected.select("row", "reason").rows() == [(5, "rating_out_of_range"), (6, "negative_time")]
    with pytest.raises(DataError, match=r"ratings\.csv row 5: 'rating' is 0\.0 \(rating_out_of_range\), and --strict"):
        imported(tmp_path / "ml-25m", reader={**READER, "strict": True}, out="strict")


def test_the_tag_genome_on_request(tmp_path: Path):
    """Rows follow the films; a film with a cell that is missing or no number has no content."""
    folder = movielens_csv(tmp_path / "ml-25m")
    for without in (folder, movielens_1m(tmp_path / "ml-1m")):
        with pytest.raises(DataError, match=r"there is no genome-scores\.csv beside the ratings"):
            imported(without, reader={**READER, "genome": True})
    write_text(folder / "genome-tags.csv", "tagId,tag\n2,noir\n1,007\n2,again\n")
    scores = "306,1,0.25\n306,2,0.5\n5,2,0.75\n296,1,1\n296,2,high\n999,1,0.5\n999,2,0.5\n306,3,0.9\n,1,0.5\n"
    write_text(folder / "genome-scores.csv", "movieId,tagId,relevance\n" + scores)
    data = imported(folder, reader={**READER, "genome": True})
    x, present = data.features("genome")
    assert data.item_ids().to_list() == ["5", "296", "306"]
    assert present.tolist() == [False, False, True]
    assert x[2].tolist() == [0.5, 0.25]
    assert data.info.features["genome"].provenance == {
        "file": "genome-scores.csv", "encoder": "tag genome", "tags": 2,
    }  # fmt: skip
    assert {"genome-scores.csv", "genome-tags.csv"} <= {file.name for file in data.info.source.files}
    assert any("it knows later rows" in notice for notice in data.info.notices)
    assert imported(folder, reader=READER, out="plain").feature_names == []


def test_an_archive_that_nests_its_folder(tmp_path: Path):
    movielens_1m(tmp_path / "unpacked" / "ml-1m")
    assert imported(tmp_path / "unpacked", reader=READER).n_interactions == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ratings.dat", "", "the file is empty"),  # DI-8: says so
        ("ratings.dat", "\n\n", "the file is empty"),
        (
            "ratings.dat",
            "1,1193,5,978300760\n",
            "have 1 fields, and 4 are needed; it looks separated by comma",
        ),
        ("movies.dat", "1193|x|Drama\n", r"movies\.dat: separated by '::' .* separated by pipe \(3 fields\)"),
    ],
)
def test_wrong_separators_and_empty_files_say_so(tmp_path: Path, name: str, text: str, message: str):
    folder = movielens_1m(tmp_path / "ml-1m")
    write_text(folder / name, text)
    with pytest.raises(DataError, match=message):
        imported(folder, reader=READER)


@pytest.mark.parametrize("name", ["movies.csv", "links.csv", "tags.csv"])
def test_in_a_folder_the_file_at_fault_is_named(tmp_path: Path, name: str):
    """DI-8: an empty file, and one in another encoding, with the line."""
    folder = movielens_csv(tmp_path / "ml-25m")
    header = (folder / name).read_text().partition("\n")[0]
    write_text(folder / name, f"{header}\n1,2,Misérables,3\n", "latin-1")
    with pytest.raises(DataError, match=rf"{name} line 2: the text is not UTF-8$"):
        imported(folder, reader=READER)
    write_text(folder / name, "")
    with pytest.raises(DataError, match=rf"{name}: the file is empty$"):
        imported(folder, reader=READER)
    assert not (tmp_path / "out").exists()


def test_what_is_no_movielens_folder(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"none of u\.data, ratings\.dat, ratings\.csv here"):
        imported(tmp_path / "empty", reader=READER)
    folder = movielens_1m(tmp_path / "ml-1m")
    (folder / "movies.dat").unlink()
    with pytest.raises(DataError, match=r"there is no movies\.dat beside the ratings"):
        imported(folder, reader=READER)
    write_text(tmp_path / "other" / "ratings.csv", "user,movie\n1,2\n")
    with pytest.raises(DataError, match="its first line is not userId,movieId"):
        imported(tmp_path / "other", reader=READER)
