"""The page of one learner: what is mastered and since when, how sure that is, what surprised, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path
from sensorium.core.pages import figure, write_page
from sensorium.core.registry import did_you_mean
from sensorium.tracing.base import Tracer
from sensorium.tracing.evaluation.predicting import predict
from sensorium.tracing.pages.bundle import Bundle
from sensorium.tracing.pages.log import Log
from sensorium.tracing.pages.mastery import Learner, Mastery, learner, mastery
from sensorium.tracing.pages.plots import mastery_over_time
from sensorium.tracing.pages.suggestions import PER_RULE, Suggestion, suggest
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.presets import ReportConfig

SURPRISE = 0.9
MOST_CONCEPTS = 8
MOST_SURPRISES = 12


@dataclass(frozen=True)
class Surprise:
    """An answer that the model thought very unlikely: a slip, or a guess.

    Attributes:
        place: Which answer of the learner, from 1.
        question: External id.
        p: Chance of a right answer before it.
        right: Whether it was.
    """

    place: int
    question: str
    p: float
    right: bool


@dataclass(frozen=True)
class LearnerReport:
    """All that the page says.

    Attributes:
        who: The learner.
        known: Mastery of the concepts that are shown.
        names: Their names.
        surprises: Answers with |r - p| > .9, the latest first.
        suggestions: Questions that could come next.
        caution: What must be said of the band; "" where nothing must.
    """

    who: Learner
    known: Mastery
    names: list[str]
    surprises: list[Surprise]
    suggestions: list[Suggestion]
    caution: str = ""


def report_on(
    bundle: Bundle,
    log: Log,
    name: str,
    *,
    concepts: Sequence[str] = (),
    members: Sequence[Tracer] = (),
    most: int = MOST_CONCEPTS,
    seed: int = 0,
) -> LearnerReport:
    """Make the report of a learner.

    Args:
        bundle: The tracer.
        log: Answers, those of the learner among them.
        name: The learner's external id.
        concepts: Ids or names of the concepts that are shown, practised or not; none: chosen by `most`.
        members: Further models, which make an ensemble with the bundle's own.
        most: Concepts that are shown: the most practised, then the weakest.
        seed: Of the draws of the state.

    Raises:
        DataError: There is no such learner, no answer of theirs, or no such concept.
    """
    who = learner(log, name)
    concept = _named(bundle, concepts) if concepts else _shown(bundle, who, most, members, seed)
    known = mastery(bundle, who, concept, members=members, seed=seed)
    return LearnerReport(
        who,
        known,
        [bundle.concept_names[number] for number in concept.tolist()],
        _surprises(bundle, who),
        suggest(bundle, who, known, members=members, seed=seed),
        "" if members else band_caution(bundle),
    )


def _named(bundle: Bundle, concepts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return concepts by their ids or names; a name that several have means all of them."""
    found: dict[int, None] = {}
    for asked in concepts:
        own = bundle.concept_number.get(asked)
        numbers = [own] if own is not None else [n for n, name in enumerate(bundle.concept_names) if name == asked]
        if not numbers:
            near = did_you_mean(asked, [*bundle.concept_ids, *bundle.concept_names])
            raise DataError(f"the model knows no concept '{asked}'{near}")
        found |= dict.fromkeys(numbers)
    return np.array(list(found), dtype=np.int64)


