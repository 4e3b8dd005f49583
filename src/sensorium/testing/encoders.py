"""What every encoder with weights promises, as one call that a third party's tests can make too.

from sensorium.testing.encoders import check_encoder
check_encoder(MyEncoder, MyEncoder.Config(), ["a short text", "a longer text with more words in it"], broken=None)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.encoders.cache.decoding import Decoder
from sensorium.encoders.protocol import EncoderCard, FoundationEncoder, Prepared
from sensorium.media.errors import MediaError

__all__ = ["check_card", "check_encoder"]

TOLERANCE = 1e-4  # of a layer's largest value


def check_encoder(
    target: Any,
    config: Any,
    samples: Sequence[str | Path],
    *,
    broken: str | Path | bytes | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Check an encoder against `protocol.FoundationEncoder`.

    Args:
        target: The class.
        config: A configuration with which it can run here.
        samples: Raw contents, at least three, of different lengths where there is such a thing.
        broken: Content that it must refuse with a `MediaError`; None where every content can be read.
        tolerance: By how much a row may depend on its batch, as a share of the layer's largest value.

    Raises:
        AssertionError: Something is not as promised; the message says what.
    """
    assert len(samples) >= 3, "give at least three samples"
    check_card(target.describe(config), target.describe(config).name)
    encoder: FoundationEncoder = target(config)
    check_card(encoder.card, encoder.card.name)
    assert not hasattr(encoder, "module"), "__init__ builds the module: leave that to load"
    _check_facts(encoder)
    prepared = _check_preparer(encoder, samples)
    if broken is not None:
        _check_refusal(encoder, broken)
    encoder.load()
    module = encoder.module
    encoder.load()
    assert encoder.module is module, "a second load builds the module again"
    assert not module.training, "the module is not in eval mode"
    assert all(value.dtype == torch.float32 for value in module.parameters()), "parameters are not float32"
    with torch.inference_mode():
        _check_outputs(encoder, prepared, tolerance)
        _check_tokens(encoder, prepared)


def check_card(card: EncoderCard, name: str) -> None:
    """Check that a card says all that applies to its modality."""
    assert card.weights is not None, f"{name}: the card does not say where its weights come from"
    assert card.licence is not None, f"{name}: the card says nothing of the licence"
    assert card.preprocessing, f"{name}: the card does not describe its preprocessing"
    assert card.trust or card.weights.source in ("path", "random"), (
        f"{name}: the card does not say who made the weights"
    )
    assert card.runs_now or card.why_not, f"{name}: it cannot run, and the card does not say why"
    assert len(card.layers) == len(card.layer_dims), f"{name}: layers and layer_dims differ in number"
    assert list(card.layers) == sorted(set(card.layers)), f"{name}: layers are not ascending"
    if card.runs_now:
        needed = {"text": "max_tokens", "image": "resolution", "audio": "sample_rate", "video": "frames"}[card.modality]
        assert getattr(card, needed) is not None, f"{name}: the card of a {card.modality} encoder lacks {needed}"
        assert card.layers, f"{name}: the card lists no layers"
        assert card.pooled_dim > 0, f"{name}: the card does not say how wide the vector is"


def _check_facts(encoder: FoundationEncoder) -> None:
    """What enters the key is known before `load`."""
    name = encoder.card.name
    assert re.fullmatch(r"[0-9a-f]{64}", encoder.weights_hash), f"{name}: weights_hash is no SHA-256"
    assert encoder.layers == encoder.card.layers, f"{name}: layers are not those of the card"
    assert encoder.layer_dims == encoder.card.layer_dims, f"{name}: layer_dims are not those of the card"
    assert encoder.pooled_dim == encoder.card.pooled_dim, f"{name}: pooled_dim is not that of the card"
    assert encoder.preparer.facts, f"{name}: the preparer states no facts: its options would not enter the key"
    assert encoder.budget > 0, f"{name}: the budget of a micro batch is {encoder.budget}"


