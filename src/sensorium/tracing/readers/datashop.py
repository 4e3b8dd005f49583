"""Logs in the format of the PSLC DataShop: a question is a step of a problem.

algebra05, bridge06 are the KDD Cup 2010 development sets (tab-separated), statics2011 a course's export.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from sensorium.core import config as core_config
from sensorium.tracing.readers.base import ROW, TracingReading, answers, find, scan, split_by, text, utc

STEP = "----"  # between problem and step in a question's id
LICENCE = "PSLC DataShop: research use"


def _question() -> pl.Expr:
    return pl.concat_str([text("Problem Name"), text("Step Name")], separator=STEP)


class _KddCupReader:
    """A KDD Cup 2010 development set."""

    Config = core_config.NoOptions
    kind: ClassVar[str] = "tracing"
    file: ClassVar[str]
    skills: ClassVar[str]

    def __init__(self, config: core_config.Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, self.file)
        names = ["Anon Student Id", "Problem Name", "Step Name", "First Transaction Time", "Correct First Attempt"]
        rows = answers(
            scan(file, [*names, self.skills], separator="\t"),
            file,
            student=text("Anon Student Id"),
            question=_question(),
            concepts=split_by(text(self.skills), "~~"),
            response=text("Correct First Attempt"),
            timestamp=utc("First Transaction Time"),
            needs_time=True,
        )
        return TracingReading(rows, [file], "Correct First Attempt = 1", licence=LICENCE)


class Algebra05Reader(_KddCupReader):
    """Algebra I 2005–2006."""

    summary: ClassVar[str] = "Algebra 2005–2006 (KDD Cup 2010): algebra_2005_2006_train.txt"
    file = "algebra_2005_2006_train.txt"
    skills = "KC(Default)"


class Bridge06Reader(_KddCupReader):
    """Bridge to Algebra 2006–2007."""

    summary: ClassVar[str] = "Bridge to Algebra 2006–2007 (KDD Cup 2010): bridge_to_algebra_2006_2007_train.txt"
    file = "bridge_to_algebra_2006_2007_train.txt"
    skills = "KC(SubSkills)"


class Statics2011Reader:
    """OLI Engineering Statics, Fall 2011. Without `KC (F2011)` the step itself is the concept."""

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "OLI Statics 2011: AllData_student_step_2011F.csv"
    file: ClassVar[str] = "AllData_student_step_2011F.csv"

    class Config(core_config.Config):
        """Options."""

        hint_as_wrong: bool = Field(False, description="a first attempt that asks for a hint is wrong; else set aside")

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, self.file)
        names = ["Anon Student Id", "Problem Name", "Step Name", "First Transaction Time", "First Attempt"]
        frame = scan(file, names)
        first = text("First Attempt").str.to_lowercase()
        skilled = "KC (F2011)" in frame.collect_schema().names()
        hint = first == "hint"
        right = pl.when(first == "correct").then(1).when((first == "incorrect") | hint).then(0)
        rows = answers(
            frame.with_columns(pl.col(ROW)),
            file,
            student=text("Anon Student Id"),
            question=_question(),
            concepts=split_by(text("KC (F2011)"), "~~") if skilled else _question(),
            response=right,
            timestamp=utc("First Transaction Time"),
            needs_time=True,
            refused=[] if self.config.hint_as_wrong else [(hint, "first attempt is a hint")],
        )
        rule = "First Attempt = correct" + ("; a hint is wrong" if self.config.hint_as_wrong else "")
        return TracingReading(rows, [file], rule, has_questions=skilled, licence=LICENCE)
