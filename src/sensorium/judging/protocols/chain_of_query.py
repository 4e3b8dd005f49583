"""Chain of query: describe, ask, answer, score (Video-Bench, alignment dimensions). Five calls for a video.

    1  describe    host       frames                                  -> caption, description D1
    2a question_a  assistant  prompt, D1                              -> at most 2 questions on differences, or none
    2b question_b  assistant  prompt, D1, questions of 2a             -> the same, with another focus
    3  answer      host       frames, prompt, questions               -> what the frames show of each aspect D2, answers
    4  score       host       frames, prompt, D1, D2, questions with answers -> updated description, score

Step 1 doesn't see the prompt, so that it describes what is there and not what was wanted; the questioners don't see the
frames. Without a question, step 3 still runs on the aspects alone. (Released: the answers never reach step 4, so that
the questions decide nothing but the list of aspects; `judge_sees_answers: false` gives that.)
"""

from __future__ import annotations

from sensorium.judging.asking import Answer, Asker
from sensorium.judging.dimensions import Dimension, Focus
from sensorium.judging.judges.base import JudgeRequest, Outcome, Part, Role
from sensorium.judging.protocols.base import Asking, outcome
from sensorium.judging.protocols.words import data_block, frames_of, please_answer, protocol_version, system_words
from sensorium.judging.sampling import Shown
from sensorium.judging.schemas import (
    QUESTIONS,
    Schema,
    answers_schema,
    description_schema,
    final_schema,
    questions_schema,
)

DESCRIBER = (
    "You describe video for someone who cannot see it. You say what the frames show, and nothing that they don't."
)
QUESTIONER = (
    "You help to judge whether a video shows what a text asks for. You cannot see the video; you have the text and a "
    "description by someone who has not read the text. You ask about what differs between the two or remains open."
)
JUDGE = (
    "You judge generated video. You look at frames of one video, in order, at the text that it was made from, and at "
    "what others have noted about the video. The frames decide: notes may be wrong."
)


async def chain_of_query(asker: Asker, dimension: Dimension, shown: Shown, asking: Asking) -> Outcome:
    """Judge one video in five calls; a step that fails ends the chain, and the outcome names it."""
    steps = _Steps(asker, dimension, shown.thinned(asker.judge.caps.max_images), asking)
    if await steps.describe() and await steps.question("a") and await steps.question("b") and await steps.answer():
        await steps.score()
    last = steps.answers[-1]
    if last.status != "ok":
        number = ("1", "2a", "2b", "3", "4")[len(steps.answers) - 1]
        steps.answers[-1] = Answer(
            last.status, {}, f"step {number}: {last.problem}", last.keys, last.usage, last.attempts
        )
    return outcome(steps.answers, steps.shown, notes={"questions": len(steps.questions)})


class _Steps:
    """One chain under way: what is known so far."""

    def __init__(self, asker: Asker, dimension: Dimension, shown: Shown, asking: Asking) -> None:
        self.asker, self.dimension, self.shown, self.asking = asker, dimension, shown, asking
        self.focus = dimension.focus or Focus(a=dimension.criteria, b=dimension.criteria)
        self.answers: list[Answer] = []
        self.questions: list[str] = []
        self.replies: list[str] = []
        self.description = self.caption = self.aspects = ""

    @property
    def prompt(self) -> str:
        return self.shown.cell.prompt

    @property
    def frames(self) -> list[Part]:
        return frames_of(self.shown, "video")

    async def describe(self) -> bool:
        """Step 1: what the frames show, by someone who does not know the prompt."""
        each = " Describe every frame by itself, and then the video." if self.dimension.describe_each_frame else ""
        ask = f"Describe this video: objects, their number and colours, actions, the place, and what changes.{each}"
        found = await self._ask("host", "describe", system_words(DESCRIBER), self.frames, ask, description_schema())
        self.caption, self.description = found.values.get("caption", ""), found.values.get("description", "")
        return found.status == "ok"

    async def question(self, which: str) -> bool:
        """Step 2a or 2b: up to two questions by someone who does not see the frames."""
        focus = self.focus.a if which == "a" else self.focus.b
        data = data_block(prompt=self.prompt, caption=self.caption, description=self.description)
        if which == "b":
            data = data_block(
                prompt=self.prompt,
                caption=self.caption,
                description=self.description,
                questions_already_asked=self.questions,
            )
        ask = (
            f"Ask at most {QUESTIONS} questions that someone who sees the video can answer. Your focus: {focus}. Don't "
            "repeat a question that was asked already; where nothing is open, ask none."
        )
        schema = questions_schema()
        found = await self._ask("assistant", f"question_{which}", system_words(QUESTIONER), [data], ask, schema)
        self.questions += found.values.get("questions", [])
        return found.status == "ok"

    async def answer(self) -> bool:
        """Step 3: answers from the frames, and what they show of the aspects of both foci."""
        data = data_block(prompt=self.prompt, questions=self.questions)
        ask = (
            f"Say what the frames show of these aspects: {self.focus.a}; {self.focus.b}. Then answer each of the "
            f"{len(self.questions)} questions from the frames."
        )
        parts = [data, *self.frames]
        schema = answers_schema(len(self.questions))
        found = await self._ask("host", "answer", system_words(DESCRIBER), parts, ask, schema)
        self.aspects, self.replies = found.values.get("aspects", ""), found.values.get("answers", [])
        return found.status == "ok"

    async def score(self) -> bool:
        """Step 4: the score, by someone who sees everything."""
        known: dict[str, str | list[str]] = {
            "prompt": self.prompt,
            "caption": self.caption,
            "description": self.description,
            "aspects": self.aspects,
        }
        if self.asking.judge_sees_answers:
            known |= {"questions": self.questions, "answers": self.replies}
        parts = [data_block(**known), *self.frames]
        schema = final_schema(self.dimension)
        ask = "Correct the description where the frames or the answers say otherwise, then judge the video."
        found = await self._ask("host", "score", system_words(JUDGE, self.dimension), parts, ask, schema)
        return found.status == "ok"

    async def _ask(self, role: Role, step: str, system: str, parts: list[Part], ask: str, schema: Schema) -> Answer:
        request = JudgeRequest(
            role,
            step,
            system,
            (*parts, please_answer(ask, schema)),
            schema.name,
            schema.json,
            protocol_version("chain-of-query", self.dimension),
            **self.asking.sampling(),
        )
        self.answers.append(await self.asker.ask(request, schema))
        return self.answers[-1]
