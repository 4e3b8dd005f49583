"""Every answer under its key, one JSON file each. The store is the cache, the transcript and what a run resumes from.

A key is the SHA-256 of everything that decides an answer and of nothing else: the versions of protocol and dimension,
the model, the sampling parameters, the schema, and the messages with each picture replaced by the hash of its pixels
and its encoder settings. Address and key of the endpoint, and the kind of structured output, don't count.

A file is written under a temporary name, flushed and renamed: an answer is there whole or not at all, whenever the
process dies. Errors are never stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.core.files import json_line, read_json, write_text
from sensorium.judging.judges.base import Clip, JudgeRequest, JudgeResponse, Part, Picture, Usage
from sensorium.judging.parsing import UnreadableError, last_object

FORMAT = 1


def messages(request: JudgeRequest) -> list[dict[str, Any]]:
    """Return the messages of a request with pictures and files by their hashes: what is hashed, kept and reported."""
    content = [_by_hash(part) for part in request.content]
    found: list[dict[str, Any]] = [
        {"role": "system", "content": [{"type": "text", "text": request.system}]},
        {"role": "user", "content": content},
    ]
    for answer, reply in request.turns:
        found.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        found.append({"role": "user", "content": [{"type": "text", "text": reply}]})
    return found


def _by_hash(part: Part) -> dict[str, Any]:
    if isinstance(part, Picture):
        size = [part.width, part.height]
        return {"type": "image", "pixels": part.pixels, "encoding": part.encoding, "size": size}
    if isinstance(part, Clip):
        return {"type": "video", "sha256": part.sha256}
    return {"type": "text", "text": part.text}


def request_key(request: JudgeRequest, model: str) -> str:
    """Return the key of a request: 64 hexadecimal digits.

    Args:
        request: The request.
        model: Who answers it, as `Judge.model_id` says.
    """
    canonical = {
        "protocol_version": request.protocol_version,
        "model": model,
        "sampling": {
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
        },
        "schema": request.schema,
        "messages": messages(request),
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class AnswerStore:
    """The answers of a run, in a folder: `<first two digits>/<key>.json`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str) -> Path:
        """Return where an answer lies, or would."""
        return self.folder / key[:2] / f"{key}.json"

    def read(self, key: str) -> JudgeResponse | None:
        """Return the answer under a key, None where there is none.

        Raises:
            DataError: Its file was damaged after it was written.
        """
        path = self.path(key)
        return response_from(read_json(path)["response"], path) if path.exists() else None

    def transcript(self, key: str) -> dict[str, Any]:
        """Return what was asked and answered: `key`, `step`, `role`, `model`, `messages`, `schema`, `response`.

        Raises:
            DataError: There is no such answer.
        """
        found: dict[str, Any] = read_json(self.path(key))
        return found

    def write(self, key: str, request: JudgeRequest, model: str, response: JudgeResponse) -> None:
        """Keep an answer with its transcript."""
        write_text(self.path(key), json_line(entry(key, request, model, response)) + "\n")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that are there, sorted."""
        return iter(sorted(path.stem for path in self.folder.glob("??/*.json") if not path.name.startswith(".")))

    def usage(self) -> Usage:
        """Return what all answers took."""
        found = Usage()
        for key in self:
            found += response_from(read_json(self.path(key))["response"], self.path(key)).usage
        return found


def entry(key: str, request: JudgeRequest, model: str, response: JudgeResponse) -> dict[str, Any]:
    """Return what is kept of an answer, in a store or on a line of a cassette."""
    return {
        "format": FORMAT,
        "key": key,
        "step": request.step,
        "role": request.role,
        "model": model,
        "protocol_version": request.protocol_version,
        "messages": messages(request),
        "schema": dict(request.schema),
        "response": {
            "text": response.text,
            "usage": response.usage.tree(),
            "finish_reason": response.finish_reason,
            "latency": response.latency,
            "attempts": response.attempts,
            "refused": response.refused,
        },
    }


def response_from(tree: dict[str, Any], source: str | Path) -> JudgeResponse:
    """Return the answer that an entry holds.

    Raises:
        DataError: It lacks something.
    """
    try:
        return JudgeResponse(**{**tree, "usage": Usage(**tree["usage"])}, parsed=parsed(tree["text"]))
    except (KeyError, TypeError) as error:
        raise DataError(f"{source} is no answer of a judge, or one of another release: {error}") from None


def parsed(text: str) -> dict[str, Any] | None:
    """Return the last JSON object of a text, unchecked; None where there is none that can be read."""
    try:
        return last_object(text)[0]
    except UnreadableError:
        return None
