"""EdNet KT1: one file per student; read in groups of files, so that memory does not grow with their number."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.tracing.readers.base import ROW, TracingReading, answers, find, scan, split_by, text, whole


class EdNetReader:
    """A question's tags are its concepts; the answer is right when it is the question's own."""

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "EdNet KT1: KT1/u*.csv and contents/questions.csv"

    class Config(core_config.Config):
        """Options."""

        students: int | None = Field(5000, ge=1, description="students that are drawn; null = all")
        seed: int = Field(0, ge=0, description="of the draw")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the folder that holds `KT1/` and `contents/`.

        Raises:
            DataError: There is no student's file, or a column is missing.
        """
        contents = find(path, "questions.csv")
        files = sorted(path.rglob("u*.csv"), key=lambda file: (len(file.name), file.name))
        if not files:
            raise DataError(f"{path}: there is no student's file u*.csv below it")
        if self.config.students is not None and self.config.students < len(files):
            drawn = numpy_generator(self.config.seed, "students").permutation(len(files))[: self.config.students]
            files = [files[place] for place in sorted(drawn)]
        names = ["timestamp", "question_id", "user_answer"]
        scan(files[0], names)  # says which column is missing
        questions = scan(contents, ["question_id", "correct_answer", "tags"]).select(
            text("question_id").alias("question_id"), text("correct_answer").alias("correct_answer"), "tags"
        )
        frame = pl.scan_csv(files, infer_schema=False, include_file_paths="_file", row_index_name=ROW)
        line = pl.col(ROW).cast(pl.Int64) - pl.col(ROW).min().over("_file") + 2  # within its file, the header is line 1
        frame = frame.with_columns(line.alias(ROW), text("question_id").alias("question_id")).join(
            questions, on="question_id", how="left", maintain_order="left"
        )
        given, right, tags = text("user_answer"), pl.col("correct_answer"), text("tags")
        elapsed = "elapsed_time" in frame.collect_schema().names()
        rows = answers(
            frame,
            Path("KT1"),
            student=pl.col("_file").str.extract(r"([^/\\]+)\.csv$"),
            question=text("question_id"),
            concepts=split_by(pl.when(tags == "-1").then(None).otherwise(tags), ";"),
            response=(given == right).cast(pl.Int8),
            timestamp=whole("timestamp"),
            duration_ms=pl.col("elapsed_time").cast(pl.Float64, strict=False) if elapsed else None,
            needs_time=True,
        ).with_columns(file=pl.concat_str(pl.col("student_id"), pl.lit(".csv")))
        rule = "user_answer = correct_answer"
        return TracingReading(rows, [contents], rule, files_of_students=files, licence="CC BY-NC 4.0")
