"""Clouds of Gaussians as PLY, in the layout of the authors of 3D Gaussian splatting (Kerbl et al., 2023).

    x y z  nx ny nz  f_dc_0..2  [f_rest_0..]  opacity  scale_0..2  rot_0..3

Values are those before the activations (logits, logarithms, quaternions of any length); normals are zero; `f_rest`
holds all coefficients of red, then of green, then of blue. Written as little-endian float32, so that a cloud comes back
with the same bits. Read: binary of either byte order and ASCII, any order and type of the properties, 0, 9, 24 or 45
coefficients, bytes `red green blue` in place of `f_dc`.

Many viewers, and structure from motion by COLMAP, hold y and z the other way round than this room: `axes="colmap"`
turns a cloud half round the x axis on its way out or in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import write_bytes
from sensorium.core.resources import require_memory
from sensorium.lifting.cloud import HARMONICS, SH_C0, GaussianCloud

logger = logging.getLogger(__name__)

Axes = Literal["opengl", "colmap"]

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_LONGEST_HEADER = 1 << 16
_MEANS, _SCALES, _QUATS = ("x", "y", "z"), ("scale_0", "scale_1", "scale_2"), ("rot_0", "rot_1", "rot_2", "rot_3")
_COLOUR, _BYTES = ("f_dc_0", "f_dc_1", "f_dc_2"), ("red", "green", "blue")
# Signs of the 15 harmonics under (x, y, z) -> (x, -y, -z): those odd in y z change theirs.
_TURNED = (-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1)


# --- writing --------------------------------------------------------------------------------------------------------


def write_ply(path: str | Path, cloud: GaussianCloud, *, axes: Axes = "opengl") -> None:
    """Write a cloud atomically.

    Args:
        path: The file.
        cloud: The Gaussians.
        axes: "opengl", those of this room, or "colmap", turned for programs that hold y downwards.
    """
    cloud = cloud.detach().to("cpu").to(torch.float32)
    if _checked(axes) == "colmap":
        cloud = half_turn(cloud)
    count = len(cloud)
    columns = [cloud.means, torch.zeros(count, 3), cloud.sh_dc]
    if cloud.sh_rest is not None:
        columns.append(cloud.sh_rest.transpose(1, 2).reshape(count, -1))
    columns += [cloud.opacity_logit[:, None], cloud.log_scales, cloud.quats]
    table = torch.cat(columns, 1).numpy().astype("<f4", copy=False)
    rest = 0 if cloud.sh_rest is None else 3 * cloud.sh_rest.shape[1]
    names = [*_MEANS, "nx", "ny", "nz", *_COLOUR, *(f"f_rest_{k}" for k in range(rest)), "opacity", *_SCALES, *_QUATS]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [*(f"property float {name}" for name in names), "end_header\n"]
    write_bytes(path, "\n".join(header).encode("ascii") + table.tobytes())


def half_turn(cloud: GaussianCloud, *, back: bool = False) -> GaussianCloud:
    """Return a cloud turned half round the x axis: (x, y, z) -> (x, -y, -z), to the axes of COLMAP or from them.

    Args:
        cloud: The Gaussians.
        back: Turn the other way, so that the quaternions of a cloud that was turned come back with their signs.
    """
    w, x, y, z = cloud.quats.unbind(1)
    quats = torch.stack([-x, w, -z, y], 1)  # (0, 1, 0, 0) times the quaternion
    rest = cloud.sh_rest
    return GaussianCloud(
        means=cloud.means * cloud.means.new_tensor([1, -1, -1]),
        log_scales=cloud.log_scales,
        quats=-quats if back else quats,
        opacity_logit=cloud.opacity_logit,
        sh_dc=cloud.sh_dc,
        sh_rest=None if rest is None else rest * rest.new_tensor(_TURNED[: rest.shape[1]])[:, None],
    )


def _checked(axes: str) -> str:
    if axes not in get_args(Axes):
        raise ConfigError(f"axes {axes}: not known (known: {', '.join(get_args(Axes))})")
    return axes


# --- reading --------------------------------------------------------------------------------------------------------


def read_ply(path: str | Path, *, axes: Axes = "opengl") -> GaussianCloud:
    """Read a cloud, float32, on the CPU. Gaussians with values that are not finite are left out, counted, and said.

    Args:
        path: The file.
        axes: The axes that the file holds: "opengl", or "colmap" where its y points down.

    Raises:
        DataError: The file is missing, no PLY, damaged, or lacks a property; the message says which.
    """
    _checked(axes)
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    header = _read_header(path, content)
    cloud = _finite(path, _cloud(path, header, _read_table(path, header, content)))
    return half_turn(cloud, back=True) if axes == "colmap" else cloud


@dataclass(frozen=True)
class _Header:
    """What a PLY header says of its first element, the vertices: format, count, (name, NumPy type) of each property,
    and where the values begin."""

    format: str
    count: int
    properties: tuple[tuple[str, str], ...]
    length: int


def _read_header(path: Path, content: bytes) -> _Header:
    if not content:
        raise DataError(f"{path} is empty")
    end = content.find(b"end_header", 0, _LONGEST_HEADER)
    if not content.startswith(b"ply") or end < 0:
        raise DataError(f"{path} is no PLY file: it has no header from 'ply' to 'end_header'")
    newline = content.find(b"\n", end)
    length = len(content) if newline < 0 else newline + 1
    kind, elements = "", []
    properties: list[tuple[str, str]] = []
    for line in content[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        match words:
            case ["format", name, *_]:
                kind = name
            case ["element", name, number] if number.isdecimal():
                elements.append((name, int(number)))
            case ["property", word, name] if len(elements) == 1 and word in _TYPES:
                properties.append((name, _TYPES[word]))
            case ["property", "list", *_] if len(elements) == 1:
                raise DataError(f"{path}: its first element has a list, which no cloud of Gaussians has: {line}")
            case ["property", *_] if len(elements) > 1:
                pass  # faces and whatever else follows the vertices
            case ["ply"] | ["comment", *_] | ["obj_info", *_] | []:
                pass
            case _:
                raise DataError(f"{path}: this line of its header is not understood: {line[:200]}")
    if kind not in _ORDERS:
        raise DataError(f"{path}: format '{kind}' is not one of {', '.join(_ORDERS)}")
    if not elements or elements[0][0] != "vertex":
        first = elements[0][0] if elements else "nothing"
        packed = " (a compressed cloud: export it uncompressed)" if first == "chunk" else ""
        raise DataError(f"{path}: its first element is '{first}', not 'vertex'{packed}")
    if len({name for name, _ in properties}) < len(properties):
        raise DataError(f"{path}: a property of its vertices stands there twice")
    return _Header(kind, elements[0][1], tuple(properties), length)


def _read_table(path: Path, header: _Header, content: bytes) -> npt.NDArray[np.void]:
    """Return the vertices as a structured array, checked against the file's size before any memory is taken."""
    order = _ORDERS[header.format]
    row = np.dtype([(name, order + kind) for name, kind in header.properties])
    held = len(content) - header.length
    least = row.itemsize if header.format != "ascii" else 2 * len(header.properties)
    # The last line of a text may lack its newline.
    if header.count * least > held + (header.format == "ascii"):
        raise DataError(
            f"{path} is truncated: its header promises {header.count:,} vertices, at least {header.count * least:,} "
            f"bytes, and {held:,} bytes follow"
        )
    require_memory(2 * header.count * max(row.itemsize, 8 * len(header.properties)), f"reading {path.name}")
    if header.format != "ascii":
        return np.frombuffer(content, row, header.count, header.length)
    width = len(header.properties)
    # A float64 holds every value of the types that a text can name exactly.
    words = content[header.length :].split(None, header.count * width)[: header.count * width]
    if len(words) < header.count * width:
        raise DataError(f"{path} is truncated: {len(words):,} of {header.count * width:,} values are there")
    try:
        values = np.array(words, dtype="S").astype(np.float64).reshape(header.count, width)
    except ValueError as error:
        raise DataError(f"{path}: a value is no number: {error}") from None
    table = np.empty(header.count, np.dtype([(name, "f8") for name, _ in header.properties]))
    for place, (name, _) in enumerate(header.properties):
        table[name] = values[:, place]
    return table


