"""What a recommender is: the one protocol that the loop, the evaluator, the exporter and the server know.

To write a model of your own, subclass `Recommender` (or `Backbone`, if a user id asks and wrappers should be able to
hold it), give it a `Config`, an `info`, and the methods below, and name its class in a run's configuration or in an
entry point of the group "sensorium.recommenders". Training, validation, early stopping, tables and answers come for
free. The whole of it:

    class Factors(Recommender):
        info = ModelInfo(summary="...", citation="...")

        class Config(Recommender.Config):
            dim: int = Field(64, ge=1, description="width of the embeddings")

        config: Config

        def __init__(self, view: TrainView, config: Config) -> None:
            super().__init__(view, config)
            self.user_embedding = self.id_embedding("user_embedding", view.user_count, config.dim)
            self.item_embedding = self.id_embedding("item_embedding", view.item_count, config.dim)

        def loss(self, batch: Batch) -> dict[str, Tensor]: ...       # {"ranking": a scalar, ...}, the sum is minimised
        def query_vectors(self, queries: Tensor) -> Tensor: ...      # int64 [n] -> float32 [n, d]
        def item_vectors(self) -> Tensor: ...                        # float32 [I, d]

`sensorium.testing.check_recommender` says whether it keeps the contract.

A model has no `fit`: `sensorium.training.train(model, data, config)` is the one call. It sees the data through a
`TrainView` alone, which holds train rows, features and attributes; rows of the test have no way in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.core import config as core
from sensorium.core.errors import DataError
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.training.protocols import BatchSource, Phase

Versions = tuple[tuple[int, int], ...]

RANKING_TERM = "ranking"
"""Name of the term of a loss that `batch.weight` multiplies row by row; the other terms' names are free."""


@dataclass(frozen=True)
class ModelInfo:
    """What `sensorium list models` tells about a model.

    Attributes:
        summary: One line: what it does.
        citation: The paper, "Authors: Title. Venue Year".
        features: Whether it reads item features: it cannot ("none"), it can ("optional"), it must ("required").
        order: Whether it needs interactions in their order.
        trained: False for a model that is complete once built from the train rows.
    """

    summary: str
    citation: str
    features: Literal["none", "optional", "required"] = "none"
    order: bool = False
    trained: bool = True


class Recommender(nn.Module):
    """A model that ranks the catalogue for a query. Built as `Model(view, config)`.

    A subclass provides, besides `Config` and `info`:

    - `loss(batch) -> dict[str, Tensor]`: named scalars whose sum is minimised. The ranking term is named "ranking" and
      averages over the batch rows, each times `batch.weight` (None = all 1). Batches hold `user` int64 [B], `pos` int64
      [B], `neg` int64 [B, N], `row` int64 [B] (which train row of the view it is) and `weight` float32 [B] or None;
      never change them in place.
    - `query_vectors(queries) -> [n, d]` and `item_vectors() -> [I, d]`: the score is their dot product. A bias is one
      more dimension (1 on the other side); a sum of two products is a concatenation. Both are asked in evaluation mode
      without gradients.
    - or, only where a score cannot be written so, `score(queries, items) -> [n, I]`, or [n, len(items)] for given items
      int64, and no vectors. A model that has `score` is asked by it alone.

    and if it needs them:

    - `phases()`: what it does in turn; one pass over the train rows per epoch unless overridden, [] if it is complete
      once built.
    - `begin_epoch(epoch, generator)`: work before each epoch, every draw from the generator.
    - `score_history(histories) -> [n, I]` (see `AnswersHistory`): answers for people it was not trained on.

    What must survive a save stands in parameters and buffers; what is derived from the view (a graph, standardised
    features) is made anew by the constructor. Initial values come from `self.generator(name)`, so that a model starts
    from the same numbers whether it stands alone or inside another one, and whatever was built before it.

    Attributes:
        run_defaults: What a run of the model takes where its configuration says nothing, as a part of that tree: a
            method's own schedule, for example.
        config: The config it was built with.
        n_users: U, users of the view.
        n_items: I, items of the view.
        seed: The view's seed.
    """

    class Config(core.Config):
        """The keys of the model in a configuration, beside `name`. This base has none."""

    info: ClassVar[ModelInfo]
    query_kind: ClassVar[Literal["user", "history"]] = "user"
    run_defaults: ClassVar[Mapping[str, Any]] = {}

    config: Config
    # Declared, not defined: `hasattr` tells which of them a model provides.
    loss: Callable[[Batch], dict[str, Tensor]]
    query_vectors: Callable[[Tensor], Tensor]
    item_vectors: Callable[[], Tensor]

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__()
        self.config = config
        self.n_users = view.n_users
        self.n_items = view.n_items
        self.seed = view.seed

    def phases(self) -> list[Phase]:
        """Return what is trained, in turn; by default all parameters by `loss`, one pass over the train rows."""
        return [Phase("main", list(self.parameters()), self.loss)]

    def generator(self, name: str) -> torch.Generator:
        """Return this model's own random generator for one purpose, for example for one parameter's initial values."""
        return torch_generator(self.seed, "model", type(self).__name__, name)

    def embedding(self, name: str, rows: int, width: int) -> nn.Parameter:
        """Return a new parameter [rows, width], Xavier-uniform from this model's own generator."""
        values = torch.empty(rows, width)
        return nn.Parameter(nn.init.xavier_uniform_(values, generator=self.generator(name)))

    def id_embedding(self, name: str, rows: npt.NDArray[np.int64], width: int) -> nn.Parameter:
        """Return a new parameter with a row for each user or item; 0 for ids without a train row, else as `embedding`.

        Nothing is learned about an id that no train row holds. Its random start would order such items by chance, the
        same for a whole run and without a word; from 0, what has no other source of knowledge scores alike, and equal
        scores are counted and ordered by the seeded order of the catalogue (docs/protocol.md, "Ties").

        Args:
            name: Of the parameter.
            rows: int64 [n], train rows of each user or item: `view.user_count` or `view.item_count`.
            width: d.
        """
        embedding = self.embedding(name, len(rows), width)
        with torch.no_grad():
            embedding[torch.from_numpy(rows == 0)] = 0.0
        return embedding

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
        """Return a new linear layer, weight Xavier-uniform from this model's own generator, bias zero."""
        layer = nn.Linear(inputs, outputs, bias=bias)
        nn.init.xavier_uniform_(layer.weight, generator=self.generator(name))
        if bias:
            nn.init.zeros_(layer.bias)
        return layer


