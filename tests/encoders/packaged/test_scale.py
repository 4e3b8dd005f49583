"""The decoder whose first position outweighs all others: its pooled states fit fp16 as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoders.cache.conftest import cache_of, words, write_catalogue
from tests.encoders.packaged.conftest import run

from sensorium.core.config import Component
from sensorium.core.files import read_json, read_npy
from sensorium.encoders.cache.job import Options
from sensorium.encoders.cache.scale import HEADROOM, scale_for
from sensorium.encoders.cache.states import open_states
from sensorium.encoders.encode import encode
from sensorium.encoders.packaged.texts import SmolLM2


@pytest.mark.slow
def test_smollm2_is_stored_by_scale_one(loaded: Callable[[str], Any], tmp_path: Path) -> None:
    """Pooled without the first position, states are stored undivided; its tokens are divided and survive.

    No text here is a single token: one would keep the first position, and its layer would be divided as well.
    """
    encoder = loaded("smollm2-135m")
    texts = [f"a film about {text}" for text in words(24)]
    chosen = Component("sensorium.encoders", "smollm2-135m", SmolLM2.Config(weights="packaged"))
    dataset = encode(write_catalogue(tmp_path / "shop", title=texts), chosen, options=Options(workers=0))
    folder = cache_of(dataset)
    assert read_npy(folder / "scale.npy").tolist() == [1.0] * 31
    assert read_json(folder / "manifest.json")["pooled_scale"] == 1.0
    expected = run(encoder, [encoder.preparer(text) for text in texts])[0]
    with open_states(folder) as states:
        found = states.take(range(1, len(texts) + 1))[0].numpy()
    largest = np.abs(expected).max((0, 2))
    assert (np.abs(found - expected).max((0, 2)) < 1e-3 * largest).all()
    sink = 12
    options = Options(workers=0, layers=(sink,), tokens=True)
    dataset = encode(dataset, chosen, options=options, name="tokens")
    with open_states("tokens", dataset=dataset) as states:
        tokens = states.take(range(1, len(texts) + 1))[0].numpy()
    with torch.inference_mode():
        raw, mask = encoder.tokens(encoder.collate([encoder.preparer(text) for text in texts]), sink)
    exact, there = raw.numpy(), mask.numpy()[..., None]
    peak = np.abs(exact[:, 0]).max()
    assert peak > 5 * np.abs(exact * there)[:, 1:].max()
    assert (
        read_npy(cache_of(dataset, "tokens") / "scale.npy").tolist() == scale_for(np.array([peak]), HEADROOM).tolist()
    )
    assert np.abs((tokens[:, : exact.shape[1]] - exact) * there).max() < 1e-3 * peak