def _cloud(path: Path, header: _Header, table: npt.NDArray[np.void]) -> GaussianCloud:
    names = {name for name, _ in header.properties}
    colour = _COLOUR
    if not names.issuperset(_COLOUR) and names.issuperset(_BYTES):
        colour = _BYTES
        logger.info("%s: colours are bytes, red green blue, not harmonics: rounded to 256 steps", path)
    needed = (*_MEANS, *colour, "opacity", *_SCALES, *_QUATS)
    if missing := [name for name in needed if name not in names]:
        raise DataError(f"{path} is no cloud of Gaussians: its vertices lack the property {', '.join(missing)}")
    if not header.count:
        raise DataError(f"{path} holds no Gaussian")
    rest = sum(name.startswith("f_rest_") for name in names)
    widths = (0, *(3 * count for count in HARMONICS))
    if rest not in widths or not names.issuperset(f"f_rest_{k}" for k in range(rest)):
        raise DataError(f"{path}: {rest} values f_rest; a cloud has {', '.join(map(str, widths[:-1]))} or {widths[-1]}")

    def take(columns: tuple[str, ...]) -> Tensor:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and is then left out
            return torch.from_numpy(np.stack([table[name].astype(np.float32) for name in columns], 1))

    dc = take(colour)
    harmonics = take(tuple(f"f_rest_{k}" for k in range(rest))) if rest else None
    return GaussianCloud(
        means=take(_MEANS),
        log_scales=take(_SCALES),
        quats=take(_QUATS),
        opacity_logit=take(("opacity",))[:, 0],
        sh_dc=dc if colour is _COLOUR else (dc / 255 - 0.5) / SH_C0,
        sh_rest=None if harmonics is None else harmonics.reshape(len(dc), 3, -1).transpose(1, 2).contiguous(),
    )


def _finite(path: Path, cloud: GaussianCloud) -> GaussianCloud:
    """Leave out Gaussians that cannot be drawn, and say how many."""
    finite = torch.stack([value.reshape(len(cloud), -1).isfinite().all(1) for value in cloud.tensors().values()]).all(0)
    left_out = len(cloud) - int(finite.sum())
    if not left_out:
        return cloud
    first = int((~finite).nonzero()[0, 0])
    if left_out == len(cloud):
        raise DataError(f"{path}: all {left_out:,} Gaussians have values that are not finite")
    logger.info(
        "%s: %s of %s Gaussians have values that are not finite and are left out, the first is number %s",
        *(path, f"{left_out:,}", f"{len(cloud):,}", f"{first:,}"),
    )
    return cloud[finite]
