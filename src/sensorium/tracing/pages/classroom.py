"""The page of a class: one row per learner, mastery by concept as a heat map, those with the least evidence marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

Floats = npt.NDArray[np.float64]

MOST_CONCEPTS = 24
MOST_LEARNERS = 60
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
        answers: int64 [L], answers in all.
        marked: bool [L], whether a learner is among the fifth with least evidence.
        left_out: Learners beyond those that fit a page.
    """

    learners: list[str]
    concepts: list[str]
    mean: Floats
    width: Floats | None
    practice: npt.NDArray[np.int64]
    answers: npt.NDArray[np.int64]
    marked: npt.NDArray[np.bool_]
    left_out: int

    @property
    def weakest(self) -> list[tuple[str, float]]:
        """Concepts by mean mastery of the class, the lowest first."""
        mean = self.mean.mean(axis=0)
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
    shown = [learner(log, name) for name in names[:MOST_LEARNERS]]
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
        answers,
        _least(answers),
        len(names) - len(shown),
    )


def _least(answers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark the fifth with the fewest answers, one at least where there are several learners."""
    marked = np.zeros(len(answers), dtype=bool)
    if len(answers) > 1:
        marked[np.argsort(answers, kind="stable")[: max(1, round(LEAST * len(answers)))]] = True
    return marked


def write_class_page(path: str | Path, report: ClassReport, bundle: Bundle, *, png: bool = True) -> list[Path]:
    """Write the page, and the heat map beside it as a PNG.

    Returns:
        The files.
    """
    page = Path(path)
    marked = report.marked.tolist()
    files = [page]
    if png:
        files.append(page.with_suffix(".png"))
        with atomic_path(files[1]) as temporary:
            class_map(report.mean, report.practice, report.learners, report.concepts, marked).savefig(
                temporary, format="png", dpi=150
            )
    rows = [
        {
            "name": report.learners[row],
            "answers": int(report.answers[row]),
            "mean": f"{100 * report.mean[row].mean():.0f} %",
            "weakest": report.concepts[int(np.argmin(report.mean[row]))],
            "width": "" if report.width is None else f"{100 * report.width[row].mean():.0f} points",
            "marked": marked[row],
        }
        for row in range(len(report.learners))
    ]
    write_page(
        page,
        "Class",
        "tracing/pages/templates/class.html",
        plot=figure(
            class_map(report.mean, report.practice, report.learners, report.concepts, marked),
            description="Mastery of each learner in each concept; stars mark the learners with the least evidence",
        ),
        rows=rows,
        weakest=[{"name": name, "mean": f"{100 * mean:.0f} %"} for name, mean in report.weakest[:5]],
        has_band=report.width is not None,
        left_out=report.left_out,
        note=calibration_note(bundle),
    )
    return files
