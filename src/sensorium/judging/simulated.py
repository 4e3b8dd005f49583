"""What a protocol buys, under a stated error model: no model answers here, a script does, through the real protocols.

    shift    the judge's level moves from call to call. Few-shot joint shares a call between the models of a prompt, so
             that the shift cancels in their order; direct does not.
    missed   a look at a video misses each fact that it shows with probability p. Chain-of-query looks again at what the
             first description lacks; direct does not.
    both     missed facts, with the noise and the shift of the first.

Every random number is a function of its name, so that all protocols meet the same truth and the same noise in any order
of calls: u = (first 53 bits of SHA-256 of "seed|kind|prompt|model|sample|rest" + ½) / 2⁵³, a normal number is Φ⁻¹(u),
an event of rate π happens when u < π. Kinds: `q` (truth), `n` (noise of a cell), `s` (shift of a call; rest = protocol,
model `*` in a joint call), `shown`, `look1`, `look2` (rest = fact); where there is no rest, the name ends with "|". The
judge knows a cell by its frame alone: sixteen black or white blocks spell its number.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from sensorium.judging.asking import Asker
from sensorium.judging.cache import AnswerStore
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import dimension
from sensorium.judging.judges.base import JudgeRequest, JudgeResponse, Outcome, Picture, Text
from sensorium.judging.judges.scripted import Scripted, pixels, videos_of
from sensorium.judging.protocols.base import Asking
from sensorium.judging.protocols.chain_of_query import chain_of_query
from sensorium.judging.protocols.direct import direct
from sensorium.judging.protocols.few_shot import joint
from sensorium.judging.running import wait_for
from sensorium.judging.sampling import Shown, encode

Floats = npt.NDArray[np.float64]
ErrorModel = Literal["shift", "missed", "both"]
Protocol = Literal["direct", "few-shot-joint", "chain-of-query"]

MODELS = 7
FACTS = 4
NOISE = 0.5  # deviation of a cell's noise
DIMENSIONS = {"shift": "temporal_consistency", "missed": "video_text_consistency", "both": "video_text_consistency"}


def uniform(seed: int, kind: str, prompt: int, model: int | str, sample: int, rest: str = "") -> float:
    """Return the number in 0..1 that belongs to a name."""
    name = f"{seed}|{kind}|{prompt}|{model}|{sample}|{rest}"
    bits = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") >> 3
    return (bits + 0.5) / 2**53


def normal(seed: int, kind: str, prompt: int, model: int | str, sample: int, rest: str = "") -> float:
    """Return the standard normal number that belongs to a name."""
    return float(ndtri(uniform(seed, kind, prompt, model, sample, rest)))


@dataclass(frozen=True)
class World:
    """One setting: what is true, and how a judge errs.

    Attributes:
        error: The error model.
        seed: Of every number.
        sigma: Deviation of the shift of a call.
        miss: p, the chance that a look misses a fact that is shown.
        prompts: How many.
        samples: Of each model for each prompt.
    """

    error: ErrorModel
    seed: int = 0
    sigma: float = 1.0
    miss: float = 0.3
    prompts: int = 60
    samples: int = 2

    @property
    def id(self) -> str:
        """The judge's id: setting and seed, since answers are kept under it."""
        return f"simulated-{self.error}-sigma{self.sigma:g}-p{self.miss:g}-seed{self.seed}"

    @property
    def groups(self) -> list[tuple[int, int]]:
        """(prompt, sample), in order."""
        return [(prompt, sample) for prompt in range(self.prompts) for sample in range(self.samples)]

    @cached_property
    def truth(self) -> Floats:
        """What is true of each video: float [groups, models]."""
        return np.array(
            [[self._true(prompt, model, sample) for model in range(1, MODELS + 1)] for prompt, sample in self.groups]
        )

    def _true(self, prompt: int, model: int, sample: int) -> float:
        if self.error == "shift":
            return 3 + normal(self.seed, "q", prompt, model, sample)
        return 1.0 + sum(self.shows(prompt, model, sample, fact) for fact in range(FACTS))

    def shows(self, prompt: int, model: int, sample: int, fact: int) -> bool:
        """Whether a video shows a fact: model m does with probability .2 + .1 m."""
        return uniform(self.seed, "shown", prompt, model, sample, str(fact)) < 0.2 + 0.1 * model

    def sees(self, look: str, prompt: int, model: int, sample: int, fact: int) -> bool:
        """Whether a look reports a fact: one that is shown with probability 1 − p, one that is not never."""
        seen = uniform(self.seed, look, prompt, model, sample, str(fact)) < 1 - self.miss
        return seen and self.shows(prompt, model, sample, fact)

    def noise(self, prompt: int, model: int, sample: int) -> float:
        """Return the noise of a cell, the same in all protocols."""
        return NOISE * normal(self.seed, "n", prompt, model, sample)

    def shift(self, prompt: int, model: int | str, sample: int, protocol: str) -> float:
        """Return the shift of a call."""
        return self.sigma * normal(self.seed, "s", prompt, model, sample, protocol)


