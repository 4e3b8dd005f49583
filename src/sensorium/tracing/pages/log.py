"""Answers of learners from a file: by external ids, in the order of the file, with questions that are still open.

Columns: `student`, `question`, `response` (1, 0, or empty: to be predicted), and optionally `concepts`, ids separated
by ";", which make a question known that the model never met. CSV, TSV, JSON Lines or Parquet by the file's ending.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean
from sensorium.tracing.base import TracingBatch
from sensorium.tracing.pages.bundle import Bundle, padded

Ints = npt.NDArray[np.int64]

OPEN = -1  # response of a question that is to be predicted
REQUIRED = ("student", "question", "response")


@dataclass(frozen=True)
class Log:
    """Rows of learners, in the order of the file.

    Attributes:
        student: n external ids.
        question: int64 [n], dense ids; those the model never met come after the known ones.
        question_id: n external ids.
        response: int64 [n], 1, 0, or -1 for a question that is to be predicted.
        concepts: int64 [Q' + 1, K], padding last.
        concept_weight: float32 [Q' + 1, K].
        unseen: How many different questions are known by their concepts alone.
    """

    student: list[str]
    question: Ints
    question_id: list[str]
    response: Ints
    concepts: Tensor
    concept_weight: Tensor
    unseen: int = 0

    def students(self) -> list[str]:
        """Return the learners in the order of their first row."""
        return list(dict.fromkeys(self.student))

    def rows_of(self, student: str) -> Ints:
        """Return the rows of a learner, int64.

        Raises:
            DataError: There is no such learner.
        """
        if student not in self._rows:
            raise DataError(f"there is no student '{student}'{did_you_mean(student, self.students())}")
        return self._rows[student]

    @cached_property
    def _rows(self) -> dict[str, Ints]:
        names, code = np.unique(np.array(self.student, dtype=np.str_), return_inverse=True)
        order = np.argsort(code, kind="stable").astype(np.int64)
        parts = np.split(order, np.cumsum(np.bincount(code, minlength=len(names)))[:-1])
        return dict(zip(names.tolist(), parts, strict=True))

    def batch(self, question: Ints, response: Ints) -> TracingBatch:
        """Return sequences as a batch: int64 [B, T] each, without padding; what is open is 0."""
        shape = question.shape
        position = torch.arange(shape[1], dtype=torch.int32).expand(shape)
        ones = torch.ones(shape, dtype=torch.bool)
        return TracingBatch(
            question=torch.from_numpy(np.ascontiguousarray(question)),
            concepts=self.concepts,
            concept_weight=self.concept_weight,
            response=torch.from_numpy(np.maximum(response, 0)),
            time=None,
            mask=ones,
            score_mask=position > 0,
            student=torch.zeros(shape[0], dtype=torch.int32),
            position=position,
        )


def read_log(path: str | Path, bundle: Bundle) -> Log:
    """Read answers from a file.

    Raises:
        DataError: The file cannot be read, lacks a column, or holds a response or a question that cannot be used; the
            message names the row.
    """
    return make_log(_table(Path(path)), bundle, source=str(path))


def make_log(table: pl.DataFrame, bundle: Bundle, *, source: str = "the log") -> Log:
    """Make a log of a table; see `read_log`."""
    for column in REQUIRED:
        if column not in table.columns:
            raise DataError(f"{source} has no column '{column}'{did_you_mean(column, table.columns)}")
    if not table.height:
        raise DataError(f"{source} holds no rows")
    text = table.select(pl.all().cast(pl.String).str.strip_chars())
    for column in ("student", "question"):
        bad = text[column].is_null() | (text[column] == "")
        if bad.any():
            raise DataError(f"{source} row {int(bad.arg_max() or 0) + 1}: {column} is empty")
    student, question_id = text["student"].to_list(), text["question"].to_list()
    response = [_response(value, row, source) for row, value in enumerate(text["response"], start=1)]
    given = text["concepts"].to_list() if "concepts" in text.columns else [None] * text.height
    known = bundle.question_number
    extra: list[list[int]] = []
    numbers: dict[str, int] = {}
    question = []
    for row, (name, listed) in enumerate(zip(question_id, given, strict=True), start=1):
        number = known.get(name, numbers.get(name))
        if number is None:
            number = numbers[name] = len(bundle.question_ids) + len(extra)
            extra.append(_concepts(name, listed, row, source, bundle))
        question.append(number)
    table_of_concepts, weight = padded(bundle, extra)
    return Log(
        student,
        np.array(question, dtype=np.int64),
        question_id,
        np.array(response, dtype=np.int64),
        table_of_concepts,
        weight,
        len(extra),
    )


def _table(path: Path) -> pl.DataFrame:
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
        ".tsv": lambda: pl.read_csv(path, separator="\t", infer_schema=False),
        ".jsonl": lambda: pl.read_ndjson(path),
        ".parquet": lambda: pl.read_parquet(path),
    }
    if path.suffix not in readers:
        raise DataError(f"{path} is none of {', '.join(readers)}: a log of answers is one of these")
    try:
        return readers[path.suffix]()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _response(value: str | None, row: int, source: str) -> int:
    if value is None or value == "":
        return OPEN
    if value in ("0", "0.0", "false"):
        return 0
    if value in ("1", "1.0", "true"):
        return 1
    raise DataError(f"{source} row {row}: response is '{value}': write 1, 0, or nothing for a question to predict")


def _concepts(name: str, listed: str | None, row: int, source: str, bundle: Bundle) -> list[int]:
    if not listed:
        raise DataError(
            f"{source} row {row}: the model never met question '{name}'{did_you_mean(name, bundle.question_ids)}; "
            "give its concepts in a column 'concepts', ids separated by ';'"
        )
    found = []
    for concept in dict.fromkeys(part.strip() for part in listed.split(";") if part.strip()):
        if concept not in bundle.concept_number:
            raise DataError(
                f"{source} row {row}: concept '{concept}' of question '{name}' is unknown"
                f"{did_you_mean(concept, bundle.concept_ids)}"
            )
        found.append(bundle.concept_number[concept])
    return found
