"""Reading an answer: its last JSON object, or the last line that names a score. Never a guess.

A text is read in this order, and the first rule that applies decides:

1. It begins with `[ERROR]` or is an object with the key `error`: the call failed, whatever else stands there.
2. It holds a JSON object: the last one that stands by itself is checked against the schema.
3. A score is wanted: for each expected id, the last line `V1: 4`; where one score is wanted also the last `score: 4`
   inside a line, or an answer that is nothing but `4` or `4/5`.

What lies outside the scale is unreadable and never clamped. Number words, decimals, ranges and other denominators are
unreadable too. Nothing is read by position, and no digit is taken because it is the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sensorium.judging.schemas import Schema


class UnreadableError(Exception):
    """An answer without what was asked for; the message says what is missing, and may be sent back to the judge."""


class RefusedError(Exception):
    """An answer that declines."""


class FailedAnswerError(Exception):
    """An answer that is an error message: the call failed."""


def read_answer(text: str, schema: Schema) -> dict[str, Any]:
    """Return the values of an answer, checked.

    Raises:
        FailedAnswerError: It is an error message.
        RefusedError: It declines.
        UnreadableError: It does not hold what was asked for.
    """
    if error := error_message(text):
        raise FailedAnswerError(error)
    found, was_cut = last_object(text)
    if was_cut:
        raise UnreadableError("the answer was cut off inside its JSON object")
    if found is not None:
        if problem := schema.problem(found):
            raise UnreadableError(problem)
        return found
    if schema.score_ids and (values := _scores_in_prose(text, schema)) is not None:
        return values
    if _REFUSAL.match(text.strip()):
        raise RefusedError(" ".join(text.split())[:300])
    raise UnreadableError("the answer holds no JSON object" if text.strip() else "the answer is empty")


_REFUSAL = re.compile(
    r"(i['’]?m|i am|we are|we['’]re)?\s*(very |so |really )?(sorry|afraid)\b"
    r"|(unfortunately,? )?i\s+(can['’]?t|cannot|can not|won['’]?t|will not|am unable|am not able|must decline)\b"
    r"|i['’]m (unable|not able)\b|as an ai\b.*\b(can['’]?t|cannot|unable)",
    re.IGNORECASE | re.DOTALL,
)


def error_message(text: str) -> str | None:
    """Return what an answer says that is an error message in the place of an answer, else None."""
    stripped = text.strip()
    if re.match(r"\[ERROR\]", stripped, re.IGNORECASE):
        return " ".join(stripped.split())[:300]
    if stripped.startswith("{"):
        try:
            whole = json.loads(stripped)
        except ValueError:
            return None
        if isinstance(whole, dict) and "error" in whole and not {"score", "scores", "description"} & whole.keys():
            return f"the answer is an error object: {str(whole['error'])[:200]}"
    return None


# --- JSON -----------------------------------------------------------------------------------------------------------


def last_object(text: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the last JSON object that stands by itself in a text, and whether the text ends inside one.

    Objects inside objects, and texts inside their strings, are no answers. After an object that never ends, nothing
    counts: what stands in it may be anyone's words.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    found: dict[str, Any] | None = None
    place = text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except _TwiceError:
            raise UnreadableError("a key stands twice in the JSON object") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, RecursionError):
                raise UnreadableError("the JSON object is nested too deeply") from None
            if _looks_like_object(text, place) and _never_ends(text, place):
                return None, True
            end = place + 1
        place = text.find("{", end)
    return found, False


class _TwiceError(Exception):
    """A key stands twice in one object, so its value is not known."""


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _TwiceError
    return dict(pairs)


def _looks_like_object(text: str, place: int) -> bool:
    return re.match(r'\{\s*(?:"|$)', text[place:]) is not None


def _never_ends(text: str, place: int) -> bool:
    """Whether no brace closes the object that begins here; braces inside strings don't count."""
    depth, quoted, escaped = 0, False, False
    for character in text[place:]:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return False
    return True


# --- prose ----------------------------------------------------------------------------------------------------------


def _number(high: int) -> str:
    """Return the pattern of a level: a whole number, alone or out of the top of the scale, and nothing that would make
    it another number (a decimal, a range, a percentage, another denominator)."""
    of_high = rf"(?:\s*/\s*{high}(?!\d)|\s+out\s+of\s+{high}(?!\d))"
    return rf"(\d+)(?!\d)(?:{of_high})?(?![.,/]?\d|\s*[-–—]\s*\d|\s*/\s*\d|\s+out\s+of\s|\s*%|\s*\+)"


def _scores_in_prose(text: str, schema: Schema) -> dict[str, Any] | None:
    """Return the scores that lines name, in the form of the schema; None where no line names one."""
    text, number = re.sub(r"[*`]", "", text), _number(schema.high)  # emphasis is no part of a number
    by_id: dict[str, int] = {}
    for match in re.finditer(rf"^\s*-?\s*(V\d+|video|score)\s*[:：]\s*{number}", text, re.IGNORECASE | re.MULTILINE):
        by_id[match[1].upper() if match[1][0] in "vV" and match[1][1:].isdigit() else "score"] = int(match[2])
    if schema.many:
        if not by_id:
            return None
        found: dict[str, Any] = {
            "scores": [{"video": name, "score": score, "reason": ""} for name, score in by_id.items()]
        }
    else:
        score = _single_score(text, number)
        if score is None:
            return None
        found = dict.fromkeys(schema.required, "") | {"score": score}
    if problem := schema.problem(found):
        raise UnreadableError(problem)
    return found


def _single_score(text: str, number: str) -> int | None:
    alone = re.fullmatch(rf"\s*{number}\s*", text)
    if alone:
        return int(alone[1])
    named = re.finditer(rf"(?:^\s*-?\s*video|(?<![\w])score)\s*[:：]\s*{number}", text, re.IGNORECASE | re.MULTILINE)
    scores = [int(match[1]) for match in named]
    return scores[-1] if scores else None


def reason_of(values: Mapping[str, Any]) -> str:
    """Return the reason that an answer gives, on one line."""
    return " ".join(str(values.get("reason", "")).split())
