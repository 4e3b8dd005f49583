"""Covers show the style: they are small, all different, and the second style has its panel."""

import numpy as np
import pytest

from sensorium.data.demo.covers import HEIGHT, PAINTERS, PALETTES, WIDTH, draw_cover
from sensorium.data.demo.world import FACTORS

KINDS = FACTORS[1].kinds


def pure(index: int) -> np.ndarray:
    return np.eye(len(KINDS), dtype=np.float32)[index]


def test_every_style_has_palette_and_painter() -> None:
    assert set(PALETTES) == set(PAINTERS) == set(KINDS)
    for palettes in PALETTES.values():
        assert all(len(palette.split()) == 5 for palette in palettes)


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_covers_of_a_style(index: int) -> None:
    """Twenty covers of one style: right size and mode, none flat, none twice, the same again from the same seed."""
    covers = [draw_cover(pure(index), KINDS, 0, item) for item in range(20)]
    for cover in covers:
        assert cover.mode == "RGB"
        assert cover.size == (WIDTH, HEIGHT)
        assert np.asarray(cover).std() > 3
    assert len({cover.tobytes() for cover in covers}) == 20
    assert draw_cover(pure(index), KINDS, 0, 7).tobytes() == covers[7].tobytes()
    assert draw_cover(pure(index), KINDS, 1, 7).tobytes() != covers[7].tobytes()


def test_styles_look_different() -> None:
    """The mean colours of two styles are further apart than two covers of one style."""
    means = np.array(
        [
            [np.asarray(draw_cover(pure(index), KINDS, 0, item)).mean((0, 1)) for item in range(12)]
            for index in range(len(KINDS))
        ]
    )
    within = means.std(1).mean()
    between = means.mean(1).std(0).mean()
    assert between > 2 * within


def test_second_style_fills_its_panel() -> None:
    """A third of neon darkens a third of a pastel cover, at its foot or at its head."""
    blend = (0.65 * pure(KINDS.index("pastel")) + 0.35 * pure(KINDS.index("neon"))).astype(np.float32)
    for item in range(10):
        dark = np.asarray(draw_cover(blend, KINDS, 0, item).convert("L")).mean(1) < 140
        assert dark.mean() == pytest.approx(0.35, abs=0.06)
        assert dark[:20].all() or dark[-20:].all()
