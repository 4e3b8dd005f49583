from pydantic import Field
from torch import Tensor

import sensorium as sn
from sensorium.core.registry import registered
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.nn.losses import bpr
from sensorium.recommenders.base import Backbone, ModelInfo, Recommender, Representations
from sensorium.testing import check_recommender


class Narrow(Backbone):
    """Matrix factorisation without a regulariser."""

    info = ModelInfo(summary="a small matrix factorisation", citation="none")

    class Config(Recommender.Config):
        dim: int = Field(8, ge=1, description="width of the embeddings")

    config: Config

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.user_embedding = self.id_embedding("user", view.user_count, config.dim)
        self.item_embedding = self.id_embedding("item", view.item_count, config.dim)

    def represent(self) -> Representations:
        return Representations(self.user_embedding, self.item_embedding)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        user = self.user_embedding[batch.user]  # [batch, dim]
        positive = (user * self.item_embedding[batch.pos]).sum(-1)  # [batch]
        negative = (user[:, None] * self.item_embedding[batch.neg]).sum(-1)  # [batch, negatives]
        return {"ranking": bpr(positive, negative, batch.weight)}


with registered("sensorium.recommenders", "narrow", Narrow):
    check_recommender("narrow")
    run = sn.run({"data": {"dataset": "demo"}, "model": {"name": "narrow", "dim": 16}, "training": {"epochs": 3}})
    print(run.result["test"]["metrics"]["recall@20"])
