"""From a density to a clean closed surface: marching cubes, orientation, stray parts, smoothing, decimation.

    Lewiner, Lopes, Vieira, Tavares: Efficient implementation of marching cubes' cases with topological guarantees, 2003
    Taubin: A signal processing approach to fair surface design, 1995
    Garland, Heckbert: Surface simplification using quadric error metrics, 1997

Every step keeps a closed surface closed; decimation that would open or pinch it is undone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_closing, binary_dilation, binary_fill_holes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sensorium.core.errors import ConfigError, DataError, require
from sensorium.lifting.density import Density
from sensorium.lifting.mesh import Floats, Mesh, face_crosses, face_volumes, signed_volume, without_unused

logger = logging.getLogger(__name__)

MERGE_WITHIN = 1e-6  # of the longest side
SMALLEST_PART = 64  # faces
SHORTEST_PART = 0.2  # of the largest part's diagonal
SMOOTHING = (0.5, -0.53, 10)  # lambda, mu, passes


def check_level(density: Density, level: float) -> None:
    """Stop before any meshing where a level has no surface.

    Raises:
        ConfigError: The level is not positive, or no sample reaches it; the message names the highest density.
    """
    if not level > 0:
        raise ConfigError(f"density level {level:g}: a level is above 0")
    if level >= density.highest:
        raise ConfigError(
            f"density level {level:g}: there is no surface at it, the highest density of this cloud is "
            f"{density.highest:.4g}; choose a lower level, or 'auto'"
        )


def extract(density: Density, level: float) -> Mesh:
    """Return the surface where the density crosses a level, closed and facing outwards, in world units.

    Raises:
        ConfigError: See `check_level`.
        DataError: What crosses the level has no face.
    """
    check_level(density, level)
    measure = require("skimage.measure", extra="lift", purpose="marching cubes")
    size = density.resolution
    closed = np.zeros((size + 2,) * 3, dtype=np.float32)  # a layer of nothing closes what reaches the grid's end
    closed[1:-1, 1:-1, 1:-1] = solid(density, level)
    vertices, faces, _, _ = measure.marching_cubes(closed, level, allow_degenerate=False)
    if not len(faces):
        raise DataError(f"no face at density level {level:g}: raise the resolution of the grid, or lower the level")
    world = density.to_world((vertices.astype(np.float64) - 1) / (size - 1) * 2 - 1)
    return facing_outwards(Mesh(world.astype(np.float32), faces.astype(np.int32)))


def solid(density: Density, level: float) -> Floats:
    """Return the density with the hollow inside of leaking shells filled, float32 [G, G, G].

    Clouds that were fitted to pictures are shells with pin-holes. Through one of them the inner wall would join the
    outer one, and the object would become a thin skin. Where closing gaps of four samples in 128, or else of eight,
    encloses a room that is wider than its gaps, what lies below the level in it is raised above; the surface outside
    stays where it is, with a dimple where the pin-hole was.
    """
    gap = max(1, round(density.resolution / 64))
    margin = 2 * gap + 1
    shell = np.pad(density.values >= level, margin)
    for width in (gap, 2 * gap):
        closed = binary_closing(shell, iterations=width)
        filled = binary_fill_holes(closed)
        room = filled & ~closed
        if room.any():
            inside = binary_dilation(room, iterations=width) & filled & ~shell
            core = inside[margin:-margin, margin:-margin, margin:-margin]
            return np.where(core, np.float32(2 * level), density.values)
    return density.values


def facing_outwards(mesh: Mesh) -> Mesh:
    """Return the mesh with its faces turned round where its volume is negative: libraries differ in their default."""
    return Mesh(mesh.v, np.ascontiguousarray(mesh.f[:, ::-1])) if signed_volume(mesh) < 0 else mesh


def clean(mesh: Mesh, *, max_faces: int, smooth: bool = True) -> Mesh:
    """Return a mesh that is fit for use: merged, without stray parts and cavities, smooth, of a bounded size.

    Args:
        mesh: A surface that faces outwards.
        max_faces: Decimation goes down to this many faces, or as far as the surface stays closed.
        smooth: Whether to smooth by Taubin's filter.

    Raises:
        DataError: Nothing is left.
    """
    mesh = without_stray_parts(merged(mesh))
    if smooth:
        mesh = smoothed(mesh)
    return facing_outwards(decimated(mesh, max_faces))


# --- merging and choosing parts -------------------------------------------------------------------------------------


def merged(mesh: Mesh) -> Mesh:
    """Return the mesh with vertices in one place made one, and without faces that are empty or there twice."""
    grid = MERGE_WITHIN * max(float(np.ptp(mesh.v, axis=0).max()), 1e-30)
    cells = np.round((mesh.v.astype(np.float64) - mesh.v.min(0)) / grid).astype(np.int64)
    _, first, places = np.unique(_row_keys(cells), return_index=True, return_inverse=True)
    faces = places[mesh.f]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[distinct]
    _, unique = np.unique(_row_keys(np.sort(faces, axis=1)), return_index=True)
    faces = faces[np.sort(unique)]
    return without_unused(Mesh(mesh.v[first], faces.astype(np.int32)))


def _row_keys(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """One number for each row of three numbers from 0 on, equal where the rows are: sorting numbers is far faster."""
    base = int(rows.max(initial=0)) + 1
    if base**3 < 2**63:
        keys: npt.NDArray[np.int64] = (rows[:, 0] * base + rows[:, 1]) * base + rows[:, 2]
        return keys
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


@dataclass(frozen=True)
class Parts:
    """The connected parts of a mesh, by its faces.

    Attributes:
        of_face: Number of the part that each face belongs to, int32 [F].
        faces: Faces of each part, int64 [P].
        diagonals: Diagonal of each part's bounding box, float64 [P].
        volumes: Signed volume of each part, float64 [P]; negative for a cavity.
    """

    of_face: npt.NDArray[np.int32]
    faces: npt.NDArray[np.int64]
    diagonals: npt.NDArray[np.float64]
    volumes: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.faces)


def parts(mesh: Mesh) -> Parts:
    """Return the connected parts of a mesh. Faces are connected where they share an edge."""
    count, labels = _part_of_face(mesh)
    lowest, highest = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    corners = mesh.v[mesh.f]  # [F, 3, 3]
    np.minimum.at(lowest, labels, corners.min(1))
    np.maximum.at(highest, labels, corners.max(1))
    return Parts(
        of_face=labels,
        faces=np.bincount(labels, minlength=count),
        diagonals=np.linalg.norm(highest - lowest, axis=1),
        volumes=np.bincount(labels, face_volumes(mesh), minlength=count).astype(np.float64),
    )


def _part_of_face(mesh: Mesh) -> tuple[int, npt.NDArray[np.int32]]:
    edges = np.sort(mesh.f[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    keys, owners = edges[:, 0] * len(mesh.v) + edges[:, 1], np.arange(len(mesh.f)).repeat(3)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    left, right = owners[order][:-1][same], owners[order][1:][same]
    links = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(len(mesh.f), len(mesh.f)))
    count, labels = connected_components(links, directed=False)
    return int(count), labels.astype(np.int32)


def without_stray_parts(mesh: Mesh) -> Mesh:
    """Return the mesh without parts that are small beside its largest one, and without cavities.

    A cavity is a part of negative volume. Clouds that were fitted to pictures are hollow shells; the inner wall of a
    shell is never seen. The largest part always stays.

    Raises:
        DataError: The mesh has no face.
    """
    if not len(mesh.f):
        raise DataError("there is no face to clean")
    found = parts(mesh)
    largest = int(found.diagonals.argmax())
    keep = (found.faces >= SMALLEST_PART) & (found.diagonals >= SHORTEST_PART * found.diagonals[largest])
    keep &= found.volumes > 0
    keep[largest] = True
    return without_unused(Mesh(mesh.v, mesh.f[keep[found.of_face]]))


# --- shape ----------------------------------------------------------------------------------------------------------


def smoothed(mesh: Mesh) -> Mesh:
    """Return the mesh smoothed by Taubin's filter: a step inwards and a step outwards, which keeps its volume."""
    inward, outward, passes = SMOOTHING
    starts, ends = mesh.f[:, [0, 1, 2]].ravel(), mesh.f[:, [1, 2, 0]].ravel()
    rows, columns = np.concatenate([starts, ends]), np.concatenate([ends, starts])
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(mesh.v), len(mesh.v))).tocsr()
    links.data[:] = 1.0  # an edge of two faces is one neighbour
    counts = np.maximum(np.asarray(links.sum(1)), 1)
    points = mesh.v.astype(np.float64)
    for factor in (inward, outward) * passes:
        points = points + factor * (links @ points / counts - points)
    return Mesh(points.astype(np.float32), mesh.f)


