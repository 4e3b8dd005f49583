"""The preprocessed logs of Gervet, Koedinger, Schneider and Mitchell ("When is Deep Learning the Best Approach to
Knowledge Tracing?", JEDM 2020): train and test files, and the matrix of questions and concepts.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from sensorium.core import config as core_config
from sensorium.core.errors import DataError
from sensorium.tracing.readers.base import ROW, TOGETHER, TracingReading, answers, find, scan, text, whole

PARTS = ("train", "test")


class GervetReader:
    """A question's concepts are its row of the Q-matrix: `skill_id` numbers combinations, not concepts."""

    kind: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "folder with preprocessed_data_train.csv, preprocessed_data_test.csv and q_mat.npz"
    Config = core_config.NoOptions

    def __init__(self, config: core_config.Config | None = None) -> None:
        self.config = config or self.Config()

    def read(self, path: Path) -> TracingReading:
        """Read the folder.

        Raises:
            DataError: A file or a column is missing, or the matrix is not a sparse one of SciPy's without objects.
        """
        files = [find(path, f"preprocessed_data_{part}.csv") for part in PARTS]
        matrix = find(path, "q_mat.npz")
        sets = read_q_matrix(matrix)
        concepts = pl.LazyFrame(
            {"_item": np.arange(len(sets), dtype=np.int64), "_concepts": pl.Series(sets, dtype=pl.String)}
        )
        frames = []
        for part, file in zip(PARTS, files, strict=True):
            frame = scan(file, ["user_id", "item_id", "timestamp", "correct"], separator="\t")
            known = frame.with_columns(_item=whole("item_id"), _part=pl.lit(part)).join(
                concepts, on="_item", how="left", maintain_order="left"
            )
            frames.append(
                answers(
                    known,
                    file,
                    student=text("user_id"),
                    question=text("item_id"),
                    concepts=pl.col("_concepts"),
                    response=text("correct"),
                    order=pl.col(ROW),
                    split=pl.col("_part"),
                )
            )
        notice = "the files are in the order of time, and their timestamps are not used"
        return TracingReading(pl.concat(frames), [*files, matrix], "correct = 1", notices=[notice])


def read_q_matrix(file: Path) -> list[str | None]:
    """Return the concepts of each row of a sparse matrix, joined by `TOGETHER`; None for a row without any.

    Raises:
        DataError: It is not a CSR matrix as SciPy saves it, or holds Python objects.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            kind = arrays["format"].item()
            indices, indptr, values = arrays["indices"], arrays["indptr"], arrays["data"]
            rows, columns = (int(n) for n in arrays["shape"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: is not a sparse matrix as SciPy saves it, without Python objects: {error}") from None
    if kind not in (b"csr", "csr") or len(indptr) != rows + 1 or (len(indices) and indices.max() >= columns):
        raise DataError(f"{file}: is not a CSR matrix of {rows} rows and {columns} columns")
    row = np.repeat(np.arange(rows), np.diff(indptr))[values != 0]
    links = pl.DataFrame({"row": row, "concept": indices[values != 0]}).with_columns(pl.col("concept").cast(pl.String))
    joined = links.group_by("row", maintain_order=True).agg(pl.col("concept").str.join(TOGETHER))
    sets: list[str | None] = [None] * rows
    for place, concepts in joined.iter_rows():
        sets[place] = concepts
    return sets
