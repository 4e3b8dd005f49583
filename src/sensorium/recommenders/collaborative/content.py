"""Item features as a model of this family reads them: the chosen modalities, standardised, 0 where an item has none.

Any number of modalities, any names. Values of items without content are never read: whatever stands there, the result
is the same. Mean and standard deviation are taken over the items that have the content and a train row, and stored with
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.registry import did_you_mean
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.nn.features import standardise

Protocol = Literal["sensorium", "mmrec"]


class ItemContent(nn.Module):
    """The features of the chosen modalities, side by side.

    Under the protocol "mmrec", which serves to compare with tables made by that code alone, features stay raw, and an
    item without content gets their mean.

    Attributes:
        columns: Modality -> its columns of `values`, in the order of the config, or else of the view.
        values: float32 [I, D], made from the view and not saved.
        mean: float32 [D].
        sd: float32 [D].
    """

    values: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(
        self, view: TrainView, names: Sequence[str] | None, *, model: str, protocol: Protocol = "sensorium"
    ) -> None:
        super().__init__()
        chosen = choose_features(view, names, model=model)
        self.columns: dict[str, slice] = {}
        values: list[npt.NDArray[np.float32]] = []
        means: list[npt.NDArray[np.float32]] = []
        sds: list[npt.NDArray[np.float32]] = []
        for name, features in chosen.items():
            x, mean, sd = standardise(features, view.item_count > 0)
            if protocol == "mmrec":
                x = np.where(features.present[:, None], features.x, mean).astype(np.float32)
            start = sum(map(len, means))
            self.columns[name] = slice(start, start + len(mean))
            values.append(x)
            means.append(mean)
            sds.append(sd)
        self.register_buffer("values", torch.from_numpy(np.concatenate(values, axis=1)), persistent=False)
        self.register_buffer("mean", torch.from_numpy(np.concatenate(means)))
        self.register_buffer("sd", torch.from_numpy(np.concatenate(sds)))

    @property
    def width(self) -> int:
        """D, the width of all chosen features together."""
        return len(self.mean)


def choose_features(view: TrainView, names: Sequence[str] | None, *, model: str) -> Mapping[str, Features]:
    """Return the features that a config names, in its order; None takes all that the view has.

    Raises:
        DataError: The view has no features at all.
        ConfigError: A name is not among them, or stands twice.
    """
    known = list(view.features)
    if not known:
        raise DataError(
            f"{model} needs item features and the data set has none: make them with `sensorium encode DATASET`, "
            "or add given vectors with sensorium.data.features.add_features"
        )
    for name in names or ():
        if name not in known:
            raise ConfigError(
                f"model.features: '{name}' is not a feature of this data set{did_you_mean(name, known)} "
                f"(known: {', '.join(known)})"
            )
    chosen = known if names is None else list(names)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(f"model.features: [{', '.join(chosen)}] must name at least one feature, and none twice")
    return {name: view.features[name] for name in chosen}
