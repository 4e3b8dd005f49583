"""Checks of what a model is: its description, config, vectors and state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from sensorium.core.config import Config, build, describe, dump
from sensorium.core.errors import ConfigError, SensoriumError
from sensorium.core.files import read_safetensors, write_json, write_safetensors
from sensorium.recommenders.base import AnswersHistory, Backbone, ModelInfo, ScoresItself
from sensorium.testing.subject import (
    VECTOR_TOLERANCE,
    ContractError,
    NotApplicable,
    Subject,
    all_scores,
    require_close,
    require_finite,
    train_for,
)
from sensorium.testing.transport import save_view

RELOAD_TOLERANCE = 1e-6


def check_description(subject: Subject) -> None:
    """`info` describes the model, and it provides what a ranking needs."""
    model = subject.model
    info = getattr(model, "info", None)
    if not isinstance(info, ModelInfo):
        raise ContractError(f"{model.__name__}.info must be a ModelInfo, it is {info!r}")
    if not info.summary.strip() or "\n" in info.summary:
        raise ContractError(f"{model.__name__}.info.summary must be one line of text, it is {info.summary!r}")
    if not (hasattr(model, "query_vectors") and hasattr(model, "item_vectors")) and not hasattr(model, "score"):
        raise ContractError(
            f"{model.__name__} provides neither query_vectors and item_vectors nor score: it cannot rank"
        )
    phases = subject.build().phases()
    if bool(phases) != info.trained:
        raise ContractError(
            f"{model.__name__}.info.trained is {info.trained}, but phases() returns {len(phases)} phases"
        )


def check_config(subject: Subject) -> None:
    """The config survives a round trip through plain values, explains its keys, and refuses an unknown one."""
    cls = subject.model.Config
    if not issubclass(cls, Config):
        raise ContractError(f"{subject.model.__name__}.Config must derive from Recommender.Config")
    tree = json.loads(json.dumps(dump(subject.config)))
    again = build(cls, tree, source="round trip")
    if again != subject.config:
        raise ContractError(f"the config changes on its way through JSON: {dump(subject.config)} becomes {dump(again)}")
    silent = [key.path for key in describe(cls) if not key.meaning.strip()]
    if silent:
        raise ContractError(f"keys without a description: {', '.join(silent)}; give Field(description=...)")
    try:
        build(cls, {**tree, "no_such_key": 1}, source="round trip")
    except ConfigError:
        return
    raise ContractError(
        "an unknown key is accepted in silence: derive Config from Recommender.Config and keep its model_config"
    )


def check_vectors(subject: Subject) -> None:
    """The product of the two vectors is the score, for chosen items too, and so is that of `represent()`."""
    model = subject.train()
    found = all_scores(model)
    expected = [len(subject.users), model.n_items]
    if list(found.shape) != expected:
        raise ContractError(f"the scores of all users have shape {list(found.shape)}, {expected} are users and items")
    with torch.no_grad():
        if isinstance(model, ScoresItself):
            some = torch.tensor([model.n_items - 1, 0, 2])
            sentence = "score(queries, items) is not those columns of score(queries)"
            require_close(model.score(subject.users, some), found[:, some], VECTOR_TOLERANCE, sentence)
        if hasattr(model, "query_vectors") and hasattr(model, "item_vectors"):
            product = model.query_vectors(subject.users) @ model.item_vectors().T
            require_close(product, found, VECTOR_TOLERANCE, "query_vectors @ item_vectors.T is not score(queries)")
        if isinstance(model, Backbone):
            user, item, _ = model.represent()
            require_close(
                user @ item.T, found, VECTOR_TOLERANCE, "represent().user @ represent().item.T is not the score"
            )
    if isinstance(model, Backbone) and subject.model.info.trained:
        user, item, _ = model.represent()
        if not (user.requires_grad and item.requires_grad):
            raise ContractError(
                "represent() is not differentiable: wrappers send gradients through it, in evaluation mode too"
            )


def check_batch_is_single(subject: Subject) -> None:
    """A user's scores do not depend on who else is asked, on the order, or on how many are."""
    model = subject.train()
    users = subject.users
    together = all_scores(model)
    require_close(all_scores(model, users.flip(0)), together.flip(0), VECTOR_TOLERANCE, "users asked in another order")
    alone = torch.cat([all_scores(model, user[None]) for user in users])
    require_close(alone, together, VECTOR_TOLERANCE, "users asked one by one")
    if len(all_scores(model, users[:0])):
        raise ContractError("no users asked, but scores returned")


