"""Yelp, RecBole, MMRec, S3-Rec and Scientific: folders of the literature, generated."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError

from .official_files import json_lines, write_text
from .sources import imported


def yelp(root: Path) -> Path:
    json_lines(
        root / "yelp_academic_dataset_review.json",
        [
            {"review_id": "r1", "user_id": "u1", "business_id": "b1", "stars": 3.0, "useful": 0, "text": "If",
             "date": "2018-07-07 22:09:11"},
            {"review_id": "r2", "user_id": "u2", "business_id": "b1", "stars": 5.0, "text": "x", "date": "soon"},
            {"review_id": "r3", "user_id": "u2", "business_id": "b2", "stars": 0.0, "text": "x",
             "date": "2018-07-08 00:00:00"},
            {"review_id": "r4", "user_id": "u2", "business_id": "b2", "stars": 1.0, "text": "x",
             "date": "2018-07-09 00:00:00"},
        ],
    )  # fmt: skip
    json_lines(
        root / "yelp_academic_dataset_business.json",
        [
            {"business_id": "b1", "name": "Tom &amp; Co", "city": "Tucson", "latitude": 32.2, "longitude": -110.8,
             "stars": 4.5, "attributes": {"WiFi": "u'no'"}, "categories": "Bars, Food", "hours": None},
            {"business_id": "b2", "name": "Two", "city": "Reno", "latitude": 1, "categories": None, "stars": 1.0},
            {"business_id": "b3", "name": "Unvisited", "categories": "x"},
        ],
    )  # fmt: skip
    json_lines(root / "yelp_academic_dataset_user.json", [{"user_id": "u1", "yelping_since": "2007-01-25 16:47:26"}])
    json_lines(root / "photos.json", [{"photo_id": "p0", "business_id": "b1"}, {"photo_id": "p1", "business_id": "b1"}])
    (root / "photos").mkdir()
    (root / "photos" / "p1.jpg").write_bytes(b"x")
    return root


def test_yelp(tmp_path: Path):
    data = imported(yelp(tmp_path / "yelp"), reader="yelp")
    assert (data.n_users, data.n_items, data.n_interactions) == (2, 2, 2)
    items = data.items().collect()
    assert items["title"].to_list() == ["Tom & Co", "Two"]
    assert items["image"].to_list() == ["media/image/000/0.jpg", None]  # the first photo whose file is there
    assert "stars" not in items.columns  # counted at the release: it knows the future
    assert data.users().collect()["yelping_since"].to_list() == ["2007-01-25 16:47:26", None]
    assert data.interactions().collect()["timestamp"].to_list()[0] == 1_531_001_351_000
    rejected = data.rejected().sort("row").collect()
    assert rejected.select("row", "reason").rows() == [(2, "unreadable_timestamp"), (3, "rating_out_of_range")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no yelp_academic_dataset_review\.json"):
        imported(tmp_path / "empty", reader="yelp", out="none")


def recbole(root: Path) -> Path:
    write_text(
        root / "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\tplace:float\n1\ta\t4\t881250949\t1.5\n"
        "2\tb\t\t891717742\t\n2\ta\t5\t-1\t2\n",
    )
    write_text(
        root / "ml.item",
        'item_id:token\tmovie_title:token_seq\tvector:float_seq\tclass:token_seq\na\t"Q" x\t.5 1\tA B\n',
    )
    write_text(root / "ml.user", "user_id:token\tage:token\n1\t24\n2\t53\n")
    write_text(root / "ml.kg", "head:token\n")
    return root


def test_recbole(tmp_path: Path):
    data = imported(recbole(tmp_path / "ml"), reader={"name": "recbole", "sensitive": ["age"]})
    rows = data.interactions().collect()
    assert rows.columns == ["user", "item", "rating", "timestamp", "place"]
    assert rows["place"].to_list() == [1.5]
    reasons = data.rejected().sort("row").collect().select("row", "reason").rows()
    assert reasons == [(3, "unreadable_rating"), (4, "negative_time")]
    items = data.items().collect()
    assert (items["vector"].to_list(), items["class"].to_list()) == ([[0.5, 1.0]], [["A", "B"]])
    assert data.attributes()["age"][1] == ["24", "53"]
    assert "not read: ml.kg" in data.info.notices
    write_text(tmp_path / "plain" / "x.inter", "userID\titemID\n1\t2\n")
    with pytest.raises(DataError, match=r"the header 'userID' has no type.*--reader mmrec"):
        imported(tmp_path / "plain", reader="recbole", out="none")
    with pytest.raises(DataError, match="sensitive names 'agee'"):
        imported(tmp_path / "ml", reader={"name": "recbole", "sensitive": ["agee"]}, out="other")


@pytest.mark.parametrize("ending", ["inter", "item", "user"])
def test_the_table_of_recbole_that_is_not_utf_8_is_named(tmp_path: Path, ending: str):
    """DI-8: whether the folder was named or its log."""
    folder = recbole(tmp_path / "ml")
    table = folder / f"ml.{ending}"
    last = table.read_text().splitlines()[-1]
    write_text(table, table.read_text() + last.replace(last[0], "é", 1) + "\n", "latin-1")
    line = len(table.read_bytes().splitlines())
    for source in (folder, folder / "ml.inter"):
        with pytest.raises(DataError, match=rf"ml\.{ending} line {line}: the text is not UTF-8$"):
            imported(source, reader="recbole")


def mmrec(root: Path) -> Path:
    rows = "".join(f"{user}\t{item}\t5.0\t1400000000\t{item % 3}\n" for user in range(3) for item in range(3))
    write_text(root / "baby.inter", "userID\titemID\trating\ttimestamp\tx_label\n" + rows)
    np.save(root / "image_feat.npy", np.arange(1, 9, dtype=np.float64).reshape(4, 2))
    np.save(root / "text_feat.npy", np.array([[1, 1, 1], [0, 0, 0], [np.inf, 1, 1], [1e6, 2, 3]]))
    write_text(root / "i_id_mapping.csv", "asin\titemID\nB00X\t0\nB00Y\t1\n")
    return root


def test_mmrec(tmp_path: Path):
    """MM-3: rows that are zero or not finite count as missing, with a notice."""
    data = imported(mmrec(tmp_path / "baby"), reader="mmrec")
    assert (data.n_users, data.n_items, data.n_interactions) == (3, 4, 9)  # item 3 has a vector and no row
    assert data.items().collect()["asin"].to_list() == ["B00X", "B00Y", None, None]
    assert data.interactions().collect()["split"].to_list()[:3] == [0, 1, 2]
    x, present = data.features("text")
    assert present.tolist() == [True, False, False, True]
    assert not x[~present].any()
    assert any("features 'text': 1 rows are all zero" in notice for notice in data.info.notices)
    assert data.features("image").present.all()
    assert data.info.features["image"].provenance == {"file": "image_feat.npy", "encoder": "unknown"}  # MM-6
    np.save(tmp_path / "baby" / "audio_feat.npy", np.ones((2, 2)))
    with pytest.raises(DataError, match=r"audio_feat\.npy has 2 rows and the largest item id is 2"):
        imported(tmp_path / "baby", reader="mmrec", out="short")
    np.save(tmp_path / "baby" / "audio_feat.npy", np.array([{"a": 1}] * 4), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as a NumPy array"):
        imported(tmp_path / "baby", reader="mmrec", out="objects")


def test_s3rec(tmp_path: Path):
    root = tmp_path / "s3"
    write_text(root / "Beauty.txt", "1 1 2 3\r\n2 3 1\n\n3\n")
    write_text(root / "LastFM.txt", "1 1 2\n")
    for name in ("Beauty", "LastFM"):
        tree = {"1": [7, 8, 7], "2": [], "3": [9]}
        (root / f"{name}_item2attributes.json.gz").write_bytes(gzip.compress(json.dumps(tree).encode()))
    with pytest.raises(DataError, match=r"which set\? It holds Beauty, LastFM"):
        imported(root, reader="s3rec")
    data = imported(root, reader={"name": "s3rec", "set": "Beauty"})
    rows = data.interactions().collect()
    assert rows.rows() == [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 2, 0), (1, 0, 1)]
    assert data.items().collect()["attributes"].to_list() == [["7", "8"], [], ["9"]]
    assert data.info.counts["repeated_attributes"] == 1
    assert data.rejected().collect().select("row", "reason").rows() == [(4, "wrong_fields")]
    assert imported(root / "LastFM.txt", reader="s3rec", out="file").n_interactions == 2
    write_text(root / "Twice.txt", "1 1 2\n1 3\n")
    with pytest.raises(DataError, match="user '1' has more than one line"):
        imported(root / "Twice.txt", reader="s3rec", out="twice")
    write_text(root / "Tabs.txt", "1\t1\t2\n")
    with pytest.raises(DataError, match="no line is a user"):
        imported(root / "Tabs.txt", reader="s3rec", out="tabs")


def test_scientific(tmp_path: Path):
    root = tmp_path / "sci"
    write_text(root / "Scientific_users.tsv.gz", "A1\tB1 B2 B1\nA2\tB2\n")
    write_text(root / "Scientific_items.tsv.gz", 'B1\tMeter &amp; "Gauge"\tx &lt;5\nB2\tPlain\n')
    data = imported(root, reader="scientific")
    assert data.interactions().collect().rows() == [(0, 0, 0), (0, 1, 1), (0, 0, 2), (1, 1, 0)]  # repeats stay
    assert data.titles().to_list() == ['Meter & "Gauge"\tx <5', "Plain"]
    (root / "Scientific_items.tsv.gz").unlink()
    with pytest.raises(DataError, match=r"no Scientific_users\.tsv\(\.gz\) with Scientific_items"):
        imported(root, reader="scientific", out="less")
