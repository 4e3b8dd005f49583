"""Formats with one line, or one block of lines, per student: those of pyKT and of AKT.

Every list of a student has one entry per answer; -1 is padding. Students are read one by one, their answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.tracing.readers.base import ROW, TracingReading, answers, scan, split_by, text, whole

PADDING = "-1"


@dataclass(frozen=True)
class Block:
    """The lines of one student.

    Attributes:
        student: External id.
        line: Number of the first line, from 1.
        lists: By name ("questions", "concepts", "responses", "timestamps"), the line as it stands.
    """

    student: str
    line: int
    lists: dict[str, str]


def explode(frame: pl.LazyFrame, lists: list[str]) -> pl.LazyFrame:
    """Return one row per entry of the lists of each line, text; lines whose lists differ in length keep one row with
    `_uneven` set. What is empty between two commas is an entry.
    """
    sizes = [pl.col(name).list.len() for name in lists]
    uneven = pl.any_horizontal([size != sizes[0] for size in sizes[1:]]) if len(lists) > 1 else pl.lit(False)
    split = frame.with_columns([pl.col(name).fill_null("").str.split(",") for name in lists])
    marked = split.with_columns(_uneven=uneven)
    first = [
        pl.when(pl.col("_uneven")).then(pl.col(name).list.head(1)).otherwise(pl.col(name)).alias(name) for name in lists
    ]
    return marked.with_columns(first).explode(lists)


class PyktReader:
    """The folders of the pyKT benchmark: a row per student (or chunk of one), lists as text; or blocks of six lines.

    Rows with one `uid` are joined again in the file's order; `fold` -1 is the test. In files that were expanded (one
    row per concept), `is_repeat` 1 marks rows that belong to the one before.
    """

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "pyKT: train_valid*.csv and test*.csv with fold, uid, concepts, responses; or data.txt"

    class Config(core_config.Config):
        """Options."""

        train: str | None = Field(None, description="file with fold >= 0; null = the only train_valid*.csv")
        test: str | None = Field(None, description="file with fold -1; null = the only test*.csv, if there is one")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read a folder, a file of its, or data.txt.

        Raises:
            DataError: A file or a column is missing, or several files could be meant.
        """
        if path.name == "data.txt" or (path / "data.txt").is_file():
            return self._read_blocks(path if path.is_file() else path / "data.txt")
        if path.is_file():
            files = [path]
        else:
            train = self._file(path, "train_valid", self.config.train)
            test = self._file(path, "test", self.config.test, needed=False)
            files = [file for file in (train, test) if file is not None]
        names = scan(files[0], ["fold", "uid", "concepts", "responses"]).collect_schema().names()
        questions = "questions" in names
        frames = []
        for file in files:
            frame = scan(file, ["fold", "uid", "concepts", "responses", *(["questions"] if questions else [])])
            frames.append(self._rows(frame, file, questions))
        return TracingReading(
            pl.concat(frames),
            files,
            "responses = 1",
            has_questions=questions,
            expanded=questions,
            concept_names={},
        )

    def _file(self, folder: Path, begins: str, named: str | None, needed: bool = True) -> Path | None:
        if named is not None:
            if not (folder / named).is_file():
                raise DataError(f"{folder}: there is no {named} here")
            return folder / named
        plain = folder / f"{begins}.csv"
        found = [plain] if plain.is_file() else sorted(folder.glob(f"{begins}*.csv"))
        if len(found) > 1:
            key = "train" if begins == "train_valid" else "test"
            raise DataError(f"{folder}: several files begin with {begins}: name one with the reader's option {key}")
        if not found and needed:
            raise DataError(f"{folder}: there is no {begins}*.csv here")
        return found[0] if found else None

    def _rows(self, frame: pl.LazyFrame, file: Path, questions: bool) -> pl.LazyFrame:
        names = frame.collect_schema().names()
        timed, repeats = "timestamps" in names, "is_repeat" in names and questions
        lists = ["concepts", "responses"]
        lists += ["questions"] if questions else []
        lists += ["timestamps"] if timed else []
        lists += ["is_repeat"] if repeats else []
        rows = explode(frame.select(ROW, "fold", "uid", *lists), lists)
        real = text("responses").ne_missing(PADDING) & text("concepts").ne_missing(PADDING)  # empty is no padding
        rows = rows.filter(real | pl.col("_uneven"))
        fold = whole("fold")
        concepts = split_by(text("concepts"), "_")
        if repeats:  # a repeat belongs to the row before: its concept joins that row's
            head = text("is_repeat").ne_missing("1").cum_sum()
            rows = (
                rows.with_columns(_head=head, concepts=concepts)
                .group_by("_head", maintain_order=True)
                .agg(pl.col("concepts").str.join("\x1f"), pl.all().exclude("concepts", "_head").first())
            )
            concepts = text("concepts")  # joined from nothing but empty ones, it is empty
        return answers(
            rows,
            file,
            student=text("uid"),
            question=text("questions") if questions else None,
            concepts=concepts,
            response=text("responses"),
            timestamp=whole("timestamps") if timed else None,
            split=pl.when(fold == -1).then(pl.lit("test")).otherwise(fold.cast(pl.String)),
            refused=[(pl.col("_uneven"), "lists of one line differ in length")],
        )

    def _read_blocks(self, file: Path) -> TracingReading:
        names = ["questions", "concepts", "responses", "timestamps", "usetimes"]
        blocks = list(_blocks(file, names))
        plain = all(block.lists["questions"].strip() in ("", "NA") for block in blocks)
        timed = not all(block.lists["timestamps"].strip() in ("", "NA") for block in blocks)
        lists = ["concepts", "responses", *([] if plain else ["questions"]), *(["timestamps"] if timed else [])]
        frame = explode(_frame(blocks, lists), lists)
        rows = answers(
            frame,
            file,
            student=text("uid"),
            question=None if plain else text("questions"),
            concepts=split_by(text("concepts"), "_"),
            response=text("responses"),
            timestamp=whole("timestamps") if timed else None,
            refused=[(pl.col("_uneven"), "lists of one line differ in length")],
        )
        return TracingReading(rows, [file], "responses = 1", has_questions=not plain, expanded=not plain)


