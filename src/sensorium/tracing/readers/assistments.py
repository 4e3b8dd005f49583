"""The four public logs of ASSISTments, in the official files of each release."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.tracing.readers.base import TracingReading, answers, find, scan, split_by, text, utc, whole

LICENCE = "ASSISTments data: research use, not to be passed on"


class _AssistmentsReader:
    """What the four have in common."""

    Config = core_config.NoOptions
    kind: ClassVar[str] = "tracing"
    file: ClassVar[str]

    def __init__(self, config: core_config.Config | None = None) -> None:
        self.config = config or self.Config()


class Assist2009Reader(_AssistmentsReader):
    """ASSISTments 2009–2010, skill builder, collapsed ("1_2" names two skills) or one row per skill.

    Rows of one student that share `order_id` are one response to one problem: their skills are put together. `order_id`
    is read as a number: as text, "10" would come before "9".
    """

    summary: ClassVar[str] = "ASSISTments 2009: skill_builder_data_corrected_collapsed.csv or skill_builder_data.csv"

    class Config(core_config.Config):
        """Options."""

        encoding: str = Field("latin-1", description="encoding of the text")

    config: Config

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds one of the two.

        Raises:
            DataError: There is none, or a column is missing.
        """
        names = ("skill_builder_data_corrected_collapsed.csv", "skill_builder_data.csv")
        file = path
        if path.is_dir():
            there = [name for name in names if next(path.rglob(name), None) is not None]
            if not there:
                raise DataError(f"{path}: there is neither {names[0]} nor {names[1]} here")
            file = find(path, there[0])
        needed = ["order_id", "user_id", "problem_id", "skill_id", "correct"]
        frame = scan(file, needed, encoding=self.config.encoding)
        skill = text("skill_id")
        rows = answers(
            frame,
            file,
            student=text("user_id"),
            question=text("problem_id"),
            concepts=split_by(pl.when(skill == "NA").then(None).otherwise(skill), "_"),
            response=text("correct"),
            order=whole("order_id"),
            needs_order=True,
        )
        return TracingReading(rows, [file], "correct = 1", same_order_is_one=True, licence=LICENCE)


class Assist2012Reader(_AssistmentsReader):
    """ASSISTments 2012–2013. A response that is a fraction is set aside, where pyKT cuts it to 0."""

    summary: ClassVar[str] = "ASSISTments 2012: 2012-2013-data-with-predictions-4-final.csv"
    file = "2012-2013-data-with-predictions-4-final.csv"

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, self.file)
        frame = scan(file, ["user_id", "problem_id", "skill_id", "correct", "start_time"])
        rows = answers(
            frame,
            file,
            student=text("user_id"),
            question=text("problem_id"),
            concepts=text("skill_id"),
            response=text("correct"),
            timestamp=utc("start_time"),
            needs_time=True,
        )
        return TracingReading(rows, [file], "correct = 1; fractions are set aside", licence=LICENCE)


class Assist2015Reader(_AssistmentsReader):
    """ASSISTments 2015: sequences of one skill each, without question ids."""

    summary: ClassVar[str] = "ASSISTments 2015: 2015_100_skill_builders_main_problems.csv"
    file = "2015_100_skill_builders_main_problems.csv"

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, self.file)
        rows = answers(
            scan(file, ["user_id", "log_id", "sequence_id", "correct"]),
            file,
            student=text("user_id"),
            concepts=text("sequence_id"),
            response=text("correct"),
            order=whole("log_id"),
            needs_order=True,
        )
        rule = "correct = 1; fractions are set aside"
        return TracingReading(rows, [file], rule, has_questions=False, licence=LICENCE)


class Assist2017Reader(_AssistmentsReader):
    """ASSISTments 2017 (data mining competition): every attempt is logged, times are whole seconds."""

    summary: ClassVar[str] = "ASSISTments 2017: anonymized_full_release_competition_dataset.csv"
    file = "anonymized_full_release_competition_dataset.csv"

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, self.file)
        rows = answers(
            scan(file, ["studentId", "problemId", "skill", "correct", "startTime"]),
            file,
            student=text("studentId"),
            question=text("problemId"),
            concepts=text("skill"),
            response=text("correct"),
            timestamp=whole("startTime") * 1000,
            needs_time=True,
        )
        return TracingReading(rows, [file], "correct = 1", licence=LICENCE)
