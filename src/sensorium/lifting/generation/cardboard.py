"""What any lift of a photo must beat: the photo on cardboard, and its outline cut out of a thick board.

Both show the photo exactly from its own camera. The board is as thick as 0.6 of the object's width; its back is the
front seen through, mirrored, and its sides continue the colours of the edge.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sensorium.core.errors import DataError
from sensorium.lifting.camera import Matrix
from sensorium.lifting.guidance.base import Pose, straight_colours
from sensorium.lifting.mesh import Floats, Mesh, TexturedMesh, vertex_normals

THICKNESS = 0.6  # of the object's width
COVERED = 0.5


def billboard(reference: Tensor, elevation: float) -> TexturedMesh:
    """Return the photo on cardboard that faces its camera and goes through the origin.

    Args:
        reference: Premultiplied RGBA, [4, R, R].
        elevation: Of its camera, degrees.

    Raises:
        DataError: The photo shows nothing.
    """
    covered, albedo = _painted(reference)
    front = Pose(elevation, 0.0)
    corners = _corners(front, len(covered), front.radius)
    v, f, vt = _cap(covered, corners)
    return _textured(v, f, vt, albedo)


def extrusion(reference: Tensor, elevation: float) -> TexturedMesh:
    """Return the object's outline cut out of a board; arguments as those of `billboard`."""
    covered, albedo = _painted(reference)
    front, side = Pose(elevation, 0.0), len(covered)
    axis = front.camera(1).c2w[:3, 2]  # from the origin to the camera
    columns = np.flatnonzero(covered.any(0))
    width = float(columns[-1] + 1 - columns[0]) / front.camera(side).focal * front.radius
    depth = THICKNESS * width
    near = _corners(front, side, front.radius - depth / 2)
    far = near - depth * axis
    v, f, vt = _cap(covered, near)
    sides_v, sides_f, sides_vt = _sides(covered, near, far)
    parts = [(v, f, vt), (_cap(covered, far)[0], f[:, ::-1], vt), (sides_v, sides_f, sides_vt)]
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    return _textured(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part[2] for part in parts]),
        albedo,
    )


def _painted(reference: Tensor) -> tuple[np.ndarray, Floats]:
    """Which pixels are covered, bool [R, R], and colours that go on beyond them, [R, R, 3]."""
    covered = (reference[3] > COVERED).cpu().numpy()
    if not covered.any():
        raise DataError("the photo shows nothing: there is no outline to cut out")
    colours = straight_colours(reference[None].cpu())[0].movedim(0, -1).numpy()
    row, column = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return covered, np.ascontiguousarray(colours[row, column], dtype=np.float32)


def _corners(front: Pose, side: int, depth: float) -> Matrix:
    """Where the corners of the pixels lie on a plane before the camera, float64 [side + 1, side + 1, 3]."""
    camera = front.camera(side)
    steps = (np.arange(side + 1) - side / 2) / camera.focal * depth
    local = np.stack(np.broadcast_arrays(steps[None], -steps[:, None], -depth, 1.0), -1)
    world: Matrix = (local @ camera.c2w.T)[..., :3]
    return world


def _cap(covered: np.ndarray, corners: Matrix) -> tuple[Matrix, np.ndarray, Matrix]:
    """Two triangles for each covered pixel, towards the camera: vertices, faces, texture coordinates."""
    side = len(covered)
    rows, columns = np.nonzero(covered)
    top_left = rows * (side + 1) + columns
    a, b, c, d = top_left, top_left + 1, top_left + side + 1, top_left + side + 2
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    used, places = np.unique(faces, return_inverse=True)
    row, column = np.divmod(used, side + 1)
    return corners.reshape(-1, 3)[used], places.reshape(faces.shape), np.stack([column / side, 1 - row / side], 1)


def _sides(covered: np.ndarray, near: Matrix, far: Matrix) -> tuple[Matrix, np.ndarray, Matrix]:
    """Two triangles for each edge between a covered pixel and one that is not, in the covered one's colour."""
    side = len(covered)
    padded = np.pad(covered, 1)
    v, vt = [], []
    # An edge's two corners as (row, column) offsets, in the order that makes it face outwards.
    for (down, right), (first, second) in {
        (-1, 0): ((0, 1), (0, 0)),
        (1, 0): ((1, 0), (1, 1)),
        (0, -1): ((0, 0), (1, 0)),
        (0, 1): ((1, 1), (0, 1)),
    }.items():
        rows, columns = np.nonzero(covered & ~padded[1 + down : side + 1 + down, 1 + right : side + 1 + right])
        ends = [(rows + offset[0], columns + offset[1]) for offset in (first, second)]
        v.append(np.stack([near[ends[0]], near[ends[1]], far[ends[0]], far[ends[1]]], 1))  # [n, 4, 3]
        centre = np.stack([(columns + 0.5) / side, 1 - (rows + 0.5) / side], 1)
        vt.append(np.repeat(centre[:, None], 4, 1))
    quads = np.arange(4 * sum(len(part) for part in v)).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 2, 1]], quads[:, [1, 2, 3]]])
    return np.concatenate(v).reshape(-1, 3), faces, np.concatenate(vt).reshape(-1, 2)


def _textured(v: Matrix, f: np.ndarray, vt: Matrix, albedo: Floats) -> TexturedMesh:
    mesh = Mesh(v.astype(np.float32), np.ascontiguousarray(f, dtype=np.int32))
    return TexturedMesh(mesh.v, mesh.f, vt.astype(np.float32), vertex_normals(mesh), albedo)
