"""NeurIPS 2020 Education Challenge (Eedi), tasks 3 and 4: four tables that are joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.tracing.readers.base import TOGETHER, TracingReading, answers, find, scan, text, utc

LEVEL = "3"  # of the tree of subjects: the concepts


class NeurIPS34Reader:
    """A question's concepts are the subjects of level 3 in its list, which is read as JSON."""

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "NeurIPS 2020 tasks 3 and 4 (Eedi): train_task_3_4.csv and its metadata"
    Config = core_config.NoOptions

    def __init__(self, config: core_config.Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the folder that holds the four tables.

        Raises:
            DataError: A table or a column is missing, or a list of subjects cannot be read.
        """
        names = ("train_task_3_4", "answer_metadata_task_3_4", "question_metadata_task_3_4", "subject_metadata")
        if path.is_file():
            raise DataError(f"{path}: name the folder that holds {', '.join(f'{name}.csv' for name in names)}")
        log, dates, questions, subjects = (find(path, f"{name}.csv") for name in names)
        named = scan(subjects, ["SubjectId", "Name", "Level"]).filter(text("Level") == LEVEL).collect()
        concept_names = dict(zip(named["SubjectId"].str.strip_chars(), named["Name"], strict=True))
        listed = scan(questions, ["QuestionId", "SubjectId"]).select(
            text("QuestionId").alias("QuestionId"), "SubjectId"
        )
        sets = listed.unique("QuestionId", keep="first", maintain_order=True).collect()
        joined = [_concepts(value, concept_names, questions) for value in sets["SubjectId"]]
        concepts = pl.LazyFrame({"QuestionId": sets["QuestionId"], "_concepts": pl.Series(joined, dtype=pl.String)})
        times = scan(dates, ["AnswerId", "DateAnswered"]).select(
            text("AnswerId").alias("AnswerId"), utc("DateAnswered").alias("_time")
        )
        frame = (
            scan(log, ["QuestionId", "UserId", "AnswerId", "IsCorrect"])
            .with_columns(text("AnswerId").alias("AnswerId"), text("QuestionId").alias("QuestionId"))
            .join(times.unique("AnswerId", keep="first"), on="AnswerId", how="left", maintain_order="left")
            .join(concepts, on="QuestionId", how="left", maintain_order="left")
        )
        rows = answers(
            frame,
            log,
            student=text("UserId"),
            question=text("QuestionId"),
            concepts=pl.col("_concepts"),
            response=text("IsCorrect"),
            timestamp=pl.col("_time"),
            needs_time=True,
        )
        files = [log, dates, questions, subjects]
        return TracingReading(rows, files, "IsCorrect = 1", concept_names=concept_names, licence="CC BY-NC-ND 4.0")


def _concepts(value: str | None, known: dict[str, str], file: Path) -> str | None:
    """Return the level-3 members of a list of subjects such as "[3, 71, 98]"; None when there is none."""
    try:
        members = json.loads(value or "[]")
    except json.JSONDecodeError:
        members = None
    if not isinstance(members, list):
        raise DataError(f"{file}: SubjectId is {value!r}, and must be a list of numbers such as [3, 71, 98]")
    return TOGETHER.join(str(member) for member in members if str(member) in known) or None
