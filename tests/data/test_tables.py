"""Raw columns become tables: what is kept, what is missing, what is set aside."""

from pathlib import Path

import pytest

from sensorium.core.errors import DataError

from .sources import imported, write

PRICES = ["12.99", "—", "-", "$5", '"1,299.00"', "", "NaN"]


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, object]:
    write(tmp_path / "log.csv", "user,item\n" + "".join(f"u,i{n}\n" for n in range(7)))
    rows = "".join(f"i{n},T{n},{price}\n" for n, price in enumerate(PRICES))
    return {"name": "csv", "items": write(tmp_path / "items.csv", "item,title,price\n" + rows)}


def test_text_in_a_number_column_keeps_its_item(tmp_path: Path, shop: dict[str, object]) -> None:
    """DI-3: values that cannot be read are missing and counted by line; --strict stops; no item is lost."""
    data = imported(tmp_path / "log.csv", reader=shop)
    assert data.n_items == 7
    assert data.items().collect()["price"].to_list() == [12.99, None, None, None, None, None, None]
    assert (
        "items.csv: 4 values of 'price' cannot be read and count as missing (first lines: 3, 4, 5)" in data.info.notices
    )
    with pytest.raises(DataError, match=r"4 values of 'price' .* --strict allows none"):
        imported(tmp_path / "log.csv", reader=shop | {"strict": True}, out="strict")


def test_items_and_users_without_an_id_or_with_a_second_row_are_set_aside(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item\nu1,a\nu2,b\n")
    users = write(tmp_path / "users.csv", "user,gender\nu1,f\nu3,m\nu3,f\n,f\n")
    data = imported(log, reader={"name": "csv", "users": users, "sensitive": ["gender"]})
    values, classes = data.attributes()["gender"]
    assert (values.tolist(), classes) == ([0, -1, 1], ["f", "m"])  # u2 has no row, the first of u3 counts
    assert data.rejected().sort("row").select("row", "reason").collect().rows() == [
        (4, "duplicate_id"),
        (5, "missing_id"),
    ]
    assert "users.csv: 1 rows have an id that stood before and are set aside (first row: 4)" in data.info.notices


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensitive": ["gender"]}, r"sensitive names 'gender' and there is no file of users: --users FILE"),
        ({"users": "users.csv", "sensitive": ["gendr"]}, r"no column of the users; did you mean 'gender'\?"),
        ({"users": "nobody.csv"}, r"nobody\.csv: there is no such file"),
        ({"items": "users.csv"}, r"users\.csv: no column for item_id among: user, gender"),
        ({"items": "empty.csv"}, r"empty\.csv: the file is empty"),
    ],
)
def test_side_files_that_do_not_fit(tmp_path: Path, options: dict[str, object], message: str) -> None:
    log = write(tmp_path / "log.csv", "user,item\nu1,a\n")
    write(tmp_path / "users.csv", "user,gender\nu1,f\n")
    write(tmp_path / "empty.csv", "")
    files = {key: tmp_path / str(value) if key in ("users", "items") else value for key, value in options.items()}
    with pytest.raises(DataError, match=message):
        imported(log, reader={"name": "csv", **files})


def test_titles_may_come_from_the_log_where_the_mapping_says_so(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item,t,price,text\nu1,a,First,1,x\nu2,b,,2,y\nu2,a,Again,3,z\n")
    data = imported(log, reader={"name": "csv", "columns": {"title": "t", "price": "price"}})
    assert data.items().collect().rows() == [(0, "a", "First", 1.0), (1, "b", None, 2.0)]
    assert data.titles().to_list() == ["First", "b"]
    assert data.interactions().collect_schema().names() == ["user", "item", "text"]  # of a review, not of the item
    assert data.info.counts["rejected"] == 0


def test_an_items_file_with_names_of_its_own(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,sku\nu1,a\nu2,b\n")
    items = write(tmp_path / "items.csv", "id,name,item,genre\na,A,x,g\nb,B,y,\n")
    columns = {"item_id": "sku"}
    with pytest.raises(DataError, match="no column for item_id among: user, sku"):
        imported(log, reader={"name": "csv", "items": items})
    write(tmp_path / "plain.csv", "id,name,genre\na,A,g\nb,B,\n")
    data = imported(log, reader={"name": "csv", "items": tmp_path / "plain.csv", "columns": columns})
    assert data.items().collect().rows() == [(0, "a", "A", "g"), (1, "b", "B", None)]


def test_further_columns_are_whole_numbers_only_where_all_of_them_are(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item,split,zip,mood\nu,a,0,01234,good\nu,b,2,56789,\n")
    rows = imported(log).interactions().collect()
    assert rows.select("split", "zip", "mood").rows() == [(0, "01234", "good"), (2, "56789", None)]
