"""Peking University's online judge: submissions to programming problems, without questions apart from them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from sensorium.core import config as core_config
from sensorium.tracing.readers.base import TracingReading, answers, find, scan, text, utc

FINAL = (
    "Accepted",
    "Presentation Error",
    "Time Limit Exceeded",
    "Memory Limit Exceeded",
    "Wrong Answer",
    "Runtime Error",
    "Output Limit Exceeded",
    "Compile Error",
    "System Error",
    "Validator Error",
)


class PojReader:
    """A submission counts once its verdict is final; it is right when it was accepted."""

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "Peking online judge: poj_log.csv"
    Config = core_config.NoOptions

    def __init__(self, config: core_config.Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the file, or the folder that holds it."""
        file = find(path, "poj_log.csv")
        verdict = text("Result")
        rows = answers(
            scan(file, ["User", "Problem", "Submit Time", "Result"]),
            file,
            student=text("User"),
            concepts=text("Problem"),
            response=(verdict == "Accepted").cast(pl.Int8),
            timestamp=utc("Submit Time"),
            needs_time=True,
            refused=[(~verdict.is_in(FINAL), "verdict is not final")],
        )
        return TracingReading(rows, [file], "Result = Accepted", has_questions=False)
