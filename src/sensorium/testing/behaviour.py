"""Checks of how a model learns: repeatably, from train rows alone, by its weights, and better than chance."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sensorium.core.seeds import catalogue_order, numpy_generator
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.evaluation.ranking import rank
from sensorium.evaluation.results import measure
from sensorium.evaluation.tasks import task_from_rows
from sensorium.recommenders.base import RANKING_TERM, Backbone, Recommender
from sensorium.testing.data import TinyData, relabelled, tiny_data, view_of_rows, without_content
from sensorium.testing.stored import other_held_out_rows, stored_view
from sensorium.testing.subject import (
    VECTOR_TOLERANCE,
    ContractError,
    NotApplicable,
    Subject,
    all_scores,
    loss_terms,
    require_close,
    require_equal_states,
    require_finite,
    state_of,
    terms_and_gradients,
)

FLOOR_EPOCHS = 30
FLOOR_OVER_CHANCE = 2.0
FLOOR_K = 5


def check_determinism(subject: Subject) -> None:
    """The same view, config and seed give the same weights, whatever else drew random numbers before."""
    require_equal_states(subject.build(), subject.build(), "built twice from one view")
    first, second = subject.train(epochs=2), subject.train(epochs=2)
    require_equal_states(first, second, "trained twice with one seed")
    if not torch.equal(all_scores(first), all_scores(first)):
        raise ContractError("two evaluations of one model differ: nothing may be random in evaluation mode")


def check_test_rows(subject: Subject) -> None:
    """Test rows never reach the weights: with other valid and test rows, training ends in bit-equal weights."""
    data = tiny_data()
    with tempfile.TemporaryDirectory() as name:
        model = subject.train(stored_view(data, Path(name) / "own"), epochs=2)
        other = subject.train(stored_view(other_held_out_rows(data), Path(name) / "other"), epochs=2)
        circumstance = "with other valid and test rows of the same users"
        require_equal_states(model, other, circumstance)
        require_close(all_scores(other), all_scores(model), 0.0, f"{circumstance}, the scores differ")


def check_loss_terms(subject: Subject) -> None:
    """The loss is a dictionary of finite scalars, "ranking" among them, and leaves the batch as it was."""
    model = _trained_model(subject)
    batch = subject.batch()
    before = Batch(batch.user.clone(), batch.pos.clone(), batch.neg.clone(), batch.row.clone(), None)
    terms = loss_terms(model, batch)
    if RANKING_TERM not in terms:
        raise ContractError(
            f"the loss has no term '{RANKING_TERM}', which batch.weight multiplies; it has {', '.join(terms)}"
        )
    for name, value in terms.items():
        if value.ndim:
            raise ContractError(f"loss term '{name}' has shape {list(value.shape)}: it must be a scalar")
        require_finite(value, f"loss term '{name}'")
    for part in ("user", "pos", "neg", "row"):
        if not torch.equal(getattr(batch, part), getattr(before, part)):
            raise ContractError(f"loss() changes batch.{part} in place: wrappers use the same batch again")


def check_batch_weight(subject: Subject) -> None:
    """`batch.weight` of 1 equals None bit for bit; a row of weight 0 moves neither the ranking term nor its gradient.

    The other terms may read such a row: they are not weighted.
    """
    model = _trained_model(subject)
    batch = subject.batch()
    plain, gradients = terms_and_gradients(model, batch)
    ones, same = terms_and_gradients(model, replace(batch, weight=torch.ones(len(batch.user))))
    for name, value in plain.items():
        sentence = f"loss term '{name}' with batch.weight all 1 is not that without weights"
        require_close(ones[name], value, 0.0, sentence)
    for name, gradient in gradients.items():
        require_close(same[name], gradient, 0.0, f"with batch.weight all 1, the gradient of '{name}' differs")
    silent = torch.arange(len(batch.user)) % 2 == 0
    weight = (~silent).float() * 2
    other = replace(
        batch,
        weight=weight,
        user=torch.where(silent, batch.user.roll(1), batch.user),
        pos=torch.where(silent, batch.pos.roll(1), batch.pos),
        neg=torch.where(silent[:, None], batch.neg.roll(1, dims=0), batch.neg),
    )
    wanted, gradients = terms_and_gradients(model, replace(batch, weight=weight), only=RANKING_TERM)
    if torch.equal(wanted[RANKING_TERM], plain[RANKING_TERM]):
        raise ContractError(f"batch.weight does not change the term '{RANKING_TERM}': it must multiply it row by row")
    found, moved = terms_and_gradients(model, other, only=RANKING_TERM)
    require_close(found[RANKING_TERM], wanted[RANKING_TERM], 1e-6, f"rows with weight 0 move the term '{RANKING_TERM}'")
    for name, gradient in gradients.items():
        sentence = f"rows with weight 0 move the gradient of '{name}' by the term '{RANKING_TERM}'"
        require_close(moved[name], gradient, 1e-6, sentence)


def check_full_user(subject: Subject) -> None:
    """TR-1: with a user who has every item, training ends, and all scores are finite."""
    view = view_of_rows([0, 0, 0, 1, 2], [0, 1, 2, 1, 2], users=3, items=3)
    require_finite(all_scores(subject.train(view, epochs=3)), "the scores with a user who has everything")


def check_unknown_items(subject: Subject) -> None:
    """Items of which nothing is known, no train row and no content, score alike, as built and after training.

    Else they are ordered by the random numbers that the model started from, the same for everybody and without a word.
    """
    view = subject.view
    unknown = np.union1d(np.flatnonzero(view.item_count == 0), [0, view.n_items // 2])
    kept = ~np.isin(view.item, unknown)
    view = replace(view, user=view.user[kept], item=view.item[kept], timestamp=None)
    for item in unknown:
        view = without_content(view, item)
    for model, when in ((subject.build(view), "as built"), (subject.train(view), "after an epoch")):
        found = all_scores(model)[:, unknown]
        sentence = (
            f"{when}, items without a train row and without content score differently: start the rows of such ids at 0 "
            "(Recommender.id_embedding)"
        )
        require_close(found, found[:, :1].expand_as(found), VECTOR_TOLERANCE, sentence)


def check_relabelling(subject: Subject) -> None:
    """Other ids for the same users and items, the tie order carried along, change no metric by more than 1e-6.

    A model without training is built anew from the relabelled rows; a backbone gets the rows of its state under their
    new ids.
    """
    data = tiny_data()
    model = subject.train(data.view)
    if subject.model.info.trained and not isinstance(model, Backbone):
        raise NotApplicable("a trained model that is no backbone may draw by id")
    draw = numpy_generator(0, "relabelling")
    new_user, new_item = draw.permutation(data.view.n_users), draw.permutation(data.view.n_items)
    moved = relabelled(data, new_user, new_item)
    other = subject.build(moved.view)
    if subject.model.info.trained:
        _carry_state(model, other, new_user, new_item, data.view, moved.view)
    order = catalogue_order(data.view.n_items, 0)
    carried = np.empty_like(order)
    carried[new_item] = order
    before, after = _metrics(model, data, order), _metrics(other, moved, carried)
    for name, value in before.items():
        if abs(value - after[name]) > 1e-6:
            raise ContractError(
                f"under other ids {name} is {after[name]:.6f} instead of {value:.6f}: something depends on ids"
            )


def check_better_than_chance(subject: Subject) -> None:
    """On tiny data with planted tastes, held-out items are found clearly more often than by chance."""
    data = tiny_data(users=150, items=60)
    model = subject.train(data.view, epochs=FLOOR_EPOCHS)
    task = task_from_rows(data.view.n_items, (data.test_user, data.test_item), (data.view.user, data.view.item))
    chance = float(np.mean(FLOOR_K / task.n_candidates))
    found = _metrics(model, data, catalogue_order(data.view.n_items, 0))[f"recall@{FLOOR_K}"]
    if found < FLOOR_OVER_CHANCE * chance:
        raise ContractError(
            f"recall@{FLOOR_K} on held-out rows of tiny data is {found:.3f}, chance is {chance:.3f}: at least "
            f"{FLOOR_OVER_CHANCE * chance:.3f} is expected after {FLOOR_EPOCHS} epochs"
        )


def _trained_model(subject: Subject) -> Recommender:
    if not subject.model.info.trained:
        raise NotApplicable("the model has no training")
    return subject.train()


def _metrics(model: Recommender, data: TinyData, tie_order: np.ndarray) -> dict[str, float]:
    task = task_from_rows(data.view.n_items, (data.test_user, data.test_item), (data.view.user, data.view.item))
    ranked = rank(model, task, k=10, tie_order=tie_order)
    return measure(task, ranked.items, ks=[1, FLOOR_K, 10], metrics=["recall", "ndcg"]).summary


def _carry_state(
    model: Recommender,
    other: Recommender,
    new_user: np.ndarray,
    new_item: np.ndarray,
    view: TrainView,
    moved: TrainView,
) -> None:
    """Load a model's state into another under other ids: what has a row per user, item, node or train row is reordered.

    The number of rows tells which of them it is; two equal numbers are refused, since the order would be a guess.
    """
    old_user, old_item = torch.from_numpy(np.argsort(new_user)), torch.from_numpy(np.argsort(new_item))
    # The train rows of both views are sorted by (user, item), under the ids that each has.
    old_row = torch.from_numpy(np.lexsort((new_item[view.item], new_user[view.user])))
    if not np.array_equal(new_item[view.item][old_row], moved.item):
        raise ValueError("the relabelled view has other rows than the view that it was made from")
    nodes = torch.cat([old_user, len(old_user) + old_item])
    orders = {len(order): order for order in (old_user, old_item, nodes, old_row)}
    if len(orders) < 4:
        raise ValueError("users, items, nodes and train rows of this world are not all of different numbers")
    state = state_of(model)
    for name, value in state.items():
        if value.ndim and len(value) in orders:
            state[name] = value[orders[len(value)]]
    other.load_state_dict(state)