def _shown(bundle: Bundle, who: Learner, most: int, members: Sequence[Tracer], seed: int) -> npt.NDArray[np.int64]:
    """Return the concepts that a page shows: half the most practised, the others the weakest of those practised."""
    practice = who.concepts_of(np.arange(len(who.question))).sum(axis=0)
    practised = np.flatnonzero(practice)
    if len(practised) <= most:
        return practised[np.argsort(-practice[practised], kind="stable")].astype(np.int64)
    first = practised[np.argsort(-practice[practised], kind="stable")][: (most + 1) // 2]
    others = np.setdiff1d(practised, first)
    now = mastery(bundle, who, others, members=members, points=1, seed=seed).mean[-1]
    weakest = others[np.argsort(now, kind="stable")][: most - len(first)]
    return np.concatenate([first, weakest]).astype(np.int64)


def _surprises(bundle: Bundle, who: Learner) -> list[Surprise]:
    """Return the answers that the evaluation finds very unlikely; nothing is known before the first."""
    if len(who.question) < 2:
        return []
    found = predict(bundle.model, who.answers(), np.array([0]), size=bundle.window, stride=bundle.stride)
    odd = np.flatnonzero(np.abs(found.response - found.p) > SURPRISE)[::-1][:MOST_SURPRISES]
    return [
        Surprise(place + 1, who.question_id[place], float(found.p[row]), bool(found.response[row]))
        for row, place in zip(odd, found.position[odd].tolist(), strict=True)
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def write_learner_page(path: str | Path, report: LearnerReport, bundle: Bundle, *, png: bool = True) -> list[Path]:
    """Write the page, and the plot beside it as a PNG.

    Returns:
        The files.
    """
    page = Path(path)
    who, known = report.who, report.known
    files = [page]
    if png:
        files.append(page.with_suffix(".png"))
        with atomic_path(files[1]) as temporary:
            mastery_over_time(known, report.names, who).savefig(temporary, format="png", dpi=150)
    write_page(
        page,
        f"Learner {who.name}",
        "tracing/pages/templates/learner.html",
        cards=_cards(report),
        plot=figure(
            mastery_over_time(known, report.names, who),
            description="Mastery of each concept over the learner's answers, with its band and the answers as ticks",
        ),
        has_band=known.low is not None,
        reach=bundle.reach if bundle.reach is not None and len(who.question) > bundle.reach else None,
        concepts=_concept_rows(report),
        without_evidence=bool((known.practice == 0).any()),
        surprises=report.surprises,
        suggestions=report.suggestions,
        can_probe=known.low is not None,
        per_rule=PER_RULE,
        caution=report.caution,
        note=calibration_note(bundle),
    )
    return files


def _cards(report: LearnerReport) -> list[dict[str, str]]:
    who, known = report.who, report.known
    now = np.where(known.practice > 0, known.mean[-1], -1.0)
    best = report.names[int(np.argmax(now))] if known.practice.any() else "none yet"
    return [
        {"name": "answers", "value": f"{len(who.question)}"},
        {"name": "right", "value": f"{100 * who.response.mean():.0f} %"},
        {"name": "concepts practised", "value": f"{int((who.concepts_of(np.arange(len(who.question))).any(0)).sum())}"},
        {"name": "strongest of those shown", "value": best},
    ]


def _concept_rows(report: LearnerReport) -> list[dict[str, Any]]:
    """Return what the table says of each concept; of one without evidence only what others had."""
    known, rows = report.known, []
    for place, name in enumerate(report.names):
        practice = int(known.practice[place])
        row = {"name": name, "practice": practice, "others": f"{100 * known.population[place]:.0f} %"}
        now, start, band = "–", "–", "–"
        if practice:
            now, start = (f"{100 * known.mean[at, place]:.0f} %" for at in (-1, 0))
        if practice and known.low is not None and known.high is not None:
            band = f"{100 * known.low[-1, place]:.0f}–{100 * known.high[-1, place]:.0f} %"
        rows.append(row | {"now": now, "start": start, "band": band})
    return rows


def band_caution(bundle: Bundle) -> str:
    """Say that a band is too narrow where the model learned its doubt from blocks too short for one concept."""
    config = bundle.model.config
    if not (isinstance(config, UKTConfig) and config.has_spread and config.loading):
        return ""
    if not config.joint:
        return "Do not rely on its width: this model was trained without the joint loss, which alone teaches it."
    wanted = ReportConfig()
    if config.block >= wanted.block and config.draws >= wanted.draws:
        return ""
    return (
        f"It is narrower than it says: this model learned its doubt from blocks of {config.block} answers, which "
        "seldom hold two to one concept. On simulated learners the band of such a model (blocks of 5) held 56 of 100 "
        f"true values where it says 80, and 79 with blocks of {wanted.block}: the model ukt-report has these."
    )


def calibration_note(bundle: Bundle) -> str:
    """Say how far the model's numbers can be trusted, from its test."""
    test = bundle.about["test"]
    return (
        f"Model: {bundle.about['model']}, trained on {bundle.about['dataset']}. On {test['n']:,} answers of learners "
        f"it had never seen its percentages were off by {100 * test['ece']:.1f} points on average (calibration error), "
        f"and it told a right answer from a wrong one in {100 * test['auc']:.0f} of 100 pairs (AUC)."
    )
