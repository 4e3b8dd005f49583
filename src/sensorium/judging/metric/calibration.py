"""From rated clips to weights: targets, fits, and how good they are on clips that they have not seen.

Splits are by prompt, always: clips of one prompt, and their spoiled copies, are never on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import DataError
from sensorium.core.files import digest, sha256_file, write_json
from sensorium.core.seeds import numpy_generator
from sensorium.evaluation import agreement
from sensorium.evaluation.agreement import Floats, Integers
from sensorium.judging.cells import VideoCell
from sensorium.judging.human import read_ratings, read_table
from sensorium.judging.metric import signals
from sensorium.judging.metric.distortions import DYNAMIC, STATIC
from sensorium.judging.metric.fitting import Rated
from sensorium.judging.metric.measuring import ORIGINAL, measure_all
from sensorium.judging.metric.signals import AESTHETIC, IMAGING, LEAST_DEVIATION, MOTION, TEMPORAL, Sign, Signals
from sensorium.judging.metric.weights import NOTICE, head_tree


@dataclass(frozen=True)
class Recipe:
    """How one dimension is fitted.

    Attributes:
        column: The column of ratings that it is fitted on.
        signs: Signals and their signs.
        kinds: Distortions of the pair term.
        balance: λ, the weight of the pair term.
    """

    column: str
    signs: Mapping[str, Sign]
    kinds: tuple[str, ...]
    balance: float


RECIPES: Mapping[str, Recipe] = {
    "imaging_quality": Recipe("static_quality", IMAGING, tuple(STATIC), 0.2),
    "aesthetic_quality": Recipe("static_quality", AESTHETIC, tuple(STATIC), 0.2),
    "temporal_consistency": Recipe("temporal_quality", TEMPORAL, tuple(DYNAMIC), 1.0),
    "motion_effects": Recipe("temporal_quality", MOTION, tuple(DYNAMIC), 1.0),
}


@dataclass(frozen=True)
class Clips:
    """Rated clips of one dimension, ready to be fitted.

    Attributes:
        rated: Signals, targets and signs.
        names: Of the signals.
        prompt: The number of each clip's prompt.
        model: The number of each clip's generator.
    """

    rated: Rated
    names: tuple[str, ...]
    prompt: Integers
    model: Integers


@dataclass(frozen=True)
class Calibration:
    """Weights that were made.

    Attributes:
        path: Where they lie.
        tree: What they are, with what they were fitted on and how good they are.
    """

    path: Path
    tree: Mapping[str, Any]

    def summary(self) -> list[str]:
        """Return what there is to say, one sentence each."""
        training = self.tree["training"]
        lines = [f"{self.path}: fitted on {training['clips']} clips of {training['prompts']} prompts"]
        for name, head in self.tree["dimensions"].items():
            left_out = head["left_out"]
            rho, low, high = left_out["pooled"]
            lines.append(
                f"{name}: rho {rho:.3f} ({low:.3f} to {high:.3f}) on prompts left out, "
                f"{left_out['within_model'][0]:.3f} within models, {left_out['without_model'][0]:.3f} on models left "
                f"out; {100 * left_out['below']['all'][0]:.0f} % of spoiled copies score below their originals"
            )
        return lines


def calibrate(
    ratings: str | Path,
    videos: str | Path,
    out: str | Path,
    *,
    kept: str | Path | None = None,
    recipes: Mapping[str, Recipe] = RECIPES,
    notice: str = NOTICE,
    processes: int = 2,
    resamples: int = 2000,
) -> Calibration:
    """Fit the metric judge on rated clips, and write its weights.

    Args:
        ratings: Table of ratings with the recipes' columns (`human.read_ratings`).
        videos: Table of the rated clips (`rated_clips`).
        out: The file of weights, for `weights:` of the metric judge.
        kept: Folder of kept signals, beside `out` if None: measuring takes about 15 seconds a clip, once.
        recipes: How each dimension is fitted.
        notice: Source and licence of the ratings, as it will stand in the file.
        processes: Decoding processes.
        resamples: Draws of prompts behind the intervals that the file tells.

    Raises:
        DataError: A clip has no rating or cannot be read, or there are too few prompts to leave one out.
    """
    kinds = sorted({kind for recipe in recipes.values() for kind in recipe.kinds})
    clips = rated_clips(videos)
    measured = measure_all(clips, [ORIGINAL, *kinds], kept or Path(f"{out}.signals"), processes=processes)
    tree: dict[str, Any] = {
        "notice": notice,
        "signals_version": signals.VERSION,
        "long_side": signals.LONG_SIDE,
        "training": {
            "clips": len(clips),
            "prompts": len({clip.prompt_id for clip in clips}),
            "models": sorted({clip.model for clip in clips}),
            "hash": training_hash(ratings, clips),
        },
        "dimensions": {
            name: _fitted(clips_of(clips, measured, targets(ratings, clips, recipe.column), recipe), recipe, resamples)
            for name, recipe in recipes.items()
        },
    }
    write_json(out, tree)
    return Calibration(Path(out), tree)


def _fitted(clips: Clips, recipe: Recipe, resamples: int) -> dict[str, Any]:
    """Return one dimension as it stands in the file."""
    scores, copies = clips.rated.left_out(clips.prompt)
    residual = float(np.std(scores - clips.rated.target))
    return {
        "fitted_on": recipe.column,
        "balance": recipe.balance,
        **head_tree(clips.names, clips.rated.signs, clips.rated.fit(), residual),
        "left_out": figures(clips, scores, copies, recipe.kinds, resamples=resamples),
    }


def rated_clips(path: str | Path) -> list[VideoCell]:
    """Read a table of clips: `.csv`, `.tsv` or `.jsonl` with model, prompt_id, and path or file relative to the table;
    prompt, sample and fps if there are.

    Raises:
        DataError: The file or a column is missing, or a clip is.
    """
    import polars as pl

    path = Path(path)
    table = read_table(path)
    place = "path" if "path" in table.columns else "file"
    missing = [name for name in ("model", "prompt_id", place) if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)} (there are: {', '.join(table.columns)})")
    clips = [
        VideoCell(
            str(row["model"]),
            str(row["prompt_id"]),
            str(row.get("prompt") or ""),
            int(row.get("sample") or 0),
            path.parent / str(row[place]),
            float(row["fps"]) if row.get("fps") else None,
        )
        for row in table.cast(dict.fromkeys(table.columns, pl.String)).iter_rows(named=True)
    ]
    if gone := [clip for clip in clips if not clip.path.is_file()]:
        raise DataError(f"{path}: {len(gone)} clips are not there, the first is {gone[0].path}")
    return clips


def targets(ratings: str | Path, videos: Sequence[VideoCell], column: str) -> Floats:
    """Return what people say of each clip: the mean of standardised raters, on the scale of the whole file: [clips].

    Raises:
        DataError: A clip has no rating.
    """
    human = read_ratings(ratings, column)
    found = dict(zip(human.keys, agreement.rescaled_means(human.ratings), strict=True))
    values = np.array([found.get((one.prompt_id, one.sample, one.model), np.nan) for one in videos])
    if np.isnan(values).any():
        missing = videos[int(np.flatnonzero(np.isnan(values))[0])]
        raise DataError(f"{ratings} has no rating '{column}' of {missing.name} ({missing.path})")
    return values


def clips_of(
    videos: Sequence[VideoCell], measured: Mapping[str, Sequence[Signals]], target: Floats, recipe: Recipe
) -> Clips:
    """Return the signals of one dimension as arrays.

    Raises:
        DataError: There are fewer than three prompts.
    """
    prompt = np.unique([video.prompt_id for video in videos], return_inverse=True)[1].astype(np.int64)
    model = np.unique([video.model for video in videos], return_inverse=True)[1].astype(np.int64)
    if prompt.max(initial=-1) < 2:
        raise DataError("a calibration leaves out one prompt at a time: it needs clips of at least three prompts")
    names = tuple(recipe.signs)
    table = _table(measured[ORIGINAL], names)
    copies = np.stack([_table(measured[kind], names) for kind in recipe.kinds])
    least = tuple(LEAST_DEVIATION.get(name, 0.0) for name in names)
    rated = Rated(table, copies, target, tuple(recipe.signs.values()), recipe.balance, least)
    return Clips(rated, names, prompt, model)


def _table(measured: Sequence[Signals], names: Sequence[str]) -> Floats:
    """Return signals as float [clips, names]; what a clip was too short for is NaN."""
    return np.array([[one.values.get(name, np.nan) for name in names] for one in measured])


def training_hash(ratings: str | Path, videos: Sequence[VideoCell]) -> str:
    """Return what identifies the ratings and the content of all clips, in any order."""
    files = sorted([video.model, video.prompt_id, str(video.sample), sha256_file(video.path)] for video in videos)
    return digest(sha256_file(ratings), files)


# --- how good it is -------------------------------------------------------------------------------------------------


def figures(
    clips: Clips, scores: Floats, copies: Floats, kinds: Sequence[str], *, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Return how scores of clips that the fits had not seen agree with people; triples are [value, low, high].

    Args:
        clips: The clips.
        scores: Of the clips, each by a fit without its prompt.
        copies: Of their spoiled copies, by the same fits: [kinds, clips].
        kinds: Names of the copies.
        seed: Of the draws of prompts.
        resamples: Number of draws.

    Returns:
        `pooled`, `within_model`, `without_model` (each clip by a fit without its generator) rho; `mae` and
        `mae_constant` (predicting the mean of the other prompts) and the interval of their ratio;
        `generator_mean` (rho when only the generator is known) and `best_signal`, both with hindsight on these very
        clips; `below` (share of copies that score below their originals) by kind and over all.
    """
    rated, prompt, model = clips.rated, clips.prompt, clips.model
    target = rated.target
    without_model, _ = rated.left_out(model)
    by_generator = agreement.part_means(target, model)[model]
    constant = _means_of_other_prompts(target, prompt)
    singles = {name: agreement.spearman(column, target) for name, column in _measured_columns(clips)}
    best = max(singles, key=lambda name: abs(singles[name]))
    column = rated.table[:, clips.names.index(best)]
    below = copies < scores

    def interval(statistic: Callable[[Integers], float]) -> list[float | None]:
        return agreement.estimate_over_groups(statistic, prompt, seed=seed, resamples=resamples).rounded(4)

    def rho(values: Floats) -> list[float | None]:
        return interval(lambda rows: agreement.spearman(values[rows], target[rows]))

    def share(values: Floats) -> list[float | None]:
        return interval(lambda rows: float(values[rows].mean()))

    def within(rows: Integers) -> float:
        return agreement.within(agreement.spearman, scores[rows], target[rows], model[rows])

    def ratio(rows: Integers) -> float:
        return float(np.abs(scores - target)[rows].mean() / np.abs(constant - target)[rows].mean())

    return {
        "pooled": rho(scores),
        "within_model": interval(within),
        "without_model": rho(without_model),
        "mae": round(float(np.abs(scores - target).mean()), 4),
        "mae_constant": round(float(np.abs(constant - target).mean()), 4),
        "mae_ratio": interval(ratio),
        "generator_mean": rho(by_generator),
        "best_signal": {"name": best, "rho": rho(column)},
        "below": {
            **{kind: share(row.astype(np.float64)) for kind, row in zip(kinds, below, strict=True)},
            "all": share(below.mean(axis=0)),
        },
    }


def permuted(clips: Clips, *, draws: int = 20, seed: int = 0) -> Floats:
    """Return the pooled rho of fits on ratings that were dealt out anew over all clips: float [draws]. Around zero or
    below: leaving a prompt out moves the mean of the others away from it."""
    found = []
    for draw in range(draws):
        order = numpy_generator(seed, "permuted ratings", draw).permutation(len(clips.rated.target))
        dealt = replace(clips.rated, target=clips.rated.target[order])
        scores, _ = dealt.left_out(clips.prompt)
        found.append(agreement.spearman(scores, dealt.target))
    return np.array(found)


def _means_of_other_prompts(target: Floats, prompt: Integers) -> Floats:
    """Return for each clip the mean target of the clips of other prompts: [clips]."""
    total, count = np.bincount(prompt, weights=target), np.bincount(prompt)
    return np.asarray(((total.sum() - total) / (count.sum() - count))[prompt])


def _measured_columns(clips: Clips) -> list[tuple[str, Floats]]:
    """Return the signals that every clip has."""
    columns = zip(clips.names, clips.rated.table.T, strict=True)
    return [(name, column) for name, column in columns if not np.isnan(column).any()]
