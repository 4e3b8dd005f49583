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

from collections.abc import Iterator
from itertools import pairwise
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
TINY = 1e-300


class Chains(NamedTuple):
    """The answers of each (sequence, skill), the longest first; all first answers, then all second ones, and so on.

    At place t only the first chains have an answer, so that nothing is padded: memory is that of the answers.

    Attributes:
        skill: int64 [M].
        right: float64 [m], 0 or 1.
        bounds: int64 [T + 1]: answers of place t are bounds[t] .. bounds[t + 1] - 1, of the chains 0, 1, 2, ...
        entry: int64 [m], where each given entry stands in this order.
    """

    skill: Ints
    right: Floats
    bounds: Ints
    entry: Ints

    def places(self) -> Iterator[tuple[slice, int]]:
        """Yield, place by place, the answers there and their number."""
        for begin, end in pairwise(self.bounds.tolist()):
            yield slice(begin, end), end - begin


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
    bounds = np.concatenate([[0], np.cumsum(np.bincount(place))]).astype(np.int64)
    entry = bounds[place] + chain
    flat = np.empty(len(group))
    flat[entry] = right
    return Chains(skill[order][start][by_length], flat, bounds, entry)


class Passed(NamedTuple):
    """What a forward pass knows before each answer, float64 [..., m] each.

    The share that is not mastered is carried beside the mastery: after a run of right answers it is far below the
    rounding of 1, and it is what a run of wrong ones brings back.
    """

    mastery: Floats
    unmastered: Floats
    predicted: Floats


def forward_pass(chains: Chains, parameters: Floats) -> Passed:
    """Follow all chains from their first answer to their last.

    Args:
        chains: M chains with m answers.
        parameters: float64 [..., 5, skills].
    """
    own = parameters[..., chains.skill]  # [..., 5, M]
    shape = (*own.shape[:-2], len(chains.right))
    passed = Passed(np.empty(shape), np.empty(shape), np.empty(shape))
    level, rest = own[..., PRIOR, :].copy(), 1 - own[..., PRIOR, :]
    for here, m in chains.places():
        learn, guess, slip, forget = (own[..., k, :m] for k in range(1, 5))
        right = chains.right[here] == 1
        known, unknown = level[..., :m], rest[..., :m]
        p = known * (1 - slip) + unknown * guess
        passed.mastery[..., here], passed.unmastered[..., here], passed.predicted[..., here] = known, unknown, p
        seen = np.where(right, p, known * slip + unknown * (1 - guess))
        after = known * np.where(right, 1 - slip, slip) / seen
        still = unknown * np.where(right, guess, 1 - guess) / seen
        level[..., :m] = after * (1 - forget) + still * learn
        rest[..., :m] = still * (1 - learn) + after * forget
    return passed


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
        passed = forward_pass(chains, self.parameters_by_skill.cpu().numpy())
        shape, where = batch.mask.shape, (torch.from_numpy(rows.sequence), torch.from_numpy(rows.position))
        size = np.maximum(np.bincount(row, minlength=len(rows.question)), 1)
        means = []
        for values in (passed.predicted, passed.mastery):
            each = values[chains.entry]
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
    passed = forward_pass(chains, parameters)  # [R, m]
    M = len(chains.skill)
    counts = np.zeros((R, 5, 2, M))
    likelihood = np.zeros((R, M))
    # Smoothing from the end: what follows changes the odds of the next state by smoothed / predicted. Products of
    # likelihoods (the usual backward pass) would overflow in chains of hundreds of answers.
    follows = 0  # chains that have an answer at the next place
    up, down = np.ones((R, M)), np.ones((R, M))  # there: smoothed / predicted, of mastered and unmastered
    for here, m in reversed(list(chains.places())):
        learn, guess, slip, forget = (own[:, k, :m] for k in range(1, 5))
        right = chains.right[here]
        known, unknown = passed.mastery[:, here], passed.unmastered[:, here]
        yes = right == 1
        gamma = known * np.where(yes, 1 - slip, slip)  # mastered, and this answer
        still = unknown * np.where(yes, guess, 1 - guess)
        seen = gamma + still
        gamma, still = gamma / seen, still / seen
        if follows:
            on = slice(0, follows)
            f, g, to, back = gamma[:, on], still[:, on], learn[:, on], forget[:, on]
            xi01, xi00 = g * to * up[:, on], g * (1 - to) * down[:, on]
            xi10, xi11 = f * back * down[:, on], f * (1 - back) * up[:, on]
            counts[:, LEARN, 0, on] += xi01
            counts[:, LEARN, 1, on] += xi00
            counts[:, FORGET, 0, on] += xi10
            counts[:, FORGET, 1, on] += xi11
            gamma[:, on], still[:, on] = xi10 + xi11, xi01 + xi00
        counts[:, GUESS, 0, :m] += still * right
        counts[:, GUESS, 1, :m] += still * (1 - right)
        counts[:, SLIP, 0, :m] += gamma * (1 - right)
        counts[:, SLIP, 1, :m] += gamma * right
        likelihood[:, :m] += np.log(seen)
        if here.start == 0:
            counts[:, PRIOR, 0], counts[:, PRIOR, 1] = gamma, still
        up[:, :m], down[:, :m] = gamma / np.maximum(known, TINY), still / np.maximum(unknown, TINY)
        follows = m
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
