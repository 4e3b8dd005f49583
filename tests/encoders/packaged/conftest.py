"""Packaged encoders, each converted and loaded once; a test is skipped where its packages are not installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.encoders.packaged.pictures import DinoFocus, EffLite0, FramesEffLite0
from sensorium.encoders.packaged.prepare import convert_here, install_line
from sensorium.encoders.packaged.sounds import WhisperTinyEn, YamNetEncoder
from sensorium.encoders.packaged.texts import E5Small, MiniLM, MPNet, SmolLM2
from sensorium.encoders.weights.files import missing_packages

ENCODERS: dict[str, Any] = {
    "minilm-l6": MiniLM,
    "mpnet-base": MPNet,
    "e5-small": E5Small,
    "smollm2-135m": SmolLM2,
    "efflite0": EffLite0,
    "dinov2s-focus": DinoFocus,
    "yamnet": YamNetEncoder,
    "whisper-tiny-en": WhisperTinyEn,
    "frames-efflite0": FramesEffLite0,
}


@pytest.fixture(scope="session")
def weights_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private folder of converted weights, for the session."""
    before = os.environ.get("SENSORIUM_CACHE")
    folder = tmp_path_factory.mktemp("weights-cache")
    os.environ["SENSORIUM_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SENSORIUM_CACHE"]
    else:
        os.environ["SENSORIUM_CACHE"] = before


@pytest.fixture(scope="session")
def loaded(weights_cache: Path) -> Callable[[str], Any]:
    """Return an encoder by its name, loaded."""
    torch.set_num_threads(1)
    known: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in known:
            kind = ENCODERS[name]
            if missing_packages(kind.weights.files):
                pytest.skip(f"the weights of {name} are not installed: {install_line(kind.weights.name)}")
            for library in (*kind.needs, "onnx"):
                pytest.importorskip(library)
            if kind.weights.recipe == "gguf":
                pytest.importorskip("gguf")
                pytest.importorskip("accelerate")
            convert_here(kind.weights.name)
            encoder = kind(kind.Config(weights="packaged"))
            encoder.load()
            known[name] = encoder
        return known[name]

    return get


def run(encoder: Any, items: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """States and vectors of prepared items in one batch."""
    with torch.inference_mode():
        states, vectors = encoder.forward(encoder.collate(items))
    return states.numpy(), vectors.numpy()
