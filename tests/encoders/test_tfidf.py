"""tfidf-svd against the definition written out, its saved state, and its faults."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.files import write_npy
from sensorium.encoders.tfidf import TfidfSvd

SEA = ["boat harbour tide", "tide reef boat", "harbour reef tide tide", "boat boat reef harbour"]
KITCHEN = ["oven bread pan", "bread pan soup", "soup oven bread bread", "pan soup oven"]
TEXTS = SEA + KITCHEN


def fitted(**options: int) -> TfidfSvd:
    encoder = TfidfSvd(TfidfSvd.Config(**options))
    encoder.fit(TEXTS)
    return encoder


def test_equals_the_definition() -> None:
    """The formula of the module, with loops, and numpy's own SVD."""
    encoder = fitted(dim=3)
    words = sorted({word for text in TEXTS for word in text.split()})
    counts = np.array([[text.split().count(word) for word in words] for text in TEXTS], dtype=float)
    rarity = np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(0))) + 1
    weighted = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * rarity
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    _, _, directions = np.linalg.svd(weighted, full_matrices=False)
    expected = weighted @ directions[:3].T
    vectors = encoder.forward(TEXTS)
    assert encoder.words == words
    assert vectors.dtype == np.float32
    assert np.allclose(np.abs(vectors), np.abs(expected), atol=1e-5)
    assert np.allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


def test_signs_are_fixed_and_runs_repeat() -> None:
    one, two = fitted(), fitted()
    assert (one.directions == two.directions).all()
    assert (np.abs(one.directions).max(1) == one.directions.max(1)).all()


def test_neighbours_share_a_subject() -> None:
    vectors = fitted(dim=2).forward(TEXTS)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T - 2 * np.eye(len(TEXTS))
    assert ((likeness.argmax(1) < 4) == (np.arange(8) < 4)).all()


def test_no_direction_without_length() -> None:
    """Copies of two texts span two directions, however many are asked for."""
    encoder = TfidfSvd(TfidfSvd.Config(dim=128))
    encoder.fit(["boat tide", "bread oven"] * 20)
    assert encoder.forward(["boat"]).shape == (1, 2)


def test_vectors_do_not_depend_on_the_batch() -> None:
    """EN-4: alone, beside others, beside a 400-word text."""
    encoder = fitted()
    together = encoder.forward([*TEXTS, "bread " * 400])
    for row, text in enumerate(TEXTS):
        assert np.abs(encoder.forward([text])[0] - together[row]).max() < 1e-6


def test_case_folds_and_unknown_words_give_zero() -> None:
    encoder = fitted()
    assert (encoder.forward(["BOAT Tide"]) == encoder.forward(["boat tide"])).all()
    assert (encoder.forward(["nothing of it"]) == 0).all()


def test_saved_state_encodes_new_items(tmp_path: Path) -> None:
    encoder = fitted()
    encoder.save(tmp_path)
    again = TfidfSvd()
    again.load(tmp_path)
    new = ["a boat of bread", "soup"]
    assert (again.forward(new) == encoder.forward(new)).all()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npy"}


def test_mixed_up_state_is_refused(tmp_path: Path) -> None:
    encoder = fitted()
    encoder.save(tmp_path)
    write_npy(tmp_path / "rarity.npy", encoder.rarity[:-1])
    with pytest.raises(DataError, match="do not belong together; encode again"):
        TfidfSvd().load(tmp_path)


@pytest.mark.parametrize("texts", [["one", "two", "three"], ["!!", "??"], ["a b c"] * 3])
def test_texts_that_share_no_word(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no word stands in 2 of"):
        TfidfSvd().fit(texts)


def test_a_single_text_can_be_fitted() -> None:
    encoder = TfidfSvd()
    encoder.fit(["one boat only"])
    assert encoder.forward(["boat"]).shape == (1, 1)
