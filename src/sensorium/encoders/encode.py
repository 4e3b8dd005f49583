"""`encode`: the content of a catalogue becomes vectors, once, under a key that no changed input meets.

There are encoders with weights, which keep the states of all their layers (`cache/`), and fitted ones, which learn
from the catalogue itself.

**On which items a fitted encoder may learn.** Given a split, they learn from the
items that have a train row in it, and from no other: a cold item is encoded by what the warm ones taught, as it would
be on the day it arrives. Without a split they learn from all items that have content. That reads no interaction, so
nothing of validation or test rows can leak through it, but it has seen the words and colours of items that a cold-start
split holds back. Which of the two it was stands in the manifest and in `dataset.json`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from sensorium.core import registry
from sensorium.core.config import Component, Config, build, component
from sensorium.core.errors import ConfigError, DataError, SensoriumError
from sensorium.core.files import digest
from sensorium.core.progress import Progress
from sensorium.core.resources import readable_bytes, require_memory
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TRAIN, Split
from sensorium.encoders import store
from sensorium.encoders.base import Encoder, EncoderCard, Modality
from sensorium.encoders.cache.job import Options
from sensorium.encoders.contents import FIELDS, Contents, read_contents
from sensorium.media.errors import MediaError

logger = logging.getLogger(__name__)

# The fitted encoder of each modality, and the one with weights.
DEFAULTS: dict[Modality, str] = {"text": "tfidf-svd", "image": "colour-histogram"}
FOUNDATION: dict[Modality, str] = {
    "text": "minilm-l6",
    "image": "efflite0",
    "audio": "yamnet",
    "video": "frames-efflite0",
}
BLOCK = 4_096  # items whose vectors are made at once


def encode_all(
    dataset: Dataset,
    *,
    split: Split | None = None,
    prefer: Literal["fitted", "weights"] = "fitted",
    options: Options | None = None,
) -> Dataset:
    """Encode every content column of a data set that is not empty by the default encoder of its modality; see `encode`.

    Args:
        dataset: The data set.
        split: For fitted encoders: what they learn from.
        prefer: "fitted" takes encoders that learn from the catalogue (texts and pictures); "weights" takes the
            default foundation model of each modality, and a fitted one where that cannot run here, which is said.
        options: For encoders with weights.

    Raises:
        DataError: The items have no content that a default encoder reads.
    """
    chosen = choose_defaults(dataset, prefer=prefer)
    if not chosen:
        fields = dict.fromkeys(field for modality in FIELDS for field in FIELDS[modality])
        raise DataError(f"{dataset.root}: nothing to encode, the items have nothing in any of {', '.join(fields)}")
    for encoder in chosen.values():
        if is_foundation(registry.get(store.GROUP, encoder)):
            dataset = encode(dataset, encoder, options=options)
        else:
            dataset = encode(dataset, encoder, split=split)
    return dataset


def choose_defaults(dataset: Dataset, *, prefer: Literal["fitted", "weights"] = "fitted") -> dict[Modality, str]:
    """Return the default encoder of each modality that the items have something of."""
    columns = dataset.items().collect_schema().names()
    known = dict.fromkeys(field for modality in FIELDS for field in FIELDS[modality] if field in columns)
    filled = dataset.items().select(pl.col(field).count() for field in known).collect()
    held = {field for field in filled.columns if filled[field][0]}
    chosen: dict[Modality, str] = {}
    for modality, fields in FIELDS.items():
        if not held & set(fields):
            continue
        name, why_not = _foundation_default(modality) if prefer == "weights" else (None, "")
        encoder = name or DEFAULTS.get(modality)
        if encoder is not None:
            chosen[modality] = encoder
        if prefer == "weights" and name is None:
            instead = f"{encoder}, which learns from the catalogue" if encoder else "nothing: it is left out"
            logger.info("%s: %s; used instead: %s", modality, why_not, instead)
    return chosen


def _foundation_default(modality: Modality) -> tuple[str | None, str]:
    """Return the default encoder with weights where it can run now, else None and why not."""
    name = FOUNDATION[modality]
    if name not in registry.entries(store.GROUP):
        return None, f"there is no encoder '{name}' in this installation"
    try:
        target = registry.get(store.GROUP, name)
        card = target.describe(target.Config())
    except SensoriumError as error:
        return None, str(error)
    return (name, "") if card.runs_now else (None, f"{name} cannot run here: {card.why_not}")


def is_foundation(target: Any) -> bool:
    """Return whether a registered encoder has weights (`protocol.FoundationEncoder`) or is fitted (`base.Encoder`)."""
    return callable(getattr(target, "describe", None))


def card_of(chosen: Component) -> EncoderCard:
    """Return the card of a configured encoder; nothing is loaded."""
    card: EncoderCard = chosen.target.describe(chosen.config) if is_foundation(chosen.target) else chosen.target.card
    return card


def encode(
    dataset: Dataset,
    encoder: str | Mapping[str, object] | Component,
    *,
    modality: Modality | None = None,
    fields: Sequence[str] | None = None,
    split: Split | None = None,
    name: str | None = None,
    options: Options | None = None,
    merge: bool = False,
) -> Dataset:
    """Encode one modality of a data set and register the result as a feature set.

    A second call with nothing changed returns at once. By a fitted encoder, a changed text, picture, option or set of
    fitted items gives another key, hence another folder; the older one stays on disk for runs that name it. By an
    encoder with weights, a changed item is encoded alone; another preprocessing gives another folder.

    Args:
        dataset: The data set.
        encoder: Its name, a mapping with its name and options, or a configured component.
        modality: Checked against the encoder's, where given.
        fields: Columns of `items` to read; default: title and description, or the column named like the modality.
        split: For fitted encoders: fit on the items with a train row of this split; None: on all with content.
        name: Short name in `dataset.json`; default: the modality ("text", "image").
        options: For encoders with weights: layers, workers, device, shard and more.
        merge: For encoders with weights: make whole shards part of the cache.

    Returns:
        The data set, with `features(name)` -> x float32 [I, P], present bool [I]. Hidden states of all layers are
        read by `open_states(name, dataset=dataset)` (`encoders.cache.states`).

    Raises:
        DataError: A column is missing, no item has usable content, or the split belongs to other items.
        ConfigError: The encoder reads another modality, or an option that it does not have.
    """
    chosen = encoder if isinstance(encoder, Component) else configured_encoder(encoder)
    if is_foundation(chosen.target):
        if split is not None:
            raise ConfigError(f"encoder '{chosen.name}' has weights and learns nothing from a split: leave it out")
        return _by_weights(dataset, chosen, modality, fields, name, options or Options(), merge)
    if merge or (options is not None and options != Options()):
        raise ConfigError(
            f"encoder '{chosen.name}' is fitted: layers, pooling, shards and the like are for encoders with weights"
        )
    return _by_fitting(dataset, chosen, modality, fields, split, name)


def configured_encoder(choice: str | Mapping[str, object], *, source: str = "encoder") -> Component:
    """Return an encoder by its name or by a mapping with its name and options, checked.

    Args:
        choice: "tfidf-svd", or {"name": "tfidf-svd", "dim": 64}.
        source: Where it was given, for errors.

    Raises:
        ConfigError: No such encoder, or a wrong option.
    """

    class Choice(Config):
        encoder: component(store.GROUP)  # type: ignore[valid-type]

    chosen: Component = build(Choice, {"encoder": choice}, source=source).encoder
    return chosen


def _by_weights(
    dataset: Dataset,
    chosen: Component,
    modality: Modality | None,
    fields: Sequence[str] | None,
    name: str | None,
    options: Options,
    merge: bool,
) -> Dataset:
    from sensorium.encoders.cache import engine, sharding
    from sensorium.encoders.cache.job import prepare_job

    columns = options.fields if fields is None else tuple(fields)
    job = prepare_job(dataset, chosen, replace(options, fields=columns))
    _check_modality(job.encoder.card, modality)
    if options.shard is not None:
        sharding.run_shard(job, *options.shard)
        return dataset
    if merge:
        sharding.merge(job)
    else:
        engine.run(job)
    return store.register(dataset, name or job.encoder.card.modality, job.folder)


def _check_modality(card: EncoderCard, modality: Modality | None) -> None:
    if modality is not None and modality != card.modality:
        raise ConfigError(f"encoder '{card.name}' reads {card.modality}, not {modality}")


def _by_fitting(
    dataset: Dataset,
    chosen: Component,
    modality: Modality | None,
    fields: Sequence[str] | None,
    split: Split | None,
    name: str | None,
) -> Dataset:
    config = chosen.config
    worker: Encoder[Any, Any] = chosen.target(config)
    card = worker.card
    _check_modality(card, modality)
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
