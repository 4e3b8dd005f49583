"""The density of a cloud on a regular grid, block by block.

    d(x) = sum_i o_i exp(-1/2 (x - mu_i)^T Sigma_i^-1 (x - mu_i)),  over the Gaussians with o_i > 0.005

The middle of the means' bounding box goes to the origin and its longest side to 1.8, so that a grid over [-1, 1]^3
holds every cloud, whatever its size. A Gaussian counts where its box of three standard deviations reaches: it is given
to every block of 16^3 samples that this box meets, and adds to the samples inside the box. (DreamGaussian, Tang et al.,
2024, asks instead whether the centre lies in a block grown by a constant, which cuts wide Gaussians at block faces.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.resources import require_memory
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.mesh import Doubles, Floats
from sensorium.lifting.rasterisers.compiling import compiled, in_portions

FAINTEST = 0.005  # opacities at or below it are left out
BLOCK = 16  # samples along one side of a block
REACH = 3.0  # standard deviations
EXTENT = 1.8  # of the means along their longest side, within the grid's 2
_THINNEST = 1e-6  # grid units: a Gaussian that is flat to the last digit still has an inverse


@dataclass(frozen=True, eq=False)
class Density:
    """A density sampled on [-1, 1]^3.

    Attributes:
        values: float32 [G, G, G], by x, y and z.
        centre: Where the grid's origin lies in the world, float64 [3].
        scale: Grid units to one world unit.
    """

    values: Floats
    centre: Doubles
    scale: float

    @property
    def resolution(self) -> int:
        """Samples along one side."""
        return len(self.values)

    @property
    def highest(self) -> float:
        """The largest sample."""
        return float(self.values.max())

    def to_world(self, points: npt.NDArray[np.floating]) -> Doubles:
        """Return points of the grid's [-1, 1]^3 in world units, float64 [N, 3]."""
        world: Doubles = np.asarray(points, dtype=np.float64) / self.scale + self.centre
        return world


def density(cloud: GaussianCloud, resolution: int = 128) -> Density:
    """Sample the density of a cloud.

    Args:
        cloud: The Gaussians.
        resolution: Samples along one side, at least 8.

    Raises:
        DataError: No Gaussian is opaque enough, or the cloud has values that are not finite.
        ResourceError: The grid does not fit this machine's memory.
    """
    if resolution < 8:
        raise DataError(f"a density grid has at least 8 samples along a side, not {resolution}")
    require_memory(4 * resolution**3 + 300 * len(cloud), f"a density grid of {resolution}^3 samples")
    means, precisions, spreads, opacities = _parts(cloud)
    centre = (means.min(0) + means.max(0)) / 2
    # One Gaussian alone, or all in one place: their own width takes the place of the box.
    extent = max(float(np.ptp(means, axis=0).max()), 1e-9) if len(means) > 1 else 0.0
    scale = EXTENT / max(extent, float(np.median(spreads)) * REACH)
    means, precisions, spreads = (means - centre) * scale, precisions / scale**2, spreads * scale
    first, last = _reached(means, spreads * REACH, resolution)
    offsets, members = _membership(first, last, resolution)
    values = np.zeros((resolution, resolution, resolution), dtype=np.float32)
    in_portions(_add_up, len(offsets) - 1, offsets, members, first, last, means, precisions, opacities, values)
    return Density(values, centre, scale)


def dense_sum(cloud: GaussianCloud, points: npt.NDArray[np.floating]) -> Doubles:
    """Return the density at world points, float64 [P]: every Gaussian at every point. The reference of `density`."""
    means, precisions, _, opacities = _parts(cloud)
    total = np.zeros(len(points))
    for mean, precision, opacity in zip(means, precisions, opacities, strict=True):
        away = points - mean
        total += opacity * np.exp(-0.5 * np.einsum("pi,ij,pj->p", away, precision, away))
    return total


