"""Pages of learners and classes: mastery that follows answers, bands, reasons, one file that loads nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from scipy.special import logit

from sensorium.cli import main
from sensorium.core.errors import DataError
from sensorium.tracing.pages.asking import ask
from sensorium.tracing.pages.bundle import from_run
from sensorium.tracing.pages.classroom import class_report, write_class_page
from sensorium.tracing.pages.learner import report_on, write_learner_page
from sensorium.tracing.pages.log import make_log
from sensorium.tracing.pages.mastery import SHRINK, concept_weights, learner, mastery
from sensorium.tracing.pages.plots import class_map, mastery_over_time
from sensorium.tracing.pages.suggestions import FELL, TARGET, candidates, suggest


def of_concept(bundle, number, response, count=10):
    own = np.flatnonzero((bundle.concepts[:-1].numpy() == number).any(axis=1))
    return [bundle.question_ids[own[step % len(own)]] for step in range(count)], [response] * count


@pytest.mark.parametrize("model", ["ukt", "simplekt", "dkt", "bestlr", "bkt"])
def test_mastery_goes_the_right_way(make_run, ukt_run, model):
    """KT-5: one learner right ten times, another wrong ten times."""
    keys = {"dim": 16, "ema": 0.8} if model in ("simplekt", "dkt") else {}
    bundle = from_run(ukt_run if model == "ukt" else make_run(model, **keys, epochs=12))
    questions, right = of_concept(bundle, 2, 1)
    table = pl.DataFrame(
        {
            "student": ["up"] * 10 + ["down"] * 10,
            "question": questions * 2,
            "response": right + [0] * 10,
        }
    )
    log = make_log(table, bundle)
    up, down = (mastery(bundle, learner(log, name), np.array([2])).mean[:, 0] for name in ("up", "down"))
    assert up[0] == pytest.approx(down[0])  # nothing is known of either
    assert up[-1] > down[-1] + 0.03


def test_mastery_is_the_weighted_mean_over_questions_that_learners_met(bundle, log):
    who = learner(log, "ada")
    known = mastery(bundle, who, np.array([1, 4]), points=3)
    question, weights = concept_weights(bundle, np.array([1, 4]))
    found = ask([bundle.model], log.batch(who.question[None], who.response[None]), question, known.after)
    own = np.flatnonzero((bundle.concepts[:-1].numpy() == 4).any(axis=1))
    count = bundle.question_rows[own]
    expected = np.array([found.p[-1, list(question).index(q)] for q in own]) @ (count / (count + SHRINK))
    assert known.mean[-1, 1] == pytest.approx(expected / (count / (count + SHRINK)).sum())
    assert np.allclose(weights.sum(axis=1), 1)
    assert (known.low < known.mean).all()
    assert (known.mean < known.high).all()
    assert known.practice.tolist() == who.concepts_of(np.arange(25))[:, [1, 4]].sum(0).tolist()


def test_a_point_of_the_history_sees_nothing_after_it(bundle, log):
    who = learner(log, "ada")
    full = mastery(bundle, who, np.array([0, 3]))
    changed = log.response.copy()
    changed[20:25] = 1 - changed[20:25]
    other = mastery(bundle, learner(replace(log, response=changed), "ada"), np.array([0, 3]))
    seen = full.after <= 20
    assert np.allclose(full.mean[seen], other.mean[seen], atol=1e-6)
    assert not np.allclose(full.mean[-1], other.mean[-1], atol=1e-6)


def test_all_questions_of_a_draw_share_the_state(bundle, log):
    who = learner(log, "ben")
    batch = log.batch(who.question[None], who.response[None])
    question, after = np.array([3, 3, 7, 1, 12]), np.array([10, 25])
    found = ask([bundle.model], batch, question, after, draws=20_000)
    assert np.allclose(found.draws[:, :, 0], found.draws[:, :, 1], atol=1e-6)
    with torch.no_grad():
        places = torch.full((1, 5), 25)
        _, loading = bundle.model.ask(bundle.model.history(batch), batch, torch.from_numpy(question)[None], places)
    unit = (loading[0] / loading[0].norm(dim=1, keepdim=True)).numpy()
    together = np.corrcoef(logit(found.draws[:, 1]), rowvar=False)  # one state: questions vary as their loadings say
    assert np.allclose(together, unit @ unit.T, atol=0.04)
    assert np.abs((unit @ unit.T)[2:, 2:] - np.eye(3)).max() > 0.1
    again = ask([bundle.model], batch, question, after, draws=20_000)
    assert np.array_equal(found.draws, again.draws)


def test_the_slow_way_of_other_models_equals_their_sequences(make_run, table):
    bundle = from_run(make_run("simplekt", dim=16, epochs=1))
    log = make_log(table, bundle)
    who = learner(log, "ada")
    batch = log.batch(who.question[None], who.response[None])
    found = ask([bundle.model], batch, who.question[[4, 11]], np.array([4, 11]))
    p = bundle.model(batch).p()[0].detach().numpy()
    assert found.p[0, 0] == pytest.approx(p[4], abs=1e-5)
    assert found.p[1, 1] == pytest.approx(p[11], abs=1e-5)
    assert found.draws is None
    both = ask([bundle.model, from_run(make_run("dkt", dim=16, epochs=1)).model], batch, np.array([2]), np.array([9]))
    assert both.draws.shape == (2, 1, 1)
    assert both.p[0, 0] == pytest.approx(both.draws[:, 0, 0].mean())


def test_suggestions_follow_their_rules(bundle, log):
    who = learner(log, "ada")
    known = mastery(bundle, who, np.arange(6))
    lines = suggest(bundle, who, known)
    assert {line.rule for line in lines} >= {"learn", "probe"}
    assert len({line.question for line in lines}) == len(lines)  # none twice
    answered = set(who.question_id)
    assert not any(line.question in answered for line in lines)
    open_questions = candidates(bundle, who, np.arange(6))
    batch = log.batch(who.question[None], who.response[None])
    p = ask([bundle.model], batch, open_questions, np.array([25])).p[0]
    review = {line.question for line in lines if line.rule == "review"}
    left = [i for i, q in enumerate(open_questions) if bundle.question_ids[q] not in review]
    nearest = min(left, key=lambda i: abs(p[i] - TARGET))
    first = next(line for line in lines if line.rule == "learn")
    assert first.question == bundle.question_ids[open_questions[nearest]]
    for line in lines:
        if line.rule == "learn":  # the reason says what the number says
            assert ("within reach" in line.reason) == (abs(line.p - TARGET) <= 0.1)
    assert all(line.low < line.p < line.high and line.reason for line in lines)


def test_review_names_a_concept_that_fell(bundle, log):
    who = learner(log, "ada")
    known = mastery(bundle, who, np.arange(6))
    practised = int(np.argmax(known.practice))
    fallen = known.mean.copy()
    fallen[-1, practised] = fallen[:-1, practised].min() - 3 * FELL
    rows = who.concepts_of(np.arange(25))[:, practised]
    last = np.flatnonzero(rows)[-1] + 1
    lines = suggest(bundle, who, replace(known, mean=fallen))
    reviews = [line for line in lines if line.rule == "review"]
    if last < 25:  # otherwise it was practised in the last row and cannot have fallen since
        assert reviews
        assert bundle.concept_names[practised] in reviews[0].reason


def text_of(page):
    return page.read_text(encoding="utf-8")


def loads_nothing(html):
    found = re.findall(r'(?:src|href)="(?!data:|#)([^"]+)"', html)
    return [one for one in found if not one.startswith("#")] == [] and "<script src" not in html


def test_the_page_of_a_learner_is_one_file_that_a_teacher_can_read(bundle, log, tmp_path):
    report = report_on(bundle, log, "ada")
    page, png = write_learner_page(tmp_path / "ada.html", report, bundle)
    html = text_of(page)
    assert loads_nothing(html)
    for words in ("Learner ada", "Mastery over time", "What could come next", "Answers that surprised", "80 % of what"):
        assert words in html
    assert "never seen" in html  # how far the numbers can be trusted
    assert html.count("<svg") == 1
    with Image.open(png) as picture:
        assert picture.width > 600
    assert page.read_bytes() == write_learner_page(tmp_path / "again.html", report, bundle)[0].read_bytes()


def test_a_page_without_a_band_says_so(make_run, table, tmp_path):
    bundle = from_run(make_run("dkt", dim=16, epochs=1))
    log = make_log(table, bundle)
    page, *_ = write_learner_page(tmp_path / "x.html", report_on(bundle, log, "eve"), bundle, png=False)
    html = text_of(page)
    assert "There is no band" in html
    assert "need a model that says how sure it is" in html
    assert not (tmp_path / "x.png").exists()


def test_a_band_that_is_too_narrow_says_so(make_run, bundle, log, table, tmp_path):
    """A band of blocks of five answers holds .56 of the truth where it says .80 (acceptance asks .70 to .90)."""
    told = "narrower than it says: this model learned its doubt from blocks of 5 answers"
    pages = {}
    for name, model, keys in [
        ("wide", "ukt-report", {}), ("none", "ukt", {"joint": 0.0}), ("point", "ukt-point", {})
    ]:  # fmt: skip
        other = from_run(make_run(model, epochs=1, dim=8, heads=2, hidden=8, **keys))
        report = report_on(other, make_log(table, other), "eve")
        pages[name] = text_of(write_learner_page(tmp_path / f"{name}.html", report, other, png=False)[0])
    report = report_on(bundle, log, "eve")
    assert told in text_of(write_learner_page(tmp_path / "eve.html", report, bundle, png=False)[0])
    assert "narrower" not in pages["wide"]
    assert "The light band holds 80 %" in pages["wide"]
    assert "trained without the joint loss" in pages["none"]
    assert "There is no band" in pages["point"]
    assert not report_on(bundle, log, "eve", members=[bundle.model]).caution  # an ensemble's band is another


def test_surprises_are_answers_against_nine_in_ten(bundle, log):
    who = learner(log, "ben")
    report = report_on(bundle, log, "ben")
    p = bundle.model(log.batch(who.question[None], who.response[None])).p()[0].detach().numpy()
    odd = [row for row in range(1, 25) if abs(who.response[row] - p[row]) > 0.9]
    assert [one.place - 1 for one in report.surprises] == odd[::-1][:12]


def test_names_are_escaped(bundle, tmp_path):
    table = pl.DataFrame({"student": ["<b>x</b>"] * 3, "question": ["question-1"] * 3, "response": [1, 0, 1]})
    report = report_on(bundle, make_log(table, bundle), "<b>x</b>")
    html = text_of(write_learner_page(tmp_path / "x.html", report, bundle, png=False)[0])
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x" in html


def test_the_page_of_a_class_has_a_row_for_each_and_marks_the_least_evidence(bundle, log, tmp_path):
    report = class_report(bundle, log)
    assert report.learners == ["ada", "ben", "eve"]
    assert report.marked.tolist() == [False, False, True]
    assert report.mean.shape == (3, len(report.concepts))
    now = mastery(bundle, learner(log, "ben"), np.array([bundle.concept_names.index(report.concepts[0])]))
    assert report.mean[1, 0] == pytest.approx(now.mean[-1, 0], abs=1e-6)
    page, _ = write_class_page(tmp_path / "class.html", report, bundle)
    html = text_of(page)
    assert loads_nothing(html)
    assert html.count("★ little evidence") == 1
    assert "Weakest concepts" in html


def test_a_concept_without_evidence_shows_what_others_had(bundle, log, tmp_path):
    who = learner(log, "eve")  # two answers
    practice = who.concepts_of(np.arange(2)).sum(axis=0)
    never, practised = int(np.argmin(practice)), int(np.argmax(practice))
    assert (practice[never], practice[practised] > 0) == (0, True)
    named = [bundle.concept_ids[never], bundle.concept_names[practised]]
    report = report_on(bundle, log, "eve", concepts=[*named, named[0]])
    assert report.known.concept.tolist() == [never, practised]
    without, within = mastery_over_time(report.known, report.names, report.who).axes[:2]
    assert [set(line.get_ydata()) for line in without.lines] == [{bundle.population()[never]}]
    assert not without.collections  # no band
    assert len(within.lines) > 1
    html = text_of(write_learner_page(tmp_path / "eve.html", report, bundle, png=False)[0])
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr><td class=.text.*?</tr>", html)]
    assert rows[0].count("–") == 3  # now, band, at the start
    assert "–" not in rows[1]
    assert "never practised, it is all that is known" in html
    with pytest.raises(DataError, match=r"knows no concept 'conceptt-1'.*did you mean 'concept-1'"):
        report_on(bundle, log, "eve", concepts=["conceptt-1"])


def test_the_map_of_a_class_is_grey_where_there_is_no_evidence(bundle, log):
    report = class_report(bundle, log)
    assert not report.known.all()
    marked = report.marked.tolist()
    args = (report.mean, report.practice, report.population, report.learners, report.concepts, marked)
    own, others = class_map(*args).axes[0].images
    assert np.array_equal(own.get_array().mask, ~report.known)
    assert np.array_equal(others.get_array().mask, report.known)
    shown = np.broadcast_to(report.population, report.mean.shape)[~report.known]
    assert others.get_array().compressed() == pytest.approx(shown)
    colours = others.get_cmap()(np.linspace(0, 1, 5))[:, :3]
    assert np.ptp(colours, axis=1).max() < 0.06  # greys
    name, mean = report.weakest[0]
    place = report.concepts.index(name)
    assert mean == pytest.approx(report.mean[report.known[:, place], place].mean())


def test_every_learner_of_a_large_class_has_a_row_and_the_least_evidence_is_that_of_all(bundle, tmp_path):
    names = [f"pupil{number:03d}" for number in range(130)]
    counts = [1 if number >= 117 else 3 for number in range(130)]
    table = pl.DataFrame(
        [
            {"student": name, "question": f"question-{(number + step) % 30}", "response": (number + step) % 2}
            for number, (name, count) in enumerate(zip(names, counts, strict=True))
            for step in range(count)
        ]
    )
    report = class_report(bundle, make_log(table, bundle), most=2)
    assert report.learners == names
    assert np.flatnonzero(report.marked).tolist() == [*range(13), *range(117, 130)]  # a fifth, the first of equal ones
    files = write_class_page(tmp_path / "class.html", report, bundle)
    assert [file.name for file in files] == ["class.html", "class.png", "class-2.png", "class-3.png"]
    html = text_of(files[0])
    assert html.count("<svg") == 3
    svg = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert all(name in svg and f"<td>{name}</td>" in html for name in names)


def test_a_learner_that_is_not_there(bundle, log):
    with pytest.raises(DataError, match=r"no student 'adda'.*did you mean 'ada'"):
        report_on(bundle, log, "adda")
    empty = make_log(pl.DataFrame({"student": ["n"], "question": ["question-1"], "response": [None]}), bundle)
    with pytest.raises(DataError, match="no answers yet"):
        report_on(bundle, empty, "n")


def test_the_commands(ukt_run, table, tmp_path, capsys, monkeypatch, learners):
    monkeypatch.chdir(tmp_path)
    asked = table.head(6).with_columns(response=pl.Series([1, 0, 1, 1, 0, None]))
    asked.write_csv("open.csv")
    table.write_csv("log.csv")
    assert main(["trace", "export", str(ukt_run), "--out", "bundle"]) == 0
    assert main(["trace", "predict", "bundle", "--answers", "open.csv", "--out", "p.csv"]) == 0
    assert pl.read_csv("p.csv").columns[:3] == ["student", "question", "row"]
    assert main(["trace", "predict", str(ukt_run), "--answers", "open.csv"]) == 0
    assert "epistemic variance" in capsys.readouterr().out
    assert main(["trace", "report", "bundle", "--answers", "log.csv", "--student", "ada"]) == 0
    assert (tmp_path / "learner-ada.html").exists()
    assert (tmp_path / "learner-ada.png").exists()
    named = ["--concept", "concept-1", "--concept", "concept-5", "--out", "two.html"]
    assert main(["trace", "report", "bundle", "--answers", "log.csv", "--student", "ada", *named]) == 0
    assert "concept-5" in (tmp_path / "two.html").read_text()
    assert main(["trace", "report", "bundle", "--answers", "log.csv", "--class", *named]) == 2
    assert main(["trace", "report", str(ukt_run), "--class", "--no-png"]) == 0  # the run's own test students
    assert "student-" in (tmp_path / "class.html").read_text()
    assert main(["trace", "report", "bundle", "--class"]) == 2
    assert main(["trace", "report", "bundle"]) == 2
    assert "say whose page" in capsys.readouterr().err