# --- clips ----------------------------------------------------------------------------------------------------------


def clip(number: int) -> npt.NDArray[np.uint8]:
    """Return the frame of a cell, uint8 [32, 32, 3]: its number in sixteen blocks."""
    bits = np.array([number >> place & 1 for place in range(16)], dtype=np.uint8).reshape(4, 4)
    return np.repeat(np.kron(255 * bits, np.ones((8, 8), dtype=np.uint8))[:, :, None], 3, axis=2).astype(np.uint8)


def number_of(picture: Picture) -> int:
    """Return the number that a frame spells."""
    blocks = pixels(picture)[..., 0].reshape(4, 8, 4, 8).mean(axis=(1, 3)) > 127
    return int((blocks.ravel().astype(np.int64) << np.arange(16)).sum())


def facts_of(prompt: int) -> list[str]:
    """Return the facts that a prompt names."""
    return [f"fact {prompt}.{fact}" for fact in range(FACTS)]


def shown_cells(world: World, prompt: int, sample: int) -> list[Shown]:
    """Return the clips of all models for a prompt and sample."""
    group = world.groups.index((prompt, sample))
    text = "; ".join(facts_of(prompt))
    return [
        Shown(
            VideoCell(f"model-{model}", str(prompt), text, sample, Path(f"{group * MODELS + model - 1}.png")),
            (encode(clip(group * MODELS + model - 1), 90),),
            (0,),
        )
        for model in range(1, MODELS + 1)
    ]


# --- the judge ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SimulatedJudge:
    """The script of a world. It reads requests as a model would: frames by what they show, the rest by its words.

    Attributes:
        world: What is true.
    """

    world: World

    def __call__(self, request: JudgeRequest) -> dict[str, Any]:
        """Answer one request."""
        if request.step.startswith("question"):
            return {"questions": self._questions(_data(request))}
        cells = {name: self._cell(pictures[0]) for name, pictures in videos_of(request.content).items()}
        if "scores" in request.schema["properties"]:
            entries = [{"video": name, **self._joint(*cell)} for name, cell in cells.items()]
            return {"scores": entries}
        (cell,) = cells.values()
        if request.step == "describe":
            seen = self._first_look(*cell)
            return {"caption": "A clip.", "description": "; ".join(facts_of(cell[0])[fact] for fact in seen)}
        if request.step == "answer":
            return {"aspects": "", "answers": [self._second_look(cell, asked) for asked in _data(request)["questions"]]}
        if "updated_description" in request.schema["properties"]:
            return {"updated_description": "", **self._final(cell, _data(request))}
        return self._direct(*cell)

    def _cell(self, picture: Picture) -> tuple[int, int, int]:
        """Return (prompt, model, sample) of a frame."""
        group, model = divmod(number_of(picture), MODELS)
        prompt, sample = self.world.groups[group]
        return prompt, model + 1, sample

    def _direct(self, prompt: int, model: int, sample: int) -> dict[str, Any]:
        world = self.world
        if world.error == "shift":
            truth = 3 + normal(world.seed, "q", prompt, model, sample)
            return _scored(truth + world.noise(prompt, model, sample) + world.shift(prompt, model, sample, "direct"))
        return self._counted(len(self._first_look(prompt, model, sample)), (prompt, model, sample), "direct")

    def _joint(self, prompt: int, model: int, sample: int) -> dict[str, Any]:
        world = self.world
        truth = 3 + normal(world.seed, "q", prompt, model, sample)
        return _scored(truth + world.noise(prompt, model, sample) + world.shift(prompt, "*", sample, "joint"))

    def _first_look(self, prompt: int, model: int, sample: int) -> list[int]:
        return [fact for fact in range(FACTS) if self.world.sees("look1", prompt, model, sample, fact)]

    def _questions(self, data: dict[str, Any]) -> list[str]:
        """Ask for the first two facts of the prompt that the description lacks and nobody has asked for."""
        lacking = [fact for fact in data["prompt"].split("; ") if fact not in data["description"].split("; ")]
        asked = data.get("questions_already_asked", [])
        return [f"Is there {fact}?" for fact in lacking if f"Is there {fact}?" not in asked][:2]

    def _second_look(self, cell: tuple[int, int, int], asked: str) -> str:
        fact = int(re.findall(r"\d+", asked)[-1])
        return "yes" if self.world.sees("look2", *cell, fact) else "no"

    def _final(self, cell: tuple[int, int, int], data: dict[str, Any]) -> dict[str, Any]:
        """Count what the description has, and what an answer confirms, if the answers are shown at all."""
        described = [fact for fact in data["description"].split("; ") if fact]
        answers = zip(data.get("questions", []), data.get("answers", []), strict=True)
        confirmed = [asked.removeprefix("Is there ").removesuffix("?") for asked, said in answers if said == "yes"]
        return self._counted(len({*described, *confirmed}), cell, "chain-of-query")

    def _counted(self, facts: int, cell: tuple[int, int, int], protocol: str) -> dict[str, Any]:
        world, latent = self.world, 1.0 + facts
        if world.error == "both":
            latent += world.noise(*cell) + world.shift(*cell, protocol)
        return _scored(latent)


