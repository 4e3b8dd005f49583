"""ConSE: pictures in the space of texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.encoders.packaged.conftest import run
from tests.encoders.packaged.test_encoders import pictures, sounds

from sensorium.encoders import conse
from sensorium.encoders.conse import ConsePictures, ConseSounds, aligned, class_names, combine


def test_the_largest_classes_are_summed() -> None:
    seen = torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.0, 0.0, 0.0, 1.0]])
    vectors = torch.eye(4)[:, :3] * torch.tensor([[1.0], [10.0], [100.0], [1000.0]])
    torch.testing.assert_close(combine(seen, vectors, 2), torch.tensor([[0.5, 0.0, 30.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(combine(seen, vectors, 9), seen @ vectors)


def test_both_sides_are_centred_and_of_length_one() -> None:
    vectors = np.random.default_rng(0).normal(5, 1, (50, 8)).astype(np.float32)
    found = aligned(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert abs((found @ found.T)[np.triu_indices(50, 1)].mean()) < 0.1
    assert not aligned(np.ones((3, 4), np.float32)).any()


def test_class_names_are_those_of_imagenet() -> None:
    names = class_names()
    assert len(names) == 1000
    assert (names[0], names[281], names[404], names[999]) == ("tench", "tabby", "airliner", "toilet tissue")


@pytest.fixture(scope="module")
def bridge(loaded: Callable[[str], Any]) -> Callable[[Any, str], Any]:
    """Return a bridge, loaded once: it encodes the names of all its classes."""
    known: dict[Any, Any] = {}

    def get(kind: Any, first: str) -> Any:
        loaded(first), loaded("minilm-l6")
        if kind not in known:
            known[kind] = kind(kind.Config(weights="packaged"))
            known[kind].load()
        return known[kind]

    return get


@pytest.mark.parametrize(("kind", "first"), [(ConsePictures, "efflite0"), (ConseSounds, "yamnet")])
def test_the_bridge_is_an_encoder(
    loaded: Callable[[str], Any], bridge: Callable[[Any, str], Any], kind: Any, first: str
) -> None:
    base, text = loaded(first), loaded("minilm-l6")
    encoder = bridge(kind, first)
    assert encoder.card.name == f"conse-{first}"
    assert encoder.weights_hash not in (base.weights_hash, text.weights_hash)
    raws = pictures()[:3] if first == "efflite0" else sounds()[:3]
    items = [encoder.preparer(raw) for raw in raws]
    states, vectors = run(encoder, items)
    assert vectors.shape == (3, 384)
    np.testing.assert_array_equal(states, run(base, items)[0])
    with torch.inference_mode():
        batch = base.collate(items)
        scores = (
            base.probabilities(batch) if first == "efflite0" else base.network.logits(base.forward(batch)[1]).softmax(1)
        )
    names = (
        [f"a photo of a {name}" for name in class_names()]
        if first == "efflite0"
        else [f"the sound of {name}" for name in base.class_names()]
    )
    best = scores[0].topk(10)
    chosen = run(text, [text.preparer(names[place]) for place in best.indices.tolist()])[1]
    np.testing.assert_allclose(vectors[0], best.values.numpy() @ chosen, atol=1e-5)


def test_objects_find_their_names(
    loaded: Callable[[str], Any], bridge: Callable[[Any, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A classifier that is sure of its class puts the picture at the text of that class."""
    text = loaded("minilm-l6")
    encoder = bridge(ConsePictures, "efflite0")
    items = [encoder.preparer(raw) for raw in pictures()[:2]]
    sure = torch.zeros(2, 1000)
    sure[0, 281], sure[1, 404] = 50, 50
    monkeypatch.setattr(encoder.network, "logits", lambda _: sure)
    vectors = run(encoder, items)[1]
    expected = run(text, [text.preparer("a photo of a tabby"), text.preparer("a photo of a airliner")])[1]
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert conse.TOP == 10
