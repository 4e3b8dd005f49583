"""Records: what is written is what is read, and no record is half a judgement."""

from dataclasses import replace
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.judging.records import JudgeName, Record, read_records, write_records

JUDGE = JudgeName("m;images", "mllm", "1")
RECORD = Record("color", "7", 0, "kling", 3, "ok", "red\u2028car", JUDGE, ("k1",), (1, 5), {"prompt_tokens": 9}, 1)


def test_reading_gives_what_was_written_in_the_order_of_cells(tmp_path: Path) -> None:
    refused = replace(RECORD, model="gen3", score=None, status="refused", reason="no", notes={"examples": 0})
    write_records(tmp_path / "r.jsonl", [RECORD, refused])
    assert read_records(tmp_path / "r.jsonl") == [refused, RECORD]
    write_records(tmp_path / "s.jsonl", [refused, RECORD])
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "s.jsonl").read_bytes()


@pytest.mark.parametrize("changes", [{"score": None}, {"status": "error"}, {"status": "fine"}])
def test_a_score_stands_exactly_where_the_status_is_ok(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="status"):
        replace(RECORD, **changes)


def test_two_records_of_one_cell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"two records of one cell: color, prompt '7', sample 0, model 'kling'"):
        write_records(tmp_path / "r.jsonl", [RECORD, replace(RECORD, score=1)])


@pytest.mark.parametrize("line", ["{", "{}", "[]", '{"dimension": "color", "judge": {"id": "x"}}'])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    write_records(tmp_path / "r.jsonl", [RECORD])
    with (tmp_path / "r.jsonl").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(DataError, match="line 2 is no record"):
        read_records(tmp_path / "r.jsonl")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_records(tmp_path / "r.jsonl")
