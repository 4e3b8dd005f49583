"""Checks of backbones, of what wrappers (`guider`, `fmmrec`) do with them: read their vectors, weight their graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sensorium.core.seeds import numpy_generator
from sensorium.data.view import TrainView
from sensorium.recommenders.base import Backbone
from sensorium.testing.subject import (
    VECTOR_TOLERANCE,
    ContractError,
    NotApplicable,
    Subject,
    all_scores,
    loss_terms,
    require_close,
    require_finite,
    terms_and_gradients,
)


def check_representations(subject: Subject) -> None:
    """`represent()` passes gradients to the parameters, in evaluation mode too, and has one row per user and item.

    Every tap of `item_modal` has a row for each item; a model that reads no features has none.
    """
    model = _trained_backbone(subject)
    user, item, modal = model.represent()
    for name, rows, count in (("user", user, model.n_users), ("item", item, model.n_items)):
        if rows.ndim != 2 or len(rows) != count:
            raise ContractError(f"represent().{name} has shape {list(rows.shape)}, {count} rows are wanted")
    for name, tap in modal.items():
        if tap.ndim != 2 or len(tap) != model.n_items:
            raise ContractError(
                f"represent().item_modal['{name}'] has shape {list(tap.shape)}, {model.n_items} rows are wanted"
            )
        require_finite(tap, f"represent().item_modal['{name}']")
        if not tap.requires_grad:
            raise ContractError(
                f"represent().item_modal['{name}'] passes no gradient: what is distilled into it would be lost"
            )
    if modal and subject.model.info.features == "none":
        raise ContractError("the model reads no features, but represent().item_modal is not empty")
    parameters = [value for value in model.parameters() if value.requires_grad]
    sums = user.square().sum() + item.square().sum()
    gradients = torch.autograd.grad(sums, parameters, allow_unused=True, materialize_grads=True)
    for gradient in gradients:
        require_finite(gradient, "the gradients of represent()")
    if not any(bool(gradient.any()) for gradient in gradients):
        raise ContractError("represent() passes no gradient to any parameter")


def check_pointwise(subject: Subject) -> None:
    """`pointwise` is True exactly when the loss reads no negatives."""
    model = _trained_backbone(subject)
    batch = subject.batch()
    plain = loss_terms(model, batch)
    other = loss_terms(model, replace(batch, neg=(batch.neg + 1) % model.n_items))
    moved = any(not torch.equal(value, plain[name]) for name, value in other.items())
    if moved == model.pointwise:
        raise ContractError(
            f"{type(model).__name__}.pointwise is {model.pointwise}, but with other negatives the loss is "
            f"{'another' if moved else 'the same'}"
        )


def check_edge_weight(subject: Subject) -> None:
    """Edge weights of 1 equal none bit for bit, 0 equals a row that is not there, None undoes them.

    They leave everything finite, and they are no part of the state. A model that learns something about each train row
    cannot be compared with one of fewer rows.
    """
    model = _trained_backbone(subject)
    view, batch = subject.view, subject.batch()
    plain, (terms, gradients) = all_scores(model), terms_and_gradients(model, batch)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.set_edge_weight(torch.ones(len(view.user)))
    require_close(all_scores(model), plain, 0.0, "scores with edge weights all 1 are not those without weights")
    same_terms, same_gradients = terms_and_gradients(model, batch)
    for name, value in {**terms, **gradients}.items():
        found = {**same_terms, **same_gradients}[name]
        require_close(found, value, 0.0, f"with edge weights all 1, '{name}' or its gradient differs")

    kept = _rows_to_keep(view)
    model.set_edge_weight(torch.from_numpy(numpy_generator(0, "edge weight").random(len(kept)).astype(np.float32)))
    require_finite(all_scores(model), "the scores with edge weights between 0 and 1")
    _require_state(model, state)
    fewer = subject.build(replace(view, user=view.user[kept], item=view.item[kept], timestamp=None))
    if all(value.shape == state[name].shape for name, value in fewer.state_dict().items()):
        fewer.load_state_dict(state)
        model.set_edge_weight(torch.from_numpy(kept.astype(np.float32)))
        sentence = "with edge weights of 0 and 1, scores are not those of a graph without the rows of weight 0"
        require_close(all_scores(model), all_scores(fewer), VECTOR_TOLERANCE, sentence)
    model.set_edge_weight(torch.zeros(len(kept)))
    require_finite(all_scores(model), "the scores with edge weights all 0")
    model.set_edge_weight(None)
    require_close(all_scores(model), plain, 0.0, "set_edge_weight(None) does not undo edge weights")


def _rows_to_keep(view: TrainView) -> np.ndarray:
    """Return about two thirds of the rows, bool [E], so that who had a row still has one: items keep their scaling."""
    kept: np.ndarray = numpy_generator(0, "rows to keep").random(len(view.user)) < 2 / 3
    for ids in (view.user, view.item):
        kept[np.unique(ids, return_index=True)[1]] = True
    return kept


def _require_state(model: Backbone, wanted: dict[str, Tensor]) -> None:
    found = model.state_dict()
    if found.keys() != wanted.keys() or any(not torch.equal(found[name], value) for name, value in wanted.items()):
        raise ContractError("edge weights change the state: who sets them keeps them, the state holds what is learned")


def _trained_backbone(subject: Subject) -> Backbone:
    if not issubclass(subject.model, Backbone):
        raise NotApplicable("the model is no backbone")
    if not subject.model.info.trained:
        raise NotApplicable("the model has no training")
    model = subject.train()
    assert isinstance(model, Backbone)
    return model
