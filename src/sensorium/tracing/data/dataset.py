"""A tracing data set: opened from its folder, read as arrays.

    data = open_tracing("assist2009")
    answers = data.answers()

`Answers` is what everything else works with: all rows of all students, packed in order, beside the table of concepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_json, read_parquet
from sensorium.tracing.data import schema

Attempts = Literal["all", "first"]


@dataclass(frozen=True)
class Answers:
    """All answers of a data set, packed student by student in their order.

    Attributes:
        offsets: int64 [S + 1]: rows of student s are offsets[s] .. offsets[s + 1] - 1.
        question: int32 [N].
        response: int8 [N].
        time: int64 [N], milliseconds since the epoch, or None.
        concepts: int64 [Q + 1, Kmax], padded with C; the last row is the padding question.
        concept_weight: float32 [Q + 1, Kmax], 1 / size of the set, 0 on padding.
        n_concepts: C.
        has_questions: Whether questions are more than concepts.
    """

    offsets: npt.NDArray[np.int64]
    question: npt.NDArray[np.int32]
    response: npt.NDArray[np.int8]
    time: npt.NDArray[np.int64] | None
    concepts: Tensor
    concept_weight: Tensor
    n_concepts: int
    has_questions: bool

    @property
    def n_students(self) -> int:
        """S."""
        return len(self.offsets) - 1

    @property
    def n_questions(self) -> int:
        """Q."""
        return len(self.concepts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Rows of each student, int64 [S]."""
        return np.diff(self.offsets)

    @cached_property
    def student(self) -> npt.NDArray[np.int32]:
        """The student of each row, int32 [N]."""
        return np.repeat(np.arange(self.n_students, dtype=np.int32), self.lengths)

    @cached_property
    def position(self) -> npt.NDArray[np.int32]:
        """The place of each row in its student's history, int32 [N]."""
        return (np.arange(len(self.question)) - self.offsets[:-1][self.student]).astype(np.int32)


class TracingDataset:
    """A folder of tables. Use `open_tracing`."""

    def __init__(self, root: Path, info: schema.TracingInfo) -> None:
        self.root, self.info = root, info

    @classmethod
    def open(cls, path: str | Path) -> TracingDataset:
        """Open a folder.

        Raises:
            DataError: It holds no data set, one of another kind, or one that a later release wrote.
        """
        root = Path(path)
        file = root / schema.DESCRIPTION
        if not file.is_file():
            raise DataError(f"{root} holds no data set: there is no {schema.DESCRIPTION}")
        tree = read_json(file)
        if tree.get("kind") != "tracing":
            raise DataError(
                f"{root} is a data set of kind '{tree.get('kind')}', and tracing needs one of kind 'tracing'"
            )
        if tree.get("format_version", 0) > schema.FORMAT_VERSION:
            raise DataError(
                f"{root} has format {tree['format_version']}; this release reads up to {schema.FORMAT_VERSION}: "
                "update sensorium"
            )
        return cls(root, build(schema.TracingInfo, tree, source=str(file)))

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    def table(self, name: str) -> pl.DataFrame:
        """Read one table by its file name (`data.schema`)."""
        return read_parquet(self.root / name)

    def digest(self) -> str:
        """Return 32 hexadecimal digits of all tables that a run depends on."""
        return digest({name: self.info.checksums.get(name) for name in schema.TABLES})

    @cached_property
    def source_split(self) -> npt.NDArray[np.object_] | None:
        """The source's own split of each student, text [S], or None where it has none.

        Raises:
            DataError: A student stands on two sides of it.
        """
        table = read_parquet(self.root / schema.RESPONSES, ["student", "split"])
        if table["split"].null_count():
            return None
        by_student = table.group_by("student", maintain_order=True).agg(pl.col("split").unique())
        several = by_student.filter(pl.col("split").list.len() > 1)
        if several.height:
            sides = ", ".join(sorted(several["split"][0]))
            raise DataError(
                f"{self.root}: student {several['student'][0]} stands on several sides of the split: {sides}"
            )
        return by_student["split"].list.first().to_numpy()

    def answers(self, attempts: Attempts = "all") -> Answers:
        """Read the rows as arrays.

        Args:
            attempts: "first" leaves out rows that repeat the question of the row before.
        """
        table = self.table(schema.RESPONSES)
        if attempts == "first":
            again = pl.struct("student", "question") == pl.struct("student", "question").shift(1)
            table = table.filter(~again.fill_null(False))
        counts = np.bincount(table["student"].to_numpy(), minlength=self.info.counts["students"])
        links = self.table(schema.QUESTION_CONCEPTS)
        n_questions, n_concepts = self.info.counts["questions"], self.info.counts["concepts"]
        concepts, weight = concept_table(
            links["question"].to_numpy(), links["concept"].to_numpy(), n_questions, n_concepts
        )
        return Answers(
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            question=table["question"].to_numpy(),
            response=table["response"].to_numpy(),
            time=table["timestamp"].to_numpy() if self.info.has_time else None,
            concepts=concepts,
            concept_weight=weight,
            n_concepts=n_concepts,
            has_questions=self.info.has_questions,
        )


def concept_table(
    question: npt.NDArray[np.integer], concept: npt.NDArray[np.integer], n_questions: int, n_concepts: int
) -> tuple[Tensor, Tensor]:
    """Return the padded table of concepts and its weights from links (question, concept).

    Returns:
        int64 [Q + 1, Kmax], padded with C, and float32 [Q + 1, Kmax], 1 / size, 0 on padding.
    """
    order = np.lexsort((concept, question))
    question, concept = question[order].astype(np.int64), concept[order].astype(np.int64)
    sizes = np.bincount(question, minlength=n_questions + 1)  # [Q + 1]
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.arange(len(question)) - start[question]
    table = np.full((n_questions + 1, max(1, int(sizes.max(initial=1)))), n_concepts, dtype=np.int64)
    table[question, place] = concept
    weight = (table < n_concepts) / np.maximum(sizes, 1)[:, None]
    return torch.from_numpy(table), torch.from_numpy(weight.astype(np.float32))
