"""The contract of recommenders that a history asks: small data in order, and named checks.

In the data every item has a successor that mostly comes next: what a model of sequences must find, and popularity
cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.core.config import build
from sensorium.core.errors import SensoriumError
from sensorium.core.seeds import numpy_generator
from sensorium.data.batches import Step
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.evaluation.selection import Selection
from sensorium.recommenders.base import AnswersHistory, MakesBatches, Recommender
from sensorium.testing.subject import (
    VECTOR_TOLERANCE,
    ContractError,
    NotApplicable,
    require_close,
    require_equal_states,
    require_finite,
    run_checks,
)
from sensorium.training.config import OptimizerConfig, TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import TrainingData


def ordered_view(*, users: int = 60, items: int = 31, rows_per_user: int = 9, seed: int = 0) -> TrainView:
    """Return a view in order: from item i a user goes to i + 1, and sometimes somewhere else; nothing repeats.

    The last user and the last item have no row. Two modalities, of which some items lack one.
    """
    draw = numpy_generator(seed, "ordered view")
    sequences = np.empty((users - 1, rows_per_user), dtype=np.int64)
    ring = items - 1
    current = draw.integers(ring, size=users - 1)
    for place in range(rows_per_user):
        for row in range(users - 1):
            taken = set(sequences[row, :place].tolist())
            while int(current[row]) in taken:
                current[row] = draw.integers(ring)
            sequences[row, place] = current[row]
        jumps = draw.random(users - 1) < 0.1
        current = np.where(jumps, draw.integers(ring, size=users - 1), (current + 1) % ring)
    user = np.repeat(np.arange(users - 1), rows_per_user)
    place_of = np.tile(np.arange(rows_per_user), users - 1)
    by_item = np.lexsort((sequences.ravel(), user))
    item, place_of = sequences.ravel()[by_item], place_of[by_item]
    features = {}
    for name, width in (("text", 5), ("image", 6)):
        present = draw.random(items) >= 0.2
        values = np.where(present[:, None], draw.normal(size=(items, width)), 0)
        features[name] = Features(values.astype(np.float32), present)
    return TrainView(
        n_users=users,
        n_items=items,
        user=user[by_item],
        item=item,
        timestamp=None,
        seed=seed,
        features=features,
        attributes={},
        in_order=np.lexsort((place_of, user[by_item])),
    )


@dataclass(frozen=True)
class HistorySubject:
    """A model class with a config, and the data it is tried on."""

    model: type[Recommender]
    config: Recommender.Config
    view: TrainView

    def build(self) -> Recommender:
        """Return a new instance in evaluation mode, torch's global generator in another state for each."""
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            return self.model(self.view, self.config).eval()

    def train(self, epochs: int = 1) -> Recommender:
        """Return a new instance after some epochs of the project's loop, in evaluation mode."""
        model = self.build()
        if not isinstance(model, MakesBatches):
            raise ContractError("a model that a history asks brings its batches: make_batches(batch_size, negatives)")
        config = TrainingConfig(
            epochs=epochs,
            validate_every=epochs,
            patience=0,
            device="cpu",
            checkpoint="none",
            optimizer=OptimizerConfig(lr=5e-3),
        )
        data: TrainingData[Recommender] = TrainingData(model.make_batches(16, 1), lambda _: {"last": 0.0})
        train(model, data, config, selection=Selection("last"), seed=0)
        return model.eval()


def answers(model: Recommender, histories: list[Tensor]) -> Tensor:
    """Return the scores of histories, without gradients: float32 [n, I]."""
    if not isinstance(model, AnswersHistory):
        raise ContractError("a model that a history asks has score_history(histories)")
    with torch.no_grad():
        return model.eval().score_history(histories)


HISTORIES = [torch.tensor([0, 3, 5]), torch.tensor([], dtype=torch.int64), torch.tensor([2]), torch.arange(30)]


def check_scores(subject: HistorySubject) -> None:
    """Finite scores [n, I], for an empty history and one longer than the model reads; the same one by one."""
    model = subject.train()
    found = answers(model, HISTORIES)
    require_finite(found, "the scores of histories")
    if list(found.shape) != [len(HISTORIES), subject.view.n_items]:
        raise ContractError(f"score_history of {len(HISTORIES)} histories has shape {list(found.shape)}")
    alone = torch.cat([answers(model, [history]) for history in HISTORIES])
    require_close(alone, found, VECTOR_TOLERANCE, "histories asked one by one")


def check_unknown(subject: HistorySubject) -> None:
    """An item that the model does not know is an error, never another item's answer."""
    model = subject.build()
    for item in (-1, subject.view.n_items):
        try:
            answers(model, [torch.tensor([0, item])])
        except (SensoriumError, LookupError, ValueError, RuntimeError):
            continue
        raise ContractError(f"a history with item {item} gets an answer: the ids end at {subject.view.n_items - 1}")


def check_determinism(subject: HistorySubject) -> None:
    """The same seed gives the same bits."""
    require_equal_states(subject.build(), subject.build(), "built twice")
    require_equal_states(subject.train(), subject.train(), "trained twice")


def check_state(subject: HistorySubject) -> None:
    """The state holds all that training changed."""
    trained, other = subject.train(), subject.build()
    other.load_state_dict(trained.state_dict())
    require_close(answers(other, HISTORIES), answers(trained, HISTORIES), 1e-6, "a model that has loaded the state")


def check_loss(subject: HistorySubject) -> None:
    """Named finite scalars, whose sum reaches every parameter that is trained."""
    model = subject.build().train()
    if not isinstance(model, MakesBatches):
        raise ContractError("a model that a history asks brings its batches")
    terms = model.loss(model.make_batches(16, 1).batch(Step(0, "main", 0, 0)))
    for name, value in terms.items():
        if value.ndim:
            raise ContractError(f"loss term '{name}' has shape {list(value.shape)}, it must be one number")
        require_finite(value, f"loss term '{name}'")
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    total = torch.stack(list(terms.values())).sum()
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    for name, gradient in zip(trained, gradients, strict=True):
        if gradient is None:
            raise ContractError(f"parameter '{name}' has no gradient")


def check_order(subject: HistorySubject) -> None:
    """What comes next is found: the successor is among the first three of thirty items for most histories."""
    if not subject.model.info.order:
        raise NotApplicable("the model reads no order")
    model = subject.train(epochs=40)
    starts = torch.arange(subject.view.n_items - 4)
    scores = answers(model, [start + torch.arange(3) for start in starts])
    scores.scatter_(1, starts.unsqueeze(1) + torch.arange(3), -torch.inf)
    found = (scores.topk(3).indices == (starts + 3).unsqueeze(1)).any(1).float().mean()
    if found < 0.5:
        raise ContractError(f"the next item is among the first three for {found:.0%} of histories; chance is 11 %")


HISTORY_CHECKS: dict[str, Callable[[HistorySubject], None]] = {
    "scores": check_scores,
    "unknown items": check_unknown,
    "determinism": check_determinism,
    "state": check_state,
    "loss": check_loss,
    "order": check_order,
}


def check_history_recommender(
    model: type[Recommender], config: Recommender.Config | Mapping[str, object] | None = None
) -> dict[str, str]:
    """Run every check on a model that a history asks.

    Returns:
        Name of the check -> "passed", or "not applicable: " and why.

    Raises:
        ContractError: A check fails; the message holds all that fail.
        ConfigError: The config does not fit the model.
    """
    checked = build(model.Config, config or {}, source=f"config of {model.__name__}", prefix="model")
    subject = HistorySubject(model, checked, ordered_view())
    return run_checks(HISTORY_CHECKS, subject, model.__name__)
