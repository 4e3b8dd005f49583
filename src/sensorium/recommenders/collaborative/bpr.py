"""BPR: matrix factorisation, trained to put an item that a user had above one that the user did not have.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian Personalized Ranking from Implicit Feedback. UAI 2009.

    score(u, i) = <e_u, e_i>                                            e_u row of E_U [U, d], e_i row of E_I [I, d]
    L = (1/B) sum_b w_b softplus(-(score(u_b, i_b) - score(u_b, j_b)))  j drawn among items that u did not have
        + reg * (||P||_F + ||Q||_F + ||N||_F) / B                       P, Q, N [B, d]: the batch's rows of u, i, j

The norms are not squared, as in the code behind the published tables. `regulariser: squared` is the paper's own:

        + reg * (||P||_F^2 + ||Q||_F^2 + ||N||_F^2) / (2 B)

Weights of `reg` do not compare between the two. `engine: compiled` has the same loss of the same batches in compiled
loops (`nn/pairwise_compiled.py`); any optimiser follows. `engine: fused` takes the paper's steps instead: plain SGD row
by row, in compiled loops (`bpr_fused.py`), an order of magnitude faster than batches in torch.
"""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from sensorium.core.errors import ConfigError, require
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr_of_margins, norm_of_squares
from sensorium.nn.pairwise import margins_and_squares
from sensorium.recommenders.base import RANKING_TERM, Backbone, ModelInfo, Recommender, Representations
from sensorium.training.protocols import Phase

log = logging.getLogger(__name__)


class BPR(Backbone):
    """Matrix factorisation with the pairwise ranking loss."""

    info = ModelInfo(
        summary="matrix factorisation with the pairwise ranking loss",
        citation="Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian Personalized Ranking from Implicit "
        "Feedback. UAI 2009",
    )

    class Config(Recommender.Config):
        """The keys of BPR."""

        dim: int = Field(64, ge=1, description="width of the embeddings, d")
        reg: float = Field(0.1, ge=0, description="weight of the regulariser over the batch rows")
        regulariser: Literal["norm", "squared"] = Field(
            "norm",
            description="norm: the embeddings' norms as they are (published tables); squared: half their squares",
        )
        engine: Literal["torch", "compiled", "fused"] = Field(
            "torch",
            description="torch: batches and any optimiser; compiled: the same, two to three times as fast, on a CPU "
            "(extra fast); fused: plain SGD row by row (extra fast), where batch_size plays no role",
        )
        threads: int = Field(
            1,
            ge=1,
            description="threads of the fused engine; more than one change the tables without locks (Hogwild), and the "
            "numbers do not repeat",
        )

        @model_validator(mode="after")
        def _fits_its_engine(self) -> BPR.Config:
            if self.engine == "fused" and self.regulariser != "squared":
                raise ValueError(
                    "engine fused takes its steps row by row, and a batch's norm is no sum over rows: set regulariser "
                    "to squared (and reg anew: their weights don't compare; .01 is usual)"
                )
            if self.threads > 1 and self.engine != "fused":
                raise ValueError("threads is for engine fused; torch takes OMP_NUM_THREADS")
            return self

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self._view = view
        self._margins_and_squares = margins_and_squares
        if config.engine != "torch":
            require("numba", extra="fast", purpose=f"model.engine {config.engine}", instead="set model.engine to torch")
            from sensorium.nn import pairwise_compiled

            self._margins_and_squares = pairwise_compiled.margins_and_squares
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)

    def represent(self) -> Representations:
        """Return the embeddings themselves: user [U, d], item [I, d]."""
        return Representations(self.user_embedding, self.item_embedding)

    def phases(self) -> list[Phase]:
        """Return one phase over all parameters: by the loss, or by the fused engine's own steps."""
        if self.config.engine != "fused":
            return super().phases()
        from sensorium.recommenders.collaborative.bpr_fused import DrawnPairs

        if self.config.threads > 1:
            log.warning(
                "BPR with %d threads is Hogwild: they change the same tables without locks, and the numbers of this "
                "run do not repeat; model.threads=1 does",
                self.config.threads,
            )
        return [
            Phase(
                "main",
                list(self.parameters()),
                self.loss,
                DrawnPairs(self._view, self.config.threads),
                update=self.descend,
                needs={
                    "optimizer.name": "sgd",
                    "optimizer.momentum": 0.0,
                    "optimizer.weight_decay": 0.0,
                    "clip_norm": 0.0,
                    "negatives": 1,
                    "precision": "32",
                },
                repeats=self.config.threads == 1,
            )
        ]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and the regulariser of a batch; only its rows are touched."""
        self._refuse_gpu()
        margins, squares = self._margins_and_squares(
            self.user_embedding, self.item_embedding, batch.user, batch.pos, batch.neg
        )
        rows = len(batch)
        squared = self.config.regulariser == "squared"
        return {
            RANKING_TERM: bpr_of_margins(margins, batch.weight),
            "reg": self.config.reg * (squares.sum() / (2 * rows) if squared else norm_of_squares(squares, rows)),
        }

    def descend(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """Take one step of SGD for each row of a batch; return the mean of the rows' losses, each before its step."""
        from sensorium.recommenders.collaborative.bpr_fused import descend

        self._refuse_gpu()
        margins, squares = descend(
            self.user_embedding, self.item_embedding, batch, rate=rate, reg=self.config.reg, threads=self.config.threads
        )
        return {
            RANKING_TERM: bpr_of_margins(margins.unsqueeze(1), batch.weight),
            "reg": self.config.reg * squares / (2 * len(batch)),
        }

    def _refuse_gpu(self) -> None:
        if self.config.engine != "torch" and self.user_embedding.device.type != "cpu":
            raise ConfigError(f"model.engine {self.config.engine} works on the CPU: set training.device to cpu")
