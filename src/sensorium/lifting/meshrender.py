"""Pictures of textured meshes: which face each pixel sees, and what colour its texture has there.

Visibility is a z-buffer over triangles cut at the near plane, with corners on a lattice of 1/256 pixel, so that whole
numbers decide which of two neighbouring faces owns a pixel on their edge (the top-left rule): no gaps, no pixel twice.
Barycentric coordinates come from the pixel's ray and the whole face, which makes them perspective-correct:

    [p0 p1 p2] b' = ray,   b = b' / sum b',   depth = 1 / sum b'        (corners p in the camera's frame)

Colour is a trilinear lookup in a pyramid of the texture (Williams, Pyramidal parametrics, 1983), the level from how far
the texture coordinates move over one pixel. The geometry gets no gradient, the texture does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from sensorium.lifting.camera import Camera
from sensorium.lifting.mesh import Doubles, Floats, Ints, Mesh, TexturedMesh
from sensorium.lifting.rasterisers.compiling import compiled, in_portions

LATTICE = 256  # corners lie on this fraction of a pixel
FARTHEST_PIXEL = 2.0**21  # corners farther out are moved there: products of coordinates stay within 63 bits
BAND = 8  # rows of pixels that one thread draws at a time
_FLAT = np.array([[0.0, 0.0, 1.0]])  # nearness where depth does not matter


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel of a picture sees of a mesh.

    Attributes:
        face: Number of the nearest face, int32 [H, W]; -1 for none.
        barycentric: Weights of its corners, float32 [H, W, 3]; 0 for none.
        depth: Along the view axis, float32 [H, W], world units; 0 for none.
    """

    face: Ints
    barycentric: Floats
    depth: Floats

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """Which pixels see the mesh, [H, W]."""
        return self.face >= 0


@dataclass(frozen=True, eq=False)
class MeshView:
    """A picture of a textured mesh.

    Attributes:
        rgb: With the background, float32 [H, W, 3]; carries the texture's gradient.
        alpha: Share of each pixel that the mesh covers, float32 [H, W].
    """

    rgb: Tensor
    alpha: Tensor


def rasterise(mesh: Mesh | TexturedMesh, camera: Camera) -> Fragments:
    """Return what each pixel of a camera sees of a mesh, from outside and inside alike."""
    seen = _in_camera(mesh, camera)
    lattice, owners = _on_lattice(seen, mesh.f, camera)
    inverses = _ray_weights(seen, mesh.f, camera)
    face = _nearest(lattice, owners, inverses.sum(2), camera.height, camera.width)
    return Fragments(face, *_weights(face, inverses))


def render_mesh(
    mesh: TexturedMesh,
    camera: Camera,
    *,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    supersample: int = 2,
    texture: Tensor | None = None,
) -> MeshView:
    """Return a picture of a textured mesh, as bright as its texture: there is no light.

    Args:
        mesh: The mesh.
        camera: Who looks.
        background: Colour where nothing is seen.
        supersample: Samples along both sides of a pixel.
        texture: Taken in place of the mesh's own, float32 [T, T, 3]; may gather a gradient.
    """
    fine = camera.resized(camera.height * supersample, camera.width * supersample)
    seen = rasterise(mesh, fine)
    picture = torch.from_numpy(mesh.albedo) if texture is None else texture
    place, span = texture_places(mesh, seen, fine, picture.shape[0])
    covered = torch.from_numpy(seen.covered)
    rgb = torch.tensor(background, dtype=picture.dtype).repeat(fine.height, fine.width, 1)
    rgb = rgb.masked_scatter(covered[..., None], look_up(picture, place, span))
    mean = avg_pool2d(torch.cat([rgb, covered[..., None].float()], 2).movedim(2, 0)[None], supersample)[0]
    return MeshView(mean[:3].movedim(0, 2), mean[3])


def silhouette(mesh: Mesh | TexturedMesh, camera: Camera) -> npt.NDArray[np.bool_]:
    """Return which pixels see the mesh, bool [H, W]."""
    lattice, owners = _on_lattice(_in_camera(mesh, camera), mesh.f, camera)
    return _nearest(lattice, np.zeros_like(owners), _FLAT, camera.height, camera.width) >= 0


def texel_faces(faces: Ints, places: Floats, size: int) -> Ints:
    """Return the face that the centre of each texel lies in, int32 [T, T], row 0 at the top; -1 between the charts.

    Args:
        faces: Faces, [F, 3].
        places: Texture coordinates of the vertices, origin at the bottom left, [V, 2].
        size: Texels along a side, T.
    """
    flat = np.stack([places[:, 0], 1 - places[:, 1]], 1).astype(np.float64)[faces] * size
    corners = np.rint(flat * LATTICE).astype(np.int64)
    planes = np.broadcast_to(_FLAT, (len(faces), 3)).copy()
    return _nearest(corners, np.arange(len(faces), dtype=np.int32), planes, size, size)


# --- the texture ----------------------------------------------------------------------------------------------------


