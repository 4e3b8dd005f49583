"""Agreement of an item's modalities."""

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.recommenders.wrappers.agreement import agreement, standardised_agreement


def unit(x: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(x.astype(np.float32)), dim=1)


def test_modalities_that_tell_one_story_agree_and_unrelated_ones_do_not() -> None:
    draw = np.random.default_rng(0)
    shared = draw.normal(size=(300, 6))
    text, audio = shared @ draw.normal(size=(6, 20)), shared @ draw.normal(size=(6, 30))
    audio[150:] = draw.normal(size=(150, 30)) * audio.std()  # the second half has sound of something else
    everywhere = np.ones(300, dtype=bool)
    found = agreement(
        [unit(text), unit(audio)],
        [everywhere, everywhere],
        method="relational",
        anchors=128,
        generator=np.random.default_rng(0),
    )
    assert (np.abs(found) <= 1 + 1e-6).all()
    assert found[:150].mean() > 0.4
    assert abs(found[150:].mean()) < 0.1


def test_it_is_the_correlation_with_the_anchors_that_have_both() -> None:
    draw = np.random.default_rng(1)
    z = [unit(draw.normal(size=(40, 5))), unit(draw.normal(size=(40, 7)))]
    masks = [draw.random(40) < 0.8, draw.random(40) < 0.8]
    z = [torch.where(torch.from_numpy(mask)[:, None], x, 0.0) for x, mask in zip(z, masks, strict=True)]
    found = agreement(z, masks, method="relational", anchors=10, generator=np.random.default_rng(5))
    both = masks[0] & masks[1]
    chosen = np.random.default_rng(5).permutation(np.flatnonzero(both))[:10]
    for item in np.flatnonzero(both):
        profiles = [(x[item] @ x[chosen].T).numpy() for x in z]
        assert found[item] == pytest.approx(np.corrcoef(*profiles)[0, 1], abs=1e-4)
    assert (found[~both] == 0).all()


def test_items_with_one_modality_have_no_standardised_agreement() -> None:
    masks = [np.array([True, True, True, False]), np.array([True, True, True, True])]
    c = standardised_agreement(np.array([0.1, 0.2, 0.6, 0.0]), masks)
    assert c[3] == 0
    assert c[:3].mean() == pytest.approx(0)
    assert c[:3].std() == pytest.approx(1)
    assert (standardised_agreement(np.zeros(4), [masks[0]]) == 0).all()


def test_cosine_is_for_one_shared_space() -> None:
    draw = np.random.default_rng(2)
    one, other, wide = unit(draw.normal(size=(9, 4))), unit(draw.normal(size=(9, 4))), unit(draw.normal(size=(9, 5)))
    everywhere = [np.ones(9, dtype=bool)] * 2
    found = agreement([one, other], everywhere, method="cosine", anchors=8, generator=draw)
    np.testing.assert_allclose(found, (one * other).sum(1), atol=1e-6)
    with pytest.raises(ConfigError, match="4 and 5 wide: use relational"):
        agreement([one, wide], everywhere, method="cosine", anchors=8, generator=draw)
