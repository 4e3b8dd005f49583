"""Calibration on planted noise: it finds what was planted, and says nothing where content says nothing."""

import logging
from itertools import pairwise

import numpy as np
import pytest

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.catalogue import open_dataset
from sensorium.data.noise import NoiseConfig, add_noise
from sensorium.data.splits import TRAIN, Split, make_split
from sensorium.data.view import TrainView, train_view
from sensorium.encoders.encode import encode_all
from sensorium.recommenders.wrappers.calibration import CalibrationConfig, calibrate, combine, null_pairs
from sensorium.recommenders.wrappers.evidence import Similarity, unit_vectors
from sensorium.testing import tiny_view
from sensorium.testing.data import with_masked_content

from .noisy import auc, noisy_view, permuted


def test_planted_noise_is_found_and_the_weights_rise_with_the_truth() -> None:
    """A third of the noise hits the user's own group and cannot be found: five bins are asked of real data below."""
    view, noise = noisy_view(users=400, items=120)
    found = calibrate(view)
    assert auc(-found.content.logit, noise) > 0.72
    assert found.share == pytest.approx(min(0.3, found.content.estimate.share))
    assert found.content.estimate.low <= found.content.estimate.share <= found.content.estimate.high
    bins = np.array_split(np.argsort(found.weight), 3)
    clean = [float((~noise[rows]).mean()) for rows in bins]
    assert all(after > before for before, after in pairwise(clean))
    assert found.clean[~noise].mean() > found.clean[noise].mean() + 0.2


def test_content_of_other_items_gives_no_verdict(caplog: pytest.LogCaptureFixture) -> None:
    """No information, no verdict."""
    view, noise = noisy_view(users=1200, items=300)
    with caplog.at_level(logging.WARNING):
        found = calibrate(permuted(view))
    assert auc(-found.content.logit, noise) == pytest.approx(0.5, abs=0.02)
    assert found.content.information < 0.15
    if found.content.information < 0.05:
        assert "next to no information" in caplog.text


def test_it_is_no_filter_of_popularity() -> None:
    view, noise = noisy_view(users=400, items=120)
    found = calibrate(view)
    popularity = view.item_count[view.item].astype(float)
    assert abs(auc(found.weight, popularity > np.median(popularity)) - 0.5) < 0.2
    assert auc(-found.content.logit, noise) > auc(-popularity, noise) + 0.15


def test_content_under_a_false_mask_changes_no_bit_of_the_weights() -> None:
    view = tiny_view(users=100, items=60, missing=0.4)
    wanted = calibrate(view)
    for value in (1e9, None):
        found = calibrate(with_masked_content(view, value))
        assert found.weight.tolist() == wanted.weight.tolist()
        assert found.clean.tolist() == wanted.clean.tolist()


@pytest.mark.parametrize("modalities", [("text",), ("text", "image"), ("text", "image", "audio")])
def test_any_number_of_modalities(modalities: tuple[str, ...]) -> None:
    view, noise = noisy_view(modalities=modalities)
    found = calibrate(view)
    wanted = [*modalities, "agreement"] if len(modalities) > 1 else list(modalities)
    assert list(found.content.coefficients) == wanted
    assert auc(-found.weight, noise) > 0.7
    only = calibrate(view, CalibrationConfig(features=["text"]))
    assert list(only.content.evidence) == ["text"]


def test_the_teacher_has_a_say_that_grows_and_ends() -> None:
    settings = CalibrationConfig()
    assert [settings.teacher_say(epoch) for epoch in (0, 5, 15, 25, 90)] == pytest.approx([0, 0, 0.35, 0.7, 0.7])
    due = [epoch for epoch in range(80) if settings.is_due(epoch)]
    assert due == [0, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45]


def test_modes_take_the_evidence_that_they_name() -> None:
    view, noise = noisy_view()
    content = calibrate(view).content
    z = np.where(noise, -1.0, 0.3) + np.random.default_rng(0).normal(size=len(noise))
    found = {
        mode: combine(view, content, CalibrationConfig(mode=mode), z, say=0.7)  # type: ignore[arg-type]
        for mode in ("content", "teacher", "full")
    }
    np.testing.assert_array_equal(found["content"].logit, content.logit)
    np.testing.assert_array_equal(found["teacher"].logit, 0.7 * z)
    np.testing.assert_array_equal(found["full"].logit, content.logit + 0.7 * z)
    assert found["teacher"].share == 0.3
    assert auc(-found["full"].weight, noise) > max(auc(-found[mode].weight, noise) for mode in ("content", "teacher"))


def test_removing_rows_and_a_known_share_are_options() -> None:
    view, _ = noisy_view()
    hard = calibrate(view, CalibrationConfig(hard=True))
    assert hard.weight.tolist() == hard.clean.astype(float).tolist()
    known = calibrate(view, CalibrationConfig(share=0.1))
    assert known.weight.mean() == pytest.approx(0.9, abs=1e-6)


def test_the_same_view_gives_the_same_weights_whatever_was_drawn_before() -> None:
    view, _ = noisy_view()
    first = calibrate(view)
    np.random.default_rng(0).random(5)
    assert calibrate(view).weight.tolist() == first.weight.tolist()


def test_data_without_features_are_refused_in_one_line() -> None:
    with pytest.raises(DataError, match="sensorium encode"):
        calibrate(tiny_view(modalities=()))
    with pytest.raises(ConfigError, match="'sound' is not a feature"):
        calibrate(tiny_view(), CalibrationConfig(features=["sound"]))


# --- research data --------------------------------------------------------------------------------------------------


def noisy_set(name: str, kind: str, rate: float) -> tuple[TrainView, np.ndarray]:
    dataset = open_dataset(name)
    split: Split = add_noise(
        make_split(dataset, "column", seed=0),
        NoiseConfig(kind=kind, rate=rate),  # type: ignore[arg-type]
        seed=0,
    )
    view = train_view(dataset, split)
    assert split.injected is not None
    train = split.label == TRAIN
    keys = split.user[train] * split.n_items + split.item[train]
    return view, split.injected[train][np.argsort(keys)]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_data", "sensorium_home")
@pytest.mark.parametrize(("name", "least"), [("lfm2k", 0.75), ("tiktok", 0.55)])
def test_research_sets(name: str, least: float) -> None:
    view, noise = noisy_set(name, "popularity", 0.3)
    found = calibrate(view)
    assert auc(-found.content.logit, noise) >= least
    other = permuted(view)
    shuffled = calibrate(other)
    assert auc(-shuffled.content.logit, noise) == pytest.approx(0.5, abs=0.02)
    assert shuffled.content.information < 0.15
    if name == "lfm2k":
        clean = [float((~noise[rows]).mean()) for rows in np.array_split(np.argsort(found.weight), 5)]
        assert all(after > before for before, after in pairwise(clean))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_data", "sensorium_home")
@pytest.mark.parametrize("name", ["demo", "lfm2k", "ml100k+", "tiktok"])
def test_null_pairs_of_every_set_have_mean_zero_and_deviation_one(name: str) -> None:
    dataset = open_dataset(name)
    split = make_split(dataset, "column" if name in ("lfm2k", "tiktok") else "random_per_user", seed=0)
    if not dataset.feature_names:
        dataset = encode_all(dataset, split=split)
    view = train_view(dataset, split)
    pairs = null_pairs(view, 2)
    assert view.features
    for features in view.features.values():
        shown = features.present[pairs.item]
        evidence = Similarity(view, unit_vectors(features, view.item_count > 0), features.present).of_others(pairs)
        assert abs(evidence[shown].mean()) < 0.25
        assert abs(evidence[shown].std() - 1) < 0.2
