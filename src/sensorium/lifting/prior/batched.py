"""Procedural objects drawn by sphere tracing in torch, many objects at a time, on any device: pools on a GPU.

The same pictures as `kernels` draws, but for some pixels: sums are in another order, and primitives that a smooth union
hardly feels are left out by another rule. Instead of a loop over rays, all rays step at once, and only those that have
neither hit nor left are kept; a ray meets the primitives that its pixel comes near to, so that a step is made over a
flat list of pairs (ray, primitive), sorted by kind, whose distances are joined for each ray:

    f = least - k log sum of exp((least - f_i) / k)       over f_i - least < 8 k

On a GPU that sum's order is not fixed, so single pixels may differ from run to run there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.lifting.prior import kernels
from sensorium.lifting.prior.batched_colours import paint
from sensorium.lifting.prior.batched_distances import ABSENT, distance
from sensorium.lifting.prior.kernels import BACKWARD, FACTOR, FORWARD, HIT, NEAR, NEGLIGIBLE, PIXEL, SLOPE, STEPS
from sensorium.lifting.prior.objects import ProceduralObject, camera_row

KINDS = 11
AT_ONCE = 200_000  # pixels that are traced together: about a gigabyte


@dataclass(frozen=True)
class _Scene:
    """Tables of O objects, padded to the longest; `kernels.draw` says what stands in them."""

    primitives: Tensor  # [O, n, PRIMITIVE]; those that pad have kind -1
    blend: Tensor  # [O]
    profile: Tensor  # [O, s, 6]
    outline: Tensor  # [O, m, 19]
    textures: Tensor  # [O, p, 14]
    decal: Tensor  # [O, 14]
    spots: Tensor  # [O, q, 7]
    picture: Tensor  # bool [O]
    light: Tensor  # [O, 4]
    place: Tensor  # [O, 4]


@dataclass(frozen=True)
class _Rays:
    """Rays, and the pairs of a ray and a primitive that it may meet, sorted by the primitive's kind.

    Attributes:
        owner: Object of each ray, int64 [R].
        origin: [R, 3], object units.
        direction: Of length one, [R, 3].
        ray: Of each pair, int64 [P].
        row: Its primitive, int64 [P], a row of all objects' primitives.
    """

    owner: Tensor
    origin: Tensor
    direction: Tensor
    ray: Tensor
    row: Tensor

    def kept(self, keep: Tensor) -> _Rays:
        """Return some of the rays, bool [R], in order."""
        number, pairs = keep.cumsum(0) - 1, keep[self.ray]
        return _Rays(
            self.owner[keep], self.origin[keep], self.direction[keep], number[self.ray[pairs]], self.row[pairs]
        )


@torch.no_grad()
def draw(
    objects: Sequence[ProceduralObject],
    elevations: Sequence[Sequence[float]],
    azimuths: Sequence[Sequence[float]],
    side: int = 64,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw each object from its own cameras; azimuth 0 is the reference camera's.

    Args:
        objects: O of them.
        elevations: Degrees, negative above, V for each object.
        azimuths: Degrees, likewise.
        side: Pixels.
        device: Where it is computed, in float64.

    Returns:
        Premultiplied RGBA, uint8 [O, V, side, side, 4], on the CPU.

    Raises:
        DataError: There is no object, or cameras do not come V for each object.
    """
    counts = {len(row) for row in (*elevations, *azimuths)}
    if not objects or len(elevations) != len(objects) or len(azimuths) != len(objects) or len(counts) != 1:
        raise DataError(
            f"{len(objects)} objects are drawn from as many lists of cameras of one length, not {len(elevations)} "
            f"lists of elevations and {len(azimuths)} of azimuths with lengths {sorted(counts)}"
        )
    together = max(1, AT_ONCE // (counts.pop() * side * side))
    found = []
    for first in range(0, len(objects), together):
        chosen = slice(first, first + together)
        poses = zip(elevations[chosen], azimuths[chosen], strict=True)
        rows = [[camera_row(*pose, side) for pose in zip(*pair, strict=True)] for pair in poses]
        cameras = torch.from_numpy(np.array(rows)).to(device)
        found.append(_drawn(_scene(objects[chosen], device), cameras, side).cpu())
    return torch.cat(found)


def _scene(objects: Sequence[ProceduralObject], device: torch.device | str) -> _Scene:
    def padded(name: str, filled: float) -> Tensor:
        tables = [torch.from_numpy(getattr(made, name)) for made in objects]
        shape = (len(tables), max(1, *(len(table) for table in tables)), tables[0].shape[1])
        whole = torch.full(shape, filled, dtype=torch.float64)
        for place, table in zip(whole, tables, strict=True):
            place[: len(table)] = table
        return whole.to(device)

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.array([getattr(made, name) for made in objects])).to(device)

    return _Scene(
        padded("primitives", -1.0),
        joined("blend"),
        padded("profile", math.inf),
        padded("outline", ABSENT),
        padded("textures", 0.0),
        joined("decal"),
        padded("spots", 0.0),
        joined("picture"),
        joined("light"),
        joined("place"),
    )


