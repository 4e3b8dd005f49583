"""Colours that depend on the side they are seen from: real spherical harmonics up to degree 3."""

from __future__ import annotations

import torch
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.lifting.camera import Camera
from sensorium.lifting.cloud import HARMONICS, SH_C0, GaussianCloud

# Constants of the real basis, in the order and with the signs of the files that other programs write.
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)


def seen_colours(cloud: GaussianCloud, camera: Camera, degree: int) -> Tensor:
    """Return the colours of a cloud as a camera sees them, [N, 3], at least 0 and without an upper limit.

    Args:
        cloud: N Gaussians.
        camera: Who looks.
        degree: Up to which degree, 0 to 3; a cloud of a lower degree gives what it has.

    Raises:
        ConfigError: A degree beyond 3.
    """
    if not 0 <= degree <= 3:
        raise ConfigError(f"sh_degree {degree}: spherical harmonics are kept up to degree 3")
    degree = min(degree, cloud.sh_degree)
    if degree == 0 or cloud.sh_rest is None:
        return cloud.colours
    position = torch.tensor(camera.position, dtype=cloud.means.dtype, device=cloud.means.device)
    towards = torch.nn.functional.normalize(cloud.means - position, dim=-1)
    rest = cloud.sh_rest[:, : HARMONICS[degree - 1]]
    shade = 0.5 + SH_C0 * cloud.sh_dc + (basis(towards, degree).unsqueeze(-1) * rest).sum(1)
    return shade.clamp_min(0)


def basis(directions: Tensor, degree: int) -> Tensor:
    """Return the harmonics of degree 1 to `degree` at unit vectors: [N, 3], [N, 8] or [N, 15]."""
    x, y, z = directions.unbind(-1)
    found = [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        found += [
            _C2[0] * x * y,
            _C2[1] * y * z,
            _C2[2] * (2 * z * z - x * x - y * y),
            _C2[3] * x * z,
            _C2[4] * (x * x - y * y),
        ]
    if degree >= 3:
        found += [
            _C3[0] * y * (3 * x * x - y * y),
            _C3[1] * x * y * z,
            _C3[2] * y * (4 * z * z - x * x - y * y),
            _C3[3] * z * (2 * z * z - 3 * x * x - 3 * y * y),
            _C3[4] * x * (4 * z * z - x * x - y * y),
            _C3[5] * z * (x * x - y * y),
            _C3[6] * x * (x * x - 3 * y * y),
        ]
    return torch.stack(found, -1)
