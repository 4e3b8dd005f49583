"""CSV and TSV: separators, encodings, quotes, and files that are something else."""

import gzip
from pathlib import Path

import pytest

from sensorium.core.errors import ConfigError, DataError

from ..sources import imported, write


def test_wrong_separator_is_one_line(tmp_path: Path) -> None:
    """DI-2: the file, the separator used, columns found and needed, and what it looks like."""
    path = write(tmp_path / "log.txt", "user_id item_id timestamp\n1 2 3\n4 5 6\n7 8 9\n")
    with pytest.raises(DataError) as caught:
        imported(path, reader={"name": "csv", "sep": "tab"})
    assert str(caught.value) == (
        f"{path}: separated by tab it has 1 column, and 3 are needed; it looks like a space: --sep space"
    )
    assert not (tmp_path / "out").exists()
    assert imported(path, reader={"name": "csv", "sep": "space"}).n_interactions == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user;item;date", "and 3 are needed; it looks like a semicolon: --sep semicolon"),
        ("user|item", "and 2 are needed; it looks like a pipe: --sep pipe"),
        ("user", r"and at least 2 are needed \(user and item\)$"),
    ],
)
def test_the_likely_separator_is_named(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        imported(write(tmp_path / "log.csv", header + "\n1\n"))


@pytest.mark.parametrize("sep", ["::", "§"])
def test_a_separator_is_one_plain_character(tmp_path: Path, sep: str) -> None:
    with pytest.raises(DataError, match="one plain character is needed"):
        imported(write(tmp_path / "log.csv", "user,item\n1,2\n"), reader={"name": "csv", "sep": sep})
    with pytest.raises(ConfigError, match=r"reader\.sep"):
        imported(tmp_path / "log.csv", reader={"name": "csv", "sep": ""})


@pytest.mark.parametrize("line", ["1,Misérables\n", "user,item\n1,Misérables\n", "user,item,é\n1,2,3\n"])
def test_text_that_is_not_utf8_is_named_or_read(tmp_path: Path, line: str) -> None:
    header = "" if line.startswith("user") else "user,item\n" + "1,a\n" * 5000
    log = write(tmp_path / "log.csv", header + line, "latin-1")
    with pytest.raises(DataError, match=r"log\.csv: the text is not UTF-8; name its encoding"):
        imported(log)
    data = imported(log, reader={"name": "csv", "encoding": "latin-1"})
    assert "�" not in "".join(data.item_ids())


def test_utf16_is_told_and_read(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "user,item\nu,Misérables\n", "utf-16")
    with pytest.raises(DataError, match="the text is not UTF-8"):
        imported(log)
    assert imported(log, reader={"name": "csv", "encoding": "utf-16"}).item_ids().to_list() == ["Misérables"]
    with pytest.raises(DataError, match="cannot be read as klingon"):
        imported(log, reader={"name": "csv", "encoding": "klingon"}, out="klingon")


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    log = write(tmp_path / "log.csv", "\ufeffuser,item\r\nu,a\r\n")
    assert imported(log).item_ids().to_list() == ["a"]


def test_quotes_enclose_in_csv_and_are_letters_in_tsv(tmp_path: Path) -> None:
    comma = write(tmp_path / "log.csv", 'user,item\nu,"a, b"\n')
    assert imported(comma).item_ids().to_list() == ["a, b"]
    tab = write(tmp_path / "log.tsv", 'user\titem\nu\t"a\n')
    assert imported(tab, out="tab").item_ids().to_list() == ['"a']
    quoted = {"name": "tsv", "quoting": True}
    assert imported(write(tmp_path / "q.tsv", 'user\titem\nu\t"a\tb"\n'), reader=quoted, out="q").n_items == 1


def test_compressed_text_and_its_damage(tmp_path: Path) -> None:
    whole = gzip.compress(b"user,item\n" + b"".join(b"u%d,i%d\n" % (n, n * 7919 % 1000) for n in range(5000)))
    (tmp_path / "log.csv.gz").write_bytes(whole)
    assert imported(tmp_path / "log.csv.gz").n_interactions == 5000
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.csv\.gz: cannot be read as delimited text"):
        imported(tmp_path / "cut.csv.gz", out="cut")


def test_lines_that_are_too_short_or_too_long(tmp_path: Path) -> None:
    short = imported(write(tmp_path / "log.csv", "user,item,rating\nu,a\nu,b,3\n"))
    assert short.rejected().collect().select("row", "reason").row(0) == (2, "unreadable_rating")
    with pytest.raises(DataError, match=r"long\.csv: cannot be read as delimited text"):
        imported(write(tmp_path / "long.csv", "user,item\nu,a,5\n"), out="long")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"log\.csv: the file is empty"):
        imported(write(tmp_path / "log.csv", text))
