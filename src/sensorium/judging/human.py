"""What people said: annotation files, and how far the raters agree among themselves.

    annotations   the released files of Video-Bench: one JSON per dimension, in it a list of {prompt_en, videos,
                  human_anno: {model: [ratings]}}; 0 means that a rater gave none. The two dynamic ones also hold
                  grid_view: {model: score of a judge}
    tables        CSV, TSV or JSON Lines with one row per rating: prompt_id, model, rater, optional sample, and one
                  column per question, as in the ratings of FETV

The place of a rater denotes the same person within one file only: files are never joined by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.files import read_json
from sensorium.evaluation import agreement

if TYPE_CHECKING:
    import polars as pl

Floats = npt.NDArray[np.float64]
ItemKey = tuple[str, int, str]  # prompt, sample, model


@dataclass(frozen=True)
class HumanRatings:
    """Ratings of videos in one dimension.

    Attributes:
        keys: (prompt, sample, model) of each item; the prompt is its id or its text, as the file has it.
        ratings: float [items, raters], NaN where a rater gave none.
        judge: float [items], scores of a judge that lie in the same file, where there are any.
    """

    keys: tuple[ItemKey, ...]
    ratings: Floats
    judge: Floats | None = None

    def __post_init__(self) -> None:
        if len(set(self.keys)) < len(self.keys):
            raise DataError("two rows of ratings are of the same prompt, sample and model")

    @property
    def prompts(self) -> npt.NDArray[np.int64]:
        """The number of each item's prompt: the groups of every interval."""
        return _numbers([prompt for prompt, _, _ in self.keys])

    @property
    def models(self) -> list[str]:
        """The model of each item."""
        return [model for _, _, model in self.keys]

    def renamed(self, ids: Mapping[str, str]) -> HumanRatings:
        """Return the same ratings with prompts under other names, for files that hold texts where a run has ids. A
        prompt that is not among them keeps its name."""
        return replace(
            self, keys=tuple((ids.get(prompt, prompt), sample, model) for prompt, sample, model in self.keys)
        )

    def take(self, keep: npt.NDArray[np.bool_]) -> HumanRatings:
        """Return some of the items."""
        keys = tuple(key for key, kept in zip(self.keys, keep, strict=True) if kept)
        return HumanRatings(keys, self.ratings[keep], None if self.judge is None else self.judge[keep])


def read_annotations(path: str | Path) -> HumanRatings:
    """Read one of the released annotation files.

    Raises:
        DataError: It is missing or of another form.
    """
    keys: list[ItemKey] = []
    rows: list[list[float]] = []
    judged: list[float] = []
    try:
        for entry in read_json(path):
            for model, given in entry["human_anno"].items():
                sample = re.search(r"_(\d+)\.\w+$", entry["videos"][model])
                keys.append((entry["prompt_en"], int(sample[1]) if sample else 0, model))
                rows.append([float(rating) if rating else np.nan for rating in given])
                judged += [float(entry["grid_view"][model])] if "grid_view" in entry else []
        return HumanRatings(tuple(keys), np.array(rows, dtype=np.float64), np.array(judged) if judged else None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is no annotation file (a list of prompt_en, videos and human_anno): {type(error).__name__} {error}"
        ) from None


def read_ratings(path: str | Path, column: str) -> HumanRatings:
    """Read one column of a table of ratings. An empty cell or 0 is a rating that was not given.

    Args:
        path: `.csv`, `.tsv` or `.jsonl` with prompt_id, model, rater, optionally sample, and the column.
        column: Which question.

    Raises:
        DataError: The file or a column is missing, or a value is no number.
    """
    import polars as pl

    table = read_table(Path(path))
    missing = [name for name in ("prompt_id", "model", "rater", column) if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)} (there are: {', '.join(table.columns)})")
    sample = pl.col("sample").cast(pl.Int64) if "sample" in table.columns else pl.lit(0, pl.Int64)
    try:
        wide = (
            table.select(
                pl.col("prompt_id").cast(pl.String),
                sample.alias("sample"),
                pl.col("model").cast(pl.String),
                pl.col("rater").cast(pl.String),
                pl.col(column).cast(pl.Float64).alias("rating"),
            )
            .with_columns(rating=pl.when(pl.col("rating") != 0).then("rating"))
            .pivot("rater", index=["prompt_id", "sample", "model"], values="rating", sort_columns=True)
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path}: ratings of '{column}' must be numbers, one for each rater and video: {str(error).splitlines()[0]}"
        ) from None
    keys = tuple(
        (str(prompt), int(number), str(model)) for prompt, number, model in wide.select(wide.columns[:3]).rows()
    )
    return HumanRatings(keys, wide.select(wide.columns[3:]).to_numpy().astype(np.float64))


def columns_of(path: str | Path) -> list[str]:
    """Return the columns of a table of ratings.

    Raises:
        DataError: It is missing or no table.
    """
    return list(read_table(Path(path)).columns)


def read_table(path: Path) -> pl.DataFrame:
    """Read a table, `.csv` and `.tsv` as text throughout.

    Raises:
        DataError: It is missing or no table.
    """
    import polars as pl

    try:
        if path.suffix == ".jsonl":
            return pl.read_ndjson(path, infer_schema_length=None)
        return pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None


# --- how people agree among themselves ------------------------------------------------------------------------------


def rater_statistics(human: HumanRatings) -> dict[str, Any]:
    """Return what the raters of one file have in common, as plain values.

    Returns:
        `items`, `missing` (ratings not given); `loo_rho`, `loo_tau` (of each rater against the mean of the others) and
        their means; `pairwise_rho` (mean over pairs of raters); `alpha` by level, `alpha_z` (interval, after
        standardising each rater); `rater_means`; `model_means` (of raw item means).
    """
    ratings = human.ratings
    rho = agreement.leave_one_out(ratings)
    tau = agreement.leave_one_out(ratings, agreement.kendall)
    levels: tuple[agreement.Level, ...] = ("nominal", "ordinal", "interval")
    models = sorted(set(human.models))
    means = agreement.part_means(agreement.item_means(ratings), _numbers(human.models))
    return {
        "items": len(ratings),
        "missing": int(np.isnan(ratings).sum()),
        "loo_rho": rho.tolist(),
        "loo_rho_mean": float(rho.mean()),
        "loo_tau": tau.tolist(),
        "loo_tau_mean": float(tau.mean()),
        "pairwise_rho": pairwise_rho(ratings),
        "alpha": {level: agreement.krippendorff_alpha(ratings, level) for level in levels},
        "alpha_z": agreement.krippendorff_alpha(agreement.standardised_raters(ratings)),
        "rater_means": np.nanmean(ratings, axis=0).tolist(),
        "model_means": dict(zip(models, means.tolist(), strict=True)),
    }


def pairwise_rho(ratings: Floats) -> float:
    """Return the mean Spearman correlation of every two raters, each over the items that both rated."""
    values = []
    for first, second in combinations(range(ratings.shape[1]), 2):
        both = ~np.isnan(ratings[:, first]) & ~np.isnan(ratings[:, second])
        values.append(agreement.spearman(ratings[both, first], ratings[both, second]))
    return float(np.mean(values))


def _numbers(names: list[str]) -> npt.NDArray[np.int64]:
    """Return the place of each name among the sorted distinct ones."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
