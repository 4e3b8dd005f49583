"""UKT: uncertainty-aware knowledge tracing with stochastic embeddings (AAAI 2025, arXiv 2501.05415), corrected.

    embeddings   questions x and answers y as Gaussians                        embedding.py
    encoder      each beside those before it, means only                       context.py
    blocks       2-Wasserstein attention; means and variances are passed on    block.py
    readout      a Gaussian logit m + a·eps; p by Gauss–Hermite                readout.py, gaussian.py
    view B       answers of a block predicted together; flipped histories      views.py
    L = BCE(p, r; view A) + lambda_J L_J(view B) + lambda_CL L_CL + lambda_u mean u²

One answer at a time cannot tell an unknown state from noisy answers; several can, since an unknown state makes them
vary together. So the joint loss of view B, and nothing else, says how large the covariances are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sensorium.tracing.attention import sinusoids, visible_keys
from sensorium.tracing.base import NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.ukt.block import Keys, UKTBlock
from sensorium.tracing.ukt.config import UKTConfig
from sensorium.tracing.ukt.context import ContextEncoder
from sensorium.tracing.ukt.contrastive import RELEASED_WEIGHT, contrastive_loss, pooled, released_loss
from sensorium.tracing.ukt.embedding import GaussianEmbedding
from sensorium.tracing.ukt.gaussian import deviation, expected_answer, log_likelihood
from sensorium.tracing.ukt.readout import Readout
from sensorium.tracing.ukt.views import (
    earlier_blocks,
    flipped_history,
    joint_loss,
    random_blocks,
    released_augmentation,
)


@dataclass(frozen=True)
class State:
    """What UKT knows at each position, before the answer there.

    Attributes:
        mean: float [B, T, d], mu.
        spread: float [B, T, d], ell, unconstrained; None in a point model.
        loading: float [B, T, d], a: how the logit loads on the state's noise; None where it is a number.
    """

    mean: Tensor
    spread: Tensor | None
    loading: Tensor | None


@dataclass(frozen=True)
class History:
    """A read history that any number of questions can be asked of: per block, its keys; the questions before the
    encoder [B, T, d]; the mask [B, T].
    """

    keys: list[Keys]
    x: Tensor
    mask: Tensor


class UKT(NeuralTracer):
    """Gaussian knowledge states. All named options are described in `UKTConfig`."""

    Config = UKTConfig
    info: ClassVar[TracerInfo] = TracerInfo(
        summary="Gaussian states, Wasserstein attention, covariances identified by joint prediction",
        citation="Uncertainty-aware Knowledge Tracing. AAAI 2025",
    )
    config: UKTConfig

    def __init__(self, view: TracingView, config: UKTConfig) -> None:
        super().__init__(view, config)
        self.gaussians = GaussianEmbedding(view, config)
        self.embedding = self.gaussians.mean
        self.encoder = ContextEncoder(config) if config.encoder == "akt" else None
        self.blocks = nn.ModuleList(UKTBlock(config) for _ in range(config.blocks))
        self.readout = Readout(config)
        self.priors = self.make_priors(view)

    # --- predicting -------------------------------------------------------------------------------------------------

    def forward(self, batch: TracingBatch, block: Tensor | None = None) -> TracingOutput:
        """Predict every position.

        Args:
            batch: The sequences.
            block: int64 [B, T], rising: predict each position from the rows before its block. None: from all before it.
        """
        logit, state = self.read(batch, batch.response, block)
        if state.loading is None:
            return TracingOutput(logit, state=state)
        p, variance = expected_answer(logit, state.loading.square().sum(-1))
        return TracingOutput(logit, variance, state, p)

    def read(self, batch: TracingBatch, response: Tensor, block: Tensor | None = None) -> tuple[Tensor, State]:
        """Return m, float [B, T], and the states, with the history's answers read as `response`, int64 [B, T]."""
        logit, state, _ = self._read(batch, response, block)
        return logit, state

    def _read(
        self, batch: TracingBatch, response: Tensor, block: Tensor | None = None
    ) -> tuple[Tensor, State, History]:
        embedded = self.gaussians(batch, response)
        x, y = embedded.x, embedded.y
        if self.config.positions == "sinusoid":
            places = sinusoids(x.shape[1], x.shape[2], device=x.device)
            x, y = x + places, y + places
        before = x
        if self.encoder is not None:
            x, y = self.encoder(x, y, visible_keys(batch.mask, current=True))
        visible = visible_keys(batch.mask, current=False) if block is None else earlier_blocks(batch.mask, block)
        spread, looked_at = embedded.x_spread, []
        for layer in self.blocks:
            assert isinstance(layer, UKTBlock)
            keys = layer.keys(x, spread, y, embedded.y_spread)
            looked_at.append(keys)
            x, spread = layer(x, spread, keys, visible)
        logit, loading = self.readout(x, spread, embedded.x, embedded.x_spread)
        if self.priors is not None:
            logit = logit + self.priors(batch, response, batch.question, visible[:, 0], embedded.keep)
        return logit, State(x, spread, loading), History(looked_at, before, batch.mask)

    def history(self, batch: TracingBatch) -> History:
        """Read histories, to ask questions of them with `ask`."""
        return self._read(batch, batch.response)[2]

    def ask(
        self, history: History, batch: TracingBatch, question: Tensor, after: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Predict questions that are no part of the sequence, each as if it came next after some rows of it.

        Equal to `forward` at that position of a sequence that has the question there.

        Args:
            history: Of `batch`, from the same state of the model, in evaluation mode.
            batch: B histories.
            question: int64 [B, N].
            after: int64 [B, N], how many rows of the history each question sees.

        Returns:
            m, float [B, N], and a, float [B, N, d] (None where the logit is a number).
        """
        own, _, own_spread = self.gaussians.questions(batch, question)
        places = torch.arange(history.mask.shape[1], device=question.device)
        visible = ((places < after[..., None]) & history.mask[:, None, :])[:, None]  # [B, 1, N, T]
        gap = (after[..., None] - places).abs().to(own.dtype)[:, None]
        x, spread = own, own_spread
        if self.config.positions == "sinusoid":
            table = sinusoids(history.mask.shape[1] + 1, own.shape[-1], device=own.device)
            x = x + table[after.clamp(max=len(table) - 1)]
        if self.encoder is not None:
            x = self.encoder.other_questions(x, history.x, visible, gap)
        for layer, keys in zip(self.blocks, history.keys, strict=True):
            x, spread = layer(x, spread, keys, visible, gap, others=True)
        m, loading = self.readout(x, spread, own, own_spread)
        if self.priors is not None:
            m = m + self.priors(batch, batch.response, question, visible[:, 0])
        return m, loading

    # --- training ---------------------------------------------------------------------------------------------------

    def loss(self, batch: TracingBatch) -> dict[str, Tensor]:
        """Return the terms of L, each a scalar in nats with its weight applied."""
        config = self.config
        first = self._augmented(batch) if config.flip_view == "A" else batch.response
        logit, state = self.read(batch, first)
        terms = {"answers": self._answers(logit, state, batch)}
        if config.two_views:
            blocks = random_blocks(batch.mask, config.block) if config.joint else None
            other_logit, other = self.read(batch, self._augmented(batch), blocks)
            if config.joint and blocks is not None:
                joint = joint_loss(other_logit, other.loading, batch, blocks, config.draws)
                terms["joint"] = config.joint * joint
            if config.contrastive:
                terms["contrastive"] = self._contrastive(state, other, batch.mask)
        return terms | self.embedding.penalty(batch, config.question_penalty)

    def _augmented(self, batch: TracingBatch) -> Tensor:
        if self.config.augmentation == "released":
            return released_augmentation(batch.response.clamp(0, 1), batch.mask)
        return flipped_history(batch.response.clamp(0, 1), largest=self.config.flip_max, flip=self.config.flip)

    def _answers(self, logit: Tensor, state: State, batch: TracingBatch) -> Tensor:
        variance = torch.zeros_like(logit) if state.loading is None else state.loading.square().sum(-1)
        each = log_likelihood(logit, variance, batch.response.clamp(0, 1))
        counted = batch.score_mask
        return -torch.where(counted, each, torch.zeros_like(each)).sum() / counted.sum().clamp(min=1)

    def _contrastive(self, state: State, other: State, mask: Tensor) -> Tensor:
        released = self.config.contrastive == "released"
        raw = self.config.covariance == "signed"

        def pool(one: State) -> Tensor:
            sd = one.spread if one.spread is None or raw else deviation(one.spread)
            return pooled(one.mean, sd, mask, padding=released)

        if released:
            return RELEASED_WEIGHT * released_loss(pool(state), pool(other))
        assert isinstance(self.config.contrastive, float)
        return self.config.contrastive * contrastive_loss(pool(state), pool(other))
