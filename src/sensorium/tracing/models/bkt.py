"""Bayesian knowledge tracing (Corbett and Anderson, UMUAI 1995), fitted by expectation maximisation.

Each skill is a hidden Markov chain of two states with prior pi, learning l, guess g, slip s (and forgetting f):

    P = L (1 - s) + (1 - L) g                        predicted before the answer
    L <- L (1 - s) / P or L s / (1 - P)              after a right or a wrong one
    L <- L (1 - f) + (1 - L) l                       before the next

A question with several concepts has their combination as its skill, or (`several: mean`) takes the mean of its members'
predictions. Forward and backward passes run over all sequences of all skills at once, sorted by length; one loop over
the places of the longest. Beta pseudo-counts keep skills with few rows sensible: a skill without any keeps their means.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from sensorium.core.seeds import numpy_generator
from sensorium.tracing.base import Tracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.models.counts import Ints, Rows, concept_links, rows_of

Floats = npt.NDArray[np.float64]
PRIOR, LEARN, GUESS, SLIP, FORGET = range(5)
PSEUDO = np.array([[1.0, 1.0], [0.5, 1.5], [2.0, 6.0], [1.0, 7.0], [0.5, 9.5]])  # of yes and no, by parameter
LARGEST = 0.5  # of guess and slip
EDGE = 1e-6


class Chains(NamedTuple):
    """The answers of each (sequence, skill), padded, the longest first.

    Attributes:
        skill: int64 [M].
        right: float64 [T, M], 0 or 1.
        active: int64 [T], how many chains have a row at each place; they are the first ones.
        chain: int64 [m], which chain each entry is in.
        place: int64 [m], and where.
    """

    skill: Ints
    right: Floats
    active: Ints
    chain: Ints
    place: Ints


def chains_of(sequence: Ints, skill: Ints, right: Ints) -> Chains:
    """Arrange entries (in their order within a sequence) as chains."""
    group = sequence * (int(skill.max(initial=0)) + 1) + skill
    order = np.argsort(group, kind="stable")
    _, start, length = np.unique(group[order], return_index=True, return_counts=True)
    by_length = np.argsort(-length, kind="stable")
    rank = np.empty_like(by_length)
    rank[by_length] = np.arange(len(by_length))
    chain, place = np.empty_like(group), np.empty_like(group)
    which = np.repeat(np.arange(len(start)), length)
    chain[order] = rank[which]
    place[order] = np.arange(len(group)) - start[which]
    longest = int(length.max(initial=0))
    table = np.zeros((longest, len(start)))
    table[place, chain] = right
    active = (length[:, None] > np.arange(longest)).sum(0) if longest else np.zeros(0, dtype=np.int64)
    return Chains(skill[order][start][by_length], table, active, chain, place)


def forward_pass(chains: Chains, parameters: Floats) -> tuple[Floats, Floats]:
    """Return the mastery before each answer and the predicted probability: float64 [..., T, M] each.

    Args:
        chains: T places, M chains.
        parameters: float64 [..., 5, skills].
    """
    own = parameters[..., chains.skill]  # [..., 5, M]
    shape = (*own.shape[:-2], *chains.right.shape)
    mastery, predicted = np.zeros(shape), np.full(shape, 0.5)
    level = own[..., PRIOR, :].copy()
    for t, m in enumerate(chains.active):
        now, (learn, guess, slip, forget) = level[..., :m], (own[..., k, :m] for k in range(1, 5))
        p = now * (1 - slip) + (1 - now) * guess
        mastery[..., t, :m], predicted[..., t, :m] = now, p
        right = chains.right[t, :m]
        after = np.where(right == 1, now * (1 - slip) / p, now * slip / (1 - p))
        level[..., :m] = after * (1 - forget) + (1 - after) * learn
    return mastery, predicted


class BKT(Tracer):
    """Bayesian knowledge tracing. Complete once built from the training rows; `state` is the mastery before each
    answer.
    """

    class Config(Tracer.Config):
        """Keys of the fit."""

        several: Literal["combination", "mean"] = Field(
            "combination", description="questions with several concepts: a skill of their own, or the members' mean"
        )
        forgets: bool = Field(False, description="whether a mastered skill may be lost again")
        restarts: int = Field(5, ge=1, description="starts of the fit; each skill keeps its best")
        iterations: int = Field(100, ge=1, description="steps at most")
        tolerance: float = Field(1e-4, gt=0, description="relative gain of the likelihood at which the fit ends")

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="a hidden Markov chain of two states per skill, fitted by expectation maximisation",
        citation="Corbett, Anderson: Knowledge Tracing: Modeling the Acquisition of Procedural Knowledge. UMUAI 1995",
        trained=False,
    )
    whole_history: ClassVar[bool] = True

    config: Config
    parameters_by_skill: Tensor

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        table = view.concepts[:-1].numpy()
        combinations = np.unique(table, axis=0) if config.several == "combination" else None
        self._combinations = combinations
        n_skills = self.n_concepts if combinations is None else len(combinations)
        start = PSEUDO[:, :1] / PSEUDO.sum(1, keepdims=True)  # what a skill without rows has
        if not config.forgets:
            start[FORGET] = 0.0
        self._unknown = n_skills  # one more skill, for combinations that were never listed
        self.register_buffer("parameters_by_skill", torch.from_numpy(np.repeat(start, n_skills + 1, axis=1)))
        if view.n_rows:
            sequence = np.repeat(np.arange(len(view.offsets) - 1), np.diff(view.offsets))
            position = np.arange(view.n_rows) - view.offsets[sequence]
            rows = Rows(sequence, position, view.question.astype(np.int64), view.response.astype(np.int64))
            row, skill = self._entries(rows, view.concepts.numpy())
            fitted = self._fit(chains_of(rows.sequence[row], skill, rows.right[row]), n_skills, view.seed)
            self.parameters_by_skill[:, :n_skills] = torch.from_numpy(fitted)

    def _entries(self, rows: Rows, concepts: npt.NDArray[np.int64]) -> tuple[Ints, Ints]:
        """Return (row, skill) for each thing that a row is an answer to, int64 [m] each, rows ascending."""
        if self._combinations is None:
            row, concept = concept_links(rows.question, concepts, self.n_concepts)
            return row, concept
        width = self._combinations.shape[1]
        listed = (
            concepts[:, :width]
            if concepts.shape[1] >= width
            else np.pad(concepts, ((0, 0), (0, width - concepts.shape[1])), constant_values=self.n_concepts)
        )
        both, back = np.unique(np.concatenate([self._combinations, listed]), axis=0, return_inverse=True)
        back = back.reshape(-1)
        known = np.full(len(both), self._unknown)
        known[back[: len(self._combinations)]] = np.arange(len(self._combinations))
        wider = (concepts[:, width:] < self.n_concepts).any(1)
        skill = np.where(wider, self._unknown, known[back[len(self._combinations) :]])
        return np.arange(len(rows.question)), skill[rows.question]

    def _fit(self, chains: Chains, n_skills: int, seed: int) -> Floats:
        """Return the parameters with the best posterior of each skill over the restarts, float64 [5, skills]."""
        random, R = numpy_generator(seed, "bkt"), self.config.restarts
        low, high = np.array([0.1, 0.02, 0.05, 0.02, 0.0]), np.array([0.9, 0.4, 0.45, 0.3, 0.1])
        parameters = low[:, None] + (high - low)[:, None] * random.random((R, 5, n_skills))
        parameters[0] = np.array([0.5, 0.1, 0.2, 0.1, 0.02])[:, None]
        if not self.config.forgets:
            parameters[:, FORGET] = 0.0
        best = -np.inf
        for _ in range(self.config.iterations):
            counts, likelihood = expected_counts(chains, parameters)
            total = float(likelihood.sum())
            if total - best < self.config.tolerance * abs(total):
                break
            best = total
            parameters = self._maximise(counts)
        _, likelihood = expected_counts(chains, parameters)
        chosen = (likelihood + log_prior(parameters, self.config.forgets)).argmax(0)  # [skills]
        found: Floats = parameters[chosen, :, np.arange(n_skills)].T
        return found

    def _maximise(self, counts: Floats) -> Floats:
        """Return the parameters at the maximum for expected counts [R, 5, 2, skills] of yes and no."""
        padded = counts + PSEUDO[:, :, None]
        parameters: Floats = padded[:, :, 0] / padded.sum(2)
        parameters[:, [GUESS, SLIP]] = np.minimum(parameters[:, [GUESS, SLIP]], LARGEST)
        if not self.config.forgets:
            parameters[:, FORGET] = 0.0
        return parameters

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict every position; a sequence is taken to begin with its student's first row."""
        rows = rows_of(batch)
        row, skill = self._entries(rows, batch.concepts.cpu().numpy())
        chains = chains_of(rows.sequence[row], skill, rows.right[row])
        mastery, predicted = forward_pass(chains, self.parameters_by_skill.cpu().numpy())
        shape, where = batch.mask.shape, (torch.from_numpy(rows.sequence), torch.from_numpy(rows.position))
        size = np.maximum(np.bincount(row, minlength=len(rows.question)), 1)
        means = []
        for values in (predicted, mastery):
            each = values[chains.place, chains.chain]
            means.append(np.bincount(row, weights=each, minlength=len(rows.question)) / size)
        p = np.clip(means[0], EDGE, 1 - EDGE)
        logit, level = torch.zeros(shape), torch.zeros(shape)
        logit[where] = torch.from_numpy(np.log(p) - np.log1p(-p)).float()
        level[where] = torch.from_numpy(means[1]).float()
        device = batch.mask.device
        return TracingOutput(logit.to(device), state={"mastery": level.to(device)})

    def notices(self) -> list[str]:
        """Name degenerate skills: with guess + slip >= 1 a right answer speaks against mastery."""
        fitted = self.parameters_by_skill[:, : self._unknown]
        degenerate = int((fitted[GUESS] + fitted[SLIP] >= 1 - 1e-3).sum())
        if not degenerate:
            return []
        return [f"{degenerate} of {self._unknown} skills are degenerate: guess + slip reaches 1, mastery means nothing"]


