"""Which question next, by three named rules, each with its reason.

learn   p nearest .7: within reach, and not yet sure
probe   largest H(E p) - E H(p | state): the answer says most about what is not known of the learner
review  a question of a concept whose mastery fell since it was last practised
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.tracing.base import Tracer
from sensorium.tracing.pages.asking import DRAWS, ask
from sensorium.tracing.pages.bundle import Bundle
from sensorium.tracing.pages.mastery import BAND, Learner, Mastery
from sensorium.tracing.uncertainty.decomposition import decompose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TARGET = 0.7
NEAR = 0.1  # of the target: what is said to be within reach
FELL = 0.02  # mastery that must be lost before a review is worth a line
PER_RULE = 3
MOST_CANDIDATES = 400


@dataclass(frozen=True)
class Suggestion:
    """One line of the list.

    Attributes:
        rule: "learn", "probe" or "review".
        question: External id.
        concepts: Names.
        p: Chance of a right answer.
        low: 10 % of its distribution, None without one.
        high: 90 %.
        reason: Why, as a sentence.
    """

    rule: str
    question: str
    concepts: str
    p: float
    low: float | None
    high: float | None
    reason: str


def candidates(bundle: Bundle, who: Learner, concept: Ints) -> Ints:
    """Return unanswered questions of concepts, int64, those with most training rows where there are many."""
    table = bundle.concepts[:-1].numpy()
    inside: npt.NDArray[np.bool_] = np.asarray(np.isin(table, concept).any(axis=1))
    inside[who.question[who.question < len(table)]] = False
    found = np.flatnonzero(inside & (bundle.question_rows > 0))
    return found[np.argsort(-bundle.question_rows[found], kind="stable")[:MOST_CANDIDATES]]


def suggest(
    bundle: Bundle, who: Learner, known: Mastery, *, members: Sequence[Tracer] = (), draws: int = DRAWS, seed: int = 0
) -> list[Suggestion]:
    """Return up to three questions by each rule, none of them twice.

    Args:
        bundle: The tracer.
        who: The learner.
        known: Their mastery along the history; its concepts are those that questions are chosen from.
        members: As in `mastery`.
        draws: Of the state.
        seed: Of the draws.
    """
    question = candidates(bundle, who, known.concept)
    if not len(question):
        return []
    batch = who.log.batch(who.question[None], who.response[None])
    end = np.array([len(who.question)])
    reach = bundle.window - 1
    asked = ask([bundle.model, *members], batch, question, end, reach=reach, draws=draws, seed=seed)
    p = asked.p[0]
    bands = None if asked.draws is None else np.quantile(asked.draws[:, 0], BAND, axis=0)
    taken: set[int] = set()
    found: list[Suggestion] = []

    def add(rule: str, places: npt.NDArray[np.integer], reasons: dict[int, str] | str) -> None:
        chosen = [int(place) for place in places if int(place) not in taken][:PER_RULE]
        taken.update(chosen)
        for place in chosen:
            number = int(question[place])
            low, high = (None, None) if bands is None else (float(bands[0, place]), float(bands[1, place]))
            reason = reasons if isinstance(reasons, str) else reasons[place]
            found.append(
                Suggestion(
                    rule, bundle.question_ids[number], _names(bundle, number), float(p[place]), low, high, reason
                )
            )

    fallen = _fallen(who, known)
    table = bundle.concepts[:-1].numpy()[question]
    reasons: dict[int, str] = {}
    for concept, loss in sorted(fallen.items(), key=lambda entry: -entry[1]):
        for place in np.flatnonzero((table == concept).any(axis=1)):
            reasons.setdefault(
                int(place),
                f"mastery of {bundle.concept_names[concept]} fell by {100 * loss:.0f} points since its last practice",
            )
    add("review", np.array(list(reasons), dtype=np.int64), reasons)
    near = np.argsort(np.abs(p - TARGET), kind="stable")
    add("learn", near, {int(place): _within_reach(float(p[place])) for place in near})
    if asked.draws is not None:
        doubt = decompose(asked.draws[:, 0]).epistemic
        add("probe", np.argsort(-doubt, kind="stable"), "its answer would say most about what is not known yet")
    order = {"learn": 0, "probe": 1, "review": 2}
    return sorted(found, key=lambda line: order[line.rule])


def _within_reach(p: float) -> str:
    if abs(p - TARGET) <= NEAR:
        return "within reach: about seven in ten would be right"
    harder = "harder" if p < TARGET else "easier"
    return f"nearest to seven in ten among the open questions, though {harder}"


def _fallen(who: Learner, known: Mastery) -> dict[int, float]:
    """Return how much mastery fell since each concept was last practised, where it did."""
    rows = who.concepts_of(np.arange(len(who.question)))[:, known.concept]  # [T, C']
    found = {}
    for place, concept in enumerate(known.concept.tolist()):
        practised = np.flatnonzero(rows[:, place])
        if not len(practised):
            continue
        then = int(np.searchsorted(known.after, practised[-1] + 1))
        loss = float(known.mean[min(then, len(known.after) - 1), place] - known.mean[-1, place])
        if loss >= FELL:
            found[concept] = loss
    return found


def _names(bundle: Bundle, question: int) -> str:
    listed = bundle.concepts[question].tolist()
    return ", ".join(bundle.concept_names[concept] for concept in listed if concept < len(bundle.concept_ids))
