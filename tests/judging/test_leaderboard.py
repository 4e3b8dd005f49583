"""Leaderboards: ranks as published, refusals, marks, and files."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.files import read_json
from sensorium.judging.dimensions import built_in, dimension
from sensorium.judging.leaderboard import board_of, summarise, write_leaderboard, write_released_layout
from sensorium.judging.pairs import bradley_terry, win_rates
from sensorium.judging.ranks import average_rank, rank
from sensorium.judging.records import JudgeName, Record

from .test_aggregation import DIMENSION, JUDGE, record, worked_example

# Judge means as published, in the order of the nine dimensions, and average ranks: quality, alignment, overall.
PUBLISHED = {
    "cogvideox5b": ([3.87, 3.84, 4.14, 3.55, 4.62, 2.81, 2.92, 2.81, 2.93], (3.00, 1.60, 2.22)),
    "gen3": ([4.66, 4.44, 4.74, 3.99, 4.38, 2.81, 2.87, 2.59, 2.93], (1.00, 2.40, 1.78)),
    "kling": ([4.26, 3.82, 4.38, 3.11, 4.07, 2.70, 2.81, 2.50, 2.82], (2.75, 4.60, 3.78)),
    "videocrafter2": ([4.08, 3.85, 3.69, 2.81, 4.18, 2.85, 2.90, 2.53, 2.78], (3.75, 2.80, 3.22)),
    "lavie": ([3.00, 2.94, 3.00, 2.43, 3.71, 2.82, 2.81, 2.45, 2.63], (7.00, 5.00, 5.889)),
    "pika": ([3.78, 3.76, 3.40, 2.59, 3.78, 2.51, 2.52, 2.25, 2.60], (5.50, 6.80, 6.22)),
    "show1": ([3.30, 3.28, 3.90, 2.90, 4.21, 2.82, 2.79, 2.53, 2.72], (5.00, 3.80, 4.33)),
}


def test_published_ranks_from_published_scores() -> None:
    """7.2: ranks exactly as listed; lavie 5.889."""
    names = list(built_in())
    ranks = {
        name: rank({model: means[place] for model, (means, _) in PUBLISHED.items()}) for place, name in enumerate(names)
    }
    for group, place in ((names[:4], 0), (names[4:], 1), (names, 2)):
        found = average_rank(ranks, group, list(PUBLISHED))
        assert found == pytest.approx({model: row[1][place] for model, row in PUBLISHED.items()}, abs=0.0051)
    assert average_rank(ranks, names, list(PUBLISHED))["lavie"] == pytest.approx(5.889, abs=5e-4)


def test_ties_share_the_best_rank_or_the_middle() -> None:
    means = {"a": 3.0, "b": 1.0, "c": 3.0 + 1e-12, "d": 2.0}
    assert rank(means) == {"a": 1, "b": 4, "c": 1, "d": 3}
    assert rank(means, ties="mid-rank") == {"a": 1.5, "b": 4, "c": 1.5, "d": 3}


def test_worked_example_has_no_ranks_unless_asked_for() -> None:
    """7.15: no ranks, the average refuses, the board is incomplete; with --allow-missing T 1, Q 2, S 3, P 4, marked."""
    board = board_of(worked_example(), [DIMENSION], which="available", resamples=100)
    assert set(board.ranks[DIMENSION.id].values()) == {None}
    assert board.incomplete == (DIMENSION.id,)
    assert not board.average_ranks
    assert "has no rank for P, Q, S, T" in board.refused["quality"]
    assert not board.marked
    forced = board_of(worked_example(), [DIMENSION], which="available", allow_missing=True, resamples=100)
    assert forced.ranks[DIMENSION.id] == {"T": 1, "Q": 2, "S": 3, "P": 4}
    assert forced.average_ranks["quality"] == {"T": 1, "Q": 2, "S": 3, "P": 4}
    assert forced.marked


def test_a_mixed_board_raises() -> None:
    """7.11."""
    mixed = [record("A", 0, 3), replace(record("B", 0, 3), judge=JudgeName("metric", "metric", "1"))]
    with pytest.raises(DataError, match="never mixes families of judges, these records are of metric and mllm"):
        summarise(mixed, [DIMENSION])
    other = [record("A", 0, 3), replace(record("B", 0, 3), judge=JudgeName("k", "mllm", "1"))]
    with pytest.raises(DataError, match="that of one judge"):
        summarise(other, [DIMENSION])
    with pytest.raises(DataError, match="there are none"):
        summarise([], [DIMENSION])


def test_unsupported_dimensions_are_absent_from_means_and_refuse_the_average() -> None:
    """7.11: alignment without an encoder."""
    judge = JudgeName("metric", "metric", "1")
    rows = [replace(record(m, p, 3 + p), judge=judge) for m in "AB" for p in range(2)]
    rows += [
        Record("color", f"{p:03d}", 0, m, None, "unsupported", "no encoder", judge) for m in "AB" for p in range(2)
    ]
    found = summarise(rows, [DIMENSION, dimension("color")], draws=100)
    assert found["unsupported"] == ["color"]
    assert list(found["dimensions"]) == [DIMENSION.id]
    assert set(found["average_ranks"]) == {"quality"}
    assert "'color' is not judged" in found["refused"]["overall"]
    assert found["label"].startswith("metric judge — measured signals calibrated on human ratings")


def test_the_average_refuses_when_a_dimension_lacks_a_model() -> None:
    """7.11."""
    rows = [record(m, p, 3) for m in "AB" for p in range(2)]
    rows += [replace(record("A", p, 2), dimension="motion_effects") for p in range(2)]
    asked = [DIMENSION, dimension("motion_effects")]
    assert "'motion_effects' has no rank for B" in summarise(rows, asked, draws=100)["refused"]["quality"]
    marked = summarise(rows, asked, allow_missing=True, draws=100)
    assert marked["average_ranks"]["quality"] == {"A": 1, "B": 1}
    assert marked["marked"]


def test_simulated_boards_say_so() -> None:
    rows = [replace(record("A", 0, 3), judge=JudgeName("s", "scripted", "1"))]
    assert summarise(rows, [DIMENSION], draws=100)["label"] == "s — simulated"


def test_the_table_has_every_number_and_no_formula(tmp_path: Path) -> None:
    """Leading = + - @ are escaped."""
    rows = [record(m, p, s) for m, s in (("=1+2", 4.0), ("@b", 3.0), ("-c", 2.0)) for p in range(3)]
    summary = summarise(rows, [DIMENSION], draws=100)
    write_leaderboard(tmp_path / "leaderboard.csv", summary)
    with (tmp_path / "leaderboard.csv").open() as handle:
        found = list(csv.DictReader(handle))
    assert [row["model"] for row in found] == ["'-c", "'=1+2", "'@b"] * 2
    assert [row["rank"] for row in found] == ["3.0", "1.0", "2.0"] * 2
    assert found[1]["mean"] == found[1]["low"] == found[1]["high"] == found[1]["bound_low"] == "4.0"
    assert found[3]["dimension"] == "average rank: quality"
    assert summary["dimensions"][DIMENSION.id]["order"][0] == {"above": "=1+2", "below": "@b", "share": 1.0}


def test_the_released_layout(tmp_path: Path) -> None:
    rows = [record("A", 0, 4), record("A", 0, None, sample=1), record("B", 0, 2), record("B", 0, 3, sample=1)]
    summary = summarise(rows, [DIMENSION], missing="available", draws=100)
    (path,) = write_released_layout(tmp_path, rows, summary)
    assert path.name == "results_temporal_consistency_score_results.json"
    assert read_json(path) == {
        "average_scores": {"A": 4.0, "B": 2.5},
        "scores": {"000": {"A": [4, None], "B": [2, 3]}},
    }


def test_win_rates_and_strengths() -> None:
    rows = [record(m, p, s) for p in range(40) for m, s in (("A", 5), ("B", 3 + p % 2), ("C", 3))]
    models, share, meetings = win_rates(rows, DIMENSION.id)
    assert models == ("A", "B", "C")
    assert share[0].tolist()[1:] == [1, 1]
    assert share[1, 2] == 0.75  # above in half, equal in half
    assert meetings[0, 1] == 40
    strength = bradley_terry(share, meetings)
    assert strength[0] > strength[1] > strength[2]
    assert strength.sum() == pytest.approx(0)
    apart = strength[:, None] - strength[None, :]
    expected = (np.nan_to_num(share) * meetings + 0.5)[~np.eye(3, dtype=bool)].reshape(3, 2).sum(axis=1)
    fitted = (41 / (1 + np.exp(-apart)))[~np.eye(3, dtype=bool)].reshape(3, 2).sum(axis=1)
    assert fitted == pytest.approx(expected, abs=1e-6)  # the likelihood's equations


def test_the_judge_of_a_dimension_stands_in_the_result() -> None:
    found = summarise([record("A", 0, 3)], [DIMENSION], draws=100)
    assert found["dimensions"][DIMENSION.id]["judge"] == vars(JUDGE)
