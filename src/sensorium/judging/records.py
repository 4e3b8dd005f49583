"""What a judge said about one video in one dimension: one record per cell, one line of `records.jsonl` each.

A record holds a score exactly when its status is `ok`. Whatever could not be judged keeps its place with a status and a
reason, so that it can be counted, bounded and looked at, and can never be taken for a low score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from sensorium.core.errors import DataError
from sensorium.core.files import json_line, write_text

Status = Literal["ok", "unparsed", "refused", "error", "unsupported"]
Family = Literal["mllm", "metric", "replay", "scripted"]

STATUSES: tuple[Status, ...] = get_args(Status)
FAMILIES: tuple[Family, ...] = get_args(Family)
RECORDS = "records.jsonl"

CellKey = tuple[str, str, int, str]  # dimension, prompt_id, sample, model


@dataclass(frozen=True)
class JudgeName:
    """Who judged: scores of different names never share a board.

    Attributes:
        id: Model, transport, sampler and whatever else changes what the judge sees or says.
        family: The kind of judge.
        protocol_version: The version of the rubric and protocol that the scores were made with.
    """

    id: str
    family: Family
    protocol_version: str

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family '{self.family}' of judge '{self.id}' is none of {', '.join(FAMILIES)}")


@dataclass(frozen=True)
class Record:
    """One cell's judgement.

    Attributes:
        dimension: Id of the dimension.
        prompt_id: Id of the text prompt.
        sample: Which of a model's videos for this prompt, from 0.
        model: The generator of the video.
        score: On the dimension's scale; None unless the status is `ok`.
        status: `ok`, or why there is no score.
        reason: The judge's words, or what went wrong.
        judge: Who judged.
        request_keys: Keys of the requests whose answers made this record, in order.
        frames: Indices of the frames that were shown.
        usage: Tokens and cost.
        attempts: How many calls were made for this cell, repeated ones included.
        notes: What a reader must know besides: `prompt: not used`, `examples: 0`, `groups`, `uncertainty`, ...
    """

    dimension: str
    prompt_id: str
    sample: int
    model: str
    score: float | None
    status: Status
    reason: str
    judge: JudgeName
    request_keys: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status '{self.status}' is none of {', '.join(STATUSES)}")
        if (self.score is None) is (self.status == "ok"):
            raise ValueError(f"a score stands exactly where the status is ok: {self.score} with '{self.status}'")

    @property
    def key(self) -> CellKey:
        """Which cell this is."""
        return self.dimension, self.prompt_id, self.sample, self.model


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON Lines, atomically, in the order of their cells.

    Raises:
        DataError: Two records of one cell.
    """
    ordered = sorted(records, key=lambda record: record.key)
    for first, second in pairwise(ordered):
        if first.key == second.key:
            raise DataError(f"{path}: two records of one cell: {describe_cell(first.key)}")
    write_text(path, "".join(json_line(asdict(record)) + "\n" for record in ordered))


def read_records(path: str | Path) -> list[Record]:
    """Read the records of a file.

    Raises:
        DataError: The file is missing, or a line is no record; the message holds its number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(json.loads(line)))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} line {number} is no record of a judgement: {error}") from None
    return records


def _record(tree: Mapping[str, Any]) -> Record:
    """Return the record of one parsed line."""
    lists = {name: tuple(tree[name]) for name in ("request_keys", "frames")}
    return Record(**{**tree, **lists, "judge": JudgeName(**tree["judge"])})


def describe_cell(key: CellKey) -> str:
    """Return a cell's name as a person reads it."""
    dimension, prompt_id, sample, model = key
    return f"{dimension}, prompt '{prompt_id}', sample {sample}, model '{model}'"