def _scored(latent: float) -> dict[str, Any]:
    """Return a score, rounded half up and clipped to 1..5, with the latent in its reason."""
    return {"score": min(5, max(1, math.floor(latent + 0.5))), "reason": f"latent {latent!r}"}


def _data(request: JudgeRequest) -> dict[str, Any]:
    """Return the fields of the block of data in a request."""
    block = next(part.text for part in request.content if isinstance(part, Text) and part.text.startswith("<data>"))
    fields: dict[str, Any] = json.loads(block.removeprefix("<data>").removesuffix("</data>"))
    return fields


# --- a run ----------------------------------------------------------------------------------------------------------


class MemoryStore(AnswerStore):
    """Answers in memory: as in a folder, but gone with the process. Tens of thousands of simulated answers need no disk
    that survives a power cut."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.answers: dict[str, tuple[JudgeRequest, JudgeResponse]] = {}

    def read(self, key: str) -> JudgeResponse | None:
        """Return the answer under a key, None where there is none."""
        return self.answers[key][1] if key in self.answers else None

    def write(self, key: str, request: JudgeRequest, model: str, response: JudgeResponse) -> None:
        """Keep an answer with its request."""
        self.answers[key] = (request, response)


@dataclass(frozen=True)
class Simulation:
    """What one protocol found in one world.

    Attributes:
        world: The world.
        protocol: The protocol.
        scores: float [groups, models].
        latents: What the judge would have said on a finer scale, float [groups, models].
        questions: For chain-of-query, the facts that were asked for in each cell, [groups][models].
        calls: Requests that were answered.
    """

    world: World
    protocol: Protocol
    scores: Floats
    latents: Floats
    questions: list[list[list[str]]]
    calls: int


def simulate(world: World, protocol: Protocol, *, judge_sees_answers: bool = True) -> Simulation:
    """Judge all clips of a world by a protocol, call by call.

    Raises:
        RuntimeError: A cell got no score: script and protocol do not understand each other.
    """
    store = MemoryStore()
    judge = Scripted(script=SimulatedJudge(world), id=world.id)
    asker = Asker(judge, store)
    asking = Asking(seed=world.seed, judge_sees_answers=judge_sees_answers)
    outcomes = wait_for(_all(world, protocol, asker, asking))
    problems = [found.reason for row in outcomes for found in row if found.score is None]
    if problems:
        raise RuntimeError(f"{len(problems)} simulated cells have no score, the first: {problems[0]}")
    scores = np.array([[float(found.score or 0) for found in row] for row in outcomes])
    latents = np.array([[float(found.reason.removeprefix("latent ")) for found in row] for row in outcomes])
    questions = [[_asked(store, found) for found in row] for row in outcomes]
    return Simulation(world, protocol, scores, latents, questions, judge.calls)


async def _all(world: World, protocol: Protocol, asker: Asker, asking: Asking) -> list[list[Outcome]]:
    rubric = dimension(DIMENSIONS[world.error])
    found = []
    for prompt, sample in world.groups:
        shown = shown_cells(world, prompt, sample)
        if protocol == "few-shot-joint":
            found.append(await joint(asker, rubric, shown, asking))
            continue
        single = direct if protocol == "direct" else chain_of_query
        calls: Sequence[Coroutine[Any, Any, Outcome]] = [single(asker, rubric, one, asking) for one in shown]
        found.append([await call for call in calls])
    return found


def _asked(store: MemoryStore, found: Outcome) -> list[str]:
    """Return what the questioners of a chain asked."""
    asked: list[str] = []
    for key in found.request_keys:
        request, response = store.answers[key]
        if request.step.startswith("question"):
            asked += json.loads(response.text)["questions"]
    return asked
