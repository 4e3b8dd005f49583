"""What encodes items that came after training: the encoders of a run's features, as they were fitted or with the same
weights, and those inside its model. An item without content of a kind is one here as it was in training: masked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.columns import MEDIA
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.item_content import ItemContent
from sensorium.data.schema import FeatureInfo
from sensorium.encoders.cache.job import Options
from sensorium.encoders.contents import Contents, read_contents
from sensorium.encoders.encode import card_of, configured_encoder, encode
from sensorium.encoders.store import open_encoder
from sensorium.experiments.loading import LoadedRun
from sensorium.experiments.setup import features_read
from sensorium.media.errors import MediaError
from sensorium.recommenders.towers.content import PreparedItems
from sensorium.recommenders.towers.encoder import encoder_towers
from sensorium.recommenders.towers.end_to_end import EndToEndTower

log = logging.getLogger(__name__)


def features_to_make(run: LoadedRun) -> list[str]:
    """Return the features that the model reads; there may be none where it encodes raw content itself.

    Raises:
        ConfigError: It knows nothing of items but their ids, or what nothing here can make for new items.
    """
    name, names = run.config.model.name, features_read(run.model, run.view)
    if not names and not encoder_towers(run.model):
        raise ConfigError(f"'{name}' of this run knows items by their ids alone: it can say nothing about new ones")
    if run.config.data.permute_features:
        raise ConfigError("the features of this run were shuffled among the items: nothing can be added to them")
    for feature in names:
        provenance = run.dataset.info.features[feature].provenance
        if isinstance(provenance, str) or "config" not in provenance:  # a given matrix may name its encoder
            raise ConfigError(
                f"the features '{feature}' that '{name}' reads were given and not encoded here: new items have none"
            )
    return names


def raw_towers(run: LoadedRun) -> list[EndToEndTower]:
    """Return the towers of a run that encode raw content."""
    return [tower for tower in encoder_towers(run.model) if isinstance(tower, EndToEndTower)]


def columns_read(run: LoadedRun) -> dict[str, tuple[str, ...]]:
    """Return, by the name of each feature and of each encoder inside the model, the columns of the items it reads."""
    features = {name: tuple(_provenance(run.dataset.info.features[name])["fields"]) for name in features_to_make(run)}
    return features | {tower.name: tower.items.columns for tower in raw_towers(run)}


def with_columns_read(table: pl.DataFrame, run: LoadedRun, source: str) -> tuple[pl.DataFrame, list[str]]:
    """Return a table of new items with every column that the run reads, empty where the table has none.

    Args:
        table: Of texts; rows are items.
        run: The run.
        source: Of the table, for messages.

    Returns:
        The table, in which an empty path of media is none, and a sentence for each kind of content that no item has.

    Raises:
        DataError: The table has none of the columns.
    """
    reads = columns_read(run)
    wanted = list(dict.fromkeys(column for columns in reads.values() for column in columns))
    missing = [column for column in wanted if column not in table.columns]
    if len(missing) == len(wanted):
        raise DataError(
            f"{source}: '{run.config.model.name}' reads {', '.join(wanted)} of its items, and there is no such column "
            f"(columns: {', '.join(table.columns)})"
        )
    paths = [column for column in MEDIA if column in table.columns]
    table = table.with_columns(
        *(pl.lit(None, dtype=pl.String).alias(column) for column in missing),
        *(pl.when(pl.col(path).str.strip_chars() != "").then(pl.col(path)).alias(path) for path in paths),
    )
    notices = []
    for name, columns in reads.items():
        if table.select(pl.any_horizontal(pl.col(columns).str.strip_chars() != "").any()).item() is not True:
            notices.append(
                f"{source}: no item has anything in {', '.join(columns)}: all of them count as items without '{name}', "
                "as such items did in training"
            )
    return table, notices


def usable(grown: Dataset, tower: EndToEndTower) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return the items whose raw content a tower can use, bool [I]; all is decoded for it, refusals are logged."""
    encoder, fields = tower.tuned.encoder, tower.items.columns
    found = np.zeros(grown.n_items, dtype=bool)
    if not read_contents(grown, encoder.card.modality, fields).present.any():
        return found
    items = PreparedItems(ItemContent.of(grown), encoder, fields, keep="demand")
    for item in range(grown.n_items):
        found[item] = items.take([item])[0] is not None
    return found


def encode_as(grown: Dataset, name: str, trained_on: Dataset) -> Dataset:
    """Make one feature of the added items by what made it for the others, with hidden states where those have some.

    Where none of them has content, the feature is there and nothing of it is present.

    Args:
        grown: The added items.
        name: Of the feature.
        trained_on: The data set whose feature it is.

    Raises:
        DataError: The encoder has other weights here than it had.
    """
    info = trained_on.info.features[name]
    provenance = _provenance(info)
    chosen = {"name": provenance["encoder"], **provenance["config"]}
    fitted = open_encoder(trained_on.root / info.folder) if "fitted_on" in provenance else None
    card = card_of(configured_encoder(chosen)) if fitted is None else fitted.card
    contents = read_contents(grown, card.modality, provenance["fields"])
    if not contents.present.any():
        nothing = np.zeros((grown.n_items, info.dim), dtype=np.float32)
        return add_features(grown, name, nothing, contents.present, provenance=dict(provenance))
    if fitted is not None:
        x, present = _by_fitted(fitted, contents, grown, info.dim)
        return add_features(grown, name, x, present, provenance=dict(provenance))
    layers = provenance.get("layers", "all")
    options = Options(
        layers=layers if isinstance(layers, str) else tuple(layers), tokens=provenance.get("pooling") == "none"
    )
    made = encode(grown, chosen, fields=provenance["fields"], name=name, options=options)
    if _provenance(made.info.features[name]).get("weights_hash") != provenance.get("weights_hash"):
        raise DataError(f"'{provenance['encoder']}' has other weights here than when '{name}' was encoded")
    return made


def _by_fitted(
    encoder: Any, contents: Contents, grown: Dataset, dim: int
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return vectors float32 [I, dim] by an encoder as it was fitted, and which items have one, bool [I]."""
    x = np.zeros((grown.n_items, dim), dtype=np.float32)
    rows, prepared = [], []
    for item in np.flatnonzero(contents.present).tolist():
        try:
            prepared.append(encoder.prepare(contents.read(item)))
        except MediaError as error:
            log.warning(
                "item '%s' has no usable %s and counts as an item without: %s, %s",
                grown.item_ids()[item], contents.modality, error.reason, error.detail,
            )  # fmt: skip
        else:
            rows.append(item)
    if prepared:
        x[rows] = encoder.forward(prepared)
    return x, np.asarray(x.any(axis=1))


def _provenance(info: FeatureInfo) -> Mapping[str, Any]:
    """Return what made an encoded feature; `features_to_make` has seen that it was encoded."""
    assert not isinstance(info.provenance, str)
    return info.provenance
