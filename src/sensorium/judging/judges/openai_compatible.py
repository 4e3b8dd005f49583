"""Any endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp server, Ollama, ...

One class sends requests and nothing more; retries are ours alone (the client's own are off), so that every repeated
request is counted, paced and recorded.

- Content is always typed parts, never bare strings. Pictures travel as `image/jpeg` data URLs, videos (for servers that
  take them) as one `video/mp4` data URL.
- 408, 409, 429, 5xx, time-outs, broken connections and bodies that are cut or no JSON are tried again: exponential
  back-off with full jitter, 6 attempts. `Retry-After` is obeyed whatever its length and is no attempt (`pace.py`).
- 401, 402, 403 and 404 stop the run, as does an exhausted quota: no other request would fare better. Other 4xx cost
  their own cell.
- A 400 or 422 that names a field which the endpoint does not know lowers what is asked of it, once and for good:
  json_schema -> json_object -> plain text; no seed; `max_completion_tokens` for `max_tokens`.
- The key is read from an environment variable. It is taken out of every text that comes back.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from sensorium.core import config as core
from sensorium.core.errors import ConfigError, RunError, require
from sensorium.judging.accounting import ANSWER_TOKENS, Price, estimated_tokens, price_of, text_tokens
from sensorium.judging.cache import parsed
from sensorium.judging.judges.base import (
    CallFailedError,
    Clip,
    JudgeCaps,
    JudgeRequest,
    JudgeResponse,
    Part,
    Picture,
    Role,
    Structure,
    Usage,
)
from sensorium.judging.judges.pace import Clock, Pace, retry_after
from sensorium.judging.parsing import error_message
from sensorium.judging.records import Family

STOPPING = {401: "the key was refused", 402: "payment is required", 403: "access was denied", 404: "no such model"}
AGAIN = {408, 409, 429}
BILLING = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "quota_exceeded",
    "budget_exceeded",
)
LOWER: dict[Structure, Structure] = {"json_schema": "json_object", "json_object": "text"}


class _AgainError(Exception):
    """A failure that may pass."""


class OpenAICompatible:
    """A judge behind an endpoint."""

    class Config(core.Config):
        """Keys of `judge: {name: openai-compatible}`."""

        base_url: str = Field("https://api.openai.com/v1", description="address of the endpoint, with its version")
        model: str = Field(min_length=1, description="model that sees frames and scores (the host)")
        assistant: str | None = Field(None, description="model of the questioners; null = the same")
        api_key_env: str | None = Field(
            "OPENAI_API_KEY", description="NAME of the environment variable that holds the key; null = none is needed"
        )
        transport: Literal["images", "video_url"] = Field(
            "images", description="frames as pictures, or the file itself"
        )
        detail: Literal["low", "high", "auto"] | None = Field(None, description="sent with pictures; null = not sent")
        max_images: int = Field(64, ge=1, description="most pictures in one request")
        structure: Structure = Field("json_schema", description="strongest structured output that is tried")
        send_seed: bool = Field(True, description="whether a seed is sent")
        concurrency: int = Field(4, ge=1, le=256, description="requests at a time")
        requests_per_minute: float | None = Field(None, gt=0, description="limit of requests; null = none")
        tokens_per_minute: float | None = Field(None, gt=0, description="limit of tokens; null = none")
        timeout: float = Field(120.0, gt=0, description="seconds until a request counts as failed")
        attempts: int = Field(6, ge=1, description="how often a request is sent at most")
        backoff: float = Field(1.0, ge=0, description="base of the exponential back-off, in seconds")
        max_wait: float = Field(3600.0, ge=0, description="seconds of asked-for pauses, in sum, before the run stops")
        prices: dict[str, Price] = Field({}, description="price table: model -> prompt, completion, cached per million")

        @field_validator("base_url")
        @classmethod
        def _holds_no_key(cls, value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("write an address such as http://localhost:8000/v1")
            if parts.username or parts.password or parts.query:
                raise ValueError("keys are never written into files: name their environment variable in api_key_env")
            return value.rstrip("/")

        @field_validator("api_key_env")
        @classmethod
        def _is_a_name(cls, value: str | None) -> str | None:
            if value is not None and not value.replace("_", "").isalnum():
                raise ValueError("this is the NAME of an environment variable, not a key")
            if value is not None and value.startswith(("sk-", "sk_")):
                raise ValueError("this is the NAME of an environment variable, not a key")
            return value

    family: Family = "mllm"

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        assert isinstance(config, self.Config)
        self.config = config
        detail = f"+detail-{config.detail}" if config.detail else ""
        assistant = f"+{config.assistant}" if config.assistant and config.assistant != config.model else ""
        self.id = f"{config.model}{assistant}+{config.transport}{detail}"
        self.caps = JudgeCaps(
            config.max_images,
            config.transport == "video_url",
            config.structure,
            config.send_seed,
            config.detail == "low",
        )
        self.concurrency = config.concurrency
        self.pace = Pace(
            urlsplit(config.base_url).hostname or "the endpoint",
            max_wait=config.max_wait,
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            clock=clock,
        )
        self._structure: Structure = config.structure
        self._seed = config.send_seed
        self._length_field = "max_tokens"
        self._client: Any = None
        self._places: asyncio.Semaphore | None = None
        self._key = ""

    def model_id(self, role: Role) -> str:
        """Return the model of a role, with what of the transport changes its answers."""
        detail = f"+detail-{self.config.detail}" if self.config.detail else ""
        return f"{self._model(role)}{detail}"

    def cost(self, role: Role, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of so many tokens by the table of the config."""
        return price_of(self.config.prices, self._model(role)).of(prompt_tokens, completion_tokens)

    def _model(self, role: Role) -> str:
        return self.config.model if role == "host" else self.config.assistant or self.config.model

    async def complete(self, request: JudgeRequest) -> JudgeResponse:
        """Send a request until it is answered, at most `attempts` times.

        Raises:
            CallFailedError: All attempts failed, or the endpoint refuses this request for good.
            RunError: The key is refused, the quota is exhausted, or the pauses are too long.
        """
        tenacity: Any = require("tenacity", extra="judge", purpose="judging by an endpoint")
        self._connect()
        assert self._places is not None
        count = 0
        try:
            async with self._places:
                async for attempt in tenacity.AsyncRetrying(
                    retry=tenacity.retry_if_exception_type(_AgainError),
                    stop=tenacity.stop_after_attempt(self.config.attempts),
                    wait=tenacity.wait_random_exponential(multiplier=self.config.backoff, max=60),
                    sleep=self.pace.clock.sleep,
                    reraise=True,
                ):
                    with attempt:
                        count += 1
                        return await self._attempt(request, count)
        except _AgainError as error:
            raise CallFailedError(f"{error} (after {count} attempts)", count) from None
        raise AssertionError("a retry ends with an answer or an error")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    # --- sending ----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Read the key and make the client, on the first request."""
        if self._client is not None:
            return
        openai: Any = require("openai", extra="judge", purpose="judging by an endpoint", instead="judge: metric")
        name = self.config.api_key_env
        self._key = os.environ.get(name, "").strip() if name else ""
        if name and not self._key:
            raise ConfigError(
                f"judge.api_key_env: the environment variable {name} is not set; set it to the endpoint's key, or "
                "write api_key_env: null for an endpoint that needs none"
            )
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=self.config.base_url, timeout=self.config.timeout, max_retries=0
        )
        self._places = asyncio.Semaphore(self.config.concurrency)

    async def _attempt(self, request: JudgeRequest, count: int) -> JudgeResponse:
        """Send a request once; pauses that the endpoint asks for, and fields that it does not know, are no attempts."""
        tokens = estimated_tokens(request, low_detail=self.caps.low_detail) + ANSWER_TOKENS
        while True:
            await self.pace.wait(tokens)
            body = self._body(request)
            started = self.pace.clock.now()
            status, headers, content = await self._send(body)
            if status == 200:
                return self._response(content, request, count, self.pace.clock.now() - started)
            told = self._told(content)
            if status == 429 and any(word in told for word in BILLING):
                raise RunError(f"{self.pace.name}: the quota is exhausted ({told}): resume the run when there is more")
            if status in STOPPING:
                raise RunError(
                    f"{self.pace.name}: {STOPPING[status]} (status {status}: {told}); the run can be resumed"
                )
            if status in AGAIN or status >= 500:
                seconds = retry_after(headers, self.pace.clock)
                if seconds is None:
                    raise _AgainError(f"status {status}: {told}")
                self.pace.pause(seconds)
            elif not (status in (400, 422) and self._lower(body, told)):
                if "content_policy" in told or "content_filter" in told:
                    return JudgeResponse(told, None, Usage(calls=1), "content_filter", 0.0, count, refused=True)
                raise CallFailedError(f"status {status}: {told}", count)

    async def _send(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """Send a body and return status, headers and content.

        Raises:
            _AgainError: No whole response came.
        """
        import openai

        try:
            raw = await self._client.chat.completions.with_raw_response.create(**body)
            return 200, raw.http_response.headers, raw.http_response.content
        except openai.APIStatusError as error:
            return error.status_code, error.response.headers, error.response.content
        except openai.APITimeoutError:
            raise _AgainError(f"no answer within {self.config.timeout:g} seconds") from None
        except openai.APIConnectionError as error:
            raise _AgainError(self._clean(f"the connection failed: {error.__cause__ or error}")) from None

    def _body(self, request: JudgeRequest) -> dict[str, Any]:
        """Return a request as the endpoint is sent it, by what it is known to take."""
        messages = [
            {"role": "system", "content": [{"type": "text", "text": request.system}]},
            {"role": "user", "content": [self._part(part) for part in request.content]},
        ]
        for answer, reply in request.turns:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            messages.append({"role": "user", "content": [{"type": "text", "text": reply}]})
        body: dict[str, Any] = {
            "model": self._model(request.role),
            "messages": messages,
            "temperature": request.temperature,
            self._length_field: request.max_tokens,
        }
        if self._seed:
            body["seed"] = request.seed
        if self._structure == "json_schema":
            form = {"name": request.schema_name, "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self._structure == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Picture):
            url = f"data:image/jpeg;base64,{base64.b64encode(part.jpeg).decode('ascii')}"
            detail = {"detail": self.config.detail} if self.config.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        if isinstance(part, Clip):
            url = f"data:video/mp4;base64,{base64.b64encode(part.path.read_bytes()).decode('ascii')}"
            return {"type": "video_url", "video_url": {"url": url}}
        return {"type": "text", "text": part.text}

    def _lower(self, sent: Mapping[str, Any], told: str) -> bool:
        """Ask less of the endpoint where it names a field that it does not take; return whether anything changed.

        Workers hit the same wall side by side: who sees that another has lowered it already just sends again.
        """
        if any(word in told for word in ("response_format", "json_schema", "json_object")):
            kind = sent.get("response_format", {}).get("type", "text")
            if kind == self._structure and kind in LOWER:
                self._structure = LOWER[self._structure]
            return bool(kind != "text")
        if "seed" in told and "seed" in sent:
            self._seed = False
            return True
        if "max_tokens" in told and "max_tokens" in sent:
            self._length_field = "max_completion_tokens"
            return True
        return False

    # --- reading ----------------------------------------------------------------------------------------------------

    def _response(self, content: bytes, request: JudgeRequest, count: int, latency: float) -> JudgeResponse:
        """Return the answer of a body.

        Raises:
            _AgainError: The body is no JSON, or holds no answer: it was cut, or another server stands in between.
        """
        try:
            tree = json.loads(content)
            choice = tree["choices"][0]
            message = choice["message"]
            text = _text(message.get("content"))
            refusal = message.get("refusal")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _AgainError(f"the response is no chat completion: {self._told(content) or 'it is empty'}") from None
        if error := error_message(text):
            raise _AgainError(self._clean(error))
        finish = str(choice.get("finish_reason") or "stop")
        refused = bool(refusal) or finish == "content_filter"
        text = self._clean(str(refusal) if refusal and not text else text)
        usage = self._usage(tree.get("usage"), request, text)
        return JudgeResponse(text, parsed(text), usage, finish, round(latency, 3), count, refused)

    def _usage(self, told: Any, request: JudgeRequest, text: str) -> Usage:
        """Return the tokens that the endpoint counted, or an estimate that says so."""
        try:
            read, written = int(told["prompt_tokens"]), int(told["completion_tokens"])
            cached = int((told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            estimated = False
        except (KeyError, TypeError, ValueError, AttributeError):
            read = estimated_tokens(request, low_detail=self.caps.low_detail)
            written, cached, estimated = text_tokens(text), 0, True
        price = price_of(self.config.prices, self._model(request.role))
        return Usage(1, read, written, cached, price.of(read, written, cached), estimated)

    def _told(self, content: bytes) -> str:
        """Return what a response says in a few words, without the key."""
        text = content.decode("utf-8", errors="replace")
        try:
            error = json.loads(text)["error"]
            text = " ".join(str(error[name]) for name in ("code", "type", "param", "message") if error.get(name))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # not the usual form: its own words are as good
        return self._clean(" ".join(text.split()))[:300]

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _text(content: Any) -> str:
    """Return the words of an answer, which some servers give as parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return str(content or "")
