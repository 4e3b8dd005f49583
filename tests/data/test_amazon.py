"""Amazon Reviews of three editions: which edition a file is, what an item is, and rows that cannot be."""

from pathlib import Path
from typing import Any

import pytest

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.importing import plan_import

from .official_files import META_2023, REVIEWS_2023, amazon_2014, amazon_2018_items, amazon_2023, json_lines, write_text
from .sources import config, imported


def read(path: Path, out: str = "out", **options: Any) -> Dataset:
    return imported(path, reader={"name": "amazon", **options}, out=out)


def test_2023_as_it_is(tmp_path: Path):
    """DI-5: duplicates, times before 1970, rating 0, variants, items without metadata, features without description."""
    data = read(amazon_2023(tmp_path))
    assert data.item_ids().to_list() == ["B000000003", "B000000004", "B00000000P"]
    assert (data.n_interactions, data.info.counts["duplicates"]) == (4, 1)
    rejected = data.rejected().sort("row").collect()
    assert rejected.select("row", "reason", "detail").rows() == [
        (4, "negative_time", "-2208988800000"),
        (5, "rating_out_of_range", "0.0"),
    ]
    items = data.items().collect()
    assert items["title"].to_list() == ["Comb", None, "Soap & Water"]
    assert items["description"].to_list() == ["Ten teeth\nWood", None, "Mild\nCleans."]
    assert items["price"].to_list() == [None, None, 12.99]
    assert items["image_url"].to_list() == [None, None, "https://x/l.jpg"]
    assert any("items are parents (parent_asin)" in notice for notice in data.info.notices)
    assert any(
        "1 values of 'price' cannot be read" in notice and "first lines: 2" in notice for notice in data.info.notices
    )
    assert data.interactions().collect()["variant"].to_list()[1] == "B000000002"


def test_2023_by_variant_with_texts_and_the_whole_catalogue(tmp_path: Path):
    data = read(amazon_2023(tmp_path), item="variant", review_text=True)
    assert data.item_ids().to_list() == ["B000000001", "B000000002", "B000000003", "B000000004"]
    assert data.interactions().collect()["review_text"].to_list() == ["Very", None, None, None]
    assert "B000000009" in read(tmp_path / "All_Beauty.jsonl.gz", "all", catalogue="all").item_ids()


def test_2023_broken_lines_are_set_aside(tmp_path: Path):
    log = json_lines(tmp_path / "Toys.jsonl", [REVIEWS_2023[0], '{"user_id": "AE9", "asin"', "[1]", REVIEWS_2023[2]])
    json_lines(tmp_path / "meta_Toys.jsonl", [META_2023[0], '{"parent_asin": "B1", "description": {"a": 1}}'])
    data = read(log)
    assert data.n_interactions == 2
    found = data.rejected().sort("file", "row").collect().select("file", "row", "reason").rows()
    assert found == [
        ("Toys.jsonl", 2, "unreadable_record"),
        ("Toys.jsonl", 3, "unreadable_record"),
        ("meta_Toys.jsonl", 2, "unreadable_record"),
    ]
    with pytest.raises(DataError, match="--strict allows none of it"):
        read(log, "strict", strict=True)


def test_2014_literals_are_parsed_and_never_run(tmp_path: Path):
    data = read(amazon_2014(tmp_path))
    assert data.n_interactions == 2
    assert data.items().collect().select("item_id", "title", "description", "price").rows() == [
        ("7806397051", "WAWO 15 Color", "It's a palette", 9.99),
        ("B000052YPE", "Nail\nFile", None, None),
    ]
    assert not list(tmp_path.rglob("never"))
    rejected = data.rejected().collect().select("file", "row", "reason").rows()
    assert rejected == [("meta_Beauty.json.gz", 2, "unreadable_record")]
    assert data.interactions().collect()["timestamp"].to_list()[0] == 1_391_040_000_000


@pytest.mark.parametrize(
    ("row", "edition"),
    [("A1YJEY40YUW4SE,7806397051,5.0,1391040000", "2014"), ("7806397051,A1YJEY40YUW4SE,5.0,1391040000", "2018")],
)
def test_which_column_of_the_ratings_holds_the_items(tmp_path: Path, row: str, edition: str):
    data = read(write_text(tmp_path / "ratings_Beauty.csv", f"{row}\nbroken\n"))
    assert (data.user_ids().to_list(), data.item_ids().to_list()) == (["A1YJEY40YUW4SE"], ["7806397051"])
    assert any(f"read as of {edition}" in notice for notice in data.info.notices)
    assert data.info.counts["rejected"] == 1


def test_2023_ratings_have_a_header(tmp_path: Path):
    log = write_text(
        tmp_path / "X.csv", "user_id,parent_asin,rating,timestamp,history\nAE1,B00000000P,5.0,1588687728923,\n"
    )
    data = read(log)
    assert data.interactions().collect().rows() == [(0, 0, 5.0, 1_588_687_728_923)]


def test_2018_prices_and_page_programs(tmp_path: Path):
    amazon_2018_items(tmp_path)
    rows = "".join(f"B0000000{item}A,A1YJEY40YUW4SE,4.0,1391040000\n" for item in ("1", "2", "3"))
    data = read(write_text(tmp_path / "Arts.csv", rows))
    items = data.items().collect()
    assert items["title"].to_list() == ["One", "Two", None]
    assert items["price"].to_list() == [1299.0, None, None]
    assert items["description"].to_list() == ["Wet\nRed", None, None]
    assert data.rejected().collect()["reason"].to_list() == ["unformatted_record"]


def test_pictures_that_were_downloaded(tmp_path: Path):
    log = amazon_2023(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "B000000003.jpg").write_bytes(b"x")
    data = read(log, media=tmp_path / "pictures")
    assert data.items().collect()["image"].to_list() == ["media/image/000/0.jpg", None, None]


def test_a_dry_run_counts_what_would_be_set_aside(tmp_path: Path):
    plan = plan_import(amazon_2023(tmp_path), config(reader="amazon"))
    assert plan.counts == {
        "rows": 5, "users": 3, "items": 3, "rejected: negative_time": 1, "rejected: rating_out_of_range": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"a": 1}\n', "neither reviewerID nor user_id"),
        ("x.csv", "u1,i1,5,1\n", "looks like Amazon's item ids"),
        (
            "x.csv",
            "A1;B;5;1\n",
            "have 1 fields, and 4 are needed; it looks separated by semicolon",
        ),
        ("x.jsonl.gz", "", "the file is empty"),
    ],
)
def test_what_is_no_file_of_amazon(tmp_path: Path, name: str, text: str, message: str):
    with pytest.raises(DataError, match=message):
        read(write_text(tmp_path / name, text))


def test_a_folder_with_several_logs(tmp_path: Path):
    amazon_2023(tmp_path / "amazon")
    assert read(tmp_path / "amazon").n_interactions == 4
    write_text(tmp_path / "amazon" / "Toys.csv", "x")
    with pytest.raises(DataError, match=r"there are: All_Beauty\.jsonl\.gz, Toys\.csv"):
        read(tmp_path / "amazon", "twice")
