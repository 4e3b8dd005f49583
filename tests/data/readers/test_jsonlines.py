"""JSON Lines: keys that come and go, lists of text, and lines that are something else."""

import json
from pathlib import Path

import pytest

from sensorium.core.errors import DataError

from ..sources import imported, write


def test_lists_are_joined_and_missing_keys_are_missing(tmp_path: Path) -> None:
    items = [
        {"item": "a", "title": "A", "description": ["one", "two"]},
        {"item": "b"},
        {"item": "c", "description": []},
    ]
    side = write(tmp_path / "items.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    log = write(tmp_path / "log.jsonl", '{"user": 7, "item": "a"}\n{"user": 12, "item": "b", "rating": 4}\n')
    data = imported(log, reader={"name": "jsonl", "items": side, "columns": {"rating": None}})
    assert data.user_ids().to_list() == ["7", "12"]
    assert data.items().collect()["description"].to_list() == ["one two", None, None]


def test_records_stay_in_further_columns_and_are_no_ids(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", '{"user": "u", "item": "a", "where": {"page": 3}}\n')
    assert imported(log).interactions().collect()["where"].to_list() == [{"page": 3}]
    nested = write(tmp_path / "nested.jsonl", '{"user": "u", "item": {"id": 3}}\n')
    with pytest.raises(DataError, match=r"nested\.jsonl: 'item' holds Struct.*single values are needed"):
        imported(nested, out="nested")


@pytest.mark.parametrize("text", ['{"user": 7\n', '[{"user": 1, "item": 2}]\n', "user,item\n1,2\n"])
def test_what_is_no_json_lines(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be read as JSON Lines"):
        imported(write(tmp_path / "log.jsonl", text))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.jsonl: cannot be read as JSON Lines: .*UTF-8"):
        imported(write(tmp_path / "log.jsonl", '{"user": "é", "item": "a"}\n', "latin-1"))
