"""Pinhole cameras: where they stand, what they see, and the matrices that a rasteriser takes.

World and camera frames are those of OpenGL and glTF: +x right, +y up, +z towards the viewer; a camera looks along its
own -z. The splatting equations (Zwicker et al., EWA splatting, 2002; Kerbl et al., 3D Gaussian splatting, 2023) are
written for axes of OpenCV: +y down, +z forward. The one change between the two is

    W = diag(1, -1, -1, 1) inverse(c2w)

over the whole 4 x 4 matrix. Pixels are square; pixel (row i, column j) is sampled at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import ConfigError, DataError

Matrix = npt.NDArray[np.float64]

FOVY = 49.1  # degrees; with RADIUS, an object inside |x| < 0.73 fills 80 % of the frame
RADIUS = 2.0
STEEPEST = 89.9  # degrees: at the pole, "right" has no direction
_OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with square pixels and a centred principal point.

    Attributes:
        c2w: Camera to world, float64 [4, 4]: the columns are right, up, backward and the position, in world units.
        fovy_deg: Vertical field of view in degrees.
        height: Pixels.
        width: Pixels.
        near: Nothing at or below this depth is drawn, in world units.
        far: The depth up to which other programs need draw, in world units; the rasterisers here have no far plane.

    Raises:
        DataError: The matrix is not a rigid motion, or a number is out of its range.
    """

    c2w: Matrix
    fovy_deg: float
    height: int
    width: int
    near: float = 0.2
    far: float = 100.0

    def __post_init__(self) -> None:
        matrix = np.array(self.c2w, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or (matrix[3] != [0, 0, 0, 1]).any():
            raise DataError("a camera's c2w is a finite 4 x 4 matrix whose last row is 0 0 0 1")
        turn = matrix[:3, :3]
        if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-4 or np.linalg.det(turn) < 0:
            raise DataError("a camera's c2w is a rotation and a translation: its columns are not orthonormal")
        if not 0 < self.fovy_deg < 180 or self.height < 1 or self.width < 1 or not 0 < self.near < self.far:
            raise DataError(
                f"a camera has 0 < fovy < 180, at least one pixel and 0 < near < far; got fovy {self.fovy_deg:g}, "
                f"{self.height} x {self.width} pixels, near {self.near:g}, far {self.far:g}"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "c2w", matrix)

    @property
    def position(self) -> Matrix:
        """Where it stands in the world, float64 [3]."""
        return self.c2w[:3, 3]

    @property
    def view(self) -> Matrix:
        """World to camera in axes of OpenCV (x right, y down, z forward), float64 [4, 4]."""
        turn, position = self.c2w[:3, :3], self.c2w[:3, 3]
        inverse = np.eye(4)
        inverse[:3, :3], inverse[:3, 3] = turn.T, -turn.T @ position
        return _OPENGL_TO_OPENCV @ inverse

    @property
    def focal(self) -> float:
        """Focal length in pixels, the same along both axes."""
        return self.height / 2 / math.tan(math.radians(self.fovy_deg) / 2)

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (x, y) in pixels."""
        return self.width / 2, self.height / 2

    @property
    def intrinsics(self) -> Matrix:
        """The matrix K of OpenCV, float64 [3, 3], in pixels."""
        x, y = self.centre
        return np.array([[self.focal, 0, x], [0, self.focal, y], [0, 0, 1]])

    @property
    def tangents(self) -> tuple[float, float]:
        """Tangents of half the horizontal and half the vertical field of view."""
        vertical = math.tan(math.radians(self.fovy_deg) / 2)
        return vertical * self.width / self.height, vertical

    def project(self, points: npt.ArrayLike) -> tuple[Matrix, Matrix]:
        """Project world points.

        Args:
            points: [N, 3], world units.

        Returns:
            Pixels (x, y), float64 [N, 2], and depths along the view axis, float64 [N]. Points behind the camera have a
            depth below 0 and a meaningless pixel.
        """
        view = self.view
        seen = np.asarray(points, dtype=np.float64) @ view[:3, :3].T + view[:3, 3]
        depth = seen[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = self.focal * seen[:, :2] / depth[:, None] + np.array(self.centre)
        return pixels, depth

    def resized(self, height: int, width: int) -> Camera:
        """Return the same camera with another number of pixels; the vertical field of view stays."""
        return replace(self, height=height, width=width)


def orbit(
    elevation: float,
    azimuth: float,
    radius: float = RADIUS,
    *,
    target: Sequence[float] = (0.0, 0.0, 0.0),
    fovy_deg: float = FOVY,
    height: int,
    width: int,
    near: float = 0.2,
    far: float = 100.0,
) -> Camera:
    """Return a camera on a sphere that looks at its centre.

    Args:
        elevation: Degrees; negative is above the object, so a photo that looks down has -30. At most 89.9 either way.
        azimuth: Degrees, growing from +z to +x: 0 looks from +z, 90 from +x.
        radius: Distance to the target, world units.
        target: The point that is looked at, world units.
        fovy_deg: Vertical field of view, degrees.
        height: Pixels.
        width: Pixels.
        near: World units.
        far: World units.

    Raises:
        ConfigError: An elevation beyond 89.9 degrees, or a radius that is not positive.
    """
    if abs(elevation) > STEEPEST:
        raise ConfigError(f"elevation {elevation:g}: between -{STEEPEST} and {STEEPEST} degrees, the pole has no 'up'")
    if not radius > 0:
        raise ConfigError(f"radius {radius:g}: a camera stands at a positive distance from what it looks at")
    rise, turn = math.radians(elevation), math.radians(azimuth)
    backward = np.array([math.cos(rise) * math.sin(turn), -math.sin(rise), math.cos(rise) * math.cos(turn)])
    right = np.cross([0.0, 1.0, 0.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(backward, right), backward
    pose[:3, 3] = np.asarray(target, dtype=np.float64) + radius * backward
    return Camera(pose, fovy_deg, height, width, near, far)


def from_opencv(view: npt.ArrayLike, intrinsics: npt.ArrayLike, height: int, width: int) -> Camera:
    """Return the camera of a world-to-camera matrix in axes of OpenCV, as structure from motion gives it.

    The vertical focal length counts for both axes and the principal point moves to the centre of the picture, so that
    a picture of a camera calibrated otherwise differs by those few pixels.

    Args:
        view: World to camera, [4, 4].
        intrinsics: K, [3, 3], in pixels.
        height: Pixels.
        width: Pixels.

    Raises:
        DataError: The matrix is not a rigid motion.
    """
    matrix = np.asarray(view, dtype=np.float64)
    # Matrices stored in float32 are orthonormal to 1e-7 only: the nearest rotation is taken.
    left, _, right = np.linalg.svd(matrix[:3, :3])
    turn = left @ right
    if np.abs(turn - matrix[:3, :3]).max() > 1e-3:
        raise DataError("the view matrix is no rotation and translation: its rows are not orthonormal")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn.T, -turn.T @ matrix[:3, 3]
    focal = float(np.asarray(intrinsics, dtype=np.float64)[1, 1])
    fovy = 2 * math.degrees(math.atan(height / 2 / focal))
    return Camera(pose @ _OPENGL_TO_OPENCV, fovy, height, width)
