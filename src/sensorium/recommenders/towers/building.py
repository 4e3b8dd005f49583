"""From the keys of a configuration to a tower: `tower`, `features`, `states`, `encoders`. Every model that takes towers
takes these.

    id            the item's own vector
    features      stored vectors, side by side, through one linear layer
    states        stored hidden states of encoders
    end_to_end    encoders of raw content inside the model
    fusion        one tower for each feature set, mixed
    id+features, id+states, id+end_to_end      the sum of both

Several sets of states, and several encoders, have a tower each, and are mixed as `fusion` mixes features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from sensorium.core.errors import ConfigError
from sensorium.core.registry import did_you_mean
from sensorium.data.view import TrainView
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.towers.base import Draw, Tower
from sensorium.recommenders.towers.end_to_end import EndToEndConfig, EndToEndTower
from sensorium.recommenders.towers.features import FeatureTower, FusionTower, IDPlusTower
from sensorium.recommenders.towers.id import IDTower
from sensorium.recommenders.towers.states import StatesConfig, states_tower

Kind = Literal[
    "id", "features", "states", "end_to_end", "fusion", "id+features", "id+states", "id+end_to_end"
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)


class TowerConfig(Recommender.Config):
    """The keys of a model that takes towers."""

    dim: int = Field(64, ge=2, description="width of items and states, d")
    tower: Kind = Field(
        "id",
        description="what an item is: its id, its features, stored hidden states, its raw content by an encoder inside "
        "the model, the sum of an id and one of these, or a mixture of its features (fusion)",
    )
    features: list[str] | None = Field(
        None,
        description="features of the tower, or those behind which its states lie; null = all that the run reads",
    )
    states: StatesConfig = Field(StatesConfig(), description="how stored hidden states are read")
    encoders: dict[str, EndToEndConfig] = Field(
        {}, description="by a name of your choice: the encoders of an end-to-end tower"
    )

    @model_validator(mode="after")
    def _encoders_where_they_are_used(self) -> TowerConfig:
        used = self.tower.endswith("end_to_end")
        if used and not self.encoders:
            raise ValueError(f"tower {self.tower} needs an encoder: encoders: {{video: {{encoder: videomae-base}}}}")
        if self.encoders and not used:
            raise ValueError(f"encoders are for the tower end_to_end, and the tower is {self.tower}")
        return self

    @property
    def trains_encoders(self) -> bool:
        """Whether anything of an encoder trains with the model."""
        return any(encoder.tune != "frozen" for encoder in self.encoders.values())

    @property
    def reads_features(self) -> bool:
        """Whether the tower reads feature sets of the data, or the states behind them."""
        return self.tower not in ("id", "end_to_end", "id+end_to_end")


def build_tower(config: TowerConfig, view: TrainView, shown: npt.NDArray[np.bool_], draw: Draw) -> Tower:
    """Return the tower that a configuration names.

    Args:
        config: Its keys.
        view: What training may see.
        shown: bool [I], items that training shows.
        draw: Of the first values.

    Raises:
        ConfigError: It reads features or content that the view has not, or an encoder cannot be trained as asked.
        DataError: An encoder's weights are not here, or stored states are not what they should be.
    """
    kind, width = config.tower, config.dim
    if kind == "id":
        return IDTower(shown, width, draw)
    if kind.startswith("id+"):
        content = config.model_copy(update={"tower": kind.removeprefix("id+")})
        return IDPlusTower(IDTower(shown, width, draw), build_tower(content, view, shown, draw))
    if kind == "end_to_end":
        return _mixed(
            [
                EndToEndTower(view.content, shown, width, draw, encoder, name)
                for name, encoder in config.encoders.items()
            ],
            draw,
        )
    names = chosen_features(config, view)
    if kind == "states":
        return _mixed([states_tower(view.content, shown, width, draw, config.states, name) for name in names], draw)
    if kind == "fusion":
        return FusionTower([FeatureTower([view.features[name]], shown, width, draw, name) for name in names], draw)
    return FeatureTower([view.features[name] for name in names], shown, width, draw)


def chosen_features(config: TowerConfig, view: TrainView) -> list[str]:
    """Return the names of the feature sets that a tower reads.

    Raises:
        ConfigError: The view has none, or not these.
    """
    names = list(view.features) if config.features is None else config.features
    if not names or (missing := [name for name in names if name not in view.features]):
        known = ", ".join(view.features) or "none; make some with sensorium encode"
        asked = f"no feature '{missing[0]}'{did_you_mean(missing[0], view.features)}" if names else "no features"
        raise ConfigError(f"model.tower {config.tower} reads features, and there are {asked} (known: {known})")
    return names


def _mixed(towers: Sequence[Tower], draw: Draw) -> Tower:
    return towers[0] if len(towers) == 1 else FusionTower(towers, draw)
