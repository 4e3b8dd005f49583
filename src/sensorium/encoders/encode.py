"""`encode`: the content of a catalogue becomes one vector per item, once, under a key that no changed input meets.

**On which items an encoder may learn.** Both encoders of this room are fitted. Given a split, they learn from the
items that have a train row in it, and from no other: a cold item is encoded by what the warm ones taught, as it would
be on the day it arrives. Without a split they learn from all items that have content. That reads no interaction, so
nothing of validation or test rows can leak through it, but it has seen the words and colours of items that a cold-start
split holds back. Which of the two it was stands in the manifest and in `dataset.json`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core import registry
from sensorium.core.config import Component
from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import digest
from sensorium.core.progress import Progress
from sensorium.core.resources import readable_bytes, require_memory
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TRAIN, Split
from sensorium.encoders import store
from sensorium.encoders.base import Encoder, Modality
from sensorium.encoders.contents import FIELDS, Contents, read_contents
from sensorium.media.errors import MediaError

logger = logging.getLogger(__name__)

DEFAULTS: dict[Modality, str] = {"text": "tfidf-svd", "image": "colour-histogram"}
BLOCK = 4_096  # items whose vectors are made at once


def encode_all(dataset: Dataset, *, split: Split | None = None) -> Dataset:
    """Encode every content column of a data set that is not empty by the default encoder of its modality; see `encode`.

    Raises:
        DataError: The items have no content that a default encoder reads.
    """
    columns = dataset.items().collect_schema().names()
    fields = [field for modality in DEFAULTS for field in FIELDS[modality]]
    filled = dataset.items().select(pl.col(field).count() for field in fields if field in columns).collect()
    held = {field for field in filled.columns if filled[field][0]}
    chosen = [encoder for modality, encoder in DEFAULTS.items() if held & set(FIELDS[modality])]
    if not chosen:
        raise DataError(f"{dataset.root}: nothing to encode, the items have nothing in any of {', '.join(fields)}")
    for encoder in chosen:
        dataset = encode(dataset, encoder, split=split)
    return dataset


def encode(
    dataset: Dataset,
    encoder: str | Component,
    *,
    modality: Modality | None = None,
    fields: Sequence[str] | None = None,
    split: Split | None = None,
    name: str | None = None,
) -> Dataset:
    """Encode one modality of a data set and register the result as a feature set.

    A second call with nothing changed returns at once. A changed text, picture, option or set of fitted items gives
    another key, hence another folder; the older one stays on disk for runs that name it.

    Args:
        dataset: The data set.
        encoder: Its name, or a configured component.
        modality: Checked against the encoder's, where given.
        fields: Columns of `items` to read; default: title and description, or the column named like the modality.
        split: Fit on the items with a train row of this split; None: on all items with content (see above).
        name: Short name in `dataset.json`; default: the modality ("text", "image").

    Returns:
        The data set, with `features(name)` -> x float32 [I, P], present bool [I].

    Raises:
        DataError: A column is missing, no item has usable content, or the split belongs to other items.
        ConfigError: The encoder reads another modality.
    """
    target = encoder.target if isinstance(encoder, Component) else registry.get(store.GROUP, encoder)
    config = encoder.config if isinstance(encoder, Component) else target.Config()
    worker: Encoder[Any, Any] = target(config)
    card = worker.card
    if modality is not None and modality != card.modality:
        raise ConfigError(f"encoder '{card.name}' reads {card.modality}, not {modality}")
    contents = read_contents(dataset, card.modality, fields)
    learnable, rule = _learnable(dataset, split)
    identity = {**store.describe_config(worker, config), "modality": card.modality, "fields": list(contents.fields)}
    key = digest(identity, contents.digests, learnable)
    folder = dataset.root / "features" / f"{card.modality}-{card.name}-{key[:8]}"
    if store.is_current(folder, key):
        logger.info("%s: up to date (%s)", card.modality, folder.name)
    else:
        require_memory(3 * 4 * dataset.n_items * card.pooled_dim, f"encoding {dataset.n_items:,} items by {card.name}")
        encoded, learned = _encode(dataset, worker, contents, learnable)
        parts = {"contents": digest(contents.digests), "fitted_items": digest(learnable)}
        store.write(
            folder,
            worker,
            encoded,
            {**identity, "key": key, "parts": parts, "fitted_on": {"rule": rule, "items": learned}},
        )
        size = readable_bytes(encoded.x.nbytes)
        counts = ", ".join(f"{count:,} {what}" for what, count in encoded.counts.items())
        logger.info("%s: %s items, %s, %s by %s", card.modality, f"{dataset.n_items:,}", counts, size, card.name)
    return store.register(dataset, name or card.modality, folder)


def _learnable(dataset: Dataset, split: Split | None) -> tuple[npt.NDArray[np.bool_], str]:
    """Return which items the encoder may learn from, bool [I], and the rule in words."""
    if split is None:
        return np.ones(dataset.n_items, dtype=bool), "all items with content: no split was given"
    if split.n_items != dataset.n_items:
        raise DataError(
            f"the split '{split.name}' is of {split.n_items:,} items and {dataset.root} has {dataset.n_items:,}: "
            "make it again for this data set"
        )
    learnable = np.zeros(dataset.n_items, dtype=bool)
    learnable[split.item[split.label == TRAIN]] = True
    return learnable, f"items with a train row of the split '{split.name}', seed {split.seed}"


def _encode(
    dataset: Dataset, worker: Encoder[Any, Any], contents: Contents, learnable: npt.NDArray[np.bool_]
) -> tuple[store.Encoded, int]:
    """Decode, fit and encode. Returns the result and the number of items that were learned from."""
    prepared: list[Any] = []
    usable: list[int] = []
    rejected: list[dict[str, Any]] = []
    item_ids = dataset.item_ids()
    tried = np.flatnonzero(contents.present)
    with Progress(len(tried), f"encode {contents.modality}", unit="items") as bar:
        for item in tried.tolist():
            try:
                prepared.append(worker.prepare(contents.read(item)))
                usable.append(item)
            except MediaError as error:
                path = "" if contents.modality == "text" else contents.values[item]
                row = {"item": item, "item_id": item_ids[item], "path": path}
                rejected.append({**row, "reason": error.reason, "detail": error.detail})
            bar.advance(rejected=len(rejected))
    learned = np.flatnonzero(learnable[usable]).tolist()
    if not learned:
        raise DataError(
            f"{dataset.root}: {worker.card.name} may learn from {int(learnable.sum()):,} items, and none of them has "
            f"usable {contents.modality} ({len(tried):,} of {dataset.n_items:,} items have some, {len(rejected):,} of "
            "these are rejected)"
        )
    worker.fit([prepared[place] for place in learned])
    blocks = [worker.forward(prepared[start : start + BLOCK]) for start in range(0, len(prepared), BLOCK)]
    vectors = np.concatenate(blocks)
    x = np.zeros((dataset.n_items, vectors.shape[1]), dtype=np.float32)
    x[usable] = vectors
    present = np.asarray(np.isfinite(x).all(1) & x.any(1))
    x[~present] = 0
    counts = {
        "present": int(present.sum()),
        "absent": dataset.n_items - len(tried),
        "rejected": len(rejected),
        # Content in which the encoder knows nothing, such as a text of words that no fitted text holds.
        "nothing_known": len(usable) - int(present.sum()),
        **{f"rejected_{reason}": count for reason, count in sorted(Counter(row["reason"] for row in rejected).items())},
    }
    return store.Encoded(x, present, rejected, counts), len(learned)
