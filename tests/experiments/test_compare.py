"""Comparisons: what may stand in one table, what is one row, and how sure differences are."""

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import read_json, write_json
from sensorium.evaluation.bootstrap import mean_interval, paired_difference
from sensorium.experiments.compare import compare
from sensorium.experiments.tables import difference_sheet, headline_metrics, markdown, ranking_sheet, to_csv

from .paper import write_run


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).random(200)


def test_rows_are_ranked_and_compared_with_the_best(tmp_path: Path, values: np.ndarray):
    noise = np.random.default_rng(1).normal(0, 0.1, len(values))
    write_run(tmp_path / "a", values, model="bpr")
    write_run(tmp_path / "b", values + 0.05 + noise, model="lightgcn")
    write_run(tmp_path / "c", values - 0.2, model="popularity")
    (table,) = compare([tmp_path / name for name in "abc"]).tables
    assert [row.model for row in table.rows] == ["lightgcn", "bpr", "popularity"]
    assert table.baseline == "lightgcn"
    assert table.rows[0].numbers["recall@20"].difference is None
    number = table.rows[1].numbers["recall@20"]
    interval = mean_interval(np.sort(values))  # the order of the users in its file
    assert (number.mean, number.low, number.high) == pytest.approx((values.mean(), interval.low, interval.high))
    # The files list users in other orders: only if they are joined by id is the difference that of the pairs.
    order = np.argsort(values + 0.05 + noise)
    expected = paired_difference(values[order], (values + 0.05 + noise)[order])
    assert number.difference is not None
    assert number.difference.difference == pytest.approx(expected.difference)
    assert (number.difference.low, number.difference.high) == pytest.approx((expected.low, expected.high))
    assert table.rows[0].numbers["coverage@20"].low is None


def test_p_values_are_corrected_over_the_rows_of_the_table(tmp_path: Path):
    values = np.random.default_rng(2).random(60)
    shift = np.random.default_rng(3).normal(0.02, 0.08, (3, 60))
    paths = [write_run(tmp_path / "base", values)]
    paths += [
        write_run(tmp_path / f"m{n}", values - shift[n], model=name)
        for n, name in enumerate(["vbpr", "itemknn", "popularity"])
    ]
    alone = [compare([paths[0], path], baseline="bpr").tables[0] for path in paths[1:]]
    together = compare(paths, baseline="bpr").tables[0]
    single = {row.label: row.numbers["recall@20"].p for table in alone for row in table.rows if row.label != "bpr"}
    smallest = min(single, key=lambda label: single[label] or 0)
    corrected = {row.label: row.numbers["recall@20"].p for row in together.rows}
    assert corrected[smallest] == pytest.approx(min(1, 3 * (single[smallest] or 0)))
    assert all((corrected[label] or 0) >= (p or 0) for label, p in single.items())


def test_runs_of_another_protocol_come_in_their_own_table(tmp_path: Path, values: np.ndarray):
    paths = [
        write_run(tmp_path / "a", values),
        write_run(tmp_path / "b", values, model="vbpr"),
        write_run(tmp_path / "c", values, split="leave_last_out"),
        write_run(tmp_path / "d", values, mask="train+valid"),
    ]
    comparison = compare(paths)
    assert [len(table.rows) for table in comparison.tables] == [2, 1, 1]
    (notice,) = comparison.notices
    assert "split (random_per_user, seed 0 / leave_last_out, seed 0)" in notice
    assert "mask (train / train+valid)" in notice
    assert "data" not in notice
    assert any("future" in note for note in comparison.tables[0].notes)
    assert not any("future" in note for note in comparison.tables[1].notes)


def test_seeds_of_one_configuration_are_one_row(tmp_path: Path, values: np.ndarray):
    other = np.random.default_rng(5).random(200)
    paths = [write_run(tmp_path / f"s{seed}", found, seed=seed) for seed, found in enumerate([values, other])]
    paths.append(write_run(tmp_path / "again", values, seed=0))
    (table,) = compare(paths).tables
    (row,) = table.rows
    number = row.numbers["recall@20"]
    assert row.seeds == (0, 1)
    assert number.mean == pytest.approx((values.mean() + other.mean()) / 2)
    assert number.sd == pytest.approx(np.std([values.mean(), other.mean()], ddof=1))
    # The interval is over users: it is that of each user's mean over the seeds.
    assert number.low == pytest.approx(mean_interval(((values + other) / 2)[np.argsort(values)]).low)
    assert any("again" in note and "left out" in note for note in table.notes)


def test_labels_tell_configurations_of_one_model_apart(tmp_path: Path, values: np.ndarray):
    paths = [
        write_run(tmp_path / "a", values, settings={"dim": 64, "reg": 0.1}),
        write_run(tmp_path / "b", values + 0.1, settings={"dim": 128, "reg": 0.1}),
        write_run(tmp_path / "c", values + 0.2, model="vbpr"),
    ]
    (table,) = compare(paths, baseline="bpr (dim=64)").tables
    assert [row.label for row in table.rows] == ["vbpr", "bpr (dim=128)", "bpr (dim=64)"]
    assert table.baseline == "bpr (dim=64)"
    with pytest.raises(ConfigError, match="did you mean 'vbpr'"):
        compare(paths, baseline="vbrp")


