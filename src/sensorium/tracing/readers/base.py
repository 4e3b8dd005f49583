"""What a reader of learners' answers gives to the import, and the tools that all readers share.

A reader is a class with a nested `Config`, `kind = "tracing"`, `summary`, `rule` (what counts as right) and
`read(path)`. It translates one row of its source into one row of the frame below and says of each row that cannot stay
why; it assigns no ids, drops nothing silently and writes nothing.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import polars as pl

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean

ROW = "row number of sensorium"
TOGETHER = "\x1f"  # between the concepts of one row

COLUMNS: dict[str, Any] = {
    "student_id": pl.String,
    "question_id": pl.String,
    "concepts": pl.String,
    "response": pl.Int8,
    "timestamp": pl.Int64,
    "order": pl.Int64,
    "duration_ms": pl.Int32,
    "attempt": pl.Int16,
    "split": pl.String,
    "file": pl.String,
    "row": pl.Int64,
    "reason": pl.String,
}


@dataclass(frozen=True)
class TracingReading:
    """What was read.

    Attributes:
        rows: The columns of `COLUMNS`: `concepts` joined by `TOGETHER`; `timestamp` in ms UTC or null; `order` that
            decides where there is no time, or null for the file's order; `reason` null for rows that stay, else why a
            row is set aside. Rows are in the order of the source.
        files: The files that were read, but for `files_of_students`.
        has_questions: False where the source names concepts only.
        expanded: Whether the source may have one row per concept of a question: such rows are made one again.
        same_order_is_one: Rows of one student with equal `order` are one answer, their concepts are put together.
        files_of_students: Files of one folder, each one student's and named by the student's id: in the data set they
            stand as their folder.
        concept_names: Concept id -> name, where the source has names.
        rule: What counts as right.
        licence: Terms of the data, in a few words.
        notices: Sentences that people should read.
    """

    rows: pl.LazyFrame
    files: list[Path]
    rule: str
    has_questions: bool = True
    expanded: bool = False
    same_order_is_one: bool = False
    files_of_students: Sequence[Path] = ()
    concept_names: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    notices: list[str] = field(default_factory=list)


class TracingReader(Protocol):
    """A format of learners' answers."""

    Config: ClassVar[type[core_config.Config]]
    kind: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, config: Any) -> None: ...

    def read(self, path: Path) -> TracingReading:
        """Read a file or a folder.

        Raises:
            DataError: It is not of this format; the message names file and column.
        """
        ...


# --- files ----------------------------------------------------------------------------------------------------------


def find(path: Path, name: str) -> Path:
    """Return a file by its name: the path itself, or the only one of that name below a folder.

    Raises:
        DataError: It is not there, or there are several.
    """
    if path.is_file():
        return path
    found = sorted(path.rglob(name))
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{path}: there is no {name} here")
    raise DataError(f"{path}: there are {len(found)} files {name} below it: name the folder of one")


def scan(path: Path, required: Sequence[str], *, separator: str = ",", encoding: str = "utf-8") -> pl.LazyFrame:
    """Scan delimited text with a header as text columns, with the line in `ROW` (the header is line 1).

    Raises:
        DataError: A column is missing, named with the nearest that is there; or the text has another encoding.
    """
    source: Path | io.BytesIO = path
    if codecs.lookup(encoding).name != "utf-8":
        source = io.BytesIO(path.read_bytes().decode(encoding).encode())
    quote = '"' if separator == "," else None
    frame = pl.scan_csv(
        source,
        separator=separator,
        quote_char=quote,
        infer_schema=False,
        row_index_name=ROW,
        row_index_offset=2,
        truncate_ragged_lines=True,
    )
    try:
        names = frame.collect_schema().names()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: cannot be read as delimited text: {str(error).splitlines()[0]}") from None
    for name in required:
        if name not in names:
            raise DataError(
                f"{path}: there is no column '{name}'{did_you_mean(name, names)} (columns: {', '.join(names[1:])})"
            )
    return frame


# --- columns --------------------------------------------------------------------------------------------------------


