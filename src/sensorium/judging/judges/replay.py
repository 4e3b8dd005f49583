"""A judge that repeats recorded answers: cassettes are JSON Lines, one answer per line, under the keys of the store.

    record          another judge answers, and what it says is added to the cassette
    replay-strict   a request that was not recorded stops the run
    replay-lenient  such a request costs its own cell

Keys hold pixels, not bytes of JPEG, and no addresses: a cassette answers on another machine and under other versions
of libraries, with identical scores. The id is that of the judge that was recorded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sensorium.core import config as core
from sensorium.core.config import Component, component
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import json_line, write_text
from sensorium.judging.cache import entry, request_key, response_from
from sensorium.judging.judges.base import (
    GROUP,
    CallFailedError,
    Judge,
    JudgeCaps,
    JudgeRequest,
    JudgeResponse,
    Role,
)
from sensorium.judging.records import Family


class Replay:
    """A judge made of recorded answers."""

    class Config(core.Config):
        """Keys of `judge: {name: replay}`."""

        cassette: Path = Field(description="JSON Lines file of recorded answers")
        mode: Literal["record", "replay-strict", "replay-lenient"] = Field("replay-strict", description="see above")
        judge: component(GROUP) | None = Field(None, description="record: whose answers are recorded")  # type: ignore[valid-type]
        concurrency: int = Field(4, ge=1, description="requests at a time")

        @model_validator(mode="after")
        def _someone_answers(self) -> Replay.Config:
            if (self.mode == "record") is (self.judge is None):
                raise ValueError("judge: mode 'record' needs the judge that answers, the other modes take none")
            return self

    def __init__(self, config: Config) -> None:
        assert isinstance(config, self.Config)
        self._path, self._mode = Path(config.cassette), config.mode
        self._answers: dict[str, dict[str, Any]] = {}
        self._begun = False
        about: dict[str, Any] | None = None
        if self._path.exists() or self._mode != "record":
            about, self._answers = read_cassette(self._path)
        self._other: Judge | None = None
        if config.judge is not None:
            chosen: Component = config.judge
            self._other = chosen.target(chosen.config)
            about = self._head(about)
        assert about is not None
        self._about = about
        self.id: str = about["judge"]
        self.family: Family = "replay" if self._other is None else self._other.family
        self._models: dict[str, str] = about["models"]
        self.caps = JudgeCaps(**about["caps"])
        self.concurrency = config.concurrency if self._other is None else self._other.concurrency

    def _head(self, about: dict[str, Any] | None) -> dict[str, Any]:
        """Return the head of the cassette that is recorded, after a look at the one that is there."""
        other = self._other
        assert other is not None
        if not hasattr(other, "complete"):
            raise ConfigError(f"judge.judge: '{other.id}' answers no requests, so there is nothing to record")
        if about is not None and about["judge"] != other.id:
            raise ConfigError(f"{self._path} was recorded from '{about['judge']}', not from '{other.id}'")
        models = {role: other.model_id(role) for role in ("host", "assistant")}
        return {"judge": other.id, "models": models, "caps": dict(vars(other.caps))}

    def model_id(self, role: Role) -> str:
        """Return the model that was recorded for a role."""
        return self._models[role]

    def cost(self, role: Role, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what the recorded judge asks; repeating it is free."""
        return self._other.cost(role, prompt_tokens, completion_tokens) if self._other else 0.0

    async def complete(self, request: JudgeRequest) -> JudgeResponse:
        """Repeat the recorded answer, or let the other judge give one.

        Raises:
            RunError: Strict, and the request was not recorded.
            CallFailedError: Lenient, and the request was not recorded.
        """
        key = request_key(request, self.model_id(request.role))
        if key in self._answers:
            return response_from(self._answers[key], self._path)
        if self._other is None:
            problem = f"{self._path} holds no answer to step '{request.step}' under {key[:12]}"
            if self._mode == "replay-lenient":
                raise CallFailedError(problem, attempts=0)
            raise RunError(f"{problem}: the videos, the words or the settings are not those that were recorded")
        response = await self._other.complete(request)
        self._record(entry(key, request, self.model_id(request.role), response))
        return response

    def _record(self, answer: dict[str, Any]) -> None:
        """Add a line to the cassette; before the first one, begin the file or drop a last line that was cut."""
        if not self._begun:
            kept = self._path.read_text(encoding="utf-8").split("\n")[:-1] if self._path.exists() else []
            write_text(self._path, "".join(line + "\n" for line in kept or [json_line({"format": 1, **self._about})]))
            self._begun = True
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json_line(answer) + "\n")
        self._answers[answer["key"]] = answer["response"]

    async def close(self) -> None:
        """Let the other judge's connections go."""
        if self._other is not None:
            await self._other.close()


def read_cassette(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the head of a cassette and its answers by key; a last line that was cut does not count.

    Raises:
        DataError: There is no such file, or it is no cassette.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        head, *entries = [json.loads(line) for line in lines]
        about = {name: head[name] for name in ("judge", "models", "caps")}
        return about, {one["key"]: one["response"] for one in entries}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: record a cassette first, with mode: record") from None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no cassette of recorded answers: {error}") from None
