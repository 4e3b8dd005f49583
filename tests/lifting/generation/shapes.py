"""A cube, and guidance that knows it, for tests of whole lifts."""

from functools import lru_cache

import torch
from PIL import Image

from sensorium.core.config import Config
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.job import picture
from sensorium.lifting.generation.making import Maker
from sensorium.lifting.guidance.base import Guidance, Pose, straight_colours
from sensorium.lifting.guidance.oracle import Oracle
from sensorium.testing.scenes import photograph

ELEVATION = -20.0


@lru_cache(maxsize=4096)
def cube(pose: Pose, side: int) -> torch.Tensor:
    """The cube of six colours, premultiplied RGBA [4, side, side]."""
    view = photograph("cube", pose.camera(side))
    alpha = torch.from_numpy(view.alpha)
    rgb = torch.from_numpy(view.rgb).movedim(-1, 0) - (1 - alpha)
    return torch.cat([rgb, alpha[None]]).clamp(0, 1)


class CubeOracle(Oracle):
    """Knows the cube at 32 pixels; may be registered as guidance."""

    class Config(Config):
        """Nothing to set."""

    def __init__(self, config: object = None) -> None:
        super().__init__(cube, side=32)


def cutout_picture(side: int) -> Image.Image:
    """The cube from its camera, as a PNG with transparency."""
    rgba = cube(Pose(ELEVATION, 0), side)
    image = picture(straight_colours(rgba[None])[0])
    image.putalpha(picture(rgba[3:].expand(3, -1, -1)).convert("L"))
    return image


def maker(config: LiftConfig, guidance: Guidance, lpips: LPIPS) -> Maker:
    """A lift of the cube."""
    front = Pose(ELEVATION, 0)
    return Maker(
        cube(front, config.sizes.known_side), cube(front, config.texture.photo_side), ELEVATION, guidance, config, lpips
    )