def check_everyone_finite(subject: Subject) -> None:
    """Users and items without a single train row have finite scores."""
    require_finite(all_scores(subject.build()), "the scores of the model as it was built")
    require_finite(all_scores(subject.train()), "the scores after an epoch")


def check_unknown_ids(subject: Subject) -> None:
    """CS-1: a user that the model does not know is an error, never another user's answer."""
    model = subject.train()
    for user in (-1, model.n_users):
        try:
            all_scores(model, torch.tensor([0, user]))
        except (SensoriumError, LookupError, ValueError, RuntimeError):
            continue
        raise ContractError(
            f"user {user} gets an answer, though the ids end at {model.n_users - 1}: check queries with "
            "recommenders.base.known_ids"
        )


def check_histories(subject: Subject) -> None:
    """A model that answers histories gives finite scores [n, I], the same one by one, for empty ones too."""
    model = subject.train()
    if not isinstance(model, AnswersHistory):
        raise NotApplicable("the model does not answer histories")
    histories = [torch.tensor([0, 3, 5]), torch.tensor([], dtype=torch.int64), torch.tensor([2])]
    with torch.no_grad():
        found = model.score_history(histories)
        require_finite(found, "the scores of histories")
        if list(found.shape) != [3, model.n_items]:
            raise ContractError(f"score_history of 3 histories has shape {list(found.shape)}, not [3, {model.n_items}]")
        alone = torch.cat([model.score_history([history]) for history in histories])
    require_close(alone, found, VECTOR_TOLERANCE, "histories asked one by one")


def check_state(subject: Subject) -> None:
    """The state holds all that training changed: another instance that loads it gives the same scores at once."""
    model, fresh, used = subject.build(), subject.build(), subject.build()
    # Two are evaluated first: what a model remembers of older weights must not outlive them.
    all_scores(model)
    all_scores(used)
    train_for(model, subject.view, epochs=1)
    wanted = all_scores(model)
    for other in (fresh, used):
        other.load_state_dict(model.state_dict())
        require_close(
            all_scores(other), wanted, RELOAD_TOLERANCE, "a model that has loaded the state scores differently"
        )
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise ContractError(f"state entry '{name}' is no dense tensor: it cannot be saved as safetensors")


def check_new_process(subject: Subject) -> None:
    """Saved, and loaded in a new process: the same scores, to 1e-6."""
    cls = subject.model
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotApplicable(f"{cls.__qualname__} is not importable from a module, so no other process can load it")
    model = subject.train()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_view(subject.view, folder)
        write_safetensors(folder / "state.safetensors", dict(model.state_dict()), None)
        write_json(
            folder / "model.json", {"module": cls.__module__, "class": cls.__qualname__, "config": dump(subject.config)}
        )
        path = os.pathsep.join(entry or os.curdir for entry in sys.path)
        outcome = subprocess.run(
            [sys.executable, "-m", "sensorium.testing.transport", str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if outcome.returncode:
            raise ContractError(f"a new process cannot load the model: {outcome.stderr.strip().splitlines()[-1]}")
        found = read_safetensors(folder / "scores.safetensors")["scores"]
    require_close(found, all_scores(model), RELOAD_TOLERANCE, "a model loaded in a new process scores differently")
