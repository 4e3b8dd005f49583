"""The measurements behind docs/results/video-bench.md, each one command:

    python -m sensorium.judging.trials simulated
    python -m sensorium.judging.trials metric --data $SENSORIUM_DATA
    python -m sensorium.judging.trials protocols judge.yaml --ratings ratings.tsv
    python -m sensorium.judging.trials page

The first two write docs/results/rows/video-bench-<name>.jsonl. The third runs with any judge, an endpoint's too: the
same videos by `direct` and by each dimension's own protocol, and the difference of their agreement with people. The
fourth fills the page's tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.core.config import build, dump, load_yaml
from sensorium.core.files import json_line, write_text
from sensorium.core.progress import track
from sensorium.core.rundir import RunDirectory, machine_class
from sensorium.evaluation import agreement
from sensorium.evaluation.agreement import Estimate, Floats, Integers
from sensorium.judging.agreement import difference, evaluate, pair, ratings_of
from sensorium.judging.config import JudgeConfig
from sensorium.judging.job import JudgeJob
from sensorium.judging.records import RECORDS, Record, read_records
from sensorium.judging.simulated import MODELS, Protocol, Simulation, World, simulate
from sensorium.judging.trials_page import PAGE, filled

if TYPE_CHECKING:
    from sensorium.judging.metric.signals import Signals

ROWS = Path("docs") / "results" / "rows"
SEEDS = range(5)
RESAMPLES = 2000

Row = dict[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, one JSON object a line, in place of those that were there."""
    write_text(path, "".join(json_line(row | {"machine": machine_class()}) + "\n" for row in rows))


# --- protocols on a simulated judge ---------------------------------------------------------------------------------


def simulated_rows(*, seeds: Sequence[int] = SEEDS, prompts: int = 60) -> list[Row]:
    """Return what joint few-shot and chain-of-query buy over `direct` under three error models."""
    rows = []
    compared: tuple[tuple[str, Protocol], ...] = (
        ("shift", "few-shot-joint"),
        ("missed", "chain-of-query"),
        ("both", "chain-of-query"),
    )
    for error, protocol in compared:
        worlds = [World(error, seed, prompts=prompts) for seed in seeds]  # type: ignore[arg-type]
        plain = [simulate(world, "direct") for world in track(worlds, label=f"{error}, direct")]
        other = [simulate(world, protocol) for world in track(worlds, label=f"{error}, {protocol}")]
        rows.append({"trial": error, **_compared(plain, other)})
    return rows


def _compared(plain: Sequence[Simulation], other: Sequence[Simulation]) -> Row:
    """Return both protocols' agreement with the truth inside groups, and the paired difference.

    A group whose truth never varies has no order and does not count; scores that never vary order nothing, and their
    tau is 0.
    """
    truth = np.concatenate([one.world.truth for one in plain])
    groups = np.array([(number, prompt) for number, one in enumerate(plain) for prompt, _ in one.world.groups])
    _, group = np.unique(groups, axis=0, return_inverse=True)
    varies = truth.std(axis=1) > 0
    row: Row = {
        "protocols": ["direct", other[0].protocol],
        "seeds": len(plain),
        "cells": int(truth.size),
        "groups": int(varies.sum()),
        "calls": sum(one.calls for one in (*plain, *other)),
    }
    for scale in ("scores", "latents"):
        values = [np.concatenate([getattr(one, scale) for one in runs]) for runs in (plain, other)]
        taus = [np.nan_to_num(agreement.kendall_rows(truth[varies], one[varies])) for one in values]
        row[scale] = {
            "tau": [_interval(tau, group[varies]) for tau in taus],
            "tau_difference": _interval(taus[1] - taus[0], group[varies]),
            "preference": [_preference(truth, one, group) for one in values],
            "preference_difference": _preference_difference(truth, values[0], values[1], group),
            "mean_error": [round(float(np.abs(one - truth).mean()), 4) for one in values],
        }
    return row


def _interval(values: Floats, group: Integers) -> list[float | None]:
    return agreement.estimate_over_groups(lambda rows: float(values[rows].mean()), group, resamples=RESAMPLES).rounded(
        4
    )


