"""A judge against people: one dimension's records beside the ratings of the same videos.

The target is the item mean of standardised raters (agreement with the raw mean stands beside it). Agreement is given
over all items, within each model, and between model means: where few models differ much, the first mostly says which
model made a video. Every interval draws prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import DataError, RunError
from sensorium.core.files import sha256_file, write_json
from sensorium.core.rundir import RunDirectory
from sensorium.evaluation import agreement
from sensorium.evaluation.agreement import Estimate, Floats, Integers
from sensorium.judging.dimensions import built_in
from sensorium.judging.human import HumanRatings, columns_of, read_annotations, read_ratings
from sensorium.judging.records import RECORDS, Record, read_records

STATISTICS: Mapping[str, Callable[[Floats, Floats], float]] = {
    "rho": agreement.spearman,
    "tau": agreement.kendall,
    "pearson": agreement.pearson,
}


def agree(
    path: str | Path,
    ratings: str | Path,
    *,
    dimensions: Sequence[str] | None = None,
    column: str | None = None,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Compare a complete run with people, and write `agreement.json` into its folder; its page shows it from then on.

    Args:
        path: The run's folder.
        ratings: An annotation file, a folder of those (each named by its dimension), or a table of ratings.
        dimensions: Which; None takes all that have ratings.
        column: Of a table: which question was rated. None takes the column that is named like the dimension.
        resamples: Draws of prompts.

    Returns:
        Dimension -> what `evaluate` returns.

    Raises:
        RunError: The run is not complete.
        DataError: There are no ratings for what was judged.
    """
    run = RunDirectory.open(path)
    if run.result is None:
        raise RunError(f"{path} is not complete: continue it with 'sensorium resume {path}'")
    records = read_records(run.path / RECORDS)
    judged = [name for name in run.result["dimensions"] if dimensions is None or name in dimensions]
    if unknown := set(dimensions or ()) - set(judged):
        raise DataError(f"{path} has no scores in {', '.join(sorted(unknown))}; it has: {', '.join(judged)}")
    ids = {video["prompt"]: video["prompt_id"] for video in run.records("videos.jsonl")}
    found = {}
    for name in judged:
        human = ratings_of(ratings, name, column, must=dimensions is not None)
        if human is not None:
            found[name] = evaluate(pair(records, human.renamed(ids), name), resamples=resamples)
    if not found:
        raise DataError(f"{ratings} has no ratings for what {path} has judged: {', '.join(judged)}")
    source = sha256_file(ratings) if Path(ratings).is_file() else None
    write_json(run.path / "agreement.json", {"ratings_sha256": source, "dimensions": found})
    return found


def ratings_of(path: str | Path, name: str, column: str | None = None, *, must: bool = False) -> HumanRatings | None:
    """Return the ratings of one dimension, None where there are none.

    Args:
        path: An annotation file, a folder of those, or a table.
        name: Of the dimension.
        column: Of a table: which question. None takes the one that is named like the dimension.
        must: Whether ratings that are not there are an error.

    Raises:
        DataError: They cannot be read, or are not there although they must be.
    """
    path = Path(path)
    if path.is_dir():
        known = built_in()
        names = known[name].names if name in known else [name]
        files = [file for file in (path / f"{one}.json" for one in names) if file.exists()]
        if not files and must:
            raise DataError(f"{path} has no annotation file of '{name}' ({', '.join(f'{one}.json' for one in names)})")
        return read_annotations(files[0]) if files else None
    if path.suffix == ".json":
        return read_annotations(path)
    if column is None and not must and name not in columns_of(path):
        return None
    return read_ratings(path, column or name)


@dataclass(frozen=True)
class Paired:
    """Scores and ratings of the videos that have both.

    Attributes:
        human: The ratings.
        scores: float [items].
        unscored: Rated videos without a score: they are counted, not guessed.
        unrated: Scored videos without a rating.
    """

    human: HumanRatings
    scores: Floats
    unscored: int = 0
    unrated: int = 0

    @property
    def target(self) -> Floats:
        """Item means of standardised raters, on the raters' scale: float [items]."""
        return agreement.rescaled_means(self.human.ratings)

    @property
    def part(self) -> Integers:
        """The number of each item's model."""
        return np.unique(np.array(self.human.models), return_inverse=True)[1].astype(np.int64)


