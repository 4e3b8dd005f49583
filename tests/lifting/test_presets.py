"""Presets: what each spends."""

import pytest

from sensorium.lifting.presets import PRESETS


def test_novel_views_grow_with_the_steps() -> None:
    gpu = PRESETS["gpu"]
    assert [gpu.novel_side(share) for share in (0, 0.29, 0.3, 0.59, 0.6, 1)] == [128, 128, 256, 256, 512, 512]
    assert PRESETS["test"].novel_side(1) == 64


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_preset_can_begin(name: str) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    assert preset.points <= preset.optimisation.density.max_points
    assert len(preset.novel_sides) == len(preset.novel_until) + 1
    assert max(preset.novel_sides) <= preset.known_side