def test_features_of_other_origin_are_marked(tmp_path: Path, values: np.ndarray):
    """MM-6: two feature files of one name and width, made by two encoders."""
    paths = [
        write_run(tmp_path / "a", values, model="vbpr", features={"text": "tfidf-svd"}),
        write_run(tmp_path / "b", values + 0.1, model="vbpr", seed=1, features={"text": "given, unknown"}),
        write_run(tmp_path / "c", values, model="bpr"),
    ]
    (table,) = compare(paths).tables
    marks = [note for note in table.notes if "feature 'text' is not the same" in note]
    assert len(marks) == 1
    assert "tfidf-svd" in marks[0]
    assert "given, unknown" in marks[0]
    assert len(table.rows) == 3  # two origins are never averaged into one row


def test_cold_items_have_a_table_of_their_own(tmp_path: Path, values: np.ndarray):
    paths = [
        write_run(tmp_path / "a", values + 0.1, model="lightgcn", split="cold_items", cold=values * 0.1),
        write_run(tmp_path / "b", values, model="vbpr", split="cold_items", cold=values * 0.5),
    ]
    whole, among = compare(paths).tables
    assert whole.rows[0].label == "lightgcn"
    assert among.rows[0].label == "vbpr"
    assert among.protocol["candidates"] == "the cold items alone"
    number = among.rows[1].numbers["recall@20"]
    assert number.difference is not None
    assert number.difference.difference == pytest.approx(-0.4 * values.mean())
    assert compare(paths).notices == ()  # the two rankings of one test are no difference of protocol


def test_incomplete_runs_are_left_out_and_named(tmp_path: Path, values: np.ndarray):
    done = write_run(tmp_path / "a", values)
    half = write_run(tmp_path / "b", values, seed=1, complete=False)
    comparison = compare([done, half])
    assert "resume" in comparison.notices[0]
    assert len(comparison.tables[0].rows[0].runs) == 1
    with pytest.raises(RunError, match="no complete run"):
        compare([half])
    with pytest.raises(RunError, match="holds no run"):
        compare([tmp_path / "nowhere"])


def test_markdown_keeps_cells_in_their_columns(tmp_path: Path, values: np.ndarray):
    paths = [
        write_run(tmp_path / "a", values, settings={"features": "a|b"}),
        write_run(tmp_path / "b", values + 0.1, settings={"features": "<b>"}),
    ]
    text = markdown(compare(paths))
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    columns = {
        len(line.replace("\\|", "").split("|"))
        for line in rows
        if "bpr" in line and "±" not in line and ":" not in line
    }
    assert "a\\|b" in text
    assert "<b>" not in text
    assert columns


def test_csv_holds_every_number_and_no_formula(tmp_path: Path, values: np.ndarray):
    paths = [write_run(tmp_path / "=cmd()", values, model="=evil"), write_run(tmp_path / "b", values - 0.1)]
    comparison = compare(paths, baseline="=evil")
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert len(rows) == 2 * 4
    assert {row["label"] for row in rows} == {"'=evil", "bpr"}
    assert rows[0]["runs"] == "'=cmd()"
    found = next(row for row in rows if row["label"] == "bpr" and row["metric"] == "recall@20")
    assert float(found["difference"]) == pytest.approx(-0.1)  # a negative number stays a number
    assert float(found["mean"]) == pytest.approx(values.mean() - 0.1, abs=1e-12)


def test_sheets_show_the_length_that_selects(tmp_path: Path, values: np.ndarray):
    paths = [write_run(tmp_path / "a", values), write_run(tmp_path / "b", values - 0.3, model="popularity")]
    (table,) = compare(paths).tables
    assert headline_metrics(table) == ["recall@20", "coverage@20"]
    sheet = ranking_sheet(table)
    assert sheet.rows[0][1] == "bpr (baseline)"
    assert sheet.rows[0][2].startswith(f"{values.mean():.4f} [")
    gaps = difference_sheet(table)
    assert gaps is not None
    assert gaps.rows[0][0] == "popularity"
    assert gaps.rows[0][1] == "-0.3000"
    assert gaps.rows[0][4] == "lower"
    assert difference_sheet(compare(paths[:1]).tables[0]) is None


def test_rows_selected_by_other_numbers_are_ranked_by_one_that_all_have(tmp_path: Path, values: np.ndarray):
    paths = [write_run(tmp_path / "a", values), write_run(tmp_path / "b", values - 0.1, model="vbpr")]
    result = read_json(paths[0] / "result.json")
    result["selection"]["name"] = "probe_auc"  # a number of the model's own, which no test has
    write_json(paths[0] / "result.json", result)
    (table,) = compare(paths).tables
    assert table.by == "recall@5"
    assert any("not all rows were selected by the same number" in note for note in table.notes)
    del result["test"]["metrics"]["recall@5"], result["test"]["metrics"]["recall@20"]
    result["test"]["metrics"] = {"ndcg@5": 0.1}
    write_json(paths[0] / "result.json", result)
    with pytest.raises(RunError, match="share no metric"):
        compare(paths)


def test_one_run_has_one_interval_everywhere(tmp_path: Path, values: np.ndarray):
    run = write_run(tmp_path / "a", values)
    number = compare([run]).tables[0].rows[0].numbers["recall@20"]
    own = mean_interval(pl.read_parquet(run / "per_user.parquet")["recall@20"])  # as the run computes its own
    assert (number.low, number.high) == pytest.approx((own.low, own.high), abs=1e-12)


def test_runs_of_other_users_are_not_paired(tmp_path: Path, values: np.ndarray):
    paths = [write_run(tmp_path / "a", values), write_run(tmp_path / "b", values[:-1], model="vbpr")]
    with pytest.raises(RunError, match="other test users"):
        compare(paths)