def _check_preparer(encoder: FoundationEncoder, samples: Sequence[str | Path]) -> list[Prepared]:
    """Preparing gives NumPy arrays, the same in another process as here."""
    here = [encoder.preparer(sample) for sample in samples]
    for item in here:
        assert item.length >= 1, "a prepared item has no length"
        assert all(isinstance(array, np.ndarray) for array in item.arrays.values()), "a preparer gives no NumPy arrays"
    with Decoder(encoder.preparer, workers=1, group=2, ahead=8) as decoder:
        there = list(decoder.outcomes(samples))
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, Prepared), f"another process refuses what this one reads: {other}"
        assert (one.length, one.pieces, one.notes) == (other.length, other.pieces, other.notes)
        for name, array in one.arrays.items():
            assert np.array_equal(array, other.arrays[name]), f"'{name}' differs between processes"
    return here


def _check_refusal(encoder: FoundationEncoder, broken: str | Path | bytes) -> None:
    try:
        encoder.preparer(broken)
    except MediaError:
        return
    raise AssertionError("broken content is not refused with a MediaError")


def _check_outputs(encoder: FoundationEncoder, prepared: list[Prepared], tolerance: float) -> None:
    """Shapes, types, determinism, zero padding of narrow layers, and rows that do not depend on their batch."""
    states, pooled = encoder.forward(encoder.collate(prepared))
    n, width = len(prepared), max(encoder.layer_dims)
    assert tuple(states.shape) == (n, len(encoder.layers), width), f"states have shape {tuple(states.shape)}"
    assert tuple(pooled.shape) == (n, encoder.pooled_dim), f"vectors have shape {tuple(pooled.shape)}"
    assert states.dtype == pooled.dtype == torch.float32, "states and vectors are not float32"
    assert bool(torch.isfinite(states).all()), "states are not finite"
    assert bool(torch.isfinite(pooled).all()), "vectors are not finite"
    again = encoder.forward(encoder.collate(prepared))
    assert torch.equal(states, again[0]), "two calls give different states"
    assert torch.equal(pooled, again[1]), "two calls give different vectors"
    for place, dim in enumerate(encoder.layer_dims):
        assert not states[:, place, dim:].any(), f"layer {encoder.layers[place]} is not zero beyond its width {dim}"
    largest = states.abs().amax((0, 2))
    vector = float(pooled.abs().max())
    orders = {"alone": [[place] for place in range(n)], "reversed": [list(range(n))[::-1]]}
    for how, batches in orders.items():
        for batch in batches:
            other_states, other = encoder.forward(encoder.collate([prepared[place] for place in batch]))
            apart = ((other_states - states[batch]).abs().amax((0, 2)) / largest).nan_to_num()
            worst = int(apart.argmax())
            assert float(apart[worst]) <= tolerance, (
                f"states depend on the batch ({how}): layer {encoder.layers[worst]} by {float(apart[worst]):.2g} "
                "of its largest value"
            )
            moved = float((other - pooled[batch]).abs().max())
            assert moved <= tolerance * vector, f"vectors depend on the batch ({how}): by {moved / vector:.2g}"


def _check_tokens(encoder: FoundationEncoder, prepared: list[Prepared]) -> None:
    """Tokens have a mask, which leaves out what is only padding."""
    layer = encoder.layers[-1]
    states, mask = encoder.tokens(encoder.collate(prepared), layer)
    assert states.ndim == 3, f"tokens have shape {tuple(states.shape)}, not [b, n, D]"
    assert states.shape[2] == encoder.layer_dims[-1], f"tokens are {states.shape[2]} wide"
    assert mask.dtype == torch.bool, "the mask of tokens is not bool"
    assert tuple(mask.shape) == tuple(states.shape[:2]), f"the mask has shape {tuple(mask.shape)}"
    assert bool(mask.any(1).all()), "an item has no token"
    for place, item in enumerate(prepared):
        alone, its = encoder.tokens(encoder.collate([item]), layer)
        assert int(its.sum()) == int(mask[place].sum()), "the number of tokens depends on the batch"
        apart = (alone[0][its[0]] - states[place][mask[place]]).abs().max()
        assert float(apart) <= TOLERANCE * float(states[mask].abs().max()), "tokens depend on the batch"
