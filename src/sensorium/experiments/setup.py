"""From a configuration to what is trained: data set, split, view of the train rows, model, with all checks that need
the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.core.config import Component
from sensorium.core.errors import ConfigError
from sensorium.core.registry import did_you_mean
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.noise import add_noise
from sensorium.data.splits import Split, make_split
from sensorium.data.view import TrainView, permuted_features, permuted_order, train_view
from sensorium.experiments.config import RunConfig
from sensorium.recommenders.base import ModelInfo, Recommender


@dataclass(frozen=True)
class Setup:
    """Everything that a run works with. The model sees the view and nothing else."""

    config: RunConfig
    dataset: Dataset
    split: Split
    view: TrainView
    model: Recommender

    @property
    def info(self) -> ModelInfo:
        """What the model says of itself."""
        return self.model.info

    def features_read(self) -> list[str]:
        """Return the names of the item features that the model reads."""
        return features_read(self.model, self.view)


def features_read(model: Recommender, view: TrainView) -> list[str]:
    """Return the names of the item features that a model reads of its view."""
    if model.info.features == "none" or getattr(model, "ids_alone", False):
        return []
    chosen: list[str] | None = getattr(model.config, "features", None)
    return list(view.features) if chosen is None else list(chosen)


def set_up(config: RunConfig, dataset: Dataset | None = None, features: list[str] | None = None) -> Setup:
    """Open the data, divide them, and build the model from its train rows.

    Args:
        config: The configuration.
        dataset: The data, where they are open already; None opens what the configuration names.
        features: The features that the model reads, where that was settled before (a run that is continued or loaded);
            None takes what the configuration says of the data set as it is now.

    Raises:
        ConfigError: The model needs what the data do not have.
        DataError: The data cannot be read or divided as asked.
    """
    dataset, split = open_split(config, dataset)
    chosen: Component = config.model
    names = config.data.features if features is None else features
    clean, noise = split, config.data.noise
    if noise is not None:
        split = add_noise(clean, noise, seed=config.seed)
    trained = clean if noise is not None and not noise.trained else split
    view = train_view(dataset, trained, features=names, seed=config.seed, ordered=chosen.target.info.order)
    if config.data.permute_features:
        view = permuted_features(view)
    if config.data.permute_order:
        if view.in_order is None:
            raise ConfigError(f"data.permute_order: '{chosen.name}' reads no order: leave it out")
        view = permuted_order(view)
    return Setup(config, dataset, split, view, chosen.target(view, chosen.config))


def open_split(config: RunConfig, dataset: Dataset | None = None) -> tuple[Dataset, Split]:
    """Open the data of a configuration and divide them; arguments and errors as for `set_up`."""
    dataset = open_dataset(config.data.dataset) if dataset is None else dataset
    check_model(config, dataset)
    return dataset, split_of(config, dataset)


def split_of(config: RunConfig, dataset: Dataset) -> Split:
    """Divide open data as a configuration says.

    Raises:
        DataError: They cannot be divided so.
    """
    data = config.data
    return make_split(dataset, data.split, seed=data.split_seed, min_rating=data.min_rating, repeats=config.repeats)


def check_model(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a model that this data set cannot serve, before rows are read.

    Raises:
        ConfigError: It needs features or an order that are not there, or the configuration names unknown features.
    """
    chosen: Component = config.model
    info: ModelInfo = chosen.target.info
    name, known = dataset.info.name, dataset.feature_names
    if info.features == "required" and not known:
        raise ConfigError(
            f"model.name: '{chosen.name}' reads item features and '{name}' has none: make them with "
            f"'sensorium encode {config.data.dataset}'"
        )
    for feature in config.data.features or []:
        if feature not in known:
            raise ConfigError(
                f"data.features: '{feature}' is not a feature of '{name}'{did_you_mean(feature, known)} "
                f"(known: {', '.join(known) or 'none; make some with sensorium encode ' + config.data.dataset})"
            )
    if info.order and not (dataset.info.has_time or dataset.info.has_order):
        raise ConfigError(
            f"model.name: '{chosen.name}' needs rows in their order, and '{name}' has neither time nor order"
        )
