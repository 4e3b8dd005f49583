"""The page of a class: one row per learner, mastery by concept as a heat map, those with the least evidence marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.files import atomic_path
from sensorium.core.pages import figure, write_page
from sensorium.tracing.pages.bundle import Bundle
from sensorium.tracing.pages.learner import calibration_note
from sensorium.tracing.pages.log import OPEN, Log
from sensorium.tracing.pages.mastery import learner, mastery
from sensorium.tracing.pages.plots import class_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

MOST_CONCEPTS = 24
MOST_LEARNERS = 60  # rows of one map; a larger class has several
LEAST = 0.2  # share of the learners that are marked


@dataclass(frozen=True)
class ClassReport:
    """Mastery of L learners in C' concepts, now.

    Attributes:
        learners: L external ids, in the order of the log.
        concepts: C' names, the most practised first.
        mean: float64 [L, C'].
        width: float64 [L, C'] or None, width of the 80 % band.
        practice: int64 [L, C'], answers.
        population: float64 [C'], share of right answers in training.
        answers: int64 [L], answers in all.
        marked: bool [L], whether a learner is among the fifth with least evidence.
    """

    learners: list[str]
    concepts: list[str]
    mean: Floats
    width: Floats | None
    practice: npt.NDArray[np.int64]
    population: Floats
    answers: npt.NDArray[np.int64]
    marked: npt.NDArray[np.bool_]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Where there is evidence, bool [L, C']: an answer of the learner to the concept."""
        return self.practice > 0

    @property
    def weakest(self) -> list[tuple[str, float]]:
        """Concepts by the mean mastery of those who practised them, the lowest first."""
        mean = np.where(self.known, self.mean, 0.0).sum(axis=0) / self.known.sum(axis=0)
        return [(self.concepts[place], float(mean[place])) for place in np.argsort(mean, kind="stable")]


def class_report(
    bundle: Bundle, log: Log, students: Sequence[str] | None = None, *, most: int = MOST_CONCEPTS, seed: int = 0
) -> ClassReport:
    """Measure a class.

    Args:
        bundle: The tracer.
        log: Answers.
        students: Who is in the class; None takes everyone in the log.
        most: Concepts that are shown: those that the class practised most.
        seed: Of the draws of the state.

    Raises:
        DataError: Nobody in the class has an answer.
    """
    answered = {name for name, response in zip(log.student, log.response, strict=True) if response != OPEN}
    names = [name for name in (students or log.students()) if name in answered or students]
    if not names:
        raise DataError("nobody in this class has answered anything yet")
    shown = [learner(log, name) for name in names]
    counts = np.stack([who.concepts_of(np.arange(len(who.question))).sum(axis=0) for who in shown])
    order = np.argsort(-counts.sum(axis=0), kind="stable")
    concept = order[counts.sum(axis=0)[order] > 0][:most].astype(np.int64)
    found = [mastery(bundle, who, concept, points=1, seed=seed) for who in shown]
    widths = [one.high[-1] - one.low[-1] for one in found if one.high is not None and one.low is not None]
    answers = np.array([len(who.question) for who in shown], dtype=np.int64)
    return ClassReport(
        [who.name for who in shown],
        [bundle.concept_names[number] for number in concept.tolist()],
        np.stack([one.mean[-1] for one in found]),
        np.stack(widths) if widths else None,
        counts[:, concept].astype(np.int64),
        bundle.population()[concept],
        answers,
        _least(answers),
    )


def _least(answers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark the fifth with the fewest answers, one at least where there are several learners."""
    marked = np.zeros(len(answers), dtype=bool)
    if len(answers) > 1:
        marked[np.argsort(answers, kind="stable")[: max(1, round(LEAST * len(answers)))]] = True
    return marked


def write_class_page(path: str | Path, report: ClassReport, bundle: Bundle, *, png: bool = True) -> list[Path]:
    """Write the page, and its heat maps beside it as PNGs, of up to 60 learners each.

    Returns:
        The files.
    """
    page = Path(path)
    parts = np.array_split(np.arange(len(report.learners)), -(-len(report.learners) // MOST_LEARNERS))
    files = [page]
    for number, part in enumerate(parts if png else [], start=1):
        files.append(page.with_name(f"{page.stem}{'' if number == 1 else f'-{number}'}.png"))
        with atomic_path(files[-1]) as temporary:
            _map(report, part).savefig(temporary, format="png", dpi=150)
    described = "Mastery of each learner in each concept; stars mark the learners with the least evidence"
    write_page(
        page,
        "Class",
        "tracing/pages/templates/class.html",
        plots=[figure(_map(report, part), description=described) for part in parts],
        rows=[_row(report, row) for row in range(len(report.learners))],
        weakest=[{"name": name, "mean": f"{100 * mean:.0f} %"} for name, mean in report.weakest[:5]],
        has_band=report.width is not None,
        note=calibration_note(bundle),
    )
    return files


def _map(report: ClassReport, part: npt.NDArray[np.int64]) -> Figure:
    """Draw the map of some learners."""
    names = [report.learners[row] for row in part]
    marked = report.marked[part].tolist()
    return class_map(report.mean[part], report.practice[part], report.population, names, report.concepts, marked)


def _row(report: ClassReport, row: int) -> dict[str, Any]:
    """Return what the table says of a learner, from the concepts that they practised."""
    known = np.flatnonzero(report.known[row])
    mean, weakest, width = "–", "–", "–"
    if len(known):
        mean = f"{100 * report.mean[row, known].mean():.0f} %"
        weakest = report.concepts[int(known[np.argmin(report.mean[row, known])])]
    if len(known) and report.width is not None:
        width = f"{100 * report.width[row, known].mean():.0f} points"
    return {
        "name": report.learners[row],
        "answers": int(report.answers[row]),
        "mean": mean,
        "weakest": weakest,
        "width": width,
        "marked": bool(report.marked[row]),
    }