def _counts(truth: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return right pairs and ordered pairs of each row of models."""
    rows = np.repeat(np.arange(len(truth)), MODELS)
    return agreement.preference_counts(truth.ravel(), values.ravel(), rows)


def _preference(truth: Floats, values: Floats, group: Integers) -> list[float | None]:
    right, pairs = _counts(truth, values)
    return agreement.estimate_over_groups(
        lambda rows: float(right[rows].sum() / pairs[rows].sum()), group, resamples=RESAMPLES
    ).rounded(4)


def _preference_difference(truth: Floats, first: Floats, second: Floats, group: Integers) -> list[float | None]:
    (before, pairs), (after, _) = _counts(truth, first), _counts(truth, second)
    return agreement.estimate_over_groups(
        lambda rows: float((after[rows] - before[rows]).sum() / pairs[rows].sum()), group, resamples=RESAMPLES
    ).rounded(4)


# --- the metric judge on rated clips --------------------------------------------------------------------------------


def metric_rows(data: Path, kept: Path) -> list[Row]:
    """Return how the metric judge does on the rated clips of FETV, each prompt by a fit that has not seen it.

    Args:
        data: The folder that holds `fetv` and `videos-free`.
        kept: Folder of kept signals.
    """
    from sensorium.judging.metric import calibration
    from sensorium.judging.metric.measuring import ORIGINAL, measure_all

    clips = calibration.rated_clips(data / "fetv" / "videos.tsv")
    kinds = sorted({kind for recipe in calibration.RECIPES.values() for kind in recipe.kinds})
    measured = measure_all(clips, [ORIGINAL, *kinds], kept)
    rows: list[Row] = []
    for name, recipe in calibration.RECIPES.items():
        target = calibration.targets(data / "fetv" / "ratings.tsv", clips, recipe.column)
        for balance in (recipe.balance, *(other for other in (0.0, 0.2, 1.0, 3.0) if other != recipe.balance)):
            one = calibration.clips_of(clips, measured, target, replace(recipe, balance=balance))
            scores, copies = one.rated.left_out(one.prompt)
            row: Row = {
                "trial": "left-prompt-out",
                "dimension": name,
                "rated": recipe.column,
                "clips": len(clips),
                "prompts": int(one.prompt.max()) + 1,
                "balance": balance,
                "default": balance == recipe.balance,
                **calibration.figures(one, scores, copies, recipe.kinds),
            }
            if row["default"]:
                dealt = calibration.permuted(one)
                row["permuted_ratings"] = {"mean": round(float(dealt.mean()), 4), "draws": len(dealt)}
            rows.append(row)
    for column in sorted({recipe.column for recipe in calibration.RECIPES.values()}):
        target = calibration.targets(data / "fetv" / "ratings.tsv", clips, column)
        rows.append({"trial": "single signals", "rated": column, "rho": _alone(measured[ORIGINAL], target)})
    return [*rows, *_reference_rows(data)]


def _alone(measured: Sequence[Signals], target: Floats) -> dict[str, float]:
    """Return rho of each signal with the ratings, by itself and of any sign."""
    columns = {name: np.array([one.values[name] for one in measured]) for name in measured[0].values}
    return {
        name: round(agreement.spearman(column, target), 4)
        for name, column in columns.items()
        if np.isfinite(column).all() and column.std() > 0
    }


def _reference_rows(data: Path) -> list[Row]:
    """Return the scores of a clip and its distorted copy, by the weights that ship."""
    from sensorium.judging.cells import VideoCell
    from sensorium.judging.dimensions import dimension
    from sensorium.judging.metric.judge import MetricJudge

    judge, imaging = MetricJudge(), dimension("imaging_quality")
    rows = []
    for name in ("carphone_pristine", "carphone_distorted"):
        cell = VideoCell(name, "carphone", "", 0, data / "videos-free" / f"{name}.mp4")
        found = judge.judge(cell, imaging, judge.measure(cell))
        rows.append({"trial": "quality pair", "clip": name, "dimension": imaging.id, "score": found.score})
    return rows


# --- protocols with any judge ---------------------------------------------------------------------------------------


def protocol_rows(
    config: Path, ratings: Path, runs: Path, column: str | None = None, *, resamples: int = RESAMPLES
) -> list[Row]:
    """Run a configuration by `direct` and by each dimension's own protocol, and compare both with people.

    Args:
        config: A configuration of `sensorium judge run`; its `protocol` is set here.
        ratings: As of `sensorium judge agree`.
        runs: Folder of the two runs; what is there is gone on with.
        column: Of a table of ratings.
        resamples: Draws of prompts.
    """
    records = {name: _judged(config, runs / name, name) for name in ("direct", "own")}
    ids = {video["prompt"]: video["prompt_id"] for video in RunDirectory.open(runs / "own").records("videos.jsonl")}
    rows = []
    for name in sorted({record.dimension for record in records["own"]}):
        human = ratings_of(ratings, name, column)
        if human is None:
            continue
        pairs = {which: pair(found, human.renamed(ids), name) for which, found in records.items()}
        gap: Estimate = difference(pairs["own"], pairs["direct"], resamples=resamples)
        row: Row = {"trial": "protocols", "dimension": name, "rho_difference": gap.rounded(4)}
        rows.append(row | {which: evaluate(paired, resamples=resamples) for which, paired in pairs.items()})
    return rows


def _judged(config: Path, path: Path, which: str) -> list[Record]:
    """Run or go on with one of the two runs, and return its records."""
    tree = load_yaml(config) | {"protocol": "direct" if which == "direct" else None}
    job = JudgeJob(build(JudgeConfig, tree, source=str(config)))
    if (path / "config.yaml").exists():
        run = RunDirectory.open(path)
        job.prepare(run)
    else:
        job.prepare(None)
        run = RunDirectory.create(path, dump(job.config))
    if run.result is None:
        with run.lock():
            job.work(run)
    return read_records(path / RECORDS)


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for, and say in one line what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m sensorium.judging.trials", description=(__doc__ or "").split(":")[0]
    )
    commands = parser.add_subparsers(dest="trial", required=True)
    commands.add_parser("simulated", help="protocols on a simulated judge, about 65,000 calls")
    metric = commands.add_parser("metric", help="the metric judge on rated clips")
    metric.add_argument("--data", type=Path, required=True, help="folder that holds fetv and videos-free")
    metric.add_argument("--signals", type=Path, default=Path("runs/metric-signals"), help="folder of kept signals")
    protocols = commands.add_parser("protocols", help="direct and each dimension's own protocol, with any judge")
    protocols.add_argument("config", type=Path, help="configuration of `sensorium judge run`")
    protocols.add_argument("--ratings", type=Path, required=True, help="table, annotation file, or folder of those")
    protocols.add_argument("--column", help="of a table: the question that was rated")
    protocols.add_argument("--runs", type=Path, default=Path("runs/protocols"), help="folder of the two runs")
    protocols.add_argument("--resamples", type=int, default=RESAMPLES, help="draws of prompts")
    page = commands.add_parser("page", help="fill the tables of the results page from the rows")
    page.add_argument("--page", type=Path, default=PAGE, help="the page")
    for command in commands.choices.values():
        command.add_argument("--rows", type=Path, default=ROWS, help="folder of the rows")
    given: Mapping[str, Any] = vars(parser.parse_args(list(arguments)))
    if given["trial"] == "page":
        write_text(given["page"], filled(given["page"].read_text(encoding="utf-8"), given["rows"]))
        return 0
    if given["trial"] == "simulated":
        rows = simulated_rows()
    elif given["trial"] == "metric":
        rows = metric_rows(given["data"], given["signals"])
    else:
        places = given["config"], given["ratings"], given["runs"]
        rows = protocol_rows(*places, given["column"], resamples=given["resamples"])
    path = given["rows"] / f"video-bench-{given['trial']}.jsonl"
    write_rows(path, rows)
    sys.stdout.write(f"{len(rows)} rows: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
