"""One question, one checked answer: the store first, then the judge, then at most two more tries that say what was
wrong.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from sensorium.core.errors import SensoriumError
from sensorium.judging.accounting import Ledger, estimated_tokens
from sensorium.judging.cache import AnswerStore, request_key
from sensorium.judging.judges.base import CallFailedError, Judge, JudgeRequest, JudgeResponse, Usage
from sensorium.judging.parsing import FailedAnswerError, RefusedError, UnreadableError, error_message, read_answer
from sensorium.judging.records import Status
from sensorium.judging.schemas import Schema

RE_ASKS = 2
LONGEST_TEXT = 4000


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        status: "ok", "unparsed", "refused" or "error".
        values: The checked values of the answer, empty unless the status is "ok".
        problem: Why there are none.
        keys: Of all answers that were read for it, the last one decides.
        usage: What they took.
        attempts: Requests that were sent, failed ones included.
    """

    status: Status
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    keys: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    attempts: int = 0


class Asker:
    """Asks one judge, for any number of tasks side by side.

    No request is sent that the store can answer, nor one that is on its way already. After `stop`, nothing new is sent;
    what is on its way still comes in and is kept.

    Attributes:
        judge: Who answers.
        store: The answers.
        ledger: What they cost.
        sent: Requests that were sent to the judge in this process.
    """

    def __init__(
        self, judge: Judge, store: AnswerStore, ledger: Ledger | None = None, *, re_asks: int = RE_ASKS
    ) -> None:
        self.judge, self.store, self.ledger = judge, store, ledger or Ledger()
        self.sent = 0
        self._re_asks = re_asks
        self._on_their_way: dict[str, asyncio.Future[JudgeResponse]] = {}
        self._stopped: SensoriumError | None = None

    def stop(self, why: SensoriumError) -> None:
        """Send nothing more: whoever wants to gets this error."""
        self._stopped = self._stopped or why

    async def ask(self, request: JudgeRequest, schema: Schema) -> Answer:
        """Ask until the answer has the form of the schema, at most `re_asks` times more.

        Raises:
            SensoriumError: The run cannot go on; see `Judge.complete` and `Ledger.reserve`.
        """
        keys: list[str] = []
        usage, attempts, problem = Usage(), 0, ""

        def answer(status: Status, problem: str = "", values: dict[str, Any] | None = None) -> Answer:
            return Answer(status, values or {}, problem, tuple(keys), usage, attempts)

        for _ in range(self._re_asks + 1):
            try:
                key, response = await self._response(request)
            except CallFailedError as error:
                attempts += error.attempts
                return answer("error", str(error))
            keys.append(key)
            usage, attempts = usage + response.usage, attempts + response.attempts
            if response.refused:
                return answer("refused", " ".join(response.text.split())[:300] or "the endpoint declined")
            try:
                return answer("ok", values=read_answer(response.text, schema))
            except RefusedError as error:
                return answer("refused", str(error))
            except FailedAnswerError as error:
                return answer("error", str(error))
            except UnreadableError as error:
                problem = str(error)
                cut = ", and it was cut off at the longest length" if response.finish_reason == "length" else ""
                request = replace(request, turns=(*request.turns, (_short(response.text), _again(problem, schema))))
                problem += cut
        return answer("unparsed", problem)

    async def _response(self, request: JudgeRequest) -> tuple[str, JudgeResponse]:
        """Return the key of a request and its answer, from wherever it comes first."""
        model = self.judge.model_id(request.role)
        key = request_key(request, model)
        if (other := self._on_their_way.get(key)) is not None:
            return key, await asyncio.shield(other)
        if (stored := self.store.read(key)) is not None:
            return key, stored
        if self._stopped is not None:
            raise self._stopped
        future: asyncio.Future[JudgeResponse] = asyncio.get_running_loop().create_future()
        self._on_their_way[key] = future
        try:
            response = await self._paid(request)
            # In a thread, so that others go on while the disk is waited for; cancelled or not, it ends its write.
            await asyncio.to_thread(self.store.write, key, request, model, response)
            future.set_result(response)
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else CallFailedError("it was interrupted"))
            future.exception()  # whoever waits gets it too; nobody need wait
            raise
        finally:
            del self._on_their_way[key]
        return key, response

    async def _paid(self, request: JudgeRequest) -> JudgeResponse:
        """Send a request within the budget; an answer that is an error message is a failed call, and is never kept."""
        prompt_tokens = estimated_tokens(request, low_detail=self.judge.caps.low_detail)
        reserved = self.ledger.reserve(self.judge.cost(request.role, prompt_tokens, request.max_tokens))
        spent = Usage()
        try:
            self.sent += 1
            response = await self.judge.complete(request)
            spent = response.usage
        finally:
            self.ledger.settle(reserved, spent)
        if message := error_message(response.text):
            raise CallFailedError(message, response.attempts)
        return response


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."


def _again(problem: str, schema: Schema) -> str:
    return (
        f"That answer cannot be used: {problem}. Answer again with one JSON object of this form and nothing else: "
        f"{schema.form}"
    )