def _drawn(scene: _Scene, cameras: Tensor, side: int) -> Tensor:
    """uint8 [O, V, side, side, 4] of cameras [O, V, 13]."""
    count, views = cameras.shape[:2]
    scale = scene.place[:, 0]
    origins = (cameras[..., :3] - scene.place[:, None, 1:]) / scale[:, None, None]  # [O, V, 3]
    near, low, high = _gathered(scene, cameras, origins, side)
    pixels = near.any(-1).flatten().nonzero()[:, 0]  # [C] of [O V side^2]
    out = torch.zeros(count * views * side * side, 4, dtype=torch.uint8, device=cameras.device)
    if len(pixels):
        near, low, high = (value.flatten(0, 2)[pixels] for value in (near, low, high))
        rays = _rays(scene, cameras.flatten(0, 1), origins.flatten(0, 1), pixels, near, views, side)
        t = _traced(scene, rays, low.repeat_interleave(4), high.repeat_interleave(4))
        hit = t >= 0
        seen = torch.zeros(len(t), 4, dtype=torch.float64, device=t.device)
        seen[hit] = _seen(scene, rays.kept(hit), t[hit])
        out[pixels] = (seen.reshape(-1, 4, 4).sum(1) / 4 * 255 + 0.5).floor().to(torch.uint8)
    return out.reshape(count, views, side, side, 4)


