"""Texture coordinates: a mesh is cut into charts that lie flat and apart on one square picture (by xatlas)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensorium.core.errors import DataError, require
from sensorium.lifting.mesh import Floats, Ints, Mesh, vertex_normals

LEAST_PADDING = 4  # texels between charts: nobody reads a neighbour's, in the picture or one level down its pyramid
PLANNED_PADDINGS = (8, 12, 18)  # asked of xatlas in turn, whose pictures come out larger than they were planned


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """A mesh with texture coordinates. Vertices along the cuts are there once for each chart.

    Attributes:
        v: Vertices, float32 [V, 3].
        f: Faces, int32 [F, 3], in the mesh's own order.
        vt: Texture coordinates in [0, 1], origin at the bottom left, float32 [V, 2].
        vn: Normals of the mesh before it was cut, so that light does not show the cuts, float32 [V, 3].
        origin: The vertex of the mesh that each is a copy of, int32 [V].
    """

    v: Floats
    f: Ints
    vt: Floats
    vn: Floats
    origin: Ints


def unwrap(mesh: Mesh, size: int) -> Unwrapped:
    """Give a mesh texture coordinates.

    Args:
        mesh: A surface.
        size: Texels along a side of the texture that is planned: charts keep their distance at that size.

    Raises:
        DataError: The mesh has no face, or the charts do not fit a texture of that size.
    """
    if not len(mesh.f):
        raise DataError("a mesh without faces cannot have a texture")
    xatlas = require("xatlas", extra="lift", purpose="texture coordinates")
    for padding in PLANNED_PADDINGS:
        atlas = xatlas.Atlas()
        atlas.add_mesh(mesh.v, mesh.f.astype(np.uint32))
        packing = xatlas.PackOptions()
        packing.resolution, packing.padding, packing.bilinear = size, padding, True
        atlas.generate(pack_options=packing)
        side = max(atlas.width, atlas.height)
        if atlas.atlas_count == 1 and padding * size / side >= LEAST_PADDING:
            break
    else:
        raise DataError(f"the charts of this mesh do not fit one texture of {size} x {size}: ask for a larger one")
    origin, faces, places = atlas.get_mesh(0)
    # xatlas divides by each side's own length; one factor for both keeps texels square.
    vt = (places * (np.array([atlas.width, atlas.height]) / side)).clip(0, 1).astype(np.float32)
    origin, faces = origin.astype(np.int32), faces.astype(np.int32)
    return Unwrapped(mesh.v[origin], faces, vt, vertex_normals(mesh)[origin], origin)
