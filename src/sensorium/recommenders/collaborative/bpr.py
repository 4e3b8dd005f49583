"""BPR: matrix factorisation, trained to put an item that a user had above one that the user did not have.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme: BPR: Bayesian Personalized Ranking from Implicit Feedback. UAI 2009.

    score(u, i) = <e_u, e_i>                                            e_u row of E_U [U, d], e_i row of E_I [I, d]
    L = (1/B) sum_b w_b softplus(-(score(u_b, i_b) - score(u_b, j_b)))  j drawn among items that u did not have
        + reg * (||P||_F + ||Q||_F + ||N||_F) / B                       P, Q, N [B, d]: the batch's rows of u, i, j

The norms are not squared: weights of `reg` don't compare with those of a squared L2.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr, embedding_norm
from sensorium.recommenders.base import RANKING_TERM, Backbone, ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.pairs import gather


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
        reg: float = Field(0.1, ge=0, description="weight of the embeddings' norms (not squared) over the batch rows")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)

    def represent(self) -> Representations:
        """Return the embeddings themselves: user [U, d], item [I, d]."""
        return Representations(self.user_embedding, self.item_embedding)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the ranking term and the regulariser of a batch; only its rows are touched."""
        rows = gather(self.user_embedding, self.item_embedding, batch)
        return {
            RANKING_TERM: bpr(*rows.scores(), batch.weight),
            "reg": self.config.reg * embedding_norm(*rows, batch=len(batch.user)),
        }
