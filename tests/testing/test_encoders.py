"""`check_encoder` passes encoders that keep their promises and catches each kind of those that don't."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sensorium.encoders.protocol import WeightsCard
from sensorium.media.images import write_image
from sensorium.testing.encoders import check_card, check_encoder

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "encoders"))

from tiny_encoder import TinyImage, TinyText

TEXTS = ["ba do ki", "lu", "me na po ru si to ba do ki", "na"]


def test_a_text_and_an_image_encoder_pass(tmp_path: Path) -> None:
    check_encoder(TinyText, TinyText.Config(), TEXTS, broken="BROKEN")
    paths: list[str | Path] = []
    for shade in range(3):
        write_image(tmp_path / f"{shade}.png", Image.new("RGB", (9 + shade, 9), (shade * 60, 10, 200)))
        paths.append(tmp_path / f"{shade}.png")
    (tmp_path / "bad.png").write_bytes(b"")
    check_encoder(TinyImage, TinyImage.Config(), paths, broken=tmp_path / "bad.png")


def test_a_mean_over_padding_is_caught() -> None:
    with pytest.raises(AssertionError, match="depend on the batch"):
        check_encoder(TinyText, TinyText.Config(leak=True), TEXTS)


def test_chance_is_caught() -> None:
    with pytest.raises(AssertionError, match="two calls give different states"):
        check_encoder(TinyText, TinyText.Config(mood=0.1), TEXTS)


def test_content_that_is_not_refused_is_caught() -> None:
    with pytest.raises(AssertionError, match="is not refused"):
        check_encoder(TinyText, TinyText.Config(), TEXTS, broken="fine words")


def wrong_width(encoder: Any) -> None:
    encoder.layer_dims = (8, 8, 7)


def hash_of_nothing(encoder: Any) -> None:
    encoder.weights_hash = "unknown"


def no_facts(encoder: Any) -> None:
    encoder.preparer.facts = {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(wrong_width, "layer_dims"), (hash_of_nothing, "no SHA-256"), (no_facts, "states no facts")],
)
def test_wrong_facts_are_caught(spoil: Callable[[Any], None], message: str) -> None:
    class Spoiled(TinyText):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            spoil(self)

    with pytest.raises(AssertionError, match=message):
        check_encoder(Spoiled, Spoiled.Config(), TEXTS)


def test_incomplete_cards_are_caught() -> None:
    card = TinyText.describe(TinyText.Config())
    check_card(card, "tiny")
    for change, message in [
        ({"licence": None}, "licence"),
        ({"weights": None}, "where its weights"),
        ({"max_tokens": None}, "max_tokens"),
        ({"runs_now": False}, "why"),
        ({"trust": "", "weights": WeightsCard(source="hub")}, "who made"),
        ({"layer_dims": (8,)}, "differ in number"),
    ]:
        with pytest.raises(AssertionError, match=message):
            check_card(card.model_copy(update=change), "tiny")
