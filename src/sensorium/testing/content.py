"""Checks of models that read item features: masks, any number of modalities, items without content."""

from __future__ import annotations

from sensorium.core.errors import SensoriumError
from sensorium.testing.data import MODALITIES, tiny_data, with_masked_content, without_content
from sensorium.testing.subject import (
    ContractError,
    NotApplicable,
    Subject,
    all_scores,
    require_close,
    require_equal_states,
    require_finite,
)

FILLINGS = {"1e9": 1e9, "noise": None}


def check_masked_content(subject: Subject) -> None:
    """Content under a false mask is never read: zeros, noise or 1e9 there give bit-equal weights and scores."""
    _require_features(subject)
    view = tiny_data(modalities=MODALITIES[:2], missing=0.3).view
    reference = subject.train(with_masked_content(view, 0.0))
    for name, value in FILLINGS.items():
        other = subject.train(with_masked_content(view, value))
        circumstance = f"with {name} instead of zeros where items have no content (present is False)"
        require_equal_states(reference, other, circumstance)
        require_close(all_scores(other), all_scores(reference), 0.0, f"{circumstance}, the scores differ")


def check_modalities(subject: Subject) -> None:
    """One, two and three modalities train an epoch and give finite scores."""
    _require_features(subject)
    for count in (1, 2, 3):
        model = subject.train(tiny_data(modalities=MODALITIES[:count]).view)
        require_finite(all_scores(model), f"the scores with {count} modalities")


def check_item_without_content(subject: Subject) -> None:
    """An item without any content has finite scores."""
    _require_features(subject)
    view = without_content(tiny_data().view, item=0)
    require_finite(all_scores(subject.build(view))[:, 0], "the scores of an item without content")
    require_finite(all_scores(subject.train(view))[:, 0], "after an epoch, the scores of an item without content")


def check_no_features(subject: Subject) -> None:
    """A model that needs features says in one line that there are none and which command makes them."""
    if subject.model.info.features != "required":
        raise NotApplicable("the model does not need features")
    view = tiny_data(modalities=()).view
    try:
        subject.build(view)
    except SensoriumError as error:
        if "sensorium encode" not in str(error) or "\n" in str(error):
            raise ContractError(
                f"without features the error must be one line that names `sensorium encode`: {error}"
            ) from None
        return
    raise ContractError("info.features is 'required', but the model is built without any")


def _require_features(subject: Subject) -> None:
    if subject.model.info.features == "none":
        raise NotApplicable("the model reads no features")