class AktReader:
    """The files of AKT: per student a header, [questions], concepts and responses; folds by file.

    A header with two numbers is a running number and an external id. A header with one number is the length of the
    sequence: such files have no ids, and sequences are numbered.
    """

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "AKT: fold*.csv, four or three lines per student"

    class Config(core_config.Config):
        """Options."""

        lines: Literal[3, 4] | None = Field(None, description="lines per student; null = what fits the files")
        test_fold: int | None = Field(1, ge=1, description="the fold that is the test; null = none")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read a folder of folds, or one file.

        Raises:
            DataError: There is no such file, its lines fit neither or both kinds, or a student's block is cut short.
        """
        files = [path] if path.is_file() else sorted(path.glob("fold*.csv"))
        if not files:
            raise DataError(f"{path}: there is no fold*.csv here")
        lines = self.config.lines or _lines_per_student(files)
        names = ["questions", "concepts", "responses"] if lines == 4 else ["concepts", "responses"]
        folder = files[0].parent
        known = {name: _inverse(folder / f"{name}.json") for name in ("problems", "skill", "user")}
        frames = []
        for file in files:
            blocks = list(_blocks(file, names, external=known["user"]))
            number = file.stem.removeprefix("fold")
            side = "test" if number == str(self.config.test_fold) else file.stem
            ended = pl.col(names).str.strip_chars_end(" ,")  # commas at the end of a line are no entries
            frame = explode(_frame(blocks, names).with_columns(ended), names)
            frames.append(
                answers(
                    frame,
                    file,
                    student=text("uid"),
                    question=_named("questions", known["problems"]) if lines == 4 else None,
                    concepts=text("concepts"),
                    response=text("responses"),
                    order=pl.col(ROW),
                    split=pl.lit(side) if len(files) > 1 else None,
                    refused=[(pl.col("_uneven"), "lists of one student differ in length")],
                )
            )
        return TracingReading(
            pl.concat(frames),
            files,
            "responses = 1",
            has_questions=lines == 4,
            concept_names=known["skill"],
            notices=["students have no ids: sequences are numbered"] if lines == 3 else [],
        )


def _named(column: str, names: dict[str, str]) -> pl.Expr:
    return text(column).replace(names) if names else text(column)


def _inverse(file: Path) -> dict[str, str]:
    """Return number -> external id from a file of external id -> number; nothing where there is no such file."""
    if not file.is_file():
        return {}
    return {str(number): external for external, number in json.loads(file.read_text(encoding="utf-8")).items()}


def _lines_per_student(files: list[Path]) -> Literal[3, 4]:
    """Return the kind of block that most lines fit.

    Raises:
        DataError: Both kinds fit equally well, or neither fits half of the lines.
    """
    total, fitting = 0, {3: 0, 4: 0}
    for file in files:
        lists = [line.strip().rstrip(", ").split(",") for line in _lines(file)]
        total += len(lists)
        for size in fitting:
            blocks = [lists[start : start + size] for start in range(0, len(lists), size)]
            fitting[size] += size * sum(len(block) == size and _is_block(block) for block in blocks)
    name = str(files[0] if len(files) == 1 else files[0].parent)
    if 2 * max(fitting.values()) < total or not total:
        raise DataError(
            f"{name}: the lines fit neither 3 nor 4 per student: a header of one or two entries, then lists of equal "
            "length, in the last answers of 0 or 1"
        )
    if fitting[3] == fitting[4]:
        raise DataError(f"{name}: the lines fit 3 and 4 per student alike: say which with the reader's option lines")
    return 3 if fitting[3] > fitting[4] else 4


def _is_block(block: list[list[str]]) -> bool:
    """Return whether lines may be those of one student: a header, lists of equal length, the last between 0 and 1."""
    header, *lists = block
    if len(header) > 2 or len({len(one) for one in lists}) > 1:
        return False
    try:
        return all(0 <= float(answer or 0) <= 1 for answer in lists[-1])
    except ValueError:
        return False


def _lines(file: Path) -> list[str]:
    """Return the lines of a file without empty ones at its end."""
    lines = file.read_text(encoding="utf-8").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _blocks(file: Path, names: list[str], external: dict[str, str] | None = None) -> Iterator[Block]:
    """Yield the students of a file: a header line, then one line per name.

    Raises:
        DataError: The last block is cut short.
    """
    lines = _lines(file)
    size = len(names) + 1
    if len(lines) % size:
        raise DataError(f"{file}: has {len(lines)} lines, which are no blocks of {size}: the last one is cut short")
    for start in range(0, len(lines), size):
        header = [part.strip() for part in lines[start].split(",") if part.strip()]
        if external is None:  # pyKT: "uid,length"
            student = header[0]
        elif len(header) > 1:
            student = header[1]
        else:
            student = f"{file.stem}:{start // size + 1}"
        yield Block(student, start + 1, dict(zip(names, lines[start + 1 : start + size], strict=True)))


def _frame(blocks: list[Block], lists: list[str]) -> pl.LazyFrame:
    columns = {name: [block.lists[name] for block in blocks] for name in lists}
    return pl.LazyFrame(
        {ROW: [block.line for block in blocks], "uid": [block.student for block in blocks], **columns},
        schema_overrides={ROW: pl.Int64, "uid": pl.String, **dict.fromkeys(lists, pl.String)},
    )