def expected_counts(chains: Chains, parameters: Floats) -> tuple[Floats, Floats]:
    """Return expected counts of yes and no per parameter, float64 [R, 5, 2, skills], and log-likelihoods [R, skills].

    Args:
        chains: The answers.
        parameters: float64 [R, 5, skills].
    """
    R, _, n_skills = parameters.shape
    own = parameters[..., chains.skill]  # [R, 5, M]
    mastery, predicted = forward_pass(chains, parameters)  # [R, T, M]
    M = len(chains.skill)
    counts = np.zeros((R, 5, 2, M))
    likelihood = np.zeros((R, M))
    beta = np.ones((2, R, M))  # of unmastered, mastered: scaled by the predicted probabilities of what follows
    for t in range(len(chains.active) - 1, -1, -1):
        m = int(chains.active[t])
        learn, guess, slip, forget = (own[:, k, :m] for k in range(1, 5))
        right, now, p = chains.right[t, :m], mastery[:, t, :m], predicted[:, t, :m]
        seen = np.where(right == 1, p, 1 - p)
        emit = np.stack([np.where(right == 1, guess, 1 - guess), np.where(right == 1, 1 - slip, slip)])
        filtered = now * emit[1] / seen  # mastery after this answer
        # beta here belongs to place t + 1 and includes its answer; where there is none it is 1
        ahead = beta[:, :, :m]
        xi01, xi00 = (1 - filtered) * learn * ahead[1], (1 - filtered) * (1 - learn) * ahead[0]
        xi10, xi11 = filtered * forget * ahead[0], filtered * (1 - forget) * ahead[1]
        total = xi01 + xi00 + xi10 + xi11
        gamma = (xi10 + xi11) / total
        follows = int(chains.active[t + 1]) if t + 1 < len(chains.active) else 0
        counts[:, LEARN, 0, :follows] += (xi01 / total)[:, :follows]
        counts[:, LEARN, 1, :follows] += (xi00 / total)[:, :follows]
        counts[:, FORGET, 0, :follows] += (xi10 / total)[:, :follows]
        counts[:, FORGET, 1, :follows] += (xi11 / total)[:, :follows]
        counts[:, GUESS, 0, :m] += (1 - gamma) * right
        counts[:, GUESS, 1, :m] += (1 - gamma) * (1 - right)
        counts[:, SLIP, 0, :m] += gamma * (1 - right)
        counts[:, SLIP, 1, :m] += gamma * right
        likelihood[:, :m] += np.log(seen)
        if t == 0:
            counts[:, PRIOR, 0], counts[:, PRIOR, 1] = gamma, 1 - gamma
        after0 = (1 - learn) * ahead[0] + learn * ahead[1]
        after1 = forget * ahead[0] + (1 - forget) * ahead[1]
        beta[0, :, :m], beta[1, :, :m] = emit[0] * after0 / seen, emit[1] * after1 / seen
    flat = counts.reshape(-1, M)
    summed: Floats = np.stack([np.bincount(chains.skill, weights=row, minlength=n_skills) for row in flat])
    by_skill: Floats = np.stack([np.bincount(chains.skill, weights=row, minlength=n_skills) for row in likelihood])
    return summed.reshape(R, 5, 2, n_skills), by_skill


def log_prior(parameters: Floats, forgets: bool) -> Floats:
    """Return the log of the Beta priors up to a constant, float64 [R, skills]."""
    used = slice(0, 5 if forgets else 4)
    inside = np.clip(parameters[:, used], EDGE, 1 - EDGE)
    yes, no = PSEUDO[used, 0, None], PSEUDO[used, 1, None]
    value: Floats = (yes * np.log(inside) + no * np.log1p(-inside)).sum(1)
    return value