def decimated(mesh: Mesh, max_faces: int) -> Mesh:
    """Return the mesh with fewer faces by quadric decimation, as topologically sound as it came.

    Each step at most halves the faces. A step that opens the surface, pinches it (another Euler number), turns its
    faces or flattens it is undone and tried gentler; where even a gentle one fails, what is reached stands, and that is
    said.

    Args:
        mesh: The surface.
        max_faces: Where to stop.
    """
    if len(mesh.f) <= max_faces:
        return mesh
    simplify = require("fast_simplification", extra="lift", purpose="decimating meshes").simplify
    before = topology(mesh)
    share = 0.5
    while len(mesh.f) > max_faces and share > 0.02:
        wanted = max(max_faces, round(len(mesh.f) * (1 - share)))
        vertices, faces = simplify(mesh.v, mesh.f, target_count=wanted, agg=3)
        smaller = merged(Mesh(vertices.astype(np.float32), faces.astype(np.int32))) if len(faces) else mesh
        sound = topology(smaller) == before and abs(signed_volume(smaller) / signed_volume(mesh) - 1) < 0.05
        if sound and len(smaller.f) < len(mesh.f):
            mesh = smaller
        else:
            share /= 2
    if len(mesh.f) > max_faces:
        logger.info(
            "the mesh keeps %s faces, more than the %s wanted: fewer would open it",
            f"{len(mesh.f):,}",
            f"{max_faces:,}",
        )
    return mesh