def _parts(cloud: GaussianCloud) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Means [N, 3], inverse covariances [N, 3, 3], standard deviations along the world's axes [N, 3], opacities [N]."""
    cloud = cloud.detach().to("cpu")
    opacities = cloud.opacities.double().numpy()
    chosen = opacities > FAINTEST
    if not chosen.any():
        raise DataError(f"no Gaussian of {len(opacities):,} is more opaque than {FAINTEST}: there is no surface")
    means = cloud.means.double().numpy()[chosen]
    scales = cloud.scales.double().numpy()[chosen]
    turns = cloud.rotations.double().numpy()[chosen]  # columns are the own axes
    if not (np.isfinite(means).all() and np.isfinite(scales).all() and np.isfinite(turns).all()):
        raise DataError("the cloud has values that are not finite: there is no density to sample")
    scales = np.maximum(scales, _THINNEST * max(float(np.ptp(means, axis=0).max()), float(scales.max())))
    precisions = np.einsum("nik,nk,njk->nij", turns, scales**-2, turns)
    spreads = np.sqrt(np.einsum("nik,nk->ni", turns**2, scales**2))
    return means, precisions, spreads, opacities[chosen]


def _reached(means: Doubles, half: Doubles, resolution: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """First and last sample along each axis inside every Gaussian's box, int32 [N, 3] each; last < first for none."""
    step = 2 / (resolution - 1)
    first = np.ceil((means - half + 1) / step).clip(0, resolution)
    last = np.floor((means + half + 1) / step).clip(-1, resolution - 1)
    return first.astype(np.int32), last.astype(np.int32)


@compiled()
def _membership(
    first: npt.NDArray[np.int32], last: npt.NDArray[np.int32], resolution: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Lists of Gaussians by block, in their own order: offsets int64 [blocks + 1] and members int32."""
    side = (resolution + BLOCK - 1) // BLOCK
    offsets = np.zeros(side**3 + 1, dtype=np.int64)
    members = np.zeros(0, dtype=np.int32)
    places = np.zeros(0, dtype=np.int64)
    for filling in range(2):  # once to count, once to fill
        for i in range(len(first)):
            if last[i, 0] < first[i, 0] or last[i, 1] < first[i, 1] or last[i, 2] < first[i, 2]:
                continue
            for x in range(first[i, 0] // BLOCK, last[i, 0] // BLOCK + 1):
                for y in range(first[i, 1] // BLOCK, last[i, 1] // BLOCK + 1):
                    for z in range(first[i, 2] // BLOCK, last[i, 2] // BLOCK + 1):
                        block = (x * side + y) * side + z
                        if filling == 0:
                            offsets[block + 1] += 1
                        else:
                            members[places[block]] = i
                            places[block] += 1
        if filling == 0:
            offsets = np.cumsum(offsets)
            members = np.empty(offsets[-1], dtype=np.int32)
            places = offsets[:-1].copy()
    return offsets, members


@compiled(nogil=True)
def _add_up(
    first_block: int,
    end_block: int,
    offsets: npt.NDArray[np.int64],
    members: npt.NDArray[np.int32],
    first: npt.NDArray[np.int32],
    last: npt.NDArray[np.int32],
    means: Doubles,
    precisions: Doubles,
    opacities: Doubles,
    values: Floats,
) -> None:
    """Add the Gaussians of some blocks to their samples. Blocks share no sample, so their order does not matter."""
    resolution = len(values)
    side = (resolution + BLOCK - 1) // BLOCK
    step = 2.0 / (resolution - 1)
    for block in range(first_block, end_block):
        corner = (block // (side * side) * BLOCK, block // side % side * BLOCK, block % side * BLOCK)
        for entry in range(offsets[block], offsets[block + 1]):
            i = members[entry]
            p = precisions[i]
            for x in range(max(first[i, 0], corner[0]), min(last[i, 0], corner[0] + BLOCK - 1) + 1):
                dx = x * step - 1.0 - means[i, 0]
                for y in range(max(first[i, 1], corner[1]), min(last[i, 1], corner[1] + BLOCK - 1) + 1):
                    dy = y * step - 1.0 - means[i, 1]
                    # Along z the exponent is a parabola: q0 + q1 dz + q2 dz^2.
                    q0 = p[0, 0] * dx * dx + 2.0 * p[0, 1] * dx * dy + p[1, 1] * dy * dy
                    q1 = 2.0 * (p[0, 2] * dx + p[1, 2] * dy)
                    for z in range(max(first[i, 2], corner[2]), min(last[i, 2], corner[2] + BLOCK - 1) + 1):
                        dz = z * step - 1.0 - means[i, 2]
                        exponent = -0.5 * (q0 + (q1 + p[2, 2] * dz) * dz)
                        values[x, y, z] += np.float32(opacities[i] * np.exp(exponent))
