"""The configuration of a run: data, model, training, evaluation, and the number that selects. Checked before data are
read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sensorium.core import registry
from sensorium.core.config import Component, Config, apply_overrides, build, component, dump, load_yaml
from sensorium.core.errors import ConfigError
from sensorium.core.files import digest
from sensorium.data.noise import NoiseConfig
from sensorium.data.splits import Repeats
from sensorium.evaluation.selection import Selection, check_evaluation
from sensorium.training.config import TrainingConfig
from sensorium.training.selection import Constraint


class DataConfig(Config):
    """Which data, and how they are divided."""

    dataset: str = Field(
        description="a data set's folder, its name below the data home, or a known name (demo, lfm2k, ...)"
    )
    split: component("sensorium.splits") = Field(  # type: ignore[valid-type]
        "random_per_user", description="how rows are divided into train, valid and test"
    )
    split_seed: int = Field(
        0, ge=0, description="seed of the split; apart from the run's, so that seeds share one test"
    )
    min_rating: float | None = Field(
        None, description="rows below this rating are left out; null = every row is a positive"
    )
    repeats: Literal["first", "all"] | None = Field(
        None,
        description="rows of a pair of user and item that stands again: first: it counts once; all: every time; "
        "null = all where the model reads the order of rows, else first",
    )
    features: list[str] | None = Field(
        None, description="item features that models may read; null = all of the data set"
    )
    permute_features: bool = Field(
        False, description="every item gets another item's features: what right ones give is the difference"
    )
    permute_order: bool = Field(
        False, description="each user's train rows come in random order: what the right one gives is the difference"
    )
    noise: NoiseConfig | None = Field(
        None, description="train rows that are added, to see what noise does; null = none"
    )


class EvaluationConfig(Config):
    """How rankings are measured."""

    ks: list[int] = Field([5, 10, 20, 50], description="list lengths")
    metrics: list[str] = Field(
        ["recall", "ndcg", "precision", "hit_rate", "map", "mrr", "coverage", "novelty", "gini"],
        description="what is measured at each of them",
    )
    mask: Literal["train", "train+valid"] = Field(
        "train", description="rows of a user that are never recommended at test; validation always masks train"
    )
    repeat_policy: Literal["drop", "mask", "free"] = Field(
        "drop",
        description="targets that the history holds already: drop: left out and counted; mask: they stay and are never "
        "hit (published tables); free: nothing is masked",
    )
    history: Literal["full", "window"] = Field(
        "full",
        description="what of a history is masked: full: all of it; window: what the split's max_len leaves (published "
        "tables)",
    )
    tie_seed: int = Field(
        0, ge=0, description="seed of the order of equal scores; the same for all runs that are compared"
    )


class RunConfig(Config):
    """A model trained on a data set, selected on its validation part and tested once."""

    kind: Literal["recommend"] = Field("recommend", description="which job this is")
    data: DataConfig = Field(description="which data, and how they are divided")
    model: component("sensorium.recommenders") = Field(  # type: ignore[valid-type]
        description="the recommender and its own keys"
    )
    training: TrainingConfig = Field(TrainingConfig(), description="optimiser, stopping, checkpoints, device")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="how rankings are measured")
    selection: str = Field("recall@20", description="the validation's number that selects the tested state")
    constraint: Constraint | None = Field(None, description="a condition that the selected state must meet")
    seed: int = Field(0, ge=0, description="decides every random draw but the split's")

    @model_validator(mode="before")
    @classmethod
    def _lay_over_the_model_s_own(cls, tree: Any) -> Any:
        """Take what a run does not say from the `run_defaults` of its model, if it has any, before the usual values."""
        model = tree.get("model") if isinstance(tree, Mapping) else None
        name = model.get("name") if isinstance(model, Mapping) else getattr(model, "name", model)
        group = "sensorium.recommenders"
        if not isinstance(name, str) or name not in registry.entries(group):
            return tree
        defaults = getattr(registry.get(group, name), "run_defaults", None)
        return merge(defaults, tree) if defaults else tree

    @model_validator(mode="after")
    def _numbers_can_be_had(self) -> RunConfig:
        """Refuse numbers that no validation of this run would hold."""
        try:
            check_evaluation(self.evaluation.ks, self.evaluation.metrics)
            self.parsed_selection()
            if self.constraint is not None:
                self._parse(self.constraint.metric)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def repeats(self) -> Repeats:
        """Which rows of a repeated pair count: what the configuration says, or what suits its model."""
        chosen: Component = self.model
        return self.data.repeats or ("all" if chosen.target.info.order else "first")

    def parsed_selection(self) -> Selection:
        """Return the selecting number with its direction."""
        return self._parse(self.selection)

    def _parse(self, text: str) -> Selection:
        """Read "metric@k"; a model's own numbers count where its class declares them as `validation_numbers`."""
        chosen: Component = self.model
        own: Mapping[str, bool] = getattr(chosen.target, "validation_numbers", {})
        return Selection.parse(text, self.evaluation.ks, self.evaluation.metrics, own)

    def key(self) -> str:
        """Return eight hexadecimal digits that differ when any key differs."""
        return digest(dump(self))[:8]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a tree over another: mappings are merged key by key, unless the upper one names another component; all else
    is replaced.
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, str) and isinstance(value, Mapping) and "name" not in value:
            below = {"name": below}  # `model: bpr` is short for `model: {name: bpr}`
        other_component = (
            isinstance(below, Mapping)
            and isinstance(value, Mapping)
            and value.get("name", below.get("name")) != below.get("name")
        )
        if isinstance(below, Mapping) and isinstance(value, Mapping) and not other_component:
            result[key] = merge(below, value)
        else:
            result[key] = value
    return result


def read_tree(
    config: Config | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """Return the plain tree of a configuration with overrides applied, and its source for messages."""
    if isinstance(config, str | Path):
        tree, source = load_yaml(config), str(config)
    else:
        tree, source = dump(config) if isinstance(config, Config) else dict(config), "the configuration"
    settings = list(overrides)
    return apply_overrides(tree, settings), f"{source} with --set {' '.join(settings)}" if settings else source


def read_config(config: RunConfig | Mapping[str, Any] | str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read and check the configuration of a run.

    Args:
        config: A YAML file, a tree of plain values, or a finished configuration.
        overrides: "key.path=value", applied before the check.

    Raises:
        ConfigError: One line that names the source, the full path of the key, and the nearest right one.
    """
    tree, source = read_tree(config, overrides)
    return build(RunConfig, tree, source=source)
