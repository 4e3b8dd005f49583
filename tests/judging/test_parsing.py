"""Recorded styles of answers, each with what is read from it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.judging.dimensions import dimension
from sensorium.judging.parsing import FailedAnswerError, RefusedError, UnreadableError, read_answer
from sensorium.judging.schemas import (
    answers_schema,
    description_schema,
    final_schema,
    questions_schema,
    score_schema,
    scores_schema,
)

FIVE = score_schema(dimension("imaging_quality"))
THREE = score_schema(dimension("color"))
TWO_VIDEOS = scores_schema(dimension("motion_effects"), ["V1", "V2"])

UNPARSED, REFUSED, ERROR = "unparsed", "refused", "error"


def read(text: str, schema: Any = FIVE) -> Any:
    """The score, the scores by id, or the status."""
    try:
        values = read_answer(text, schema)
    except UnreadableError:
        return UNPARSED
    except RefusedError:
        return REFUSED
    except FailedAnswerError:
        return ERROR
    return {entry["video"]: entry["score"] for entry in values["scores"]} if schema.many else values["score"]


SINGLE = [
    # JSON
    ('{"score": 4, "reason": "clear"}', 4),
    ('  {"reason": "clear", "score": 4}  ', 4),
    ('```json\n{"score": 2, "reason": "x"}\n```', 2),
    ('Here it is:\n{"score": 3, "reason": "x"}\nI hope that helps.', 3),
    ('{"score": 1, "reason": "a"} on reflection {"score": 2, "reason": "b"}', 2),
    ('{"score": 5, "reason": "braces } and { inside"}', 5),
    ('{"score": 5, "reason": "it says \\"score\\": 1"}', 5),
    ('<think>{"score": 1, "reason": "no"}</think>{"score": 4, "reason": "yes"}', 4),
    ('{"score": 4, "reason": "x", "confidence": 0.9}', 4),
    ('{"score": 6, "reason": "x"}', UNPARSED),  # never clamped
    ('{"score": 0, "reason": "x"}', UNPARSED),
    ('{"score": -3, "reason": "x"}', UNPARSED),
    ('{"score": 4.5, "reason": "x"}', UNPARSED),
    ('{"score": "4", "reason": "x"}', UNPARSED),
    ('{"score": true, "reason": "x"}', UNPARSED),
    ('{"score": null, "reason": "x"}', UNPARSED),
    ('{"score": 4}', UNPARSED),
    ('{"reason": "x"}', UNPARSED),
    ('{"Score": 4, "reason": "x"}', UNPARSED),
    ('{"score": 1, "score": 5, "reason": "x"}', UNPARSED),
    ('{"result": {"score": 4, "reason": "x"}}', UNPARSED),  # an object inside another is no answer
    ('{"score": 4, "reason": "cut o', UNPARSED),
    ('{"result": {"score": 4, "reason": "x"}, "more": [', UNPARSED),
    ('[{"score": 4, "reason": "x"}]', 4),
    ("{'score': 4, 'reason': 'x'}", UNPARSED),
    # lines
    ("score: 4", 4),
    ("Score: 4\nReason: sharp", 4),
    ("The frames are sharp.\nscore: 3", 3),
    ("score: 2\nthen again\nscore: 3", 3),
    ("- score: 2", 2),
    ("  score :3", 3),
    ("score：4", 4),
    ("**Score:** 4", 4),
    ("video: 4", 4),
    ("score: 4/5", 4),
    ("score: 4 / 5", 4),
    ("score: 4 out of 5", 4),
    ("score: 4.", 4),
    ("I give this a score: 2, since it is blurred", 2),
    ("score: 4.5", UNPARSED),
    ("score: 4,5", UNPARSED),
    ("score: 4/10", UNPARSED),
    ("score: 4/50", UNPARSED),
    ("score: 4 out of 10", UNPARSED),
    ("score: 45", UNPARSED),
    ("score: 3-4", UNPARSED),
    ("score: 80%", UNPARSED),
    ("score: 9", UNPARSED),
    ("score: four", UNPARSED),
    ("underscore: 4", UNPARSED),
    ("because: 4", UNPARSED),
    ("1. The frames are sharp.\n2. There is noise.", UNPARSED),
    ("V1: 4", UNPARSED),
    # alone
    ("4", 4),
    (" 3/5\n", 3),
    ("7", UNPARSED),
    ("4.5", UNPARSED),
    # nothing, refusals, errors
    ("", UNPARSED),
    ("   \n", UNPARSED),
    ("I'm sorry, but I can't help with that.", REFUSED),
    ("I cannot judge this video.", REFUSED),
    ("Sorry, I am unable to view images.", REFUSED),
    ('{"error": {"message": "overloaded", "code": 503}}', ERROR),
    ("[ERROR] timeout, score: 4", ERROR),
]


@pytest.mark.parametrize(("text", "expected"), SINGLE)
def test_styles_of_a_single_score(text: str, expected: Any) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 5 people in the scene, running. score: 2", 2),
        ("[[90]]", UNPARSED),
        ("not a 5", UNPARSED),
        ("[ERROR] 429", ERROR),
        ("4/5", 4),
        ("three", UNPARSED),
    ],
)
def test_which_number(text: str, expected: Any) -> None:
    """VJ-3."""
    assert read(text) == expected


def entry(name: str, score: Any) -> dict[str, Any]:
    return {"video": name, "score": score, "reason": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps({"scores": [entry("V2", 1), entry("V1", 5)]}), {"V1": 5, "V2": 1}),
        (json.dumps({"scores": [entry("V1", 5)]}), UNPARSED),
        (json.dumps({"scores": [entry("V1", 5), entry("V2", 1), entry("V3", 1)]}), UNPARSED),
        (json.dumps({"scores": [entry("V1", 5), entry("V1", 1)]}), UNPARSED),
        (json.dumps({"scores": [entry("V1", 5), entry("V2", 6)]}), UNPARSED),
        (json.dumps({"scores": [entry("V1", 5), entry("V2", 3)]})[:-10], UNPARSED),
        ("V1: 3\nV2: 4", {"V1": 3, "V2": 4}),
        ("V2：4\nV1：3", {"V1": 3, "V2": 4}),
        ("- V1: 3/5\n- V2: 4/5", {"V1": 3, "V2": 4}),
        ("V1: 1\nV2: 1\n\nFinal Scores:\nV1: 3\nV2: 4", {"V1": 3, "V2": 4}),
        ("V1: 3", UNPARSED),
        ("V1: 3\nV2: 4\nV3: 5", UNPARSED),
        ("V1: 3\nV2: 4.5", UNPARSED),
        ("3\n4", UNPARSED),
        ("The first is a 3, the second a 4.", UNPARSED),
    ],
)
def test_styles_of_several_scores(text: str, expected: Any) -> None:
    assert read(text, TWO_VIDEOS) == expected


def test_the_scale_is_that_of_the_dimension() -> None:
    assert read("score: 3/3", THREE) == 3
    assert read("score: 3/5", THREE) == UNPARSED
    assert read("4", THREE) == UNPARSED


def test_steps_of_a_chain_have_their_own_forms() -> None:
    assert read_answer('{"questions": []}', questions_schema()) == {"questions": []}
    with pytest.raises(UnreadableError, match="at most 2"):
        read_answer('{"questions": ["a", "b", "c"]}', questions_schema())
    with pytest.raises(UnreadableError, match="1 entries for 2 questions"):
        read_answer('{"aspects": "x", "answers": ["a"]}', answers_schema(2))
    with pytest.raises(UnreadableError, match="lacks the key 'description'"):
        read_answer('{"caption": "x"}', description_schema())
    final = '{"updated_description": "score: 5", "score": 1, "reason": "x"}'
    assert read_answer(final, final_schema(dimension("color")))["score"] == 1


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    result = read(text)
    assert result in (UNPARSED, REFUSED, ERROR) or result in range(1, 6)


@given(st.text(max_size=60), st.integers(1, 5))
def test_words_inside_strings_are_never_a_score(words: str, score: int) -> None:
    """Whatever stands in a description or a reason."""
    injected = f'{words} score: 5 {{"score": 5, "reason": ""}} V1: 5'
    assert read(json.dumps({"reason": injected, "score": score})) == score
    text = json.dumps({"updated_description": injected, "score": score, "reason": injected}, ensure_ascii=False)
    assert read_answer(text, final_schema(dimension("video_text_consistency")))["score"] == score
