"""Splitting views, the term's loss, and what it remembers."""

from pathlib import Path

import pytest
import torch

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError
from sensorium.encoders import lpips as lpips_module
from sensorium.encoders.lpips import LPIPS
from sensorium.encoders.lpips_pyramid import AT_FIFTY, Pyramid
from sensorium.lifting.contrastive import ContrastiveConfig, ContrastiveTerm, released
from sensorium.lifting.contrastive import term as term_module
from sensorium.lifting.contrastive.splitting import split
from sensorium.lifting.contrastive.term import perceptual
from sensorium.lifting.guidance.base import Pose
from sensorium.lifting.photo.cutout import on_background

from .test_distance import picture

FRONT = Pose(0.0, 0.0)


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return perceptual()[0]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("ambiguous", "label"), [("ignore", 0), ("negative", -1), ("positive", 1)])
def test_split(ambiguous: str, label: int) -> None:
    distances = torch.tensor([0.1, 0.29, 0.3, 0.1, 0.5])
    labels = split(distances, [0, 90, 10, 91, 180], 0.3, ambiguous)  # type: ignore[arg-type]
    assert labels.tolist() == [1, 1, -1, label, -1]


def test_alike_views_are_pulled_and_others_pushed(lpips: LPIPS) -> None:
    """The front again from the front is positive, from behind it is nothing, and one plain colour is negative."""
    reference = picture(64)
    term = ContrastiveTerm(reference, FRONT, ContrastiveConfig(weight=100, side=64, memory=4), lpips)
    plain = torch.tensor([0.2, 0.2, 0.8]).reshape(3, 1, 1) * reference[3:]
    views = torch.stack([0.9 * reference, reference, torch.cat([plain, reference[3:]])]).requires_grad_()
    poses = [Pose(0, 5), Pose(0, 180), Pose(0, 180)]
    distances, labels, numbers = term.judge(views, poses, generator())
    assert labels.tolist() == [1, 0, -1]
    assert numbers["positives"] == numbers["negatives"] == 1
    loss, _ = term(views, poses, 0.5, generator())
    assert loss is not None
    assert loss.item() == pytest.approx(100 * max(0, (distances[0] - distances[2] + 0.1).item()), rel=1e-5)
    torch.testing.assert_close(term.remembered, distances.detach()[[0, 2]])
    assert term.remembered_labels.tolist() == [1, -1]


def test_it_rests_at_first_and_remembers_the_last(lpips: LPIPS) -> None:
    term = ContrastiveTerm(picture(64), FRONT, ContrastiveConfig(weight=100, side=64, memory=3), lpips)
    views = torch.stack([picture(64, 1), picture(64, 2)])
    assert term(views, [FRONT, FRONT], 0.05, generator()) == (None, {})
    for _ in range(3):
        term(views, [FRONT, FRONT], 0.5, generator())
    assert len(term.remembered) == 3
    other = ContrastiveTerm(picture(64), FRONT, ContrastiveConfig(weight=100, side=64, memory=3), lpips)
    other.restore(term.state())
    assert other(views, [FRONT, FRONT], 0.5, generator())[0] == term(views, [FRONT, FRONT], 0.5, generator())[0]
    off = ContrastiveTerm(picture(64), FRONT, ContrastiveConfig(side=64), lpips)
    assert off(views, [FRONT, FRONT], 0.9, generator())[0] is None


def test_the_released_coin_decides_the_distance(lpips: LPIPS) -> None:
    """The photo itself is far away whenever the coin shows black."""
    term = ContrastiveTerm(picture(128), FRONT, released(128), lpips)
    views = picture(128)[None].repeat(8, 1, 1, 1)
    distances, labels, _ = term.judge(views, [FRONT] * 8, generator())
    assert set(labels.tolist()) == {1, -1}
    assert (distances[labels == 1] < 1).all()
    assert (distances[labels == -1] > 1000).all()


def test_all_positive_asks_no_network(lpips: LPIPS) -> None:
    config = ContrastiveConfig(side=64, split="all_positive")
    _, labels, numbers = ContrastiveTerm(picture(64), FRONT, config, lpips).judge(
        picture(64, 9, 3)[None], [Pose(0, 170)], generator()
    )
    assert labels.tolist() == [1]
    assert "lpips" not in numbers


def test_another_network_is_said() -> None:
    found, notes = perceptual(wanted="vgg16")
    assert found.net == "alexnet"
    assert "vgg16" in notes[0]


def test_the_pyramid_stands_in_where_the_weights_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lpips: LPIPS
) -> None:
    named, quiet = perceptual("pyramid")
    assert (named.net, quiet) == ("pyramid", [])
    monkeypatch.setattr(term_module, "shipped_file", lambda: tmp_path / "left out")
    found, notes = perceptual()
    assert found.net == "pyramid"
    assert "takes the place of LPIPS on alexnet" in notes[0]
    with pytest.raises(DataError, match="does not exist"):  # a file that was asked for by name is never replaced
        perceptual(tmp_path / "vgg16.safetensors", wanted="vgg16")


def test_a_damaged_file_is_no_missing_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "lpips.safetensors"
    damaged.write_bytes(b"half of it")
    for module in (term_module, lpips_module):
        monkeypatch.setattr(module, "shipped_file", lambda: damaged)
    with pytest.raises(DataError, match="SHA-256"):
        perceptual()


def test_each_distance_has_its_own_threshold(lpips: LPIPS) -> None:
    """Written as of LPIPS, a threshold is the same share of the value at 50 degrees for both."""
    reference, poses = picture(64), [FRONT] * 5
    views = torch.stack([reference + share * (picture(64, 9, 7) - reference) for share in (0.0, 0.1, 0.2, 0.35, 1.0)])
    config = ContrastiveConfig(side=64, threshold=0.15)
    terms = {net.net: ContrastiveTerm(reference, FRONT, config, net) for net in (lpips, Pyramid())}
    assert terms["alexnet"].threshold == 0.15
    assert terms["pyramid"].threshold == pytest.approx(AT_FIFTY / 2)
    for term in terms.values():
        laid = on_background(views)
        told = torch.stack([term.lpips(2 * one[None] - 1, 2 * on_background(reference)[None] - 1)[0] for one in laid])
        _, labels, _ = term.judge(views, poses, generator())
        assert labels.tolist() == [1 if value < term.threshold else -1 for value in told]
        if term.lpips.net == "pyramid":  # a view that the number as it is written would judge otherwise
            assert ((told >= config.threshold) & (told < term.threshold)).any()
        assert {1, -1} <= set(labels.tolist())


def test_impossible_settings() -> None:
    for tree, word in [({"margins": "released"}, "l2_sum"), ({"side": 100, "pool": 8}, "multiple")]:
        with pytest.raises(ConfigError, match=word):
            build(ContrastiveConfig, tree, source="here")
    assert released().side == 1024
