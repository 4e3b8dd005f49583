"""The contract of a recommender as small named checks, which a third party's model can run too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sensorium.data.view import TrainView
from sensorium.recommenders.base import Recommender
from sensorium.testing import backbone, behaviour, content, structure
from sensorium.testing.subject import Subject, run_checks, subject_of

Check = Callable[[Subject], None]

CHECKS: dict[str, Check] = {
    "description": structure.check_description,
    "config": structure.check_config,
    "vectors": structure.check_vectors,
    "batch is single": structure.check_batch_is_single,
    "everyone finite": structure.check_everyone_finite,
    "unknown ids": structure.check_unknown_ids,
    "histories": structure.check_histories,
    "state": structure.check_state,
    "new process": structure.check_new_process,
    "determinism": behaviour.check_determinism,
    "test rows": behaviour.check_test_rows,
    "loss terms": behaviour.check_loss_terms,
    "batch weight": behaviour.check_batch_weight,
    "representations": backbone.check_representations,
    "pointwise": backbone.check_pointwise,
    "edge weight": backbone.check_edge_weight,
    "full user": behaviour.check_full_user,
    "unknown items": behaviour.check_unknown_items,
    "relabelling": behaviour.check_relabelling,
    "better than chance": behaviour.check_better_than_chance,
    "masked content": content.check_masked_content,
    "modalities": content.check_modalities,
    "item without content": content.check_item_without_content,
    "no features": content.check_no_features,
}


def check_recommender(
    model: str | type[Recommender],
    config: Recommender.Config | Mapping[str, object] | None = None,
    *,
    view: TrainView | None = None,
) -> dict[str, str]:
    """Run every check on a model.

    Args:
        model: A registered name, or a class.
        config: The config of every instance, or its values; None takes the defaults. Leave features open: checks bring
            data with one, two and three modalities of their own.
        view: The view that instances are built from, for checks that need no data of their own; None takes a tiny one.

    Returns:
        Name of the check -> "passed", or "not applicable: " and why.

    Raises:
        ContractError: A check fails; the message holds all that fail.
        ConfigError: The config does not fit the model.
    """
    subject = subject_of(model, config, view)
    return run_checks(CHECKS, subject, subject.model.__name__)