def texture_places(mesh: TexturedMesh, seen: Fragments, camera: Camera, size: int) -> tuple[Tensor, Tensor]:
    """Return where covered pixels lie on the texture, and how many texels they span.

    Args:
        mesh: The mesh.
        seen: What the camera sees of it.
        camera: The same camera.
        size: Texels along a side of the texture.

    Returns:
        Texture coordinates, float32 [P, 2], and the longer side of a pixel's footprint in texels, float32 [P], for the
        covered pixels in row-major order.
    """
    face = seen.face[seen.covered]
    corners = mesh.vt.astype(np.float64)[mesh.f[face]]  # [P, 3, 2]
    weights = seen.barycentric[seen.covered].astype(np.float64)
    place = np.einsum("pk,pkc->pc", weights, corners)
    slopes = _ray_weights(_in_camera(mesh, camera), mesh.f, camera)[:, :2][
        face
    ]  # d b' / d pixel: [P, 2 directions, 3 corners]
    # The quotient rule on uv = sum(b' uv) / sum b'; 1 / sum b' is the depth.
    moved = np.einsum("pdk,pkc->pdc", slopes, corners) - slopes.sum(2)[..., None] * place[:, None]
    span = np.linalg.norm(moved * seen.depth[seen.covered][:, None, None], axis=2).max(1) * size
    return torch.from_numpy(place.astype(np.float32)), torch.from_numpy(span.astype(np.float32))


def look_up(texture: Tensor, place: Tensor, span: Tensor) -> Tensor:
    """Return colours of a texture, trilinear in its pyramid, float32 [P, 3].

    Args:
        texture: float32 [T, T, 3], row 0 at the top.
        place: Texture coordinates, origin at the bottom left, float32 [P, 2].
        span: Texels that each sample spans, float32 [P].
    """
    levels = int(np.log2(max(texture.shape[0], 1)))
    wanted = span.clamp_min(1).log2().clamp(0, levels)
    grid = torch.stack([2 * place[:, 0] - 1, 1 - 2 * place[:, 1]], 1)[None, None]  # [1, 1, P, 2]
    picture = texture.movedim(2, 0)[None]
    found = torch.zeros(len(place), 3, dtype=texture.dtype)
    for level in range(int(wanted.max().ceil()) + 1 if len(place) else 0):
        share = (1 - (wanted - level).abs()).clamp_min(0)
        rows = share.nonzero()[:, 0]
        if len(rows):
            sampled = grid_sample(picture, grid[:, :, rows], padding_mode="border", align_corners=False)[0, :, 0].T
            found = found.index_add(0, rows, share[rows, None] * sampled)
        picture = avg_pool2d(picture, 2) if min(picture.shape[2:]) > 1 else picture
    return found


# --- visibility -----------------------------------------------------------------------------------------------------


def _in_camera(mesh: Mesh | TexturedMesh, camera: Camera) -> Doubles:
    """Vertices in the camera's frame, axes of OpenCV (z forward), float64 [V, 3]."""
    view = camera.view
    seen: Doubles = mesh.v.astype(np.float64) @ view[:3, :3].T + view[:3, 3]
    return seen


def _on_lattice(seen: Doubles, faces: Ints, camera: Camera) -> tuple[npt.NDArray[np.int64], Ints]:
    """Triangles in front of the near plane on the lattice of pixels, int64 [N, 3, 2], and the faces they are of [N]."""
    corners, owners = _cut_at_near(seen, faces, camera.near)
    flat = camera.focal * corners[:, :, :2] / corners[:, :, 2:] + np.array(camera.centre)
    return np.rint(flat.clip(-FARTHEST_PIXEL, FARTHEST_PIXEL) * LATTICE).astype(np.int64), owners


