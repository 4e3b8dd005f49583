from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from sensorium.nn import features as module
from sensorium.nn.features import standardise


class Given(NamedTuple):
    x: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]


def given(n_items: int = 50, width: int = 4, seed: int = 0) -> tuple[Given, npt.NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    x = generator.normal(loc=5, scale=[0.1, 1, 10, 100], size=(n_items, width)).astype(np.float32)
    return Given(x, generator.random(n_items) < 0.7), generator.random(n_items) < 0.8


def test_measured_over_items_with_content_and_a_train_row() -> None:
    features, trained = given()
    x, mean, sd = standardise(features, trained)
    measured = features.present & trained
    np.testing.assert_allclose(mean, features.x[measured].mean(0), rtol=1e-5)
    np.testing.assert_allclose(sd, features.x[measured].std(0), rtol=1e-5)
    np.testing.assert_allclose(x[measured].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x[measured].std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(x[features.present], ((features.x - mean) / sd)[features.present], atol=1e-4)
    assert x.dtype == mean.dtype == sd.dtype == np.float32


@pytest.mark.parametrize("filler", [0.0, np.nan, np.inf, 1e9])
def test_absent_content_is_never_read(filler: float) -> None:
    """Values under a false mask are never read (docs/protocol.md, "Missing content")."""
    features, trained = given()
    other = features.x.copy()
    other[~features.present] = filler
    one, two = standardise(features, trained), standardise(Given(other, features.present), trained)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not one.x[~features.present].any()


def test_content_of_items_without_a_train_row_moves_nothing_and_is_scaled() -> None:
    features, trained = given()
    cold = features.present & ~trained
    other = features.x.copy()
    other[cold] += 1000
    one, two = standardise(features, trained), standardise(Given(other, features.present), trained)
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.sd, two.sd)
    np.testing.assert_array_equal(one.x[~cold], two.x[~cold])
    assert (two.x[cold] > one.x[cold]).all()


def test_a_constant_column_is_centred_alone() -> None:
    x = np.full((30, 2), 0.1, dtype=np.float32)
    x[:, 1] = 0
    found = standardise(Given(x, np.ones(30, dtype=bool)), np.ones(30, dtype=bool))
    assert found.sd.tolist() == [1, 1]
    np.testing.assert_allclose(found.x, 0, atol=1e-7)


def test_nothing_to_measure_moves_nothing() -> None:
    features, trained = given()
    found = standardise(features, np.zeros_like(trained))
    assert not found.mean.any()
    assert (found.sd == 1).all()
    np.testing.assert_array_equal(found.x[features.present], features.x[features.present])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, trained = given()
    whole = standardise(features, trained)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(standardise(features, trained).x, whole.x, rtol=1e-6)


def test_wide_values_do_not_lose_their_variation() -> None:
    """lfm2k's `vggish` is float64 with a norm near 1,470; the mean may be far larger than the deviation."""
    x = 1e4 + np.random.default_rng(0).normal(size=(200, 3))
    everything = np.ones(200, dtype=bool)
    found = standardise(Given(x, everything), everything)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.x.std(0), 1, rtol=1e-4)


def test_lengths_that_differ_are_named() -> None:
    features, trained = given()
    with pytest.raises(ValueError, match="50 feature vectors, 50 marks of content and 49 items"):
        standardise(features, trained[:-1])
