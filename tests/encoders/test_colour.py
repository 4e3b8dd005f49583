"""colour-histogram: its values mean what they say."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.core.files import write_npy
from sensorium.encoders.colour import COLOURS, DIRECTIONS, WIDTH, ColourHistogram, describe
from sensorium.media.images import MediaError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def colours(image: Image.Image) -> np.ndarray:
    """Shares of pixels, [4 cells, 96]."""
    return describe(image)[: 4 * COLOURS].reshape(4, COLOURS) ** 2


def gradients(image: Image.Image) -> np.ndarray:
    """Mean lengths, [4 cells, 8 directions]."""
    return describe(image)[4 * COLOURS :].reshape(4, DIRECTIONS) ** 2


def test_width() -> None:
    """8 x 12 colours and 8 directions in each of 4 cells."""
    assert WIDTH == 416 == ColourHistogram.card.pooled_dim
    assert describe(Image.new("RGB", (9, 5))).shape == (416,)


def test_shares_of_a_cell_sum_to_one() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    assert np.allclose(colours(Image.fromarray(noise)).sum(1), 1, atol=1e-5)


def test_cells_see_their_own_quarter() -> None:
    image = Image.new("RGB", (64, 64), BLUE)
    image.paste(RED, (32, 0, 64, 32))  # upper right
    bins = colours(image).argmax(1)
    assert bins[0] == bins[2] == bins[3] != bins[1]


def test_strength_and_lightness_have_their_bins() -> None:
    seen = {
        int(colours(Image.new("RGB", (64, 64), colour))[0].argmax())
        for colour in [RED, (255, 160, 160), (255, 225, 225), (180, 0, 0), (110, 0, 0), (50, 0, 0), BLUE]
    }
    assert len(seen) == 7


@pytest.mark.parametrize(("turns", "direction"), [(0, 0), (1, 6), (2, 4), (3, 2)])
def test_edges_have_a_direction(turns: int, direction: int) -> None:
    """A ramp that brightens to the right points to 0; turned a quarter counter-clockwise it points up, and so on."""
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).convert("RGB").rotate(90 * turns)
    found = gradients(ramp)
    assert (found.argmax(1) == direction).all()
    assert found.max() == pytest.approx(4 / 255, rel=0.05)


def test_flat_picture_has_no_edges_and_still_a_vector() -> None:
    vector = describe(Image.new("RGB", (64, 64), RED))
    assert (vector[4 * COLOURS :] == 0).all()
    assert np.linalg.norm(vector) == pytest.approx(2)


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 200), (63, 64)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    """EN-2: 1x1 and 1x4000."""
    assert np.isfinite(describe(Image.new("RGB", size, BLUE))).all()


def test_scale_gives_both_parts_the_same_spread() -> None:
    encoder = ColourHistogram()
    generator = np.random.default_rng(1)
    pictures = [Image.fromarray(generator.integers(0, 256, (s, s, 3), dtype=np.uint8)) for s in range(4, 70, 3)]
    prepared = [encoder.prepare(png(picture)) for picture in pictures]
    encoder.fit(prepared)
    vectors = encoder.forward(prepared).astype(float)
    assert vectors.shape == (len(pictures), 416)
    assert vectors[:, : 4 * COLOURS].var(0).sum() == pytest.approx(1, rel=1e-4)
    assert vectors[:, 4 * COLOURS :].var(0).sum() == pytest.approx(1, rel=1e-4)


def test_one_picture_can_be_fitted() -> None:
    encoder = ColourHistogram()
    prepared = [encoder.prepare(png(Image.new("RGB", (8, 8), RED)))]
    encoder.fit(prepared)
    assert np.isfinite(encoder.forward(prepared)).all()


def test_broken_picture_is_an_error_with_a_reason() -> None:
    with pytest.raises(MediaError):
        ColourHistogram().prepare(b"<html></html>")


def test_state_round_trip(tmp_path: Path) -> None:
    encoder = ColourHistogram()
    prepared = [encoder.prepare(png(Image.new("RGB", (8, 8), colour))) for colour in (RED, BLUE, (9, 99, 9))]
    encoder.fit(prepared)
    encoder.save(tmp_path)
    again = ColourHistogram()
    again.load(tmp_path)
    assert (again.forward(prepared) == encoder.forward(prepared)).all()
    write_npy(tmp_path / "scale.npy", np.ones(3))
    with pytest.raises(DataError, match="encode again"):
        again.load(tmp_path)
