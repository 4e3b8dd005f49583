"""What protocols have in common: the settings of a run, and how an answer becomes an outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sensorium.judging.asking import Answer
from sensorium.judging.judges.base import Outcome, Usage
from sensorium.judging.parsing import reason_of
from sensorium.judging.sampling import Shown


@dataclass(frozen=True)
class Asking:
    """How requests of a run are made.

    Attributes:
        seed: Of sampling, and of the order of videos.
        temperature: Of sampling.
        max_tokens: Longest answer.
        judge_sees_answers: Chain of query: whether questions and answers reach the final step (released: they don't).
    """

    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 1024
    judge_sees_answers: bool = True

    def sampling(self) -> dict[str, Any]:
        """Return the fields of a request that these settings fill."""
        return {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.max_tokens}


def outcome(
    answers: Sequence[Answer],
    shown: Shown,
    *,
    score: int | None = None,
    reason: str | None = None,
    notes: dict[str, Any] | None = None,
) -> Outcome:
    """Return what a series of answers came to: a score if the last one is good, else its problem."""
    last = answers[-1]
    if last.status == "ok":
        score = last.values["score"] if score is None else score
        reason = reason_of(last.values) if reason is None else reason
    usage = sum((answer.usage for answer in answers), Usage())
    return Outcome(
        score if last.status == "ok" else None,
        last.status,
        (reason or "") if last.status == "ok" else last.problem,
        shown.indices if shown.clip is None else (),
        tuple(key for answer in answers for key in answer.keys),
        usage,
        sum(answer.attempts for answer in answers),
        dict(shown.notes) | (notes or {}),
    )


async def repeated(protocol: Callable[[Asking], Awaitable[list[Outcome]]], asking: Asking, times: int) -> list[Outcome]:
    """Follow a protocol several times with distinct seeds, and return the mean scores with their spread.

    A cell whose every repetition failed keeps its first problem; of one that failed in part the others are averaged,
    and the note says how many.
    """
    rounds = [await protocol(replace(asking, seed=asking.seed + extra)) for extra in range(times)]
    return rounds[0] if times == 1 else [_average(list(same)) for same in zip(*rounds, strict=True)]


def _average(outcomes: list[Outcome]) -> Outcome:
    scores = [found.score for found in outcomes if found.score is not None]
    good = next((found for found in outcomes if found.score is not None), outcomes[0])
    spread = {"repeats": len(outcomes), "scored": len(scores)}
    return replace(
        good,
        score=float(np.mean(scores)) if scores else None,
        request_keys=tuple(key for found in outcomes for key in found.request_keys),
        usage=sum((found.usage for found in outcomes), Usage()),
        attempts=sum(found.attempts for found in outcomes),
        notes={**good.notes, **spread, **({"spread": float(np.std(scores))} if scores else {})},
    )
