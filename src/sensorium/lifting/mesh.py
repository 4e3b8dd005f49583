"""Triangle meshes: bare geometry, geometry with a texture, and what can be counted on either.

Fields have the letters of the OBJ format: `v` vertices, `f` faces, `vt` texture coordinates, `vn` normals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles.

    Attributes:
        v: Vertices, float32 [V, 3], world units.
        f: Faces as three rows of `v`, int32 [F, 3], anticlockwise seen from outside.

    Raises:
        DataError: Shapes or types are others, a face names a vertex that is not there, or a vertex is not finite.
    """

    v: Floats
    f: Ints

    def __post_init__(self) -> None:
        _check_rows("v", self.v, 3, np.float32)
        _check_rows("f", self.f, 3, np.int32)
        if not np.isfinite(self.v).all():
            raise DataError("a mesh has vertices that are not finite")
        if len(self.f) and (self.f.min() < 0 or self.f.max() >= len(self.v)):
            raise DataError(f"a mesh of {len(self.v):,} vertices has faces that name vertex {self.f.max():,}")


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A surface with a picture on it: one texture coordinate and one normal for every vertex.

    Attributes:
        v: Vertices, float32 [V, 3], world units; vertices along the cuts of the texture stand there twice.
        f: Faces, int32 [F, 3], anticlockwise seen from outside.
        vt: Texture coordinates, float32 [V, 2], the origin at the bottom left of the picture.
        vn: Normals of length 1, float32 [V, 3].
        albedo: The picture, float32 [T, T, 3] in [0, 1], row 0 at its top; values as a screen shows them (sRGB).

    Raises:
        DataError: Shapes or types do not fit, or values are out of their range.
    """

    v: Floats
    f: Ints
    vt: Floats
    vn: Floats
    albedo: Floats

    def __post_init__(self) -> None:
        Mesh(self.v, self.f)
        _check_rows("vt", self.vt, 2, np.float32)
        _check_rows("vn", self.vn, 3, np.float32)
        if not len(self.v) == len(self.vt) == len(self.vn):
            raise DataError(
                f"a textured mesh has as many vt and vn as vertices: {len(self.v)}, {len(self.vt)}, {len(self.vn)}"
            )
        if self.albedo.ndim != 3 or self.albedo.shape[2] != 3 or self.albedo.dtype != np.float32:
            raise DataError(f"albedo is float32 [T, T, 3], not {self.albedo.dtype} {[*self.albedo.shape]}")
        if not (np.isfinite(self.vt).all() and np.isfinite(self.vn).all()):
            raise DataError("a textured mesh has texture coordinates or normals that are not finite")
        if not (self.albedo.min() >= 0 and self.albedo.max() <= 1):
            raise DataError("albedo has values outside [0, 1]")

    @property
    def geometry(self) -> Mesh:
        """The surface without its picture."""
        return Mesh(self.v, self.f)


def _check_rows(name: str, array: npt.NDArray[np.generic], width: int, kind: type[np.generic]) -> None:
    if array.ndim != 2 or array.shape[1] != width or array.dtype != kind:
        raise DataError(f"{name} of a mesh is {np.dtype(kind)} [N, {width}], not {array.dtype} {[*array.shape]}")


def face_crosses(mesh: Mesh | TexturedMesh) -> Doubles:
    """Return (v1 - v0) x (v2 - v0) of each face, float64 [F, 3]: along its normal, twice its area long."""
    corners = mesh.v.astype(np.float64)[mesh.f]  # [F, 3 corners, 3]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def vertex_normals(mesh: Mesh) -> Floats:
    """Return normals of the vertices, float32 [V, 3]: the mean of their faces', weighted by area; +y for none."""
    crosses = face_crosses(mesh)
    sums = np.stack(
        [np.bincount(mesh.f.ravel(), crosses[:, axis].repeat(3), minlength=len(mesh.v)) for axis in range(3)], 1
    )
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    normals = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), [0.0, 1.0, 0.0])
    return normals.astype(np.float32)


def face_volumes(mesh: Mesh) -> Doubles:
    """Return v0 . (v1 x v2) / 6 of each face, float64 [F]; their sum is the volume inside a closed surface.

    Vertices are taken from the middle of the mesh, so that a mesh far from the origin keeps its digits.
    """
    corners = (mesh.v.astype(np.float64) - mesh.v.mean(0, dtype=np.float64))[mesh.f]
    volumes: Doubles = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    return volumes


def signed_volume(mesh: Mesh) -> float:
    """Return the volume inside a closed surface, cubic world units; negative where the faces look inwards."""
    return float(face_volumes(mesh).sum()) if len(mesh.f) else 0.0


def without_unused(mesh: Mesh) -> Mesh:
    """Return the mesh without vertices that no face uses; the others keep their order."""
    used = np.zeros(len(mesh.v), dtype=bool)
    used[mesh.f] = True
    places = (np.cumsum(used) - 1).astype(np.int32)
    return Mesh(mesh.v[used], places[mesh.f])
