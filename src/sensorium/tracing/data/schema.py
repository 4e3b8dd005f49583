"""The shape of a tracing data set on disk: one row per question answered once.

dataset.json               what this is: reader, source files with their digests, counts, rules
responses.parquet          student int32, question int32, response int8, order int32, timestamp int64 ms or null,
                           duration_ms int32 or null, attempt int16 or null, split text or null;
                           sorted by (student, order)
questions.parquet          question int32, question_id text
question_concepts.parquet  question int32, concept int32: a set, at least one row per question
concepts.parquet           concept int32, concept_id text, name text or null
students.parquet           student int32, student_id text
rejected.parquet           what was set aside, with file, row, column and reason
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sensorium.core.config import Config
from sensorium.data.schema import DESCRIPTION, REJECTED, Source

FORMAT_VERSION = 1

RESPONSES = "responses.parquet"
QUESTIONS = "questions.parquet"
QUESTION_CONCEPTS = "question_concepts.parquet"
CONCEPTS = "concepts.parquet"
STUDENTS = "students.parquet"
TABLES = (RESPONSES, QUESTIONS, QUESTION_CONCEPTS, CONCEPTS, STUDENTS)

__all__ = [
    "CONCEPTS",
    "DESCRIPTION",
    "QUESTIONS",
    "QUESTION_CONCEPTS",
    "REJECTED",
    "RESPONSES",
    "STUDENTS",
    "TABLES",
    "TracingInfo",
]


class TracingInfo(Config):
    """The content of `dataset.json`."""

    format_version: int = FORMAT_VERSION
    name: str
    kind: Literal["tracing"] = "tracing"
    licence: str | None = None
    source: Source
    counts: dict[str, int] = Field(description="students, questions, concepts, responses, what was set aside and why")
    multi_concept_share: float = Field(description="share of rows whose question has several concepts")
    has_questions: bool = Field(description="false: questions are concepts, the source names no others")
    has_time: bool
    response_rule: str = Field(description="what counts as right")
    pseudonymised: bool = False
    checksums: dict[str, str]
    planted: dict[str, float] | None = Field(None, description="what is known of generated data")
    notices: list[str] = Field([])
