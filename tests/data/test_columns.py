"""Which column is what, and how values are read."""

import polars as pl
import pytest

from sensorium.core.errors import DataError
from sensorium.data.columns import INTERACTION_ROLES, ITEM_ROLES, further_names, guess, read_id, read_number


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("user item", {"user_id": "user", "item_id": "item"}),
        ("userID itemID x_label", {"user_id": "userID", "item_id": "itemID"}),
        (
            "userId,movieId,rating,timestamp".replace(",", " "),
            {"user_id": "userId", "item_id": "movieId", "rating": "rating", "timestamp": "timestamp"},
        ),
        (
            "reviewerID asin overall unixReviewTime reviewText",
            {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"},
        ),
        ("asin parent_asin user_id", {"user_id": "user_id", "item_id": "parent_asin"}),
        ("Customer-ID Product_ID Date", {"user_id": "Customer-ID", "item_id": "Product_ID", "timestamp": "Date"}),
    ],
)
def test_names_of_public_data_sets_are_known(columns: str, expected: dict[str, str]) -> None:
    assert guess(columns.split(), INTERACTION_ROLES) == expected


def test_the_mapping_wins_and_null_takes_a_role_away() -> None:
    columns = ["user", "item", "buyer", "rating", "date"]
    found = guess(columns, INTERACTION_ROLES, {"user_id": "buyer", "rating": None})
    assert found == {"user_id": "buyer", "item_id": "item", "timestamp": "date"}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"usr": "user"}, r"there is no role 'usr'.*known: user_id"),
        ({"user_id": "usr"}, r"there is no column 'usr' for user_id; did you mean 'user'\?"),
    ],
)
def test_a_mapping_that_names_nothing_is_an_error(mapping: dict[str, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        guess(["user", "item"], INTERACTION_ROLES, mapping)


def test_a_side_table_may_call_its_key_id() -> None:
    assert guess(["id", "name"], ITEM_ROLES, plain_id="item_id") == {"item_id": "id", "title": "name"}
    found = guess(["id", "name"], ITEM_ROLES, {"item_id": "sku"}, plain_id="item_id")  # "sku" is the log's name for it
    assert found["item_id"] == "id"
    assert guess(["item"], ITEM_ROLES, {"title": "item"}, plain_id="item_id") == {"item_id": "item", "title": "item"}


def test_names_that_our_tables_need_are_not_taken() -> None:
    assert further_names(["user", "colour", "user_raw", "row"], ["title"]) == {
        "user": "user_raw",
        "colour": "colour",
        "user_raw": "user_raw_raw",
        "row": "row_raw",
    }
    assert further_names(["title"], ["title"]) == {"title": "title_raw"}


def test_ids_that_became_floats_beside_a_gap_are_whole_again() -> None:
    frame = pl.DataFrame({"id": [1.0, None, 2.5, float("nan"), 1e300]})
    found = frame.select(read_id("id", pl.Float64())).to_series().to_list()
    assert found[:4] == ["1", None, "2.5", None]
    text = pl.DataFrame({"id": [" 5 ", "1.0", "", "\t"]})
    assert text.select(read_id("id", pl.String())).to_series().to_list() == ["5", "1.0", None, None]


def test_numbers_that_are_not_finite_are_missing() -> None:
    frame = pl.DataFrame({"x": ["1.5", " 2 ", "inf", "nan", "1e300", "-", ""]})
    read = {to: frame.select(read_number("x", pl.String(), to)).to_series().to_list() for to in (pl.Float32, pl.Int64)}
    assert read[pl.Float32] == [1.5, 2.0, None, None, None, None, None]
    assert read[pl.Int64] == [1, 2, None, None, None, None, None]