def _ray_weights(seen: Doubles, faces: Ints, camera: Camera) -> Doubles:
    """The linear map from a pixel (x, y, 1) to its face's unnormalised weights b', float64 [F, 3, 3].

    A face that the camera sees edge-on, or that has no area, gets zeros.
    """
    corners = seen[faces]  # [F, 3 corners, 3]: as rows
    sides = np.stack([np.cross(corners[:, k - 2], corners[:, k - 1]) for k in range(3)], 2)  # [F, 3, 3 corners]
    volume = np.einsum("fi,fi->f", corners[:, 0], sides[:, :, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.nan_to_num(sides / volume[:, None, None], nan=0, posinf=0, neginf=0)
    x, y = camera.centre
    to_ray = np.array([[1 / camera.focal, 0, -x / camera.focal], [0, 1 / camera.focal, -y / camera.focal], [0, 0, 1]])
    weights: Doubles = np.einsum("ip,fik->fpk", to_ray, inverse)
    return weights


def _cut_at_near(seen: Doubles, faces: Ints, near: float) -> tuple[Doubles, Ints]:
    """Cut faces at the near plane; return triangles [N, 3, 3] in the camera's frame and the faces they are of [N]."""
    inside = seen[:, 2][faces] > near  # [F, 3]
    count = inside.sum(1)
    whole = np.flatnonzero(count == 3)
    corners, owners = [seen[faces[whole]]], [whole]
    for kept in (1, 2):
        cut = np.flatnonzero(count == kept)
        if not len(cut):
            continue
        # Turn each face so that the corner which is alone on its side comes first.
        alone = (inside[cut] == (kept == 1)).argmax(1)
        turned = seen[np.take_along_axis(faces[cut], (alone[:, None] + np.arange(3)) % 3, 1)]  # [C, 3, 3]
        a, b, c = turned[:, 0], turned[:, 1], turned[:, 2]
        ab, ac = _crossing(a, b, near), _crossing(a, c, near)
        triangles = [(a, ab, ac)] if kept == 1 else [(ab, b, c), (ab, c, ac)]
        for triangle in triangles:
            corners.append(np.stack(triangle, 1))
            owners.append(cut)
    return np.concatenate(corners), np.concatenate(owners).astype(np.int32)


def _crossing(start: Doubles, end: Doubles, near: float) -> Doubles:
    """Where edges [C, 3] meet the near plane."""
    share = (near - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
    point: Doubles = start + share * (end - start)
    point[:, 2] = near
    return point


def _nearest(corners: npt.NDArray[np.int64], owners: Ints, nearness: Doubles, height: int, width: int) -> Ints:
    """The nearest face at each pixel, int32 [H, W]; -1 for none.

    Args:
        corners: Triangles on the lattice, [N, 3, 2].
        owners: The face that each is of, [N].
        nearness: 1 / depth as a linear function of the pixel (x, y, 1), by face, [F, 3].
        height: Pixels.
        width: Pixels.
    """
    face = np.full((height, width), -1, dtype=np.int32)
    in_portions(_draw, -(-height // BAND), corners, owners, nearness, face)
    return face


@compiled(nogil=True)
def _draw(
    first_band: int, end_band: int, corners: npt.NDArray[np.int64], owners: Ints, nearness: Doubles, face: Ints
) -> None:
    """Draw triangles into some bands of rows, the nearest in front; of equally near ones the first stays."""
    height, width = face.shape
    half = LATTICE // 2
    for band in range(first_band, end_band):
        top, bottom = band * BAND, min(band * BAND + BAND, height)
        best = np.zeros((BAND, width))
        for n in range(len(corners)):
            y0, y1, y2 = corners[n, 0, 1], corners[n, 1, 1], corners[n, 2, 1]
            # Pixel i is sampled at i + 1/2.
            first_row = max(top, -((half - min(y0, y1, y2)) // LATTICE))
            last_row = min(bottom - 1, (max(y0, y1, y2) - half) // LATTICE)
            if first_row > last_row:
                continue
            x0, x1, x2 = corners[n, 0, 0], corners[n, 1, 0], corners[n, 2, 0]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            if area == 0:
                continue
            if area < 0:  # seen from the other side: both sides are drawn
                x1, y1, x2, y2 = x2, y2, x1, y1
            first_column = max(0, -((half - min(x0, x1, x2)) // LATTICE))
            last_column = min(width - 1, (max(x0, x1, x2) - half) // LATTICE)
            if first_column > last_column:
                continue
            # An edge owns the pixels on it when it is a top edge (level, running right) or a left one (running up).
            own0 = 0 if (y1 == y2 and x2 > x1) or y2 < y1 else 1
            own1 = 0 if (y2 == y0 and x0 > x2) or y0 < y2 else 1
            own2 = 0 if (y0 == y1 and x1 > x0) or y1 < y0 else 1
            plane = nearness[owners[n]]
            for row in range(first_row, last_row + 1):
                y = row * LATTICE + half
                for column in range(first_column, last_column + 1):
                    x = column * LATTICE + half
                    if (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1) < own0:
                        continue
                    if (x0 - x2) * (y - y2) - (x - x2) * (y0 - y2) < own1:
                        continue
                    if (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0) < own2:
                        continue
                    near = plane[0] * (column + 0.5) + plane[1] * (row + 0.5) + plane[2]
                    if near > best[row - top, column]:
                        best[row - top, column] = near
                        face[row, column] = owners[n]


def _weights(face: Ints, inverses: Doubles) -> tuple[Floats, Floats]:
    """Barycentric coordinates [H, W, 3] and depths [H, W] of the pixels' faces."""
    barycentric = np.zeros((*face.shape, 3), dtype=np.float32)
    depth = np.zeros(face.shape, dtype=np.float32)
    rows, columns = np.nonzero(face >= 0)
    pixel = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1)
    weights = np.einsum("np,npk->nk", pixel, inverses[face[rows, columns]])
    depth[rows, columns] = 1 / weights.sum(1)
    # The lattice lets a pixel belong to a face that its ray misses by 1/512 pixel.
    weights = weights.clip(0)
    barycentric[rows, columns] = weights / weights.sum(1, keepdims=True)
    return barycentric, depth
