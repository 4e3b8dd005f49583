"""The lines of `metrics.jsonl`: how far a judging run is, at twenty places, the same on every run and after any kill.

Units finish in any order. A line is written when all units up to its place are done, and is made of their records
alone, so that it does not depend on which worker was faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.core.rundir import RunDirectory
from sensorium.judging.cache import AnswerStore
from sensorium.judging.judges.base import Usage
from sensorium.judging.records import Record
from sensorium.judging.units import Unit

PLACES = 20


class Milestones:
    """Writes the lines that are due."""

    def __init__(
        self, run: RunDirectory, units: Sequence[Unit], done: Mapping[Any, Record], store: AnswerStore
    ) -> None:
        """Go on behind the lines that are there.

        Args:
            run: The run's folder.
            units: All units of the run.
            done: Records by cell; it is filled elsewhere.
            store: The answers, for what they took.
        """
        self._run, self._units, self._done, self._store = run, units, done, store
        count = min(PLACES, len(units))
        self._places = [round(len(units) * (place + 1) / count) for place in range(count)]
        self._at, self._line, self._due = 0, 0, len(run.records("metrics.jsonl"))
        run.keep_records("metrics.jsonl", self._due)
        self._cells = self._null = 0
        self._keys: set[str] = set()
        self._usage = Usage()

    def reached(self) -> None:
        """Write every line whose place has been reached."""
        while self._at < len(self._units) and all(key in self._done for key in self._units[self._at].keys):
            self._count(self._units[self._at])
            self._at += 1
            if self._at == self._places[self._line]:
                self._line += 1
                if self._line > self._due:
                    self._run.append("metrics.jsonl", self._tree())

    def _count(self, unit: Unit) -> None:
        for record in (self._done[key] for key in unit.keys):
            self._cells += 1
            self._null += record.score is None
            for key in record.request_keys:
                if key not in self._keys and (response := self._store.read(key)) is not None:
                    self._keys.add(key)
                    self._usage += response.usage

    def _tree(self) -> dict[str, Any]:
        usage = self._usage
        return {
            "cells": self._cells,
            "null": self._null,
            "calls": len(self._keys),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost": usage.cost,
        }
