"""A bundle: a trained tracer with the names of its questions and concepts, and no answer of any learner.

    bundle.json           format, model and its config, counts, how good it was on its test
    weights.safetensors   the weights that answer
    questions.parquet     question_id, concepts (list of numbers), rows (training rows)
    concepts.parquet      concept_id, name, rows, right (training rows, and how many were right)

`open_bundle` reads one, or makes one of a run; everything that answers people works with a `Bundle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sensorium.core.config import build, dump
from sensorium.core.errors import DataError, RunError
from sensorium.core.files import (
    read_json,
    read_parquet,
    read_safetensors,
    sha256_file,
    write_json,
    write_parquet,
    write_safetensors,
)
from sensorium.core.registry import get
from sensorium.core.rundir import RunDirectory
from sensorium.tracing.averaging import answering
from sensorium.tracing.base import GROUP, Tracer, TracingView, build_tracer
from sensorium.tracing.data import schema
from sensorium.tracing.data.dataset import concept_table

FORMAT = 1
DESCRIPTION, WEIGHTS, QUESTIONS, CONCEPTS = (
    "bundle.json",
    "weights.safetensors",
    "questions.parquet",
    "concepts.parquet",
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bundle:
    """A tracer that answers, in evaluation mode.

    Attributes:
        model: The tracer.
        about: model, config, dataset, has_questions, window, stride, test (AUC, ECE and n of its test).
        question_ids: Q external ids.
        concepts: int64 [Q + 1, Kmax], padded with C.
        concept_weight: float32 [Q + 1, Kmax].
        question_rows: int64 [Q], training rows of each question.
        concept_ids: C external ids.
        concept_names: C names; the id where there is none.
        concept_rows: int64 [C], training rows of each concept.
        concept_right: int64 [C], right ones among them.
    """

    model: Tracer
    about: dict[str, Any]
    question_ids: list[str]
    concepts: Tensor
    concept_weight: Tensor
    question_rows: Ints
    concept_ids: list[str]
    concept_names: list[str]
    concept_rows: Ints
    concept_right: Ints

    @property
    def window(self) -> int:
        """Most rows that the model sees at once."""
        return int(self.about["window"])

    @property
    def stride(self) -> int:
        """New rows of a further window of the evaluation; half a window where the bundle is older than this number."""
        return int(self.about.get("stride", max(1, self.window // 2)))

    @property
    def reach(self) -> int | None:
        """Most answers before a question that the model sees; None for one that reads whole histories."""
        return None if self.model.whole_history else self.window - 1

    @cached_property
    def question_number(self) -> dict[str, int]:
        """Dense id of each external question id."""
        return {name: number for number, name in enumerate(self.question_ids)}

    @cached_property
    def concept_number(self) -> dict[str, int]:
        """Dense id of each external concept id."""
        return {name: number for number, name in enumerate(self.concept_ids)}

    def population(self) -> Floats:
        """Return the share of right answers to each concept in training, float64 [C]; .5 where there are none."""
        return np.asarray((self.concept_right + 1) / (self.concept_rows + 2))


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle, or a complete tracing run.

    Raises:
        RunError: It is neither, it is not complete, or a later release wrote it.
    """
    folder = Path(path)
    return _read(folder) if (folder / DESCRIPTION).exists() else from_run(folder)


def from_run(path: str | Path) -> Bundle:
    """Make a bundle of a complete run, in memory."""
    from sensorium.tracing.setup import load_trained  # opens the run's data

    result = RunDirectory.open(path).result
    if result is None:
        raise RunError(f"{path} is not complete: continue it with 'sensorium resume {path}'")
    if result.get("leaky"):
        raise RunError(f"{path} was trained one row per concept (protocol {result['protocol']}): it answers no learner")
    setup = load_trained(path)
    view, listed = setup.view, setup.view.concepts[:-1].numpy()
    rows, right = view.question_count(), view.question_right()
    counted = [
        np.bincount(listed.ravel(), weights=np.repeat(counts, listed.shape[1]), minlength=view.n_concepts + 1)[:-1]
        for counts in (rows, right)
    ]
    names = setup.dataset.table(schema.CONCEPTS)
    test = result["test"]
    about = {
        "format": FORMAT,
        "model": setup.config.model.name,
        "config": dump(setup.config.model.config),
        "dataset": setup.dataset.name,
        "n_questions": view.n_questions,
        "n_concepts": view.n_concepts,
        "has_questions": view.has_questions,
        "window": setup.config.windows.length,
        "stride": setup.config.windows.stride,
        "test": {"n": test["n"], **{name: test["metrics"][name] for name in ("auc", "acc", "ece")}},
    }
    model = answering(setup.model)
    assert isinstance(model, Tracer)
    return Bundle(
        model.eval(),
        about,
        setup.dataset.table(schema.QUESTIONS)["question_id"].to_list(),
        view.concepts,
        view.concept_weight,
        rows.astype(np.int64),
        names["concept_id"].to_list(),
        [name or number for name, number in zip(names["name"], names["concept_id"], strict=True)],
        counted[0].astype(np.int64),
        counted[1].astype(np.int64),
    )


