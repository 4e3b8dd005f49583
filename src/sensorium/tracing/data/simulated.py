"""Learners whose knowledge is known: for tests, and to see what a model recovers.

A learner has an ability, a concept a difficulty and a gain per practice; a question has a difficulty and a
discrimination of its own (two-parameter logistic):

    theta_sk(t) = ability_s + own_sk + gain_k · min(practice of k before t, cap)
    P(right)    = sigmoid(a_q (mean_k theta_sk(t) - b_q))

`truth.parquet` beside the tables has the probability of every answer and, per concept, the learner's theta.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from sensorium.core.config import Config, build, dump
from sensorium.core.files import read_json, sha256_file, write_json, write_parquet
from sensorium.core.seeds import numpy_generator
from sensorium.data.schema import Source
from sensorium.data.store import new_folder
from sensorium.tracing.data import schema
from sensorium.tracing.data.dataset import TracingDataset

TRUTH = "truth.parquet"


class SimulationConfig(Config):
    """A class of simulated learners."""

    students: int = Field(200, ge=1, description="learners, S")
    questions: int = Field(60, ge=1, description="questions, Q")
    concepts: int = Field(12, ge=1, description="concepts, C")
    two_concepts: float = Field(0.2, ge=0, le=1, description="share of questions with a second concept")
    shortest: int = Field(30, ge=3, description="answers of the shortest history")
    longest: int = Field(120, ge=3, description="answers of the longest history")
    ability_sd: float = Field(1.0, ge=0, description="spread of the learners' abilities")
    own_sd: float = Field(0.5, ge=0, description="spread of a learner's abilities over concepts")
    gain: float = Field(0.08, ge=0, description="mean gain per practice of a concept, in logits")
    practice_cap: int = Field(20, ge=0, description="practices after which nothing is gained")
    seed: int = Field(0, ge=0, description="of all draws")


@dataclass(frozen=True)
class Simulated:
    """Simulated answers, packed student by student.

    Attributes:
        student: int32 [N].
        question: int32 [N].
        response: int8 [N].
        p: float64 [N], the true probability of a right answer.
        link_question: int32 [links].
        link_concept: int32 [links].
        theta: float64 [S, C], each learner's true state of each concept after the last answer.
        discrimination: float64 [Q].
        difficulty: float64 [Q].
        gain: float64 [C], what a practice of each concept adds to theta.
    """

    student: npt.NDArray[np.int32]
    question: npt.NDArray[np.int32]
    response: npt.NDArray[np.int8]
    p: npt.NDArray[np.float64]
    link_question: npt.NDArray[np.int32]
    link_concept: npt.NDArray[np.int32]
    theta: npt.NDArray[np.float64]
    discrimination: npt.NDArray[np.float64]
    difficulty: npt.NDArray[np.float64]
    gain: npt.NDArray[np.float64]


def draw(config: SimulationConfig) -> Simulated:
    """Draw a class of learners and their answers; time steps are drawn for all learners at once."""
    random = numpy_generator(config.seed, "simulated learners")
    S, Q, C = config.students, config.questions, config.concepts
    first = np.arange(Q) % C
    second = (first + 1 + random.integers(0, max(1, C - 1), Q)) % C
    two = (random.random(Q) < config.two_concepts) & (second != first)
    weight = np.zeros((Q, C))
    weight[np.arange(Q), first] = 1.0
    weight[two, second[two]] = 1.0
    member = weight > 0
    weight /= weight.sum(1, keepdims=True)
    difficulty, discrimination = random.normal(0, 1, Q), np.exp(random.normal(0, 0.25, Q))
    gain = config.gain * np.exp(random.normal(0, 0.3, C))
    base = random.normal(0, config.ability_sd, (S, 1)) + random.normal(0, config.own_sd, (S, C))
    length = random.integers(config.shortest, max(config.shortest, config.longest) + 1, S)
    practice = np.zeros((S, C))
    asked, right, chance, alive = [], [], [], []
    for step in range(int(length.max())):
        question = random.integers(0, Q, S)
        theta = base + gain * np.minimum(practice, config.practice_cap)
        p = 1 / (1 + np.exp(-discrimination[question] * ((weight[question] * theta).sum(1) - difficulty[question])))
        response = random.random(S) < p
        on = step < length
        practice += member[question] * on[:, None]
        asked.append(question)
        right.append(response)
        chance.append(p)
        alive.append(on)
    kept = np.stack(alive, 1)  # [S, T]
    links = np.argwhere(member)
    return Simulated(
        student=np.repeat(np.arange(S, dtype=np.int32), length),
        question=np.stack(asked, 1)[kept].astype(np.int32),
        response=np.stack(right, 1)[kept].astype(np.int8),
        p=np.stack(chance, 1)[kept],
        link_question=links[:, 0].astype(np.int32),
        link_concept=links[:, 1].astype(np.int32),
        theta=base + gain * np.minimum(practice, config.practice_cap),
        discrimination=discrimination,
        difficulty=difficulty,
        gain=gain,
    )


def ideal_observer(drawn: Simulated, config: SimulationConfig) -> npt.NDArray[np.float64]:
    """Return what one who knows the questions, the gains and the class, but no learner, would predict: float64 [N].

    The belief about a learner's abilities is a Gaussian over concepts, begun at the class's and moved answer by answer
    to the mean and variance of the posterior along the asked direction (assumed density filtering; Opper, "A Bayesian
    Approach to On-line Learning", 1998). No history holds more, so that a tracer is measured against this and not
    against the true probability, which knows what no answer shows.
    """
    S, Q, C = config.students, config.questions, config.concepts
    weight = np.zeros((Q, C))
    weight[drawn.link_question, drawn.link_concept] = 1.0
    member = weight > 0
    weight /= weight.sum(1, keepdims=True)
    nodes, shares = np.polynomial.hermite_e.hermegauss(21)
    shares = shares / shares.sum()
    mean = np.zeros((S, C))
    covariance = np.tile(config.ability_sd**2 + config.own_sd**2 * np.eye(C), (S, 1, 1))
    practice, p = np.zeros((S, C)), np.empty(len(drawn.student))
    length = np.bincount(drawn.student, minlength=S)
    offset = np.cumsum(length) - length
    for step in range(int(length.max())):  # all learners at once
        on = np.flatnonzero(step < length)
        row = offset[on] + step
        question = drawn.question[row]
        w = weight[question]
        known = (w * (drawn.gain * np.minimum(practice[on], config.practice_cap))).sum(1) - drawn.difficulty[question]
        along = np.einsum("scd,sd->sc", covariance[on], w)
        centre, variance = (w * mean[on]).sum(1), (along * w).sum(1)
        at = centre[:, None] + np.sqrt(variance)[:, None] * nodes  # [on, nodes]
        right = 1 / (1 + np.exp(-drawn.discrimination[question][:, None] * (at + known[:, None])))
        p[row] = right @ shares
        belief = shares * np.where(drawn.response[row][:, None] == 1, right, 1 - right)
        belief /= belief.sum(1, keepdims=True)
        new = (belief * at).sum(1)
        new_variance = (belief * (at - new[:, None]) ** 2).sum(1)
        variance = np.maximum(variance, 1e-12)  # nothing is unknown where all learners are alike
        mean[on] += along * ((new - centre) / variance)[:, None]
        covariance[on] -= (
            along[:, :, None] * along[:, None, :] * ((variance - new_variance) / variance**2)[:, None, None]
        )
        practice[on] += member[question]
    return p


def simulate(out: str | Path, config: SimulationConfig, *, overwrite: bool = False) -> TracingDataset:
    """Write simulated learners as a data set.

    Raises:
        DataError: `out` is there already.
    """
    drawn = draw(config)
    with new_folder(out, overwrite=overwrite) as folder:
        n = len(drawn.student)
        offset = np.concatenate([[0], np.cumsum(np.bincount(drawn.student, minlength=config.students))[:-1]])
        order = (np.arange(n) - offset[drawn.student]).astype(np.int32)
        tables = {
            schema.RESPONSES: pl.DataFrame(
                {"student": drawn.student, "question": drawn.question, "response": drawn.response, "order": order}
            ).with_columns(
                timestamp=pl.lit(None, dtype=pl.Int64),
                duration_ms=pl.lit(None, dtype=pl.Int32),
                attempt=pl.lit(None, dtype=pl.Int16),
                split=pl.lit(None, dtype=pl.String),
            ),
            schema.QUESTIONS: _ids("question", config.questions),
            schema.QUESTION_CONCEPTS: pl.DataFrame({"question": drawn.link_question, "concept": drawn.link_concept}),
            schema.CONCEPTS: _ids("concept", config.concepts).with_columns(name=pl.lit(None, dtype=pl.String)),
            schema.STUDENTS: _ids("student", config.students),
            TRUTH: pl.DataFrame({"student": drawn.student, "order": order, "p": drawn.p}),
        }
        for table, frame in tables.items():
            write_parquet(folder / table, frame)
        two = np.bincount(drawn.link_question, minlength=config.questions) > 1
        info = schema.TracingInfo(
            name=Path(out).name,
            licence="generated",
            source=Source(reader="simulated", options=dump(config)),
            counts={
                "students": config.students,
                "questions": config.questions,
                "concepts": config.concepts,
                "links": len(drawn.link_question),
                "responses": n,
                "right": int(drawn.response.sum()),
                "rejected": 0,
            },
            multi_concept_share=float(two[drawn.question].mean()),
            has_questions=True,
            has_time=False,
            response_rule="drawn with a known probability",
            checksums={table: sha256_file(folder / table) for table in tables},
            planted={"oracle_log_loss": _log_loss(drawn.p, drawn.response)},
        )
        write_json(folder / schema.DESCRIPTION, dump(info))
    return TracingDataset.open(out)


def simulation_of(data: TracingDataset) -> Simulated:
    """Draw again what a simulated data set was made of."""
    tree = read_json(data.root / schema.DESCRIPTION)["source"]["options"]
    return draw(build(SimulationConfig, tree, source=str(data.root)))


def _ids(kind: str, count: int) -> pl.DataFrame:
    numbers = np.arange(count, dtype=np.int32)
    return pl.DataFrame({kind: numbers, f"{kind}_id": [f"{kind}-{number}" for number in numbers]})


def _log_loss(p: npt.NDArray[np.float64], response: npt.NDArray[np.int8]) -> float:
    return float(-np.where(response == 1, np.log(p), np.log1p(-p)).mean())
