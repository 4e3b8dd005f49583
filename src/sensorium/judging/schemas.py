"""The forms of answers: what is sent to endpoints as a JSON schema, and how an answer is checked against it.

Endpoints may ignore a schema in silence, so that every answer is checked here, whatever the endpoint promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sensorium.judging.dimensions import Dimension

QUESTIONS = 2  # most questions of one questioner


def _nothing_more(values: Mapping[str, Any]) -> str | None:
    return None


@dataclass(frozen=True)
class Schema:
    """The form of one answer.

    Attributes:
        name: A word for it; endpoints want one.
        json: The JSON schema, in the strict form: every key required, no others allowed.
        form: The same, as a judge reads it in the request.
        more: A check beyond the types: it returns a problem, or None.
        score_ids: The ids that are scored, empty for answers without a score.
        many: Whether scores come as a list, one for each id.
        high: Top of the scale.
    """

    name: str
    json: Mapping[str, Any]
    form: str
    more: Callable[[Mapping[str, Any]], str | None] = _nothing_more
    score_ids: tuple[str, ...] = ()
    many: bool = False
    high: int = 0

    @property
    def required(self) -> list[str]:
        """The keys of the object."""
        return list(self.json["required"])

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """Return what is wrong with an answer, or None."""
        return _problem(values, self.json, "the answer") or self.more(values)


def _problem(value: Any, schema: Mapping[str, Any], where: str) -> str | None:
    """Check a value against the part of JSON schema that is used here."""
    kind = schema["type"]
    if kind == "object":
        if not isinstance(value, Mapping):
            return f"{where} is not an object"
        for key, child in schema["properties"].items():
            if key not in value:
                return f"{where} lacks the key '{key}'"
            if problem := _problem(value[key], child, f"'{key}'"):
                return problem
        return None
    if kind == "array":
        if not isinstance(value, list):
            return f"{where} is not a list"
        problems = (_problem(entry, schema["items"], f"entry {n} of {where}") for n, entry in enumerate(value, 1))
        return next(filter(None, problems), None)
    if kind == "integer":
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{where} is not a whole number"
        if value not in schema["enum"]:
            return f"{where} is {value}, which is not on the scale from {schema['enum'][0]} to {schema['enum'][-1]}"
        return None
    return None if isinstance(value, str) else f"{where} is not a text"


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _text(meaning: str = "") -> dict[str, Any]:
    return {"type": "string", **({"description": meaning} if meaning else {})}


def _texts() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}


def _level(dimension: Dimension) -> dict[str, Any]:
    return {"type": "integer", "enum": dimension.levels, "description": dimension.response.score}


def score_schema(dimension: Dimension) -> Schema:
    """One score with its reason."""
    score, reason = dimension.response.score, dimension.response.reason
    return Schema(
        "score",
        _object(score=_level(dimension), reason=_text(reason)),
        f'{{"score": <{score}>, "reason": "<{reason}>"}}',
        score_ids=("score",),
        high=dimension.high,
    )


def scores_schema(dimension: Dimension, ids: Sequence[str]) -> Schema:
    """One score for each of several videos."""
    score, reason = dimension.response.score, dimension.response.reason
    entry = _object(video={"type": "string", "enum": list(ids)}, score=_level(dimension), reason=_text(reason))

    def exactly_these(values: Mapping[str, Any]) -> str | None:
        given = [entry["video"] for entry in values["scores"]]
        if sorted(given) == sorted(ids):
            return None
        return f"'scores' must hold each of {', '.join(ids)} once, it holds {len(given)} entries of other ids or number"

    return Schema(
        "scores",
        _object(scores={"type": "array", "items": entry}),
        f'{{"scores": [{{"video": "{ids[0]}", "score": <{score}>, "reason": "<{reason}>"}}, ...]}}, '
        f"with each of {', '.join(ids)} once",
        exactly_these,
        tuple(ids),
        True,
        dimension.high,
    )


def description_schema() -> Schema:
    """Step 1 of a chain: a caption and a description."""
    return Schema(
        "description",
        _object(caption=_text("one sentence"), description=_text("what is seen")),
        '{"caption": "<one sentence>", "description": "<what is seen>"}',
    )


def questions_schema() -> Schema:
    """Step 2 of a chain: a few questions, or none."""

    def few(values: Mapping[str, Any]) -> str | None:
        count = len(values["questions"])
        return None if count <= QUESTIONS else f"'questions' has {count} entries, at most {QUESTIONS} are allowed"

    return Schema(
        "questions",
        _object(questions=_texts()),
        f'{{"questions": [<at most {QUESTIONS} texts; an empty list if there is nothing to ask>]}}',
        few,
    )


def answers_schema(questions: int) -> Schema:
    """Step 3 of a chain: the aspects, and one answer for each question."""

    def one_each(values: Mapping[str, Any]) -> str | None:
        count = len(values["answers"])
        return None if count == questions else f"'answers' has {count} entries for {questions} questions"

    return Schema(
        "answers",
        _object(aspects=_text("what the frames show of each aspect"), answers=_texts()),
        f'{{"aspects": "<what the frames show of each aspect>", "answers": [<{questions} texts, in the questions\' '
        "order>]}",
        one_each,
    )


def final_schema(dimension: Dimension) -> Schema:
    """Step 4 of a chain: the description brought up to date, and the score."""
    score, reason = dimension.response.score, dimension.response.reason
    return Schema(
        "final",
        _object(updated_description=_text(), score=_level(dimension), reason=_text(reason)),
        f'{{"updated_description": "<the description, corrected>", "score": <{score}>, "reason": "<{reason}>"}}',
        score_ids=("score",),
        high=dimension.high,
    )
