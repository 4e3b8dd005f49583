"""Objects that the tests of meshes look at: clouds on known surfaces, and meshes with known textures."""

from collections.abc import Callable

import numpy as np
import torch

from sensorium.lifting.cloud import GaussianCloud, from_points
from sensorium.lifting.mesh import Floats, Mesh, TexturedMesh, vertex_normals

SPHERE = 0.4


def even_sphere(count: int, radius: float = SPHERE) -> Floats:
    """Points of a spiral from pole to pole, equally far apart, [count, 3]."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - height**2)
    return (radius * np.stack([across * np.cos(turn), height, across * np.sin(turn)], 1)).astype(np.float32)


def torus_points(count: int, around: float = 0.35, tube: float = 0.12) -> Floats:
    """Points on a torus around the y axis, seeded, [count, 3]."""
    first, second = np.random.default_rng(1).uniform(0, 2 * np.pi, (2, count))
    across = around + tube * np.cos(second)
    return np.stack([across * np.cos(first), tube * np.sin(second), across * np.sin(first)], 1).astype(np.float32)


def filled_sphere(count: int, radius: float = SPHERE) -> Floats:
    """Points evenly in a ball, [count, 3]."""
    inwards = np.cbrt(np.random.default_rng(2).uniform(size=count))
    return (even_sphere(count, radius) * inwards[:, None]).astype(np.float32)


def cloud_of(points: Floats, scale: float, opacity: float = 0.7, colours: Floats | None = None) -> GaussianCloud:
    """Round Gaussians of one size."""
    cloud = from_points(points, colours, opacity=opacity)
    return GaussianCloud(
        cloud.means,
        torch.full_like(cloud.log_scales, float(np.log(scale))),
        cloud.quats,
        cloud.opacity_logit,
        cloud.sh_dc,
    )


def any_cloud(count: int, *, rest: int = 0, seed: int = 0) -> GaussianCloud:
    """A cloud of random numbers, with `rest` triples of higher harmonics."""
    draw = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    return GaussianCloud(
        numbers(count, 3),
        numbers(count, 3) - 3,
        numbers(count, 4),
        numbers(count),
        numbers(count, 3),
        numbers(count, rest, 3) if rest else None,
    )


def ball_mesh(rings: int = 24, radius: float = SPHERE) -> Mesh:
    """A sphere of triangles that face outwards, closed: `rings` rows of quads between two poles."""
    sides = 2 * rings
    rise = np.pi * np.arange(1, rings) / rings
    turn = 2 * np.pi * np.arange(sides) / sides
    rows = np.stack(
        [
            np.sin(rise)[:, None] * np.sin(turn),
            np.repeat(np.cos(rise)[:, None], sides, 1),
            np.sin(rise)[:, None] * np.cos(turn),
        ],
        2,
    ).reshape(-1, 3)
    v = np.concatenate([rows, [[0, 1, 0], [0, -1, 0]]]) * radius
    here = np.arange(sides)
    after = (here + 1) % sides
    top, bottom = len(rows), len(rows) + 1
    faces = [np.stack([np.full(sides, top), here, after], 1)]
    for row in range(rings - 2):
        a, b = row * sides + here, row * sides + after
        c, d = a + sides, b + sides
        faces += [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
    last = (rings - 2) * sides
    faces.append(np.stack([np.full(sides, bottom), last + after, last + here], 1))
    return Mesh(v.astype(np.float32), np.concatenate(faces).astype(np.int32))


def cube_mesh(half: float = 0.35) -> Mesh:
    """A cube of twelve triangles that face outwards."""
    v = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    f = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
    return Mesh(v, np.array(f, dtype=np.int32))


def painted(mesh: Mesh, colour: Callable[[Floats], Floats], size: int = 256) -> TexturedMesh:
    """A mesh whose texture is a function of the place on its surface, [P, 3] -> [P, 3]."""
    from sensorium.lifting.meshrender import texel_faces
    from sensorium.lifting.texture import texel_points, without_holes
    from sensorium.lifting.uv import unwrap

    surface = unwrap(mesh, size)
    faces = texel_faces(surface.f, surface.vt, size)
    inside = faces >= 0
    albedo = np.zeros((size, size, 3))
    albedo[inside] = colour(texel_points(inside, faces, surface).astype(np.float32))
    return TexturedMesh(surface.v, surface.f, surface.vt, surface.vn, without_holes(albedo, inside, faces, surface))


def red_front(points: Floats) -> Floats:
    """Red where z is positive, blue behind."""
    return np.where(points[:, 2:] > 0, np.array([1, 0, 0]), np.array([0, 0, 1])).astype(np.float32)


def checker(points: Floats, side: float = 0.14) -> Floats:
    """A checker of light and dark cubes in space."""
    odd = np.floor(points / side + 0.5).astype(int).sum(1, keepdims=True) % 2
    return np.where(odd == 1, np.array([0.9, 0.8, 0.2]), np.array([0.1, 0.3, 0.6])).astype(np.float32)


def plain_mesh(v: list[list[float]], f: list[list[int]]) -> Mesh:
    """A mesh of lists."""
    return Mesh(np.array(v, dtype=np.float32), np.array(f, dtype=np.int32))


def with_texture(mesh: Mesh, albedo: Floats, vt: Floats) -> TexturedMesh:
    """A mesh with given texture coordinates."""
    return TexturedMesh(mesh.v, mesh.f, vt, vertex_normals(mesh), albedo)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], dB."""
    return float(-10 * np.log10(max(np.mean((np.asarray(first) - np.asarray(second)) ** 2), 1e-12)))