# --- what must not change -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Topology:
    """What a deformation cannot change.

    Attributes:
        watertight: Every edge belongs to exactly two faces.
        consistent: Neighbouring faces run through their shared edge in opposite directions.
        components: Connected parts.
        euler: Vertices - edges + faces: 2 for a sphere, 0 for a torus, summed over the parts.
    """

    watertight: bool
    consistent: bool
    components: int
    euler: int


def topology(mesh: Mesh) -> Topology:
    """Return the topology of a mesh whose vertices are merged."""
    directed = mesh.f[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    forwards = directed[:, 0] * len(mesh.v) + directed[:, 1]
    undirected = directed.min(1) * len(mesh.v) + directed.max(1)
    _, counts = np.unique(undirected, return_counts=True)
    vertices = len(np.unique(mesh.f))
    return Topology(
        watertight=bool(len(mesh.f)) and bool((counts == 2).all()),
        consistent=len(np.unique(forwards)) == len(forwards),
        components=_part_of_face(mesh)[0] if len(mesh.f) else 0,
        euler=vertices - len(counts) + len(mesh.f),
    )


def surface_area(mesh: Mesh) -> float:
    """Return the area of all faces, square world units."""
    return float(np.linalg.norm(face_crosses(mesh), axis=1).sum() / 2)