def write_bundle(bundle: Bundle, out: str | Path) -> Path:
    """Write a bundle to a folder that is not there yet.

    Raises:
        DataError: The folder is there and is not empty.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is there already and not empty: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / WEIGHTS, dict(bundle.model.state_dict()))
    listed, size = bundle.concepts[:-1].tolist(), len(bundle.concept_ids)
    write_parquet(
        folder / QUESTIONS,
        pl.DataFrame(
            {
                "question_id": bundle.question_ids,
                "concepts": pl.Series([[c for c in row if c < size] for row in listed], dtype=pl.List(pl.Int32)),
                "rows": bundle.question_rows,
            }
        ),
    )
    write_parquet(
        folder / CONCEPTS,
        pl.DataFrame(
            {
                "concept_id": bundle.concept_ids,
                "name": bundle.concept_names,
                "rows": bundle.concept_rows,
                "right": bundle.concept_right,
            }
        ),
    )
    sums = {name: sha256_file(folder / name) for name in (WEIGHTS, QUESTIONS, CONCEPTS)}
    write_json(folder / DESCRIPTION, {**bundle.about, "checksums": sums})  # last: a folder without it is no bundle
    return folder


def _read(folder: Path) -> Bundle:
    about = read_json(folder / DESCRIPTION)
    if about.get("format", 0) > FORMAT:
        raise RunError(f"{folder} has format {about['format']}; this release reads up to {FORMAT}: update sensorium")
    for name, expected in about["checksums"].items():
        if sha256_file(folder / name) != expected:
            raise RunError(f"{folder / name} is not the file that was written: export the bundle again")
    questions, concepts = read_parquet(folder / QUESTIONS), read_parquet(folder / CONCEPTS)
    links = questions.with_row_index("question").explode("concepts").drop_nulls("concepts")
    table, weight = concept_table(
        links["question"].to_numpy().astype(np.int64),
        links["concepts"].to_numpy().astype(np.int64),
        about["n_questions"],
        about["n_concepts"],
    )
    cls = get(GROUP, about["model"])
    config = build(cls.Config, about["config"], source=str(folder / DESCRIPTION), prefix="config")
    nothing = np.zeros(0, dtype=np.int32)
    view = TracingView(
        about["n_questions"],
        about["n_concepts"],
        about["has_questions"],
        table,
        weight,
        np.zeros(1, dtype=np.int64),
        nothing,
        nothing.astype(np.int8),
    )
    model = build_tracer(cls, view, config)
    try:
        model.load_state_dict(read_safetensors(folder / WEIGHTS))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{folder} does not fit '{about['model']}' as it is in this release: {reason}") from None
    return Bundle(
        model.eval(),
        about,
        questions["question_id"].to_list(),
        table,
        weight,
        questions["rows"].to_numpy().astype(np.int64),
        concepts["concept_id"].to_list(),
        concepts["name"].to_list(),
        concepts["rows"].to_numpy().astype(np.int64),
        concepts["right"].to_numpy().astype(np.int64),
    )


def padded(bundle: Bundle, extra: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return the table of concepts and weights with further questions behind the known ones.

    Args:
        bundle: The known questions.
        extra: Concepts of each further question; it gets the ids Q, Q + 1, ...

    Returns:
        int64 [Q + len(extra) + 1, K], padding last, and its weights.
    """
    if not extra:
        return bundle.concepts, bundle.concept_weight
    size = len(bundle.concept_ids)
    width = max(bundle.concepts.shape[1], *(len(row) for row in extra))
    table = torch.full((len(bundle.question_ids) + len(extra) + 1, width), size, dtype=torch.int64)
    table[: len(bundle.question_ids), : bundle.concepts.shape[1]] = bundle.concepts[:-1]
    for place, row in enumerate(extra, start=len(bundle.question_ids)):
        table[place, : len(row)] = torch.tensor(row)
    member = (table < size).float()
    return table, member / member.sum(1, keepdim=True).clamp(min=1)
