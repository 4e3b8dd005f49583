"""Item features as a model of this family reads them: the chosen modalities, standardised, 0 where an item has none.

Any number of modalities, any names. Values of items without content are never read: whatever stands there, the result
is the same. Mean and standard deviation are taken over the items that have the content and a train row, and stored with
the model.

Models that project each modality by itself, z^m = W_m x^m + c_m, take their config from `ContentConfig` and their
layers from `projections`; those that connect alike items take their graphs from `item_graphs` or `mixed_item_graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.registry import did_you_mean
from sensorium.data.dataset import Features
from sensorium.data.features import huge_rows
from sensorium.data.view import TrainView
from sensorium.nn.features import standardise
from sensorium.nn.item_graphs import Weight, knn_graph
from sensorium.nn.sparse import SparseMatrix, from_scipy
from sensorium.recommenders.base import Recommender

Protocol = Literal["sensorium", "mmrec"]


class ContentConfig(Recommender.Config):
    """The keys that models with a projection for each modality share."""

    dim: int = Field(64, ge=1, description="width of the embeddings and of the projected content, d")
    features: list[str] | None = Field(None, description="features that are read; null = all of the data set")
    protocol: Protocol = Field(
        "sensorium",
        description="mmrec = raw features, uncentred item graphs, to compare with tables made by that code",
    )
    train_features: bool | None = Field(
        None, description="train the features themselves; null = as the protocol has it, true for mmrec alone"
    )


class ItemContent(nn.Module):
    """The features of the chosen modalities, side by side.

    Under the protocol "mmrec", which serves to compare with tables made by that code alone, features stay raw, and an
    item without content gets their mean.

    Attributes:
        protocol: As given.
        columns: Modality -> its columns of `values`, in the order of the config, or else of the view.
        values: float32 [I, D], made from the view and not saved; a parameter with `trainable`, which starts there.
        present: bool [M, I], which items have the content; not saved.
        mean: float32 [D].
        sd: float32 [D].
    """

    values: Tensor
    present: Tensor
    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        view: TrainView,
        names: Sequence[str] | None,
        *,
        model: str,
        protocol: Protocol = "sensorium",
        trainable: bool = False,
    ) -> None:
        super().__init__()
        chosen = choose_features(view, names, model=model)
        self.protocol = protocol
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
        together = torch.from_numpy(np.concatenate(values, axis=1))
        if trainable:
            self.values = nn.Parameter(together)
        else:
            self.register_buffer("values", together, persistent=False)
        masks = np.stack([features.present for features in chosen.values()])
        self.register_buffer("present", torch.from_numpy(masks), persistent=False)
        self.register_buffer("mean", torch.from_numpy(np.concatenate(means)))
        self.register_buffer("sd", torch.from_numpy(np.concatenate(sds)))

    @property
    def width(self) -> int:
        """D, the width of all chosen features together."""
        return len(self.mean)

    def of(self, name: str, items: Tensor | None = None) -> Tensor:
        """Return one modality's vectors [I, d_m], or [n, d_m] of the items int64 [n]."""
        values = self.values[:, self.columns[name]]
        return values if items is None else values.index_select(0, items)


def content_of(view: TrainView, config: ContentConfig, *, model: str) -> ItemContent:
    """Return the content that a config asks for; `model` is the name for messages."""
    trainable = config.protocol == "mmrec" if config.train_features is None else config.train_features
    return ItemContent(view, config.features, model=model, protocol=config.protocol, trainable=trainable)


def projections(model: Recommender, content: ItemContent, width: int) -> nn.ModuleList:
    """Return one linear layer d_m -> width for each modality, initial values from the model's own generators."""
    return nn.ModuleList(
        model.linear(f"projection of {name}", columns.stop - columns.start, width)
        for name, columns in content.columns.items()
    )


def project(content: ItemContent, layers: nn.ModuleList, items: Tensor | None = None) -> dict[str, Tensor]:
    """Return z^m = W_m x^m + c_m of each modality: [I, width], or [n, width] of the items int64 [n]."""
    return {name: layer(content.of(name, items)) for name, layer in zip(content.columns, layers, strict=True)}


def item_graphs(view: TrainView, content: ItemContent, k: int | Mapping[str, int], weight: Weight) -> list[csr_matrix]:
    """Return each modality's graph of alike items, S_m [I, I] (`nn.item_graphs`), in the order of `content.columns`.

    Vectors are centred by their mean over the items that have the content and a train row; under "mmrec" they are not.
    Rows that dwarf the others (`data.features.huge_rows`) are no part of that mean.

    Args:
        view: Whose features and seed; the seed's order of the catalogue decides between equally near items.
        content: The chosen modalities.
        k: Neighbours of an item, itself included: for all modalities, or for each.
        weight: "binary" or "cosine".
    """
    graphs = []
    for name, columns in content.columns.items():
        x, present = view.features[name]
        center: npt.NDArray[np.floating[Any]] | None = None
        if content.protocol != "mmrec":
            among = present & (view.item_count > 0)
            huge = huge_rows(x, among)
            center = x[among & ~huge].astype(np.float64).mean(0) if huge.any() else content.mean[columns].numpy()
        graphs.append(
            knn_graph(x, present, k if isinstance(k, int) else k[name], weight, center=center, order=view.item_order)
        )
    return graphs


def mixed_item_graph(view: TrainView, content: ItemContent, k: int, weights: Mapping[str, float]) -> SparseMatrix:
    """Return S = sum_m a_m S_m [I, I] of the modalities' binary graphs, as FREEDOM and DRAGON keep it unchanged.

    Args:
        view: As for `item_graphs`.
        content: The chosen modalities.
        k: Neighbours of an item, itself included.
        weights: a_m by modality; empty for 1/M each.

    Raises:
        ConfigError: The weights are not those of the chosen modalities.
    """
    names = list(content.columns)
    if weights and weights.keys() != set(names):
        raise ConfigError(
            f"model.modality_weights names {', '.join(weights)} and the model reads {', '.join(names)}: "
            "give a weight for each of them, or none at all"
        )
    graphs = item_graphs(view, content, k, "binary")
    weighted = [weights.get(name, 1 / len(names)) * graph for name, graph in zip(names, graphs, strict=True)]
    return from_scipy(reduce(add, weighted))


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
