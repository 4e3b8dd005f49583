"""A texture from pictures: what views saw of a surface is carried back onto its texels.

Every pixel that sees the surface at less than 60 degrees spreads its colour over the four texels around its place on
the texture, and over the texels of two coarser copies of it, which only fill what the finer ones leave empty. Two ways
to bring views together:

- `blend`: a mean weighted by (n . v)^4, so that who looks straight at a place decides;
- `first`: the first view that saw a texel decides (DreamGaussian, Tang et al., 2024).

Texels of the surface that nobody saw take the colour of the nearest texel that was seen, on the surface, in space; the
gaps between charts that of the nearest texel within 32; what is left, the mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sensorium.lifting.camera import Camera
from sensorium.lifting.mesh import Doubles, Floats, Ints, Mesh, TexturedMesh, face_crosses
from sensorium.lifting.meshrender import Fragments, rasterise, texel_faces
from sensorium.lifting.rasterisers.compiling import compiled
from sensorium.lifting.uv import Unwrapped

Merge = Literal["blend", "first"]

STEEPEST = 0.5  # cosine between normal and view
SHARPNESS = 4  # power of that cosine in the weights
ENOUGH = 0.1  # weight from which a texel counts as seen by the first view
LEVELS = (1, 2, 4)  # texels of the texture along a texel of each copy
REACH = 32  # texels of padding
JUMP = 6  # pixel widths: a larger step in depth beside a pixel means that two surfaces mix in it


@dataclass(frozen=True, eq=False)
class Observation:
    """A picture of an object, and where in it the object is.

    Attributes:
        camera: Who looks.
        rgb: float32 [H, W, 3] in [0, 1], without any background.
        valid: Which pixels show the object, bool [H, W].
        importance: Factor of its weights.
    """

    camera: Camera
    rgb: Floats
    valid: npt.NDArray[np.bool_]
    importance: float = 1.0


@dataclass(frozen=True, eq=False)
class Baked:
    """A texture from views.

    Attributes:
        mesh: The mesh with its texture.
        inside: Which texels have their centre inside a chart, bool [T, T].
        seen: Which texels a view saw, bool [T, T].
    """

    mesh: TexturedMesh
    inside: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_]

    @property
    def coverage(self) -> float:
        """Share of the texels inside charts that a view saw."""
        return float((self.inside & self.seen).sum() / max(int(self.inside.sum()), 1))


def bake(surface: Unwrapped, views: Iterable[Observation], size: int, *, merge: Merge = "blend") -> Baked:
    """Carry views back onto a texture.

    Args:
        surface: The mesh with texture coordinates.
        views: Pictures; taken one at a time, in their order.
        size: Texels along a side, a multiple of 4.
        merge: "blend" or "first".
    """
    faces = texel_faces(surface.f, surface.vt, size)
    charts = chart_of_face(surface)
    texel_chart = np.where(faces >= 0, charts[faces], -1).astype(np.int32)
    colour, weight = np.zeros((size, size, 3)), np.zeros((size, size))
    copies = _empty_copies(size)
    for view in views:
        place, rgb, weights, face = _seen_pixels(surface, view)
        for copy in copies:
            _spread(place, rgb, weights, charts[face], copy.colour, copy.weight, copy.chart)
        if merge == "first":
            found, amount = _filled(copies, texel_chart)
            new = (weight < ENOUGH) & (amount > 0)
            colour[new], weight[new] = found[new], amount[new]
            copies = _empty_copies(size)
    if merge == "blend":
        colour, weight = _filled(copies, texel_chart)
    seen = weight > 0
    albedo = without_holes(colour.clip(0, 1), seen, faces, surface)
    mesh = TexturedMesh(surface.v, surface.f, surface.vt, surface.vn, albedo)
    return Baked(mesh, faces >= 0, seen)


def chart_of_face(surface: Unwrapped | TexturedMesh) -> Ints:
    """Return the chart that each face lies in, int32 [F]: faces of one chart share vertices, others do not."""
    starts, ends = surface.f[:, [0, 1]].ravel(), surface.f[:, [1, 2]].ravel()
    links = coo_matrix((np.ones(len(starts), dtype=bool), (starts, ends)), shape=(len(surface.v),) * 2)
    labels = connected_components(links, directed=False)[1]
    return np.asarray(labels[surface.f[:, 0]], dtype=np.int32)


# --- from pixels to texels ------------------------------------------------------------------------------------------


def _seen_pixels(surface: Unwrapped, view: Observation) -> tuple[Doubles, Doubles, Doubles, Ints]:
    """Texture coordinates [P, 2], colours [P, 3], weights [P] and faces [P] of the pixels that count."""
    fragments = rasterise(Mesh(surface.v, surface.f), view.camera)
    valid = view.valid & _smooth(fragments.depth, view.camera)
    cosine = facing(surface, fragments, view.camera)
    use = valid[fragments.covered] & (cosine > STEEPEST)
    face = fragments.face[fragments.covered][use]
    barycentric = fragments.barycentric[fragments.covered][use].astype(np.float64)
    place = np.einsum("pk,pkc->pc", barycentric, surface.vt[surface.f[face]])
    rgb = view.rgb[fragments.covered][use].astype(np.float64)
    return place, rgb, view.importance * cosine[use] ** SHARPNESS, face


def facing(surface: Unwrapped | TexturedMesh, seen: Fragments, camera: Camera) -> Doubles:
    """Return the cosine between view and face normal of the covered pixels, float64 [P]; negative from inside."""
    face = seen.face[seen.covered]
    point = np.einsum("pk,pkc->pc", seen.barycentric[seen.covered], surface.v[surface.f[face]])
    towards = camera.position - point
    normal = face_crosses(Mesh(surface.v, surface.f))[face]
    lengths = np.linalg.norm(towards, axis=1) * np.linalg.norm(normal, axis=1)
    cosine: Doubles = np.einsum("pc,pc->p", towards, normal) / np.maximum(lengths, 1e-30)
    return cosine


def _smooth(depth: Floats, camera: Camera) -> npt.NDArray[np.bool_]:
    """Which pixels lie within one surface: none of their neighbours misses it or lies far before or behind."""
    lowest, highest = minimum_filter(depth, 3), maximum_filter(depth, 3)
    smooth: npt.NDArray[np.bool_] = (lowest > 0) & (highest - lowest < JUMP * highest / camera.focal)
    return smooth


@dataclass(frozen=True, eq=False)
class _Copy:
    """Sums at one size of the texture: weighted colours, weights, and the one chart that each texel takes them from."""

    colour: Doubles
    weight: Doubles
    chart: Ints


def _empty_copies(size: int) -> list[_Copy]:
    sides = [size // level for level in LEVELS]
    return [_Copy(np.zeros((s, s, 3)), np.zeros((s, s)), np.full((s, s), -1, dtype=np.int32)) for s in sides]


@compiled()
def _spread(
    place: Doubles, rgb: Doubles, weights: Doubles, charts: Ints, colour: Doubles, weight: Doubles, owner: Ints
) -> None:
    """Add pixels to the four texels around each. A texel belongs to the first chart that reaches it."""
    size = len(weight)
    for n in range(len(place)):
        x, y = place[n, 0] * size - 0.5, (1.0 - place[n, 1]) * size - 0.5
        left, top = int(np.floor(x)), int(np.floor(y))
        for column in range(max(left, 0), min(left + 2, size)):
            for row in range(max(top, 0), min(top + 2, size)):
                share = weights[n] * (1.0 - abs(x - column)) * (1.0 - abs(y - row))
                if share <= 0.0 or (owner[row, column] >= 0 and owner[row, column] != charts[n]):
                    continue
                owner[row, column] = charts[n]
                weight[row, column] += share
                for channel in range(3):
                    colour[row, column, channel] += share * rgb[n, channel]


def _filled(copies: list[_Copy], texel_chart: Ints) -> tuple[Doubles, Doubles]:
    """Mean colours [T, T, 3] and weights [T, T]; coarser copies fill texels of their own chart that finer ones left."""
    finest = copies[0]
    size = len(finest.weight)
    colour, weight = np.zeros((size, size, 3)), np.zeros((size, size))
    for copy in copies:
        times = size // len(copy.weight)
        amount, owner = (np.kron(field, np.ones((times, times), field.dtype)) for field in (copy.weight, copy.chart))
        rows, columns = np.nonzero((weight == 0) & (amount > 0) & (owner == texel_chart))
        colour[rows, columns] = copy.colour[rows // times, columns // times] / amount[rows, columns, None]
        weight[rows, columns] = amount[rows, columns]
    return colour, weight


# --- what nobody saw ------------------------------------------------------------------------------------------------


def without_holes(colour: Doubles, seen: npt.NDArray[np.bool_], faces: Ints, surface: Unwrapped) -> Floats:
    """Give every texel a colour, float32 [T, T, 3]."""
    if not seen.any():
        return np.full(colour.shape, 0.5, dtype=np.float32)
    filled = colour.copy()
    hole = (faces >= 0) & ~seen
    if hole.any():
        known = seen & (faces >= 0)
        nearest = cKDTree(texel_points(known, faces, surface)).query(texel_points(hole, faces, surface))[1]
        filled[hole] = colour[known][nearest]
    done = faces >= 0
    filled[~done] = filled[done].mean(0)
    distance, (row, column) = distance_transform_edt(~done, return_indices=True)
    near = ~done & (distance <= REACH)
    filled[near] = filled[row[near], column[near]]
    return filled.astype(np.float32)


def texel_points(mask: npt.NDArray[np.bool_], faces: Ints, surface: Unwrapped) -> Doubles:
    """Where the centres of chosen texels lie on the surface, float64 [P, 3]."""
    size = len(mask)
    rows, columns = np.nonzero(mask)
    corners = surface.f[faces[rows, columns]]
    flat = surface.vt[corners].astype(np.float64)  # [P, 3, 2]
    centre = np.stack([(columns + 0.5) / size, 1 - (rows + 0.5) / size], 1)
    a, b, c = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0], centre - flat[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    area = np.where(area == 0, 1, area)
    second = (c[:, 0] * b[:, 1] - c[:, 1] * b[:, 0]) / area
    third = (a[:, 0] * c[:, 1] - a[:, 1] * c[:, 0]) / area
    weights = np.stack([1 - second - third, second, third], 1).clip(0)
    points: Doubles = np.einsum("pk,pkc->pc", weights, surface.v[corners])
    return points