class Representations(NamedTuple):
    """The final vectors of a backbone: `user @ item.T` is exactly the score.

    Attributes:
        user: float32 [U, d].
        item: float32 [I, d].
        item_modal: By modality, float32 [I, d'] each: what the model makes of the content before it is mixed with the
            rest. Empty for a model that knows ids alone.
    """

    user: Tensor
    item: Tensor
    item_modal: Mapping[str, Tensor] = {}


class Backbone(Recommender):
    """A recommender asked by user id that wrappers (`guider`, `fmmrec`) can hold. A subclass provides `represent()`.

    The two vectors are derived from `represent()`, once for as long as the weights stay: a graph is propagated once for
    an evaluation, not once for a block of users.

    Attributes:
        pointwise: True when the loss uses no negatives.
    """

    pointwise: ClassVar[bool] = False

    represent: Callable[[], Representations]
    """The final vectors of all users and items, from the whole graph when in evaluation mode; differentiable."""

    def __init__(self, view: TrainView, config: Recommender.Config) -> None:
        super().__init__(view, config)
        self._remembered: tuple[Versions, Representations] | None = None

    def query_vectors(self, queries: Tensor) -> Tensor:
        """Return the vectors of users, int64 [n] -> [n, d].

        Raises:
            DataError: An id is not one of this model's users.
        """
        return self._vectors().user[known_ids(queries, self.n_users, "user")]

    def item_vectors(self) -> Tensor:
        """Return the vectors of all items, [I, d]."""
        return self._vectors().item

    def set_edge_weight(self, weight: Tensor | None) -> None:
        """Weight the train rows in the user–item graph; a backbone without a graph has nothing to do.

        The weights are no part of this model's state: who sets them keeps them, and sets them again after loading.

        Args:
            weight: float32 [E], one for each row of the view, in its order; None takes 1 for all.
        """

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation mode; what was remembered of the weights before is dropped."""
        self._remembered = None  # torch's fused optimisers change weights without raising their version
        return super().train(mode)

    def _vectors(self) -> Representations:
        """Return `represent()`, remembered in evaluation mode without gradients for as long as the weights stay."""
        if self.training or torch.is_grad_enabled():
            return self.represent()
        current = versions(self)
        if self._remembered is None or self._remembered[0] != current:
            self._remembered = current, self.represent()
        return self._remembered[1]

    def _forget_vectors(self) -> None:
        """Drop what is remembered: for changes that no parameter or buffer shows, such as another graph."""
        self._remembered = None


@runtime_checkable
class ScoresItself(Protocol):
    """A model whose score is no dot product of two vectors."""

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Return scores float32 [n, I] for queries int64 [n], or [n, m] for the items int64 [m]."""
        ...


class CountedBatches(BatchSource, Protocol):
    """Batches that say how much of the data has no place in them."""

    skipped_rows: int


@runtime_checkable
class MakesBatches(Protocol):
    """A model that learns from batches of its own instead of single train rows: windows of sequences, for example."""

    def make_batches(self, batch_size: int, negatives: int) -> CountedBatches:
        """Return them, for `training.batch_size` and `training.negatives`."""
        ...


@runtime_checkable
class AnswersHistory(Protocol):
    """A model that can score the catalogue for anybody whose items are known, trained on or not."""

    def score_history(self, histories: Sequence[Tensor]) -> Tensor:
        """Return scores float32 [n, I] for n histories, each int64 [any length] item ids, oldest first."""
        ...


def scores(model: Recommender, queries: Tensor, items: Tensor | None = None) -> Tensor:
    """Return a model's scores, for notebooks and tests; rankings come from `sensorium.evaluation`.

    Args:
        model: Any recommender.
        queries: int64 [n].
        items: int64 [m], or None for the whole catalogue.

    Returns:
        float32 [n, m] or [n, I].
    """
    if isinstance(model, ScoresItself):
        return model.score(queries, items)
    vectors = model.item_vectors()
    return model.query_vectors(queries) @ (vectors if items is None else vectors[items]).T


def versions(module: nn.Module) -> Versions:
    """Return what changes when parameters or buffers do: by a loaded state, another device, assignments in place.

    Not by the steps of torch's fused optimisers: these are seen by `train()`, which goes before and after them.
    """
    return tuple((value.data_ptr(), value._version) for value in (*module.parameters(), *module.buffers()))


def known_ids(ids: Tensor, count: int, kind: str) -> Tensor:
    """Return the ids as they are, after a check: a negative index would silently answer for somebody else.

    Args:
        ids: int64 [n].
        count: Ids go from 0 to count - 1.
        kind: What they are ids of, for the message.

    Raises:
        DataError: An id is outside; the message names it.
    """
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= count):
        wrong = ids[(ids < 0) | (ids >= count)][0]
        raise DataError(f"{kind} {int(wrong)} is unknown to this model: it knows the ids 0 to {count - 1}")
    return ids
