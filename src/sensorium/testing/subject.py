"""The model under test, and what the checks do with it: build, train for some epochs, read scores and state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from sensorium.core.config import build
from sensorium.core.errors import ConfigError
from sensorium.core.registry import get
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.evaluation.selection import Selection
from sensorium.recommenders.base import Recommender, scores
from sensorium.testing.data import tiny_data
from sensorium.training.config import OptimizerConfig, TrainingConfig
from sensorium.training.protocols import BeginsEpochs, TrainingData

Checked = TypeVar("Checked")

VECTOR_TOLERANCE = 1e-5
"""How far scores may differ that are equal by their formula."""


class ContractError(AssertionError):
    """A model breaks the contract of `recommenders.base`; the message says which part and by how much."""


class NotApplicable(Exception):  # noqa: N818 - not an error: the outcome of a check that has nothing to check
    """A check has nothing to say about this model; the message says why."""


@dataclass(frozen=True)
class Subject:
    """A model class with a config, and the data it is tried on.

    Attributes:
        model: The class.
        config: The config of every instance.
        view: What instances are built from, unless a check needs data of its own.
    """

    model: type[Recommender]
    config: Recommender.Config
    view: TrainView

    def build(self, view: TrainView | None = None) -> Recommender:
        """Return a new instance in evaluation mode. Torch's global generator has another state for each of them."""
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            return self.model(view or self.view, self.config).eval()

    def train(self, view: TrainView | None = None, *, epochs: int = 1, seed: int = 0) -> Recommender:
        """Return a new instance after some epochs of the project's loop, in evaluation mode, its last state in it."""
        model = self.build(view)
        train_for(model, view or self.view, epochs=epochs, seed=seed)
        return model

    def batch(self, view: TrainView | None = None) -> Batch:
        """Return one batch of the view, as the loop would make it."""
        return PairBatches(view or self.view, batch_size=64).batch(Step(seed=0, phase="main", epoch=0, index=0))

    @property
    def users(self) -> Tensor:
        """All users of the view: int64 [U]."""
        return torch.arange(self.view.n_users)


def subject_of(
    model: str | type[Recommender],
    config: Recommender.Config | Mapping[str, object] | None = None,
    view: TrainView | None = None,
) -> Subject:
    """Return the subject for a registered name or a class.

    Raises:
        UnknownNameError: No model has that name.
        ConfigError: The config does not fit the model, or the model is not asked by user id.
    """
    cls = get("sensorium.recommenders", model) if isinstance(model, str) else model
    if cls.query_kind != "user":
        raise ConfigError(f"{cls.__name__} is asked by {cls.query_kind}, these checks ask by user id")
    checked = build(
        cls.Config, config if config is not None else {}, source=f"config of {cls.__name__}", prefix="model"
    )
    return Subject(cls, checked, tiny_data().view if view is None else view)


def train_for(model: Recommender, view: TrainView, *, epochs: int, seed: int = 0) -> None:
    """Train a model for a fixed number of epochs and leave the last state in it."""
    from sensorium.training.loop import train  # brings Lightning, which a process that only scores can do without

    config = TrainingConfig(
        epochs=epochs,
        batch_size=64,
        optimizer=OptimizerConfig(lr=1e-2),
        validate_every=epochs,  # one validation: the last state is the best one
        patience=0,
        device="cpu",
        checkpoint="none",
    )
    data: TrainingData[Recommender] = TrainingData(PairBatches(view, batch_size=64), lambda _: {"last": 0.0})
    train(model, data, config, selection=Selection("last"), seed=seed)


def loss_terms(model: Recommender, batch: Batch) -> dict[str, Tensor]:
    """Return the terms of the loss as in the first batch of an epoch, with the same random draws at every call."""
    if isinstance(model, BeginsEpochs):
        model.begin_epoch(0, torch_generator(0, "contract"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        terms = model.train().loss(batch)
    model.eval()
    return terms


def terms_and_gradients(
    model: Recommender, batch: Batch, *, only: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the terms, and by parameter the gradient of their sum, or of one term: 0 for one that is not used."""
    terms = loss_terms(model, batch)
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    total = torch.stack([value for name, value in terms.items() if only in (None, name)]).sum()
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return {name: value.detach() for name, value in terms.items()}, dict(zip(parameters, gradients, strict=True))


def all_scores(model: Recommender, users: Tensor | None = None) -> Tensor:
    """Return the scores of users, all by default, in evaluation mode without gradients: float32 [n, I]."""
    with torch.no_grad():
        return scores(model.eval(), torch.arange(model.n_users) if users is None else users).float()


def state_of(model: Recommender) -> dict[str, Tensor]:
    """Return a copy of the model's state."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def require_equal_states(first: Recommender, second: Recommender, circumstance: str) -> None:
    """Raise a ContractError unless two models have bit-equal states.

    Args:
        first: One model.
        second: The other.
        circumstance: What differs between the two and must not matter, as in "with other test rows".
    """
    one, other = first.state_dict(), second.state_dict()
    if one.keys() != other.keys():
        raise ContractError(f"{circumstance}, the state has other entries: {sorted(one.keys() ^ other.keys())}")
    for name, value in one.items():
        if value.shape != other[name].shape:
            raise ContractError(
                f"{circumstance}, '{name}' has shape {list(other[name].shape)} instead of {list(value.shape)}"
            )
        if not torch.equal(value, other[name]):
            largest = float((value.double() - other[name].double()).abs().max())
            raise ContractError(f"{circumstance}, '{name}' differs (by up to {largest:.3g}); it must be bit-equal")


def require_close(found: Tensor, wanted: Tensor, tolerance: float, sentence: str) -> None:
    """Raise a ContractError unless two tensors agree to a tolerance times the largest value, if that is above 1.

    Args:
        found: One tensor.
        wanted: The other.
        tolerance: The largest difference allowed.
        sentence: What is wrong if they differ.
    """
    if found.shape != wanted.shape:
        raise ContractError(f"{sentence}: shape {list(found.shape)} instead of {list(wanted.shape)}")
    if not found.numel():
        return
    difference = float((found.double() - wanted.double()).abs().max())
    scale = max(1.0, float(wanted.abs().max()))
    if not difference <= tolerance * scale:
        raise ContractError(f"{sentence}: they differ by up to {difference:.3g}, {tolerance * scale:.3g} is allowed")


def require_finite(values: Tensor, what: str) -> None:
    """Raise a ContractError unless all values are finite."""
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise ContractError(f"{what} hold {bad} values that are not finite, of {values.numel()}")


def run_checks(checks: Mapping[str, Callable[[Checked], None]], subject: Checked, name: str) -> dict[str, str]:
    """Run every check on a subject, the ones after a failure too.

    Args:
        checks: What to run, by name.
        subject: What each is called with.
        name: What the message calls it.

    Returns:
        Name of the check -> "passed", or "not applicable: " and why.

    Raises:
        ContractError: A check fails; the message holds all that fail.
    """
    outcome: dict[str, str] = {}
    failures: list[str] = []
    for title, check in checks.items():
        try:
            check(subject)
            outcome[title] = "passed"
        except NotApplicable as reason:
            outcome[title] = f"not applicable: {reason}"
        except ContractError as error:
            failures.append(f"  {title}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a model raises is a finding, and the other checks go on
            failures.append(f"  {title}: {type(error).__name__}: {error}")
    if failures:
        raise ContractError(f"{name} fails {len(failures)} of {len(checks)} checks:\n" + "\n".join(failures))
    return outcome
