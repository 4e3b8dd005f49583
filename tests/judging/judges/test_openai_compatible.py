"""The endpoint judge against a server that speaks the protocol: real HTTP, nothing of the client is replaced."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, RunError
from sensorium.core.resources import readable_seconds
from sensorium.judging.accounting import Ledger
from sensorium.judging.asking import Answer, Asker
from sensorium.judging.cache import AnswerStore, request_key
from sensorium.judging.dimensions import dimension
from sensorium.judging.judges.base import CallFailedError, Clip, JudgeRequest, JudgeResponse, Text
from sensorium.judging.judges.openai_compatible import OpenAICompatible
from sensorium.judging.judges.pace import Clock, Pace
from sensorium.judging.protocols.base import Asking
from sensorium.judging.protocols.chain_of_query import chain_of_query
from sensorium.judging.protocols.direct import direct
from sensorium.judging.schemas import score_schema

from ..loopback import Fault, Faults, Loopback, words_of
from ..videos import picture, shown

IMAGING = dimension("imaging_quality")
SCHEMA = score_schema(IMAGING)


def request(number: int = 0, level: int = 120) -> JudgeRequest:
    content = (Text("video to judge (1 frame)"), picture(level), Text(f"request {number}: {SCHEMA.form}"))
    return JudgeRequest("host", "score", "on a scale from 1 to 5", content, "score", SCHEMA.json, "v")


def judge(server: Loopback, clock: Clock | None = None, **keys: Any) -> OpenAICompatible:
    tree = {"base_url": server.url, "model": "m", "api_key_env": None, "backoff": 0.001} | keys
    return OpenAICompatible(build(OpenAICompatible.Config, tree, source="test"), clock=clock)


def ask(made: OpenAICompatible, *requests: JudgeRequest) -> list[JudgeResponse]:
    async def together() -> list[JudgeResponse]:
        try:
            return await asyncio.gather(*(made.complete(one) for one in requests))
        finally:
            await made.close()

    return asyncio.run(together())


def first(count: int, fault: Fault) -> Faults:
    """The first so many requests meet a fault."""
    seen = 0

    def faults(body: Any, before: int) -> Fault | None:
        nonlocal seen
        seen += 1
        return fault if seen <= count else None

    return faults


def test_an_answer_with_its_tokens_and_price() -> None:
    with Loopback() as server:
        (found,) = ask(judge(server, prices={"m": {"prompt": 2.0, "completion": 10.0}}), request())
    assert found.parsed == {"score": 3, "reason": "brightness 120"}
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.estimated) == (100, 10, False)
    assert found.usage.cost == pytest.approx(3e-4)
    assert (found.attempts, found.finish_reason, server.problems) == (1, "stop", [])
    (body,) = server.requests
    assert body["temperature"] == 0
    assert body["seed"] == 0
    assert body["max_tokens"] == 1024
    assert body["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] == [1, 2, 3, 4, 5]
    assert "detail" not in body["messages"][1]["content"][1]["image_url"]


def test_tokens_that_nobody_told_are_estimated_and_say_so() -> None:
    with Loopback(usage=False) as server:
        (low,) = ask(judge(server, detail="low"), request())
        (high,) = ask(judge(server), request())
    assert low.usage.estimated
    assert high.usage.prompt_tokens - low.usage.prompt_tokens == 170  # 85 + one tile against 85
    assert server.requests[0]["messages"][1]["content"][1]["image_url"]["detail"] == "low"


def test_a_video_travels_as_one_file(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    content = (Text("video to judge (video file)"), Clip(tmp_path / "v.mp4", "hash"), Text(SCHEMA.form))
    made = JudgeRequest("host", "score", "on a scale", content, "score", SCHEMA.json, "v")
    with Loopback() as server:
        one = judge(server, transport="video_url")
        assert one.caps.video_url
        assert "video_url" in one.id
        ask_video = one._body(made)
        part = ask_video["messages"][1]["content"][1]
    assert part == {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,dmlkZW8="}}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500),
        Fault("status", 503),
        Fault("status", 429),
        Fault("status", 408),
        Fault("status", 409),
        Fault("truncated"),
        Fault("no-json"),
        Fault("error-text"),
        Fault("timeout", seconds=4.0),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_what_may_pass_is_tried_again(fault: Fault) -> None:
    with Loopback(first(2, fault)) as server:
        (found,) = ask(judge(server, timeout=1.0 if fault.kind == "timeout" else 60.0), request())
    assert (found.parsed or {})["score"] == 3
    assert found.attempts == 3
    assert len(server.requests) == 3


def test_six_attempts_and_no_more() -> None:
    with Loopback(first(99, Fault("status", 500))) as server, pytest.raises(CallFailedError) as caught:
        ask(judge(server), request())
    assert len(server.requests) == caught.value.attempts == 6
    assert "status 500: injected (after 6 attempts)" in str(caught.value)


def test_another_refusal_costs_its_own_cell() -> None:
    fault = Fault("status", 400, body={"error": {"message": "context length exceeded"}})
    with Loopback(first(1, fault)) as server, pytest.raises(CallFailedError, match="status 400: context length"):
        ask(judge(server), request())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, {"error": {"message": "bad key"}}, "the key was refused"),
        (404, {"error": {"message": "no model"}}, "no such model"),
        (429, {"error": {"code": "insufficient_quota", "message": "pay"}}, "the quota is exhausted"),
    ],
)
def test_what_no_other_request_would_survive_stops_the_run(status: int, body: Any, told: str) -> None:
    with Loopback(first(99, Fault("status", status, body=body))) as server, pytest.raises(RunError, match=told):
        ask(judge(server), request())
    assert len(server.requests) == 1


class FakeTime:
    """A clock that jumps: sleeping costs nothing, and is counted."""

    def __init__(self) -> None:
        self.at, self.slept = 1000.0, 0.0

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.slept += seconds
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(lambda: self.at, lambda: self.at, self.sleep)


def test_minutes_of_rate_limit(caplog: pytest.LogCaptureFixture) -> None:
    """VJ-8: 429 with Retry-After: 90 for the first 20 calls, then 200."""
    caplog.set_level(logging.INFO)
    fake = FakeTime()
    with Loopback(first(20, Fault("status", 429, {"Retry-After": "90"}))) as server:
        made = judge(server, fake.clock(), concurrency=4)
        found = ask(made, *(request(number) for number in range(8)))
    assert [one.attempts for one in found] == [1] * 8  # asked-for pauses are no attempts
    assert len(server.requests) == 28
    # four workers ask side by side, so 20 refusals are at least 5 pauses; a worker may begin one by itself
    assert 5 * 90 <= made.pace.waited <= 20 * 90
    assert made.pace.waited == pytest.approx(90 * round(made.pace.waited / 90))
    said = [record.message for record in caplog.records if "rate limit" in record.message]
    assert len(said) == round(made.pace.waited / 90)
    assert "127.0.0.1: rate limit, next try at" in said[0]
    assert said[0].endswith(f"(in {readable_seconds(90)})")


def test_a_pause_slows_all_workers_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """VJ-8, with real time: once a worker has been refused, nobody sends anything for as long as was asked."""
    pauses: list[float] = []

    def noted(self: Pace, seconds: float) -> None:
        pauses.append(time.monotonic())
        pause(self, seconds)

    pause = Pace.pause
    monkeypatch.setattr(Pace, "pause", noted)
    with Loopback(first(1, Fault("status", 429, {"Retry-After": "0.6"}))) as server:
        ask(judge(server, concurrency=2), *(request(number) for number in range(6)))
    (begun,) = pauses
    assert sum(moment >= begun + 0.6 for moment in server.times) >= 1  # the refused one, at least
    during = [moment for moment in server.times if begun <= moment < begun + 0.6]
    assert len(during) <= 1  # the other worker's request may have been on its way


def test_pauses_that_are_too_long_stop_the_run_at_once() -> None:
    with Loopback(first(99, Fault("status", 429, {"Retry-After": "7200"}))) as server:
        with pytest.raises(RunError, match=r"max_wait is .* in sum.*resume the run later"):
            ask(judge(server), request())
        assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf"])
def test_a_retry_after_that_says_nothing_is_an_attempt(value: str) -> None:
    with Loopback(first(99, Fault("status", 429, {"Retry-After": value}))) as server, pytest.raises(CallFailedError):
        ask(judge(server), request())
    assert len(server.requests) == 6


def test_limits_per_minute_are_kept() -> None:
    fake = FakeTime()
    with Loopback() as server:
        ask(judge(server, fake.clock(), requests_per_minute=30), *(request(number) for number in range(40)))
    assert fake.slept == pytest.approx(20, abs=0.5)  # 30 at once, and one every two seconds


def rejecting(*fields: str) -> Faults:
    """An endpoint that does not know some fields, and says so."""

    def faults(body: Any, before: int) -> Fault | None:
        kind = body.get("response_format", {}).get("type")
        for name in fields:
            if name == kind or name in body:
                told = f"response_format type '{name}' is not supported" if name == kind else f"unknown field {name}"
                return Fault("status", 422 if name == "json_object" else 400, body={"error": {"message": told}})
        return None

    return faults


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ((), ["json_schema"] * 3),
        (("json_schema",), ["json_schema", "json_object", "json_object", "json_object"]),
        (("json_schema", "json_object"), ["json_schema", "json_object", None, None, None]),
    ],
)
def test_structure_is_lowered_once_and_remembered(fields: tuple[str, ...], sent: list[str | None]) -> None:
    with Loopback(rejecting(*fields)) as server:
        made = judge(server, concurrency=1)
        found = ask(made, *(request(number) for number in range(3)))
    assert [(one.parsed or {})["score"] for one in found] == [3, 3, 3]
    assert [one.attempts for one in found] == [1, 1, 1]
    assert [body.get("response_format", {}).get("type") for body in server.requests] == sent
    assert server.problems == []


def test_workers_that_meet_the_wall_together_lower_it_together() -> None:
    with Loopback(rejecting("json_schema", "json_object")) as server:
        found = ask(judge(server, concurrency=8), *(request(number) for number in range(8)))
    assert all((one.parsed or {})["score"] == 3 for one in found)


def test_other_fields_that_are_not_known() -> None:
    with Loopback(rejecting("seed", "max_tokens")) as server:
        (found,) = ask(judge(server), request())
    assert (found.parsed or {})["score"] == 3
    assert "seed" not in server.requests[-1]
    assert server.requests[-1]["max_completion_tokens"] == 1024


def test_an_endpoint_that_knows_nothing_at_all_fails_soon() -> None:
    fault = Fault("status", 400, body={"error": {"message": "response_format is not supported"}})
    with Loopback(first(99, fault)) as server, pytest.raises(CallFailedError):
        ask(judge(server), request())
    assert len(server.requests) == 3  # json_schema, json_object, text


# --- asking: store, re-asks, budget ---------------------------------------------------------------------------------


def asked(server: Loopback, folder: Path, *, ledger: Ledger | None = None, times: int = 1, **keys: Any) -> list[Answer]:
    async def together() -> list[Answer]:
        made = judge(server, **keys)
        asker = Asker(made, AnswerStore(folder), ledger)
        try:
            return await asyncio.gather(*(asker.ask(request(), SCHEMA) for _ in range(times)))
        finally:
            await made.close()

    return asyncio.run(together())


def test_no_answered_request_is_sent_again(tmp_path: Path) -> None:
    with Loopback() as server:
        side_by_side = asked(server, tmp_path, times=5)
        again = asked(server, tmp_path, base_url=server.url.replace("127.0.0.1", "localhost"))
    assert len(server.requests) == 1
    assert {answer.values["score"] for answer in [*side_by_side, *again]} == {3}
    assert len({answer.keys for answer in [*side_by_side, *again]}) == 1


def test_errors_are_never_stored(tmp_path: Path) -> None:
    with Loopback(first(6, Fault("error-text"))) as server:
        (failed,) = asked(server, tmp_path)
        assert (failed.status, failed.attempts) == ("error", 6)
        assert "[ERROR] 429" in failed.problem
        assert list(AnswerStore(tmp_path)) == []
        (found,) = asked(server, tmp_path)
    assert found.status == "ok"


def test_a_malformed_answer_is_asked_for_again_with_the_reason(tmp_path: Path) -> None:
    with Loopback(first(2, Fault("malformed"))) as server:
        (found,) = asked(server, tmp_path)
        assert (found.status, len(found.keys)) == ("ok", 3)
        roles = [[message["role"] for message in body["messages"]] for body in server.requests]
        assert roles[2] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert "cut off inside its JSON object" in words_of(server.requests[1])
        (again,) = asked(server, tmp_path)
    assert again.values == found.values
    assert len(server.requests) == 3
    with Loopback(first(99, Fault("malformed"))) as server:
        (lost,) = asked(server, tmp_path / "other")
    assert (lost.status, lost.values, len(server.requests)) == ("unparsed", {}, 3)


def test_the_key_of_a_request() -> None:
    base = request_key(request(), "m")
    assert request_key(request(), "m") == base
    changed: list[Callable[[], str]] = [
        lambda: request_key(request(1), "m"),
        lambda: request_key(request(level=121), "m"),
        lambda: request_key(request(), "n"),
        lambda: request_key(JudgeRequest(**{**vars(request()), "seed": 1}), "m"),
        lambda: request_key(JudgeRequest(**{**vars(request()), "max_tokens": 5}), "m"),
        lambda: request_key(JudgeRequest(**{**vars(request()), "protocol_version": "w"}), "m"),
        lambda: request_key(JudgeRequest(**{**vars(request()), "schema": {}}), "m"),
        lambda: request_key(JudgeRequest(**{**vars(request()), "turns": (("a", "b"),)}), "m"),
    ]
    keys = [make() for make in changed]
    assert len({base, *keys}) == 9


def test_money_is_not_spent_beyond_the_limit(tmp_path: Path) -> None:
    """Requests side by side cannot cross the line together."""

    async def many(asker: Asker) -> list[Any]:
        requests = [asker.ask(request(number), SCHEMA) for number in range(20)]
        return await asyncio.gather(*requests, return_exceptions=True)

    with Loopback() as server:
        made = judge(server, prices={"m": {"prompt": 10.0, "completion": 10.0}}, concurrency=8)
        ledger = Ledger(max_cost=0.1)
        found = asyncio.run(many(Asker(made, AnswerStore(tmp_path), ledger)))
    stopped = [one for one in found if isinstance(one, RunError)]
    assert stopped
    assert "stopped before exceeding max_cost 0.1" in str(stopped[0])
    assert 0 < ledger.spent.cost <= 0.1
    assert ledger.spent.calls == len(server.requests) == len(list(AnswerStore(tmp_path)))


# --- keys -----------------------------------------------------------------------------------------------------------


def test_keys_are_names_of_variables_alone() -> None:
    for tree, told in (
        ({"api_key_env": "sk-abc123"}, "NAME of an environment variable"),
        ({"base_url": "https://user:secret@host/v1"}, "never written into files"),
        ({"base_url": "https://host/v1?key=secret"}, "never written into files"),
        ({"api_key": "x"}, "unknown key"),
    ):
        with pytest.raises(ConfigError, match=told):
            build(OpenAICompatible.Config, {"model": "m"} | tree, source="test")


def test_a_key_that_comes_back_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Exceptions, answers, files and logs; the server repeats the key wherever it can."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", "planted-7f3a9c")
    with Loopback(key="another") as server, pytest.raises(RunError) as caught:
        ask(judge(server, api_key_env="JUDGE_KEY"), request())
    assert "Incorrect API key provided: Bearer [key]" in str(caught.value)

    leaking = Fault("status", 500, body={"error": {"message": "Authorization: Bearer planted-7f3a9c"}})
    with Loopback(first(6, leaking), key="planted-7f3a9c") as server:
        (failed,) = asked(server, tmp_path, api_key_env="JUDGE_KEY")
        (fine,) = asked(server, tmp_path, api_key_env="JUDGE_KEY")
    assert (failed.status, fine.status) == ("error", "ok")
    texts = [str(caught.value), failed.problem, caplog.text]
    texts += [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(texts) == 4
    assert not any("planted-7f3a9c" in text for text in texts)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with Loopback() as server, pytest.raises(ConfigError, match="variable NO_SUCH_KEY is not set"):
        ask(judge(server, api_key_env="NO_SUCH_KEY"), request())


def test_two_models_share_the_roles(tmp_path: Path) -> None:
    async def chain() -> Any:
        made = judge(server, assistant="small")
        try:
            return await chain_of_query(
                Asker(made, AnswerStore(tmp_path)), dimension("color"), shown("x", [230]), Asking()
            )
        finally:
            await made.close()

    with Loopback() as server:
        found = asyncio.run(chain())
    assert [body["model"] for body in server.requests] == ["m", "small", "small", "m", "m"]
    assert (found.score, found.usage.calls) == (3, 5)
    assert server.problems == []
    assert json.loads((AnswerStore(tmp_path).path(found.request_keys[1])).read_text())["model"] == "small"


def test_a_refusal_of_the_endpoint_is_no_score(tmp_path: Path) -> None:
    """VJ-1, at the level of the protocol: `refusal` and content filters."""
    fault = Fault("status", 400, body={"error": {"code": "content_policy_violation", "message": "no"}})

    async def one() -> Any:
        made = judge(server)
        try:
            return await direct(Asker(made, AnswerStore(tmp_path)), IMAGING, shown("x", [50]), Asking())
        finally:
            await made.close()

    with Loopback(first(1, fault)) as server:
        found = asyncio.run(one())
    assert (found.score, found.status) == (None, "refused")