def pair(records: Iterable[Record], human: HumanRatings, dimension: str) -> Paired:
    """Put the scores of one dimension beside the ratings of the same (prompt, sample, model).

    Raises:
        DataError: No video has both, or two judges made the records.
    """
    own = [record for record in records if record.dimension == dimension]
    if len(judges := {record.judge for record in own}) > 1:
        names = ", ".join(sorted(judge.id for judge in judges))
        raise DataError(f"agreement is that of one judge, these records have {len(judges)}: {names}")
    scores = {(r.prompt_id, r.sample, r.model): r.score for r in own if r.score is not None}
    rated = human.take(~np.isnan(agreement.item_means(human.ratings)))
    keep = np.array([key in scores for key in rated.keys], dtype=bool)
    if not keep.any():
        raise DataError(
            f"no video has both a score in '{dimension}' and a rating: prompts, samples and models must be named alike "
            f"(scores: {_examples(scores)}; ratings: {_examples(rated.keys)})"
        )
    both = rated.take(keep)
    values = np.array([scores[key] for key in both.keys], dtype=np.float64)
    return Paired(both, values, int((~keep).sum()), len(scores) - int(keep.sum()))


def evaluate(paired: Paired, *, seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Return how a judge agrees with people, as plain values; every triple is [value, low, high].

    Returns:
        `items`, `unscored`, `unrated`; for each of rho, tau and pearson: `pooled`, `raw_mean` (against the mean of raw
        ratings), `within_model`, `system` (model means, no interval); `preference` (share of same-prompt pairs);
        `alpha_with_judge` by level, plain and after affine mapping; `ceiling` (mean leave-one-out rho and tau of the
        raters on the same items).
    """
    human, scores, target = paired.human, paired.scores, paired.target
    draws = {"seed": seed, "resamples": resamples}
    found: dict[str, Any] = {"items": len(scores), "unscored": paired.unscored, "unrated": paired.unrated}
    found |= {name: _correlation(paired, statistic, draws) for name, statistic in STATISTICS.items()}
    found["preference"] = agreement.preference_accuracy(target, scores, human.prompts, **draws).rounded()
    found["alpha_with_judge"] = {
        level: {
            name: _number(agreement.alpha_with_judge(human.ratings, scores, level, affine=name == "affine"))
            for name in ("rounded", "affine")
        }
        for level in ("nominal", "ordinal", "interval")
    }
    found["ceiling"] = {
        "rho": _number(float(np.mean(agreement.leave_one_out(human.ratings)))),
        "tau": _number(float(np.mean(agreement.leave_one_out(human.ratings, agreement.kendall)))),
    }
    return found


def _correlation(
    paired: Paired, statistic: Callable[[Floats, Floats], float], draws: Mapping[str, int]
) -> dict[str, Any]:
    """Return one correlation over all videos, within models and between them."""
    scores, target, part = paired.scores, paired.target, paired.part
    raw, group = agreement.item_means(paired.human.ratings), paired.human.prompts

    def pooled(rows: Integers) -> float:
        return statistic(scores[rows], target[rows])

    def with_raw(rows: Integers) -> float:
        return statistic(scores[rows], raw[rows])

    def within_model(rows: Integers) -> float:
        return agreement.within(statistic, scores[rows], target[rows], part[rows])

    return {
        "pooled": agreement.estimate_over_groups(pooled, group, **draws).rounded(),
        "raw_mean": agreement.estimate_over_groups(with_raw, group, **draws).rounded(),
        "within_model": agreement.estimate_over_groups(within_model, group, **draws).rounded(),
        "system": _number(statistic(agreement.part_means(scores, part), agreement.part_means(target, part))),
    }


def calibrated(paired: Paired) -> Floats:
    """Return scores on the human scale, each prompt's mapped by what the other prompts say: float [items].

    For a displayed column beside the raw scores, never for agreement itself.
    """
    return agreement.isotonic_by_others(paired.scores, paired.target, paired.human.prompts)


def difference(first: Paired, second: Paired, *, seed: int = 0, resamples: int = 2000) -> Estimate:
    """Return the difference of two judges' pooled rho on the videos that both scored, from the same draws of prompts.

    Raises:
        DataError: They share no video.
    """
    place = {key: number for number, key in enumerate(second.human.keys)}
    keep = np.array([key in place for key in first.human.keys], dtype=bool)
    if not keep.any():
        raise DataError("two judges are compared on the videos that both scored: they share none")
    human = first.human.take(keep)
    a, target = first.scores[keep], agreement.rescaled_means(human.ratings)
    b = second.scores[[place[key] for key in human.keys]]

    def gap(rows: Integers) -> float:
        return agreement.spearman(a[rows], target[rows]) - agreement.spearman(b[rows], target[rows])

    return agreement.estimate_over_groups(gap, human.prompts, seed=seed, resamples=resamples)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _examples(keys: Iterable[tuple[str, int, str]]) -> str:
    first = sorted(keys)[:2]
    return ", ".join(f"'{prompt}' / {sample} / {model}" for prompt, sample, model in first) or "none"
