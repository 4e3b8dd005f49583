"""Configurations of a lift: presets fill in, what is given wins."""

import pytest

from sensorium.core.config import build, dump
from sensorium.core.errors import ConfigError
from sensorium.lifting.contrastive import released
from sensorium.lifting.generation.config import LiftConfig, laid_over
from sensorium.lifting.generation.objective import elevation_range, novel_poses
from sensorium.lifting.guidance.base import Pose


def made(**tree: object) -> LiftConfig:
    return build(LiftConfig, {"photo": "cup.png", "guidance": "none", **tree}, source="here")


def test_presets_fill_in_sizes() -> None:
    fast, full = made(), made(preset="cpu")
    assert (fast.sizes.known_side, full.sizes.known_side) == (128, 256)
    assert (fast.mesh.resolution, full.mesh.resolution) == (64, 128)
    own = made(preset="test", sizes={"points": 10, "optimisation": {"iterations": 7}}, mesh={"texture": 64})
    assert (own.sizes.points, own.sizes.optimisation.iterations, own.mesh.texture) == (10, 7, 64)
    assert own.sizes.optimisation.density.max_points == 1000
    assert made(**{key: value for key, value in dump(own).items() if key not in ("photo", "guidance")}) == own


def test_parity_takes_the_released_constants() -> None:
    parity = made(preset="parity")
    assert parity.contrastive == released()
    assert (parity.guidance_factor, parity.known.floor, parity.sizes.known_side) == (2.0, 0.0, 1024)
    assert [parity.sizes.novel_side(share) for share in (0.39, 0.4)] == [512, 1024]
    assert parity.lpips_net == "vgg16"


def test_parity_adds_up_as_many_views_as_there_are() -> None:
    """lambda_g = B follows the views of a step, after a round trip too; a weight that is given wins."""
    parity = made(preset="parity", novel={"views": 4})
    assert parity.guidance_factor == 4.0
    assert made(**laid_over(bare(parity), {"novel": {"views": 5}})).guidance_factor == 5.0
    assert made(**bare(parity)) == parity
    assert made(preset="parity", novel={"views": 4}, guidance_weight=1.5).guidance_factor == 1.5
    assert made(novel={"views": 4}).guidance_factor == 1.0
    with pytest.raises(ConfigError, match="guidance_weight"):
        made(guidance_weight=-1.0)


def bare(config: LiftConfig) -> dict[str, object]:
    """A configuration as a file holds it, without what `made` gives."""
    return {key: value for key, value in dump(config).items() if key not in ("photo", "guidance")}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sizes": {"point": 3}}, r"sizes\.point.*sizes\.points"),
        ({"preset": "fast"}, "preset"),
        ({"guidance": "oracles"}, "guidance"),
        ({"contrastive": {"weight": -1}}, r"contrastive\.weight"),
    ],
)
def test_wrong_keys_are_named(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**tree)


@pytest.mark.parametrize(
    ("elevation", "low", "high"), [(0, -30, 30), (-30, -30, 60), (20, -50, 30), (-60, -20, 90), (60, -90, 20)]
)
def test_new_views_surround_the_photo_s(elevation: float, low: float, high: float) -> None:
    assert elevation_range(made(), elevation) == pytest.approx((low, high))
    poses = [pose for step in range(50) for pose in novel_poses(made(), elevation, step)]
    assert all(low <= pose.elevation - elevation <= high and abs(pose.elevation) <= 80 for pose in poses)
    assert min(pose.azimuth for pose in poses) < -150
    assert max(pose.azimuth for pose in poses) > 150
    assert novel_poses(made(), elevation, 3) == novel_poses(made(), elevation, 3)
    assert novel_poses(made(seed=1), elevation, 3) != novel_poses(made(), elevation, 3)
    assert isinstance(poses[0], Pose)
