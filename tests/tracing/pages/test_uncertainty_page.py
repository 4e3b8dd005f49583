"""The study of runs side by side: numbers that agree with their parts, one page with one figure for all scores."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from sensorium.cli import main
from sensorium.core.errors import DataError
from sensorium.tracing.evaluation.intervals import auc_difference
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.setup import load_trained
from sensorium.tracing.uncertainty.contrasts import compare
from sensorium.tracing.uncertainty.noise import flip_history
from sensorium.tracing.uncertainty.page import write_study
from sensorium.tracing.uncertainty.study import StudyConfig, study


@pytest.fixture(scope="module")
def found(ukt_run, make_run):
    runs = {"ukt": ukt_run, "a": make_run("simplekt", dim=16, epochs=2), "b": make_run("dkt", dim=16, epochs=2)}
    return study(runs, ensemble=("a", "b"), config=StudyConfig(passes=3, blocks=60)), runs


def test_every_voice_has_its_scores(found):
    ukt, simplekt, _, both = found[0]
    assert {"confidence", "variance", "bald", "dropout confidence", "dropout variance", "dropout bald"} == set(
        ukt.orders
    )
    assert set(simplekt.orders) == {"confidence", "dropout confidence", "dropout variance", "dropout bald"}
    assert set(both.orders) == {"confidence", "variance", "bald"}
    assert both.name == "a + b"


def test_numbers_are_those_of_the_evaluation(found):
    ukt, *_ = found[0]
    setup = load_trained(found[1]["ukt"])
    ordinary = predict(setup.model, setup.answers, setup.split.test)
    assert ukt.numbers["raw"]["auc"] == pytest.approx(auc(ordinary.p, ordinary.response), abs=1e-6)
    assert ukt.numbers["selective"]["confidence"]["acc@1"] == pytest.approx(ukt.numbers["raw"]["acc"])
    flipped = flip_history(setup.answers.response, 0.3)
    noisy = predict(setup.model, setup.answers, setup.split.test, response=flipped)
    assert ukt.numbers["noise"]["0.3 symmetric"]["auc"] == pytest.approx(auc(noisy.p, ordinary.response), abs=1e-6)
    assert np.array_equal(ukt.noisy["0.3 symmetric"].response, ordinary.response)  # targets stay true


def test_temperature_comes_from_validation_students_and_changes_no_order(found):
    for one in found[0]:
        assert one.numbers["scaled"]["auc"] == pytest.approx(one.numbers["raw"]["auc"], abs=1e-4)
        assert one.temperature > 0


def test_a_single_point_model_has_no_doubt_in_a_frozen_history(found):
    _, simplekt, _, both = found[0]
    assert simplekt.numbers["frozen"]["5"]["joint_gain"] == pytest.approx(0, abs=1e-12)
    assert simplekt.numbers["frozen"]["5"]["cover"] == simplekt.numbers["frozen"]["5"]["cover_independent"]
    assert both.numbers["frozen"]["10"]["joint_gain"] != 0
    assert both.numbers["frozen"]["5"]["blocks"] <= 60


def test_short_histories_end_at_the_whole_one(found):
    ukt, *_ = found[0]
    longest = ukt.numbers["short"]["last"]["50"]  # no simulated learner has more answers
    assert longest["auc"] == pytest.approx(ukt.numbers["raw"]["auc"], abs=1e-6)
    assert ukt.numbers["short"]["last"]["5"]["auc"] != pytest.approx(longest["auc"], abs=1e-6)
    assert sum(part["n"] for part in ukt.numbers["short"]["first"].values()) < len(ukt.rows)


def test_differences_are_paired_and_one_page_holds_all(found, tmp_path):
    gaps = compare(found[0], draws=100).gaps
    assert set(gaps) == {"a", "b", "a + b"}
    for key in ("0", "0.1 symmetric", "0.2 slip", "0.2 guess"):
        assert gaps["a"][key].low <= gaps["a"][key].difference <= gaps["a"][key].high
    numbers, page = write_study(tmp_path, found[0])
    read = json.loads(numbers.read_text())
    assert set(read["models"]) == {"ukt", "a", "b", "a + b"}
    html = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', html)
    for words in (
        "Selective prediction",
        "ukt: variance",
        "a: dropout bald",
        "Deferring, paired",
        "Joint prediction, paired",
        "Flipped histories",
        "Reliability",
    ):
        assert words in html
    assert html.count("<svg") == 5  # all scores in one figure, a reliability diagram each


def test_falls_are_paired_and_add_up(found):
    compared = compare(found[0], draws=100)
    ukt, other = found[0][:2]
    for key, noisy in ukt.noisy.items():
        fall = compared.falls["ukt"][key]
        assert fall.difference == pytest.approx(ukt.numbers["raw"]["auc"] - ukt.numbers["noise"][key]["auc"], abs=1e-9)
        assert fall.low <= fall.difference <= fall.high
        gap = compared.fall_gaps["a"][key]
        assert gap.difference == pytest.approx(fall.difference - compared.falls["a"][key].difference, abs=1e-12)
        alone = auc_difference([ukt.rows], [noisy], draws=100)
        assert (fall.low, fall.high) == pytest.approx((alone.low, alone.high))
        separately = compared.gaps["a"]["0"].difference - compared.gaps["a"][key].difference
        assert gap.difference == pytest.approx(separately, abs=1e-12)
    assert other.name == "a"
    assert "0" not in compared.falls["ukt"]


def test_deferring_and_joint_prediction_are_compared_on_the_same_rows_and_blocks(found):
    compared = compare(found[0], draws=100)
    ukt, simplekt, _, both = found[0]
    deferring = compared.deferring["a"]
    assert set(deferring) == {
        "confidence - confidence", "confidence - dropout confidence", "confidence - dropout variance",
        "confidence - dropout bald", "variance - dropout variance",
    }  # fmt: skip
    for key, gap in deferring.items():
        own, _, other = key.partition(" - ")
        apart = ukt.orders[own].accuracy[0.8] - simplekt.orders[other].accuracy[0.8]
        assert gap.difference == pytest.approx(apart, abs=1 / (0.8 * len(ukt.rows)))  # which row is the last may differ
        assert gap.low <= gap.difference <= gap.high
    joint = compared.joint["a + b"]
    assert set(joint) == {"5", "10"}
    for size, gap in joint.items():
        apart = ukt.numbers["frozen"][size]["joint_nll"] - both.numbers["frozen"][size]["joint_nll"]
        assert gap.difference == pytest.approx(apart)
    assert "dropout 5" in compared.joint["a"]


def test_the_command_and_faulty_requests(found, tmp_path, capsys):
    runs = found[1]
    quick = ["--no-noise", "--no-short", "--passes", "0", "--blocks", "20", "--out", str(tmp_path)]
    assert main(["trace", "uncertainty", f"mine={runs['ukt']}", *quick]) == 0
    assert "mine" in json.loads((tmp_path / "uncertainty.json").read_text())["models"]
    assert main(["trace", "uncertainty", str(runs["ukt"]), "--ensemble", "x,y", *quick]) == 2
    assert "none of the runs" in capsys.readouterr().err
    assert main(["trace", "uncertainty", str(runs["ukt"]), "--dropout", "x", *quick]) == 2
    assert "passes with dropout are asked of 'x'" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of the runs"):
        study({"ukt": runs["ukt"]}, ensemble=("ukt", "other"))
