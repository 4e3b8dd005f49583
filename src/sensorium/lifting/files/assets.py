"""Whatever a file holds: a cloud of Gaussians, or a textured mesh."""

from __future__ import annotations

from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.files import meshes
from sensorium.lifting.files.ply import Axes, read_ply
from sensorium.lifting.mesh import TexturedMesh


def read_asset(path: str | Path, *, axes: Axes = "opengl") -> GaussianCloud | TexturedMesh:
    """Read a cloud (.ply) or a textured mesh (.glb, .obj).

    Args:
        path: The file.
        axes: Those of a cloud's file; meshes have +y up.

    Raises:
        DataError: The file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix.lower() == ".ply":
        return read_ply(path, axes=axes)
    if path.suffix.lower() in meshes.SUFFIXES:
        return meshes.read_mesh(path)
    raise DataError(f"{path}: a cloud is a .ply file, a mesh a {' or '.join(meshes.SUFFIXES)} file")
