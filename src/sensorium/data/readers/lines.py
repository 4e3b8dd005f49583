"""Text without a header line: fields between separators of any length, in the encodings that public files have.

A line with another number of fields is set aside; a file in which no line has the right number is of another format,
and the message says what its lines look like.
"""

from __future__ import annotations

import gzip
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import ROW
from sensorium.data.store import REJECTED_SCHEMA
from sensorium.data.tables import Table

NO_SEPARATOR = "\x1f"  # the unit separator: no line of a data file holds it, so that lines stay whole
SEPARATORS = {"tab": "\t", "'::'": "::", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_ENTITY = re.compile(r"&#?\w+;")


@dataclass(frozen=True)
class Fields:
    """A file's fields as text, each line's number in `columns.ROW`, and the lines that were set aside."""

    frame: pl.LazyFrame
    rejected: list[pl.DataFrame]


def require_file(path: Path) -> Path:
    """Return the path of a file that is there and holds something.

    Raises:
        DataError: It is missing or empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    return path


def first_line(path: Path) -> str:
    """Return the first line that is not blank, without a byte order mark; also of a gzip file.

    Raises:
        DataError: There is none, or the file is damaged.
    """
    require_file(path)
    try:
        with _opened(path) as handle:
            for line in handle:
                if text := line.decode("utf-8", errors="replace").lstrip("\ufeff").strip():
                    return text
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read, it may be truncated: {error}") from None
    raise DataError(f"{path}: the file is empty")


def line_not_utf8(path: Path) -> int | None:
    """Return the number of the first line that is not UTF-8, from 1, or None; also of a gzip file."""
    with _opened(path) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None


def _opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def scan_lines(path: Path, *, encodings: Sequence[str] = ("utf-8",)) -> pl.LazyFrame:
    """Return the lines of a file: `columns.ROW` from 1, and `line`, null where it is blank.

    UTF-8 streams. A file in another encoding is decoded in memory: the first of `encodings` that reads it is used.

    Raises:
        DataError: The file is missing, empty, or in none of the encodings.
    """
    require_file(path)
    source: Path | io.BytesIO = path
    if tuple(encodings) != ("utf-8",):
        content = path.read_bytes()
        source = io.BytesIO(_decoded(content, encodings, path).encode())
    return pl.scan_csv(
        source,
        has_header=False,
        separator=NO_SEPARATOR,
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
        row_index_name=ROW,
        row_index_offset=1,
    ).with_columns(pl.col("line").str.strip_chars_end("\r"))


def _decoded(content: bytes, encodings: Sequence[str], path: Path) -> str:
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: the text is not {' nor '.join(encodings)}")


def scan_fields(
    path: Path,
    separator: str,
    names: Sequence[str],
    *,
    encodings: Sequence[str] = ("utf-8",),
    rest: bool = False,
    strict: bool = False,
) -> Fields:
    """Return the fields of a file without a header.

    Args:
        path: The file; a UTF-8 byte order mark and carriage returns are no part of its fields.
        separator: Between two fields; quotes are letters.
        names: Of the fields.
        encodings: See `scan_lines`.
        rest: Whether the last field may hold separators.
        strict: Stop at a line with another number of fields.

    Raises:
        DataError: The file cannot be read, or no line has the right number of fields.
    """
    lines = scan_lines(path, encodings=encodings)
    found = pl.col("line").str.count_matches(separator, literal=True) + 1
    right = found >= len(names) if rest else found == len(names)
    fits = pl.col("line").is_not_null() & right.fill_null(False)
    wrong = pl.col("line").is_not_null() & ~right.fill_null(False)
    try:
        facts = lines.select(
            lines=pl.col("line").is_not_null().sum(), fits=fits.sum(), sample=pl.col("line").drop_nulls().first()
        ).collect(engine="streaming")
        rejected = lines.filter(wrong).collect(engine="streaming") if facts["fits"][0] < facts["lines"][0] else None
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: the file is empty") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        wrong_text = "utf-8" in reason.lower() or "utf8" in reason.lower()
        raise DataError(f"{path}: {'the text is not UTF-8' if wrong_text else 'cannot be read: ' + reason}") from None
    if not facts["lines"][0]:
        raise DataError(f"{path}: the file is empty")
    if not facts["fits"][0]:
        raise _wrong_separator(path, separator, len(names), facts["sample"][0])
    if rejected is not None and strict:
        raise DataError(
            f"{path.name} line {rejected[ROW][0]} has not {len(names)} fields, and --strict allows none of it"
        )
    split = pl.col("line").str.splitn(separator, len(names))
    frame = lines.filter(fits).select(
        pl.col(ROW), *(split.struct.field(f"field_{place}").alias(name) for place, name in enumerate(names))
    )
    return Fields(frame, [] if rejected is None else [set_aside(path.name, rejected, "line", "wrong_fields")])


def set_aside(file: str, frame: pl.DataFrame, column: str, reason: str) -> pl.DataFrame:
    """Return lines that were set aside as `store.REJECTED_SCHEMA`; the detail is what stood in `column`."""
    return frame.select(
        file=pl.lit(file),
        row=pl.col(ROW).cast(pl.Int64),
        column=pl.lit(column),
        reason=pl.lit(reason),
        detail=pl.col(column).cast(pl.String).str.head(200),
    ).cast(REJECTED_SCHEMA)  # type: ignore[arg-type]


def _wrong_separator(path: Path, separator: str, needed: int, sample: str) -> DataError:
    used = next((name for name, sign in SEPARATORS.items() if sign == separator), repr(separator))
    counts = {name: len(sample.split(sign)) for name, sign in SEPARATORS.items() if sign != separator}
    likely = max(counts, key=counts.__getitem__)
    hint = f"; it looks separated by {likely} ({counts[likely]} fields)" if counts[likely] > 1 else ""
    return DataError(
        f"{path}: separated by {used} its lines have {len(sample.split(separator))} fields, and {needed} are needed"
        f"{hint}"
    )


@dataclass(frozen=True)
class Rule:
    """Which rows cannot be what they say they are: where `bad` holds, and the reason under which they are set aside."""

    column: str
    bad: pl.Expr
    reason: str


def apply_rules(table: Table, rules: Sequence[Rule], file: str, *, strict: bool = False) -> None:
    """Set aside the rows of a log for which a rule speaks, each under the first that does.

    Raises:
        DataError: There is one, and strict mode allows none.
    """
    names = table.frame.collect_schema().names()
    spoken = [rule for rule in rules if rule.column in names]
    if not spoken:
        return
    cases = pl.coalesce(
        pl.when(rule.bad).then(
            pl.struct(
                column=pl.lit(table.roles.get(rule.column, rule.column)),
                reason=pl.lit(rule.reason),
                detail=pl.col(rule.column).cast(pl.String),
            )
        )
        for rule in spoken
    )
    found = (
        table.frame.select(file=pl.lit(file), row=pl.col("row"), case=cases)
        .filter(pl.col("case").is_not_null())
        .unnest("case")
        .collect(engine="streaming")
    )
    if not found.height:
        return
    if strict:
        row = found.row(0, named=True)
        raise DataError(
            f"{file} row {row['row']}: '{row['column']}' is {row['detail']} ({row['reason']}), and --strict allows "
            "none of it"
        )
    table.rejected.append(found)
    table.frame = table.frame.filter(~pl.any_horizontal([rule.bad.fill_null(False) for rule in spoken]))


NEGATIVE_TIME = Rule("timestamp", pl.col("timestamp") < 0, "negative_time")
"""A time before 1970 in a log of the web: it would sort first in silence."""


def rating_between(low: float, high: float) -> Rule:
    """Return the rule that a rating lies within the publisher's scale."""
    return Rule("rating", ~pl.col("rating").is_between(low, high), "rating_out_of_range")


def unescape(column: str) -> pl.Expr:
    """Return a text column without HTML entities; only the values that hold one are touched, one by one."""

    def plain(values: pl.Series) -> pl.Series:
        touched = values.str.contains(_ENTITY.pattern).fill_null(False)
        if not touched.any():
            return values
        mended = [html.unescape(text) for text in values.filter(touched)]
        return values.scatter(touched.arg_true(), pl.Series(mended, dtype=pl.String))

    return pl.col(column).map_batches(plain, return_dtype=pl.String, is_elementwise=True)
