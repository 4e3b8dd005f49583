"""What a judge is: either it answers requests (`Judge`), or it measures whole videos (`VideoJudge`).

A registered judge is a class with a nested `Config`, built as `JudgeClass(config)`. Protocols (`judging/protocols/`)
know `Judge.complete` alone: how a request travels, is repeated, limited and paid for is the judge's own affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension
from sensorium.judging.records import Family, Status

GROUP = "sensorium.judges"

Role = Literal["host", "assistant"]
Structure = Literal["json_schema", "json_object", "text"]


@dataclass(frozen=True)
class JudgeCaps:
    """What a judge can take.

    Attributes:
        max_images: Most pictures in one request.
        video_url: Whether videos travel as files instead of as pictures.
        structure: The strongest kind of structured output that it was told to offer.
        seed: Whether it is sent a seed.
        low_detail: Whether it is told to look at pictures in little detail, which costs less.
    """

    max_images: int = 64
    video_url: bool = False
    structure: Structure = "json_schema"
    seed: bool = True
    low_detail: bool = False


@dataclass(frozen=True)
class Text:
    """A part of a message: words."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A part of a message: one frame, or a strip of frames.

    Attributes:
        jpeg: The encoded file.
        pixels: SHA-256 of the RGB bytes that were encoded, with their size: JPEG bytes differ between versions of a
            library, pixels don't.
        encoding: How it was encoded, as in "jpeg-90".
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """

    jpeg: bytes = field(repr=False)
    pixels: str
    encoding: str
    width: int
    height: int


@dataclass(frozen=True)
class Clip:
    """A part of a message: a whole video file, for endpoints that take one.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes.
    """

    path: Path
    sha256: str


Part = Text | Picture | Clip


@dataclass(frozen=True)
class JudgeRequest:
    """One question to a judge.

    Attributes:
        role: Which of the endpoint's two models answers.
        step: Which step of its protocol it is, as in "describe" or "score".
        system: The instruction. It holds this project's words alone, never those of prompts, answers or files.
        content: What is shown, in order.
        schema_name: Name of the answer's form.
        schema: The answer's form, as a JSON schema.
        protocol_version: Of the protocol and the dimension whose words these are.
        turns: Earlier answers of this exchange, each with our reply: (answer, reply).
        temperature: Of sampling.
        seed: Of sampling.
        max_tokens: Longest answer.
    """

    role: Role
    step: str
    system: str
    content: tuple[Part, ...]
    schema_name: str
    schema: Mapping[str, Any]
    protocol_version: str
    turns: tuple[tuple[str, str], ...] = ()
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 1024

    @property
    def pictures(self) -> list[Picture]:
        """The pictures of the request, in order."""
        return [part for part in self.content if isinstance(part, Picture)]


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls.

    Attributes:
        calls: Answers that were given.
        prompt_tokens: Read by the model, the cached ones included.
        completion_tokens: Written by it.
        cached_tokens: Read from the endpoint's own cache.
        cost: In the currency of the price table; 0 without one.
        estimated: Whether any of the numbers was estimated, since the endpoint told none.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cost + other.cost,
            self.estimated or other.estimated,
        )

    def tree(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class JudgeResponse:
    """One answer.

    Attributes:
        text: What was said.
        parsed: The last JSON object in it, None where there is none; it is still to be checked against the schema.
        usage: What it took.
        finish_reason: Why the model stopped, in the endpoint's words.
        latency: Seconds from request to answer.
        attempts: How often the request was sent until this answer came.
        refused: Whether the endpoint says that the model declined.
    """

    text: str
    parsed: dict[str, Any] | None = None
    usage: Usage = Usage(calls=1)
    finish_reason: str = "stop"
    latency: float = 0.0
    attempts: int = 1
    refused: bool = False


class CallFailedError(Exception):
    """A request that got no answer after all attempts: it costs its own cell, never the run.

    Attributes:
        attempts: How often it was sent.
    """

    def __init__(self, reason: str, attempts: int = 1) -> None:
        super().__init__(reason)
        self.attempts = attempts


@runtime_checkable
class Judge(Protocol):
    """Whoever answers requests.

    Attributes:
        id: Names the judge in records and boards: model, transport, and whatever else changes its scores.
        family: Boards never mix families.
        caps: What it can take.
        concurrency: How many requests it is asked at a time.
    """

    id: str
    family: Family
    caps: JudgeCaps
    concurrency: int

    def model_id(self, role: Role) -> str:
        """Return the name of the model that answers for a role; it is part of every request's key."""
        ...

    def cost(self, role: Role, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of so many tokens by the configured table; 0 without one."""
        ...

    async def complete(self, request: JudgeRequest) -> JudgeResponse:
        """Answer one request.

        Raises:
            CallFailedError: No answer after all attempts.
            SensoriumError: The run cannot go on (key refused, quota exhausted, waits too long); it can be resumed.
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a judge or a protocol found for one cell in one dimension.

    Attributes:
        score: On the dimension's scale, a whole number from a `Judge`, any number from a `VideoJudge`; None unless the
            status is "ok".
        status: "ok", or why there is no score.
        reason: In words: the judge's own for a score, ours for a missing one.
        frames: Indices of the frames that were looked at.
        request_keys: Keys of the answers that it rests on.
        usage: What it took.
        attempts: Requests that were sent for it, failed ones included.
        notes: What else is to be known, in plain values: `examples`, `prompt`, `groups`, `spread`, `uncertainty`, ...
    """

    score: float | None
    status: Status
    reason: str
    frames: tuple[int, ...] = ()
    request_keys: tuple[str, ...] = ()
    usage: Usage = Usage()
    attempts: int = 0
    notes: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class VideoJudge(Protocol):
    """Whoever measures whole videos, without requests.

    The work is in two halves. `measure` is sent to a decoding process, once for each video, with that process's time
    limit: whatever it does to itself there, it does to its own cells alone. `judge` then runs in this process, once for
    each dimension, and is quick.

    Attributes:
        id: Names the judge in records and boards.
        family: "metric".
        protocol_version: Changes whenever the same video would get another number.
        measure: A picklable function, such as one of a module or a frozen dataclass with `__call__`: from a cell to
            whatever plain values and arrays `judge` needs; it reads the file by `sensorium.media.video`.
    """

    id: str
    family: Family
    protocol_version: str
    measure: Callable[[VideoCell], Any]

    def judge(self, cell: VideoCell, dimension: Dimension, measured: Any) -> Outcome:
        """Return the outcome of one cell in one dimension; status "unsupported" where it cannot judge that."""
        ...


def pixels_digest(width: int, height: int, rgb: bytes) -> str:
    """Return what identifies a picture: SHA-256 of its size and RGB bytes."""
    return hashlib.sha256(f"{width}x{height}:".encode() + rgb).hexdigest()