def text(column: str) -> pl.Expr:
    """Return a column without spaces around its values; what is empty is null."""
    stripped = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(stripped == "").then(None).otherwise(stripped)


def whole(column: str) -> pl.Expr:
    """Return a column of text as int64; what is no whole number is null ("10" comes after "9")."""
    return pl.col(column).str.strip_chars().cast(pl.Int64, strict=False)


def utc(column: str) -> pl.Expr:
    """Return a column of dates with times, read as UTC, in milliseconds; what cannot be read is null."""
    value = text(column).str.replace_all("/", "-", literal=True).str.replace("T", " ", literal=True)
    formats = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M")
    parsed = [value.str.to_datetime(form, time_unit="ms", strict=False) for form in formats]
    return pl.coalesce(parsed).dt.epoch("ms")


def split_by(column: pl.Expr, separator: str) -> pl.Expr:
    """Return text with several concepts, separated as the source does it, joined by `TOGETHER`."""
    return column.str.replace_all(separator, TOGETHER, literal=True)


def answers(
    frame: pl.LazyFrame,
    file: Path,
    *,
    student: pl.Expr,
    concepts: pl.Expr,
    response: pl.Expr,
    question: pl.Expr | None = None,
    timestamp: pl.Expr | None = None,
    order: pl.Expr | None = None,
    duration_ms: pl.Expr | None = None,
    attempt: pl.Expr | None = None,
    split: pl.Expr | None = None,
    needs_time: bool = False,
    needs_order: bool = False,
    refused: Sequence[tuple[pl.Expr, str]] = (),
) -> pl.LazyFrame:
    """Return a frame in the shape of `COLUMNS`, with the reason of each row that cannot stay.

    Args:
        frame: The source, with its lines in `ROW`.
        file: Its name stands in every row.
        student: Text.
        concepts: Text, joined by `TOGETHER`.
        response: Text or a number: exactly 0 or 1 stays, nothing is rounded.
        question: Text; None where the source has no questions, which then are the concepts.
        timestamp: int64 ms.
        order: int64.
        duration_ms: A number.
        attempt: A number.
        split: Text.
        needs_time: Rows without a time are set aside.
        needs_order: Rows without an order are set aside.
        refused: Further conditions that set a row aside, each with its reason, looked at first.
    """
    nothing = pl.lit(None)
    frame = frame.with_columns(
        student_id=student.cast(pl.String),
        question_id=(concepts if question is None else question).cast(pl.String),
        concepts=concepts.cast(pl.String),
        _right=response.cast(pl.Float64, strict=False),
        timestamp=(nothing if timestamp is None else timestamp).cast(pl.Int64),
        order=(nothing if order is None else order).cast(pl.Int64),
        duration_ms=(nothing if duration_ms is None else duration_ms.round()).cast(pl.Int32, strict=False),
        attempt=(nothing if attempt is None else attempt).cast(pl.Int16, strict=False),
        split=(nothing if split is None else split).cast(pl.String),
        file=pl.lit(file.name),
        row=pl.col(ROW).cast(pl.Int64),
        **{f"_refused{place}": condition.fill_null(False) for place, (condition, _) in enumerate(refused)},
    )
    reasons = [
        *((pl.col(f"_refused{place}"), reason) for place, (_, reason) in enumerate(refused)),
        (pl.col("student_id").is_null(), "no student"),
        (pl.col("question_id").is_null(), "no question"),
        (pl.col("concepts").is_null(), "no concept"),
        (pl.col("_right").is_null(), "no response"),
        (~pl.col("_right").is_in([0.0, 1.0]), "response is neither 0 nor 1"),
    ]
    if needs_time:
        reasons.append((pl.col("timestamp").is_null(), "no time"))
    if needs_order:
        reasons.append((pl.col("order").is_null(), "order is no whole number"))
    reason = pl.coalesce([pl.when(condition).then(pl.lit(why)) for condition, why in reasons])
    return frame.with_columns(reason=reason, response=pl.col("_right").cast(pl.Int8, strict=False)).select(*COLUMNS)
