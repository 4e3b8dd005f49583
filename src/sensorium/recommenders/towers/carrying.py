"""From one catalogue to another: what of a trained part means something there, and how it gets there.

Weights do. Rows of single items, the digest of the content, and mean and scale of what an encoder says of it are of one
catalogue (`Tower.of_catalogue`): those of the target stay, and it measures on its own training items. Weights are only
right over what they were trained on, so that the encoder below them must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sensorium.core.errors import ConfigError
from sensorium.recommenders.towers.base import Tower
from sensorium.recommenders.towers.encoder import encoder_towers


def portable_state(part: nn.Module) -> dict[str, Tensor]:
    """Return the state of a tower, or of anything that may hold some, without what is of its catalogue."""
    state: dict[str, Tensor] = part.state_dict()
    for name, module in part.named_modules():
        if isinstance(module, Tower):
            for own in module.of_catalogue:
                del state[f"{name}.{own}" if name else own]
    return state


def load_portable(part: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Put a portable state into a part that was built on another catalogue, which then measures anew.

    Args:
        part: Of the same kind as that which the state is of.
        state: From `portable_state`.
        name: Of the part, for messages.

    Raises:
        ConfigError: The state has other entries, or entries of another shape, than this part.
        DataError: An encoder has other weights here than where the state was trained.
    """
    own = portable_state(part)
    other = sorted(key for key in own.keys() | state.keys() if key not in own or key not in state)
    other += [key for key, value in own.items() if key in state and state[key].shape != value.shape]
    if other:
        raise ConfigError(
            f"{len(other)} entries of the {name} cannot be carried: '{other[0]}' is missing or has another shape on "
            "the target, which reads features of another width, or other ones"
        )
    part.load_state_dict({**part.state_dict(), **state})
    for tower in encoder_towers(part):
        tower.measure_anew()


def carry(source: nn.Module, target: nn.Module, name: str) -> None:
    """Put what a part has learned into one of another catalogue.

    Args:
        source: The trained part.
        target: The one that is to have its weights.
        name: Of the part, for messages.

    Raises:
        ConfigError: The two are not built alike, or read other states of an encoder.
        DataError: An encoder has other weights on the target.
    """
    load_portable(target, portable_state(source), name)
    for here, there in zip(encoder_towers(source), encoder_towers(target), strict=True):
        if here.reading != there.reading:
            raise ConfigError(
                f"the {name} reads other states on the target: '{there.name}' is {there.reading} there, and "
                f"{here.reading} where it was trained: encode both alike"
            )