def _gathered(scene: _Scene, cameras: Tensor, origins: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which primitives a pixel's rays come near to, [O, V, side^2, n], and between which places, [O, V, side^2]."""
    middle = (torch.arange(side, device=cameras.device, dtype=cameras.dtype) + 0.5) * 2 / side
    down, right = torch.meshgrid(1 - middle, middle - 1, indexing="ij")
    ray = _aimed(cameras[:, :, None], right.flatten(), down.flatten())  # [O, V, side^2, 3]
    apart = scene.primitives[:, None, :, 1:4] - origins[:, :, None]  # [O, V, n, 3]
    along = ray @ apart.transpose(-1, -2)  # [O, V, side^2, n]
    margin = 2 * NEAR * scene.blend + PIXEL / scene.place[:, 0]
    reach = (scene.primitives[..., kernels.REACH] + margin[:, None]).square()[:, None, None]
    gap = reach - (apart.square().sum(-1)[:, :, None] - along.square())
    near = (gap > 0) & (scene.primitives[..., 0] >= 0)[:, None, None]
    half = gap.clamp_min(0).sqrt()
    low = torch.where(near, (along - half).clamp_min(0), math.inf).amin(-1)
    return near, low, torch.where(near, along + half, 0.0).amax(-1)


def _aimed(camera: Tensor, right: Tensor, up: Tensor) -> Tensor:
    """Directions of places in the picture, -1..1: [..., 3] of cameras [..., 13]."""
    across = right[..., None] * camera[..., 3:6] + up[..., None] * camera[..., 6:9]
    ray = camera[..., 12:13] * across - camera[..., 9:12]
    return ray / ray.square().sum(-1, keepdim=True).sqrt()


def _rays(
    scene: _Scene, cameras: Tensor, origins: Tensor, pixels: Tensor, near: Tensor, views: int, side: int
) -> _Rays:
    """Four rays through each pixel [C], with the primitives that it comes near to, bool [C, n]."""
    camera, place = pixels // (side * side), pixels % (side * side)
    sample = torch.arange(4, device=pixels.device)
    right = ((place % side)[:, None] + 0.25 + 0.5 * (sample & 1)) * 2 / side - 1
    down = 1 - ((place // side)[:, None] + 0.25 + 0.5 * (sample >> 1)) * 2 / side
    direction = _aimed(cameras[camera][:, None], right.double(), down.double()).flatten(0, 1)
    owner = camera // views
    pixel, column = near.nonzero().unbind(1)
    row = owner[pixel] * near.shape[1] + column
    order = scene.primitives[..., 0].flatten()[row].argsort(stable=True)
    ray = (4 * pixel[order][:, None] + sample).flatten()
    return _Rays(
        owner.repeat_interleave(4),
        origins[camera].repeat_interleave(4, 0),
        direction,
        ray,
        row[order].repeat_interleave(4),
    )


def _traced(scene: _Scene, rays: _Rays, low: Tensor, high: Tensor) -> Tensor:
    """Where rays first meet their object, in object units along them, or -1: [R]."""
    found, number, t = torch.full_like(low, -1.0), torch.arange(len(low), device=low.device), low
    for _ in range(STEPS):
        f, _nearest = _union(scene, rays, rays.origin + t[:, None] * rays.direction)
        scale = scene.place[rays.owner, 0]
        hit = f.abs() * scale < HIT
        found[number[hit]] = t[hit]
        t = t + torch.minimum(torch.maximum(FACTOR * f, BACKWARD / scale), FORWARD / scale)
        keep = ~hit & (t <= high)
        rays, number, t, high = rays.kept(keep), number[keep], t[keep], high[keep]
        if not len(number):
            break
    return found


def _union(scene: _Scene, rays: _Rays, points: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each ray's object at its point [R, 3], and the row of the primitive that is nearest, [R]."""
    table = scene.primitives.flatten(0, 1)
    kinds = table[:, 0].long()[rays.row]
    ends = torch.searchsorted(kinds, torch.arange(KINDS + 1, device=kinds.device)).tolist()
    pieces = []
    for kind, (first, end) in enumerate(pairwise(ends)):
        if end == first:
            continue
        entry, ray = table[rays.row[first:end]], rays.ray[first:end]
        apart, owner = points[ray] - entry[:, 1:4], rays.owner[ray]
        local = (entry[:, 4:13].reshape(-1, 3, 3) @ apart[:, :, None])[..., 0]
        profile = scene.profile[owner] if kind == kernels.LATHE else scene.profile[:0]
        outline = scene.outline[owner] if kind == kernels.CUTOUT else scene.outline[:0]
        sizes = entry[:, kernels.SIZES : kernels.REACH]
        pieces.append(distance(kind, sizes, profile, outline, *local.unbind(1)))
    f = torch.cat(pieces)
    least = torch.full_like(points[:, 0], math.inf).scatter_reduce(0, rays.ray, f, "amin")
    k, above = scene.blend[rays.owner], f - least[rays.ray]
    near = above < NEGLIGIBLE * k[rays.ray]
    weight = torch.zeros_like(least).scatter_add(0, rays.ray, torch.where(near, (-above / k[rays.ray]).exp(), 0.0))
    rows = torch.where(above <= 0, rays.row, len(table))
    nearest = torch.full_like(rays.owner, len(table)).scatter_reduce(0, rays.ray, rows, "amin")
    return least - k * weight.log(), nearest


def _seen(scene: _Scene, rays: _Rays, t: Tensor) -> Tensor:
    """Colour and coverage of rays that hit, [R, 4]."""
    points, owner = rays.origin + t[:, None] * rays.direction, rays.owner
    f, nearest = _union(scene, rays, points)
    part = scene.primitives.flatten(0, 1)[nearest, kernels.PART].long()
    texture = scene.textures[owner, part]
    colour = paint(texture, scene.decal[owner], scene.spots[owner], scene.picture[owner], points)
    shade = torch.ones_like(t)
    lit = scene.light[owner, 3] < 1
    if bool(lit.any()):
        some, at, light = rays.kept(lit), points[lit], scene.light[owner[lit]]
        steps = SLOPE * torch.eye(3, dtype=t.dtype, device=t.device)
        normal = torch.stack([_union(scene, some, at + step)[0] - f[lit] for step in steps], 1)
        facing = (normal * light[:, :3]).sum(1) / (normal.square().sum(1).sqrt() + 1e-12)
        shade[lit] = light[:, 3] + (1 - light[:, 3]) * 1.2 * facing.clamp_min(0)
    return torch.cat([(colour * shade[:, None]).clamp_max(1), torch.ones_like(t)[:, None]], 1)
