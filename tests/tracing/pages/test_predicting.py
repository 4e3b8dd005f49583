"""Predictions for living learners: no label, the evaluation's numbers, unknown questions, faulty files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from sensorium.core.errors import DataError, RunError
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.pages.asking import ask
from sensorium.tracing.pages.bundle import from_run, open_bundle, write_bundle
from sensorium.tracing.pages.log import make_log, read_log
from sensorium.tracing.pages.predicting import escaped, predict_open
from sensorium.tracing.pages.tested import log_of_tested
from sensorium.tracing.setup import load_trained
from sensorium.tracing.uncertainty.decomposition import entropy

MODELS = ["ukt", "simplekt", "akt", "sakt", "dkt", "bestlr", "bkt"]
WINDOWS = {"length": 20, "stride": 10}  # the learners have 20 to 40 answers


@pytest.fixture(scope="module")
def run_of(make_run, ukt_run):
    made = {}

    def of(model):
        if model not in made:
            keys = {} if model in ("bestlr", "bkt") else {"dim": 16}
            made[model] = ukt_run if model == "ukt" else make_run(model, windows=WINDOWS, **keys, epochs=1)
        return made[model]

    return of


def opened(bundle, answers, rows):
    """Return the answers of some rows, the last of them to be predicted."""
    return pl.DataFrame(
        {
            "student": ["s"] * len(rows),
            "question": [bundle.question_ids[number] for number in answers.question[rows]],
            "response": [str(value) for value in answers.response[rows[:-1]]] + [None],
        }
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_living_student_gets_the_number_of_the_evaluation(run_of, model):
    """KT-6: five answers of a student, no label of the next one."""
    path = run_of(model)
    setup, bundle = load_trained(path), from_run(path)
    student, windows = setup.split.test[:1], setup.config.windows
    expected = predict(setup.model, setup.answers, student, size=windows.length, stride=windows.stride)
    rows = setup.answers.offsets[student[0]] + np.arange(6)
    found = predict_open(bundle, make_log(opened(bundle, setup.answers, rows), bundle))
    assert found["answers_before"].to_list() == [5]
    assert found["p"][0] == pytest.approx(float(expected.p[4]), abs=1e-4)  # row 5: the first is never predicted
    if model == "ukt":
        assert found["epistemic_variance"][0] == pytest.approx(float(expected.variance[4]), abs=1e-4)
        assert found["epistemic_variance"][0] > 0


@pytest.mark.parametrize("model", [model for model in MODELS if model != "ukt"])
def test_so_does_one_whose_history_is_longer_than_a_window(run_of, model):
    """KT-6: the last row of the second window of the evaluation has as much before it as a window holds."""
    path = run_of(model)
    setup, bundle = load_trained(path), from_run(path)
    answers, at = setup.answers, WINDOWS["length"] + WINDOWS["stride"] - 1
    student = setup.split.test[answers.lengths[setup.split.test] > at][:1]
    expected = predict(setup.model, answers, student, size=WINDOWS["length"], stride=WINDOWS["stride"])
    rows = answers.offsets[student[0]] + np.arange(at + 1)
    found = predict_open(bundle, make_log(opened(bundle, answers, rows), bundle))
    assert found["answers_before"].to_list() == [at]
    assert found["p"][0] == pytest.approx(float(expected.p[at - 1]), abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_in_a_batch_of_the_same_shape_the_numbers_are_equal_bit_by_bit(run_of, model):
    """KT-6: three candidates after five answers, and three students with the same five answers and these questions."""
    path = run_of(model)
    setup, bundle = load_trained(path), from_run(path)
    rows = setup.answers.offsets[setup.split.test[0]] + np.arange(5)
    questions, right = setup.answers.question[rows], setup.answers.response[rows]
    candidates = [2, 11, 23]
    three = replace(
        setup.answers,
        offsets=np.array([0, 6, 12, 18]),
        question=np.concatenate([[*questions, one] for one in candidates]).astype(np.int32),
        response=np.tile([*right, 1], 3).astype(np.int8),  # what the evaluation compares with, and never reads
        time=None,
    )
    expected = predict(setup.model, three, np.arange(3))
    names = [bundle.question_ids[number] for number in [*questions, *candidates]]
    answered = [str(value) for value in right] + [None] * 3
    table = pl.DataFrame({"student": ["s"] * 8, "question": names, "response": answered})
    found = predict_open(bundle, make_log(table, bundle))
    assert found["p"].to_list() == expected.p[expected.position == 5].astype(float).tolist()


def test_entropy_has_a_part_that_knowing_the_state_would_not_remove(bundle, run_of, table):
    asked = pl.concat([table.head(5), table.head(3).with_columns(response=pl.lit(None, dtype=pl.Int64))])
    found = predict_open(bundle, make_log(asked, bundle))
    p, total, aleatory = (found[name].to_numpy() for name in ("p", "total_entropy", "aleatory_entropy"))
    assert np.allclose(total, entropy(p))
    assert (aleatory < total).all()
    with torch.no_grad():  # E H(p) by draws of the state
        log = make_log(asked, bundle)
        history = log.batch(log.question[None, :5], log.response[None, :5])
        many = ask([bundle.model], history, log.question[5:], np.array([5]), draws=20_000)
    assert aleatory == pytest.approx(entropy(many.draws[:, 0]).mean(axis=0), abs=2e-3)
    point = from_run(run_of("dkt"))
    assert predict_open(point, make_log(asked, point))["aleatory_entropy"].to_list() == [None] * 3


def test_several_candidates_after_the_same_answers_and_later_ones_after_more(bundle, table):
    history = table.head(5).with_columns(pl.col("response").cast(pl.String))
    opened = history.with_columns(response=pl.lit(None, dtype=pl.String))
    both = make_log(pl.concat([history.head(3), opened.head(3), history.tail(2), opened.head(1)]), bundle)
    found = predict_open(bundle, both)
    assert found["answers_before"].to_list() == [3, 3, 3, 5]
    assert found["row"].to_list() == [4, 5, 6, 9]
    alone = predict_open(bundle, make_log(pl.concat([history.head(3), opened.head(1)]), bundle))
    assert alone["p"][0] == pytest.approx(found["p"][0], abs=1e-5)
    assert (found["total_entropy"] > 0).all()


def test_a_student_without_any_answer_is_predicted(bundle):
    asked = pl.DataFrame({"student": ["new"], "question": ["question-3"], "response": [None]})
    found = predict_open(bundle, make_log(asked, bundle))
    assert 0 < found["p"][0] < 1
    assert found["answers_before"].to_list() == [0]


def test_an_unknown_question_is_known_by_its_concepts_or_refused_by_name(bundle, table):
    """KT-6."""
    history = table.head(4).with_columns(pl.col("response").cast(pl.String), concepts=pl.lit(None, dtype=pl.String))
    asked = pl.DataFrame(
        {"student": ["ada"], "question": ["brand new"], "response": [None], "concepts": ["concept-1; concept-2"]},
        schema=history.schema,
    )
    log = make_log(pl.concat([history, asked]), bundle)
    found = predict_open(bundle, log)
    assert log.unseen == 1
    assert found["known"].to_list() == [False]
    assert 0 < found["p"][0] < 1
    listed = log.concepts[log.question[-1]]
    assert {bundle.concept_ids[number] for number in listed.tolist() if number < 6} == {"concept-1", "concept-2"}
    with pytest.raises(DataError, match=r"row 5: the model never met question 'brand new'.*column 'concepts'"):
        make_log(pl.concat([history, asked]).drop("concepts"), bundle)
    with pytest.raises(DataError, match="concept 'concept-99' of question 'brand new' is unknown"):
        make_log(pl.concat([history, asked.with_columns(concepts=pl.lit("concept-99"))]), bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"response": "2"}, r"row 2: response is '2'"),
        ({"response": "0.5"}, r"row 2: response is '0.5'"),
        ({"student": ""}, r"row 2: student is empty"),
        ({"question": ""}, r"row 2: question is empty"),
    ],
)
def test_a_faulty_row_is_named(bundle, tmp_path, changes, message):
    row = {"student": "s", "question": "question-1", "response": "1"}
    lines = ["student,question,response", *(",".join(one.values()) for one in (row, row | changes))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=message):
        read_log(tmp_path / "log.csv", bundle)


def test_files_of_every_kind_are_read_alike(bundle, table, tmp_path, log):
    table.write_csv(tmp_path / "a.csv")
    table.write_csv(tmp_path / "a.tsv", separator="\t")
    table.write_ndjson(tmp_path / "a.jsonl")
    table.write_parquet(tmp_path / "a.parquet")
    for kind in ("csv", "tsv", "jsonl", "parquet"):
        found = read_log(tmp_path / f"a.{kind}", bundle)
        assert np.array_equal(found.question, log.question)
        assert np.array_equal(found.response, log.response)
    with pytest.raises(DataError, match="none of"):
        read_log(tmp_path / "a.xlsx", bundle)
    with pytest.raises(DataError, match="does not exist"):
        read_log(tmp_path / "b.csv", bundle)
    with pytest.raises(DataError, match=r"no column 'response'.*did you mean 'responses'"):
        make_log(table.rename({"response": "responses"}), bundle)
    with pytest.raises(DataError, match="nothing to predict"):
        predict_open(bundle, log)


def test_a_bundle_answers_like_its_run_and_holds_no_answers(bundle, ukt_run, table, tmp_path, learners):
    folder = write_bundle(bundle, tmp_path / "bundle")
    read = open_bundle(folder)
    asked = pl.concat([table.head(6), table.head(2).with_columns(response=pl.lit(None, dtype=pl.Int64))])
    first, second = (predict_open(one, make_log(asked, one)) for one in (bundle, read))
    assert first.equals(second)
    assert np.array_equal(read.population(), bundle.population())
    assert read.concept_names == bundle.concept_names
    assert sorted(path.name for path in folder.iterdir()) == [
        "bundle.json",
        "concepts.parquet",
        "questions.parquet",
        "weights.safetensors",
    ]
    students = set(learners.table("students.parquet")["student_id"])
    assert not any(name in (folder / "bundle.json").read_text() for name in students)
    with pytest.raises(DataError, match="not empty"):
        write_bundle(bundle, folder)
    with pytest.raises(DataError, match="nobody's answers"):
        log_of_tested(folder)
    (folder / "questions.parquet").write_bytes((folder / "concepts.parquet").read_bytes())
    with pytest.raises(RunError, match="not the file that was written"):
        open_bundle(folder)


def test_a_leaky_run_answers_nobody(make_run, tmp_path, learners):
    from sensorium.experiments.run import run

    tree = {
        "kind": "trace",
        "protocol": "pykt-expanded",
        "data": {"dataset": str(learners.root)},
        "model": {"name": "dkt", "dim": 8},
        "training": {"epochs": 1, "device": "cpu"},
        "draws": 100,
    }
    with pytest.raises(RunError, match="one row per concept"):
        from_run(run(tree, out=tmp_path / "leaky").path)


def test_texts_are_no_formulas():
    table = escaped(pl.DataFrame({"student": ["=cmd()", "ok", "-3"], "p": [0.1, 0.2, 0.3]}))
    assert table["student"].to_list() == ["'=cmd()", "ok", "'-3"]


def test_predictions_leave_no_gradient(bundle, table):
    asked = pl.concat([table.head(3), table.head(1).with_columns(response=pl.lit(None, dtype=pl.Int64))])
    predict_open(bundle, make_log(asked, bundle))
    assert all(parameter.grad is None for parameter in bundle.model.parameters())
    assert torch.is_grad_enabled()
