"""A run of kind trace: its numbers, its files, and that it goes on to the same ones; the literature's protocol."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, RunError
from sensorium.core.files import read_parquet, sha256_file, write_json, write_parquet
from sensorium.experiments.run import resume, run
from sensorium.tracing.base import TracingBatch
from sensorium.tracing.compare import compare_traces
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data import schema
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.importing import TracingImportConfig, import_tracing
from sensorium.tracing.data.windows import evaluation_batches
from sensorium.tracing.evaluation import predicting
from sensorium.tracing.evaluation.metrics import auc, measure
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.expanded import expand, predict_expanded
from sensorium.tracing.job import fit, read_predictions
from sensorium.tracing.setup import load_trained, random_labels, set_up
from sensorium.tracing.uncertainty.decomposition import entropy
from sensorium.training import loop


def tree(dataset: TracingDataset, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "kind": "trace",
        "data": {"dataset": str(dataset.root)},
        "model": {"name": "dkt", "dim": 8},
        "training": {"epochs": 3, "device": "cpu", "batch_size": 8},
        "windows": {"length": 20, "stride": 10},
        "draws": 100,
    }
    return base | changes


def test_a_run_predicts_every_row_of_the_test_once_and_is_opened_again(
    few_learners: TracingDataset, tmp_path: Path
) -> None:
    done = run(tree(few_learners), out=tmp_path / "run")
    result, answers = done.result, few_learners.answers()
    setup = load_trained(done.path)
    expected = [(s, t) for s in setup.split.test for t in range(1, answers.lengths[s])]
    found = read_predictions(done.path)
    assert list(zip(found.student.tolist(), found.position.tolist(), strict=True)) == expected
    assert result["test"]["n"] == len(expected) == int((answers.lengths[setup.split.test] - 1).sum())
    assert result["test"]["metrics"]["auc"] == pytest.approx(auc(found.p, found.response))
    again = predict(setup.model, answers, setup.split.test, size=20, stride=10)
    assert np.array_equal(again.p, found.p)
    assert not result["leaky"]
    assert result["unseen"]["finite"]
    assert sum(part["n"] for part in result["by_practice"].values()) == len(expected)
    page = (done.path / "report.html").read_text()
    assert "dkt on few" in page
    assert "first on a concept" in page
    assert "leaky" not in page
    assert "<script" not in page


@pytest.mark.parametrize("model", ["ukt", "ukt-point"])
def test_predictions_tell_what_of_their_uncertainty_is_the_models_own_doubt(
    few_learners: TracingDataset, tmp_path: Path, model: str
) -> None:
    small = {"name": model, "dim": 16, "heads": 2, "hidden": 16}
    done = run(tree(few_learners, model=small), out=tmp_path / "run")
    table, found = read_parquet(done.path / "predictions.parquet"), read_predictions(done.path)
    parts = ("total", "aleatory", "epistemic")
    if model == "ukt-point":  # a state that is a point has no doubt
        assert set(parts).isdisjoint(table.columns)
        return
    total, aleatory, epistemic = (table[name].to_numpy() for name in parts)
    assert np.allclose(total, entropy(found.p.astype(float)), atol=1e-5)
    assert np.allclose(total, aleatory + epistemic, atol=1e-6)
    assert found.variance is not None
    # to the second order in the deviation of p, the doubt is half its variance by p (1 - p)
    assert epistemic.min() > 0
    assert np.allclose(epistemic, found.variance / (2 * found.p * (1 - found.p)), rtol=0.1)


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("model", [{"name": "dkt", "dim": 8, "ema": 0.9}, "bestlr"])
def test_a_killed_run_goes_on_to_the_same_numbers(
    few_learners: TracingDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    config = tree(few_learners, model=model)
    whole = run(config, out=tmp_path / "whole")
    saved = loop.RunStates.save

    def save_and_die(self: Any, *arguments: Any) -> None:
        saved(self, *arguments)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loop.RunStates, "save", save_and_die)
        with pytest.raises(KilledError):
            run(config, out=tmp_path / "cut")
    cut = resume(tmp_path / "cut")
    for name in ("metrics.jsonl", "predictions.parquet", "result.json"):
        assert (cut.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_changed_data_are_refused(few_learners: TracingDataset, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(few_learners.root, copy)
    done = run(tree(TracingDataset.open(copy), model="irt"), out=tmp_path / "run")
    info = json.loads((copy / "dataset.json").read_text())
    info["checksums"][schema.RESPONSES] = "other"
    write_json(copy / "dataset.json", info)
    with pytest.raises(RunError, match="is another one than when"):
        load_trained(done.path)


def by_hand(folder: Path, out: Path, train: list[str], test: list[str]) -> TracingDataset:
    """Import histories, each "question:concepts:answer question:concepts:answer ..."; the first of `train` selects."""
    lines = ["fold,uid,questions,concepts,responses"]
    sides = [*((min(place, 1), history) for place, history in enumerate(train)), *((-1, history) for history in test)]
    for name, (fold, history) in enumerate(sides):
        columns = zip(*(answer.split(":") for answer in history.split()), strict=True)
        lines.append(f"{fold},{name}," + ",".join(f'"{",".join(column)}"' for column in columns))
    (folder / "train_valid.csv").write_text("\n".join(lines) + "\n")
    config = build(TracingImportConfig, {"reader": "pykt", "name": "by hand"}, source="test")
    return import_tracing(folder, out, config)


def test_rows_of_unseen_and_rare_questions_are_counted(folder: Path, tmp_path: Path) -> None:
    valid = "3:c:1 3:c:0 4:c:1"  # selects, and so is no training: question 3 and concept c stay unseen
    trains = "1:a:1 1:a:0 1:a:1 1:a:1 1:a:0 2:b:1 2:b:0"
    test = "1:a:1 1:a:0 2:b:1 3:c:0 4:a:1 5:a_c:1"  # the first is nobody's prediction
    data = by_hand(folder, tmp_path / "set", [valid, trains], [test])
    config = tree(data, model="irt", data={"dataset": str(data.root), "split": {"folds": 2, "fold": 0}})
    done = run(config, out=tmp_path / "run")
    unseen = done.result["unseen"]
    assert unseen["rows_of_unseen_questions"] == 3  # 3, 4 (with the concept a) and 5
    assert unseen["rows_of_unseen_concepts"] == 2  # 3, and 5, whose other concept is known
    assert unseen["rows_of_questions_under_5_rows"] == 4  # these and 2, which has two
    found = read_predictions(done.path)
    assert unseen["auc_on_questions_under_5_rows"] == pytest.approx(auc(found.p[1:], found.response[1:]))
    page = (done.path / "report.html").read_text()
    assert "3 ask a question and 2 a concept that training never met" in page


def padded(batch: TracingBatch, columns: int, questions: int) -> TracingBatch:
    """Return a batch with more padding, in which answers look right."""
    fill = {"question": questions, "response": 1, "mask": False, "score_mask": False, "position": -1}
    wider = {
        name: torch.cat([old := getattr(batch, name), torch.full((len(old), columns), value, dtype=old.dtype)], dim=1)
        for name, value in fill.items()
    }
    return batch.replace(**wider)


@pytest.mark.parametrize("model", ["dkt", "simplekt"])
def test_padding_changes_no_number(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """KT-3: of students with 3 and 200 answers 201 are counted, and padding behind them changes no metric."""
    random = np.random.default_rng(0)

    def history(length: int) -> str:
        return " ".join(f"{q}:{q % 4}:{int(r)}" for q, r in random.integers(0, (12, 2), (length, 2)))

    data = by_hand(folder, tmp_path / "set", [history(30) for _ in range(12)], [history(3), history(200)])
    changes = {"data": {"dataset": str(data.root), "split": {"folds": 2, "fold": 0}}, "windows": {"length": 200}}
    done = run(tree(data, model={"name": model, "dim": 8}, **changes), out=tmp_path / "run")
    assert done.result["test"]["n"] == 2 + 199
    setup, numbers = load_trained(done.path), done.result["test"]["metrics"]

    def with_padding(*arguments: Any, **keys: Any) -> Iterator[TracingBatch]:
        for batch in evaluation_batches(*arguments, **keys):
            yield padded(batch, 37, setup.answers.n_questions)

    def measured() -> dict[str, float]:
        found = predict(setup.model, setup.answers, setup.split.test, size=200)
        assert len(found) == 201
        return measure(found)

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "evaluation_batches", with_padding)
        assert measured() == pytest.approx(numbers, abs=1e-6)
    alone = partial(evaluation_batches, budget=1)  # a student a batch: the shorter one has no padding at all
    monkeypatch.setattr(predicting, "evaluation_batches", alone)
    assert measured() == pytest.approx(numbers, abs=1e-6)


# --- the literature's protocol --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_concepts(tmp_path_factory: pytest.TempPathFactory) -> TracingDataset:
    """300 students x 60 answers on 60 questions of three concepts each; coins for answers."""
    folder = tmp_path_factory.mktemp("three") / "coins"
    folder.mkdir()
    random = np.random.default_rng(0)
    students, questions, concepts, length = 300, 60, 20, 60
    student = np.repeat(np.arange(students, dtype=np.int32), length)
    question = np.stack([random.permutation(questions) for _ in range(students)]).reshape(-1).astype(np.int32)
    links = [(q, c) for q in range(questions) for c in sorted(random.choice(concepts, 3, replace=False))]
    sizes = {"question": questions, "concept": concepts, "student": students}
    ids = {kind: np.arange(n, dtype=np.int32) for kind, n in sizes.items()}
    tables = {
        schema.RESPONSES: pl.DataFrame(
            {
                "student": student,
                "question": question,
                "response": random.integers(0, 2, len(student)).astype(np.int8),
                "order": np.tile(np.arange(length, dtype=np.int32), students),
            }
        ).with_columns(
            timestamp=pl.lit(None, dtype=pl.Int64),
            duration_ms=pl.lit(None, dtype=pl.Int32),
            attempt=pl.lit(None, dtype=pl.Int16),
            split=pl.lit(None, dtype=pl.String),
        ),
        schema.QUESTIONS: pl.DataFrame({"question": ids["question"], "question_id": ids["question"].astype(str)}),
        schema.QUESTION_CONCEPTS: pl.DataFrame(links, schema={"question": pl.Int32, "concept": pl.Int32}, orient="row"),
        schema.CONCEPTS: pl.DataFrame({"concept": ids["concept"], "concept_id": ids["concept"].astype(str)}),
        schema.STUDENTS: pl.DataFrame({"student": ids["student"], "student_id": ids["student"].astype(str)}),
    }
    for name, table in tables.items():
        write_parquet(folder / name, table)
    counts = {"students": students, "questions": questions, "concepts": concepts, "responses": len(student)}
    info = {
        "name": "coins", "kind": "tracing", "source": {"reader": "made"}, "counts": counts, "multi_concept_share": 1.0,
        "has_questions": True, "has_time": False, "response_rule": "coins",
        "checksums": {name: sha256_file(folder / name) for name in tables},
    }  # fmt: skip
    write_json(folder / schema.DESCRIPTION, info)
    return TracingDataset.open(folder)


def test_three_concepts_of_one_question_never_see_each_other(three_concepts: TracingDataset, tmp_path: Path) -> None:
    """KT-1, coins: .5 by default; the expanded protocol reaches more than .8, and says in every place that it leaks."""
    config = tree(
        three_concepts,
        model={"name": "dkt", "dim": 24, "difficulty": "none", "ema": 0.0, "dropout": 0.0},
        training={"epochs": 6, "patience": 0, "device": "cpu", "batch_size": 32, "optimizer": {"lr": 1e-2}},
        windows={"length": 200, "stride": 100},
    )
    fair = run(config, out=tmp_path / "fair")
    assert abs(fair.result["test"]["metrics"]["auc"] - 0.5) < 0.02
    leaky = run(config | {"protocol": "pykt-expanded"}, out=tmp_path / "leaky")
    readings = leaky.result["readings"]
    assert readings["kc_one_by_one"]["metrics"]["auc"] > 0.8  # two of three rows can be copied
    assert abs(readings["question"]["metrics"]["auc"] - 0.5) < 0.02
    assert readings["question"]["n"] == fair.result["test"]["n"]
    assert leaky.result["leaky"]
    assert "contains the label" in leaky.result["notices"][0]
    page = (leaky.path / "report.html").read_text()
    assert "leaky protocol" in page
    assert "contains the label" in page
    with pytest.raises(ConfigError, match="never compared"):
        compare_traces([fair.path, leaky.path])


def test_expansion_keeps_every_concept_once(few_learners: TracingDataset) -> None:
    answers = few_learners.answers()
    wide = expand(answers)
    sizes = (answers.concepts[:-1] < answers.n_concepts).sum(1).numpy()
    assert len(wide.source) == sizes[answers.question].sum()
    assert (~wide.repeat).sum() == len(answers.question)
    for row in range(40):
        own = wide.answers.concepts[wide.answers.question[wide.source == row], 0]
        assert sorted(own.tolist()) == sorted(c for c in answers.concepts[answers.question[row]].tolist() if c < 5)
    assert np.array_equal(wide.answers.response, answers.response[wide.source])


def test_all_in_one_does_not_see_the_own_answer(three_concepts: TracingDataset) -> None:
    config = build(TraceConfig, tree(three_concepts, protocol="pykt-expanded"), source="test")
    setup = set_up(config)
    answers = three_concepts.answers()
    students = np.array([0])
    before = predict_expanded(setup.model, answers, students, size=60, stride=30)
    changed = answers.response.copy()
    changed[10] = 1 - changed[10]
    after = predict_expanded(setup.model, replace(answers, response=changed), students, size=60, stride=30)
    moved = np.abs(after.question.p - before.question.p)
    assert moved[before.question.position <= 10].max() <= 1e-5
    assert moved[before.question.position > 10].max() > 1e-5
    leaky = np.abs(after.one_by_one.p - before.one_by_one.p)[30:33]
    assert leaky.max() > 1e-5


# --- comparison -----------------------------------------------------------------------------------------------------


def test_comparison_pairs_folds_and_names_what_differs(few_learners: TracingDataset, tmp_path: Path) -> None:
    paths = []
    for seed in (0, 1):
        for c in (0.001, 1.0):
            config = tree(few_learners, model={"name": "bestlr", "c": c}, seed=seed)
            paths.append(run(config, out=tmp_path / f"{seed}-{c}").path)
    found = compare_traces(paths, draws=200)
    assert {row.label for row in found.rows} == {"bestlr (c=0.001)", "bestlr (c=1.0)"}
    assert all(row.seeds == (0, 1) for row in found.rows)
    other = next(row for row in found.rows if row.label != found.baseline)
    best = found.rows[0]
    assert other.difference is not None
    assert other.folds_compared == 2
    assert other.difference.difference == pytest.approx(other.means["auc"] - best.means["auc"])
    assert "bestlr (c=1.0)" in "\n".join(found.lines())
    assert len(found.records()) == 2
    apart = run(
        tree(few_learners, model="irt", data={"dataset": str(few_learners.root), "attempts": "first"}),
        out=tmp_path / "f",
    )
    with pytest.raises(ConfigError, match="compare them apart"):
        compare_traces([paths[0], apart.path])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["irt", "pfa", "bestlr", "bkt", "dkt", "sakt", "akt", "simplekt", "ukt"])
def test_random_labels_on_real_data(model: str, shared_data: Path, sensorium_home: Path) -> None:
    """Fair coins for the answers of ASSISTments 2009: .50 ± .02 for every model."""
    if not (shared_data / "kt" / "assist2009_gervet").is_dir():
        pytest.skip("kt/assist2009_gervet is not there")
    config = build(
        TraceConfig,
        {
            "kind": "trace",
            "data": {"dataset": "assist2009"},
            "model": {"name": model},
            "training": {"epochs": 2, "device": "cpu"},
        },
        source="test",
    )
    setup = set_up(config)
    coins = set_up(config, setup.dataset, answers=random_labels(setup.answers, seed=0))
    fit(coins)
    found = predict(coins.model, coins.answers, coins.split.test)
    assert len(found) == 57643
    assert abs(auc(found.p, found.response) - 0.5) < 0.02
