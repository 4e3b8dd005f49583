"""Textured meshes as files: GLB with the texture inside, or OBJ with an MTL and a PNG beside it; and both read back.

Colours always travel as a texture: many programs ignore colours of vertices, and show the object grey. A GLB's material
is rough, not metallic and double-sided. glTF counts texture coordinates from the top left, this room and OBJ from the
bottom left; axes agree (+y up, the reference view from +z), so that nothing is turned.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import DataError, require
from sensorium.core.files import write_bytes, write_text
from sensorium.lifting.files.pictures import from_image, to_image, to_png
from sensorium.lifting.mesh import Floats, Mesh, TexturedMesh, vertex_normals

logger = logging.getLogger(__name__)

SUFFIXES = (".glb", ".obj")
MOST_FACES = 20_000_000
_UNPAINTED = 0.7  # grey of a mesh without any colour


def write_mesh(path: str | Path, mesh: TexturedMesh) -> None:
    """Write a textured mesh as GLB or OBJ, by the suffix of the name.

    Raises:
        DataError: Another suffix.
    """
    path = check_suffix(path)
    (write_glb if path.suffix.lower() == ".glb" else write_obj)(path, mesh)


def check_suffix(path: str | Path) -> Path:
    """Return the path of a mesh that is to be written, if its suffix is one that can be.

    Raises:
        DataError: It is another.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: meshes are written as {' or '.join(SUFFIXES)}")
    return Path(path)


def write_glb(path: str | Path, mesh: TexturedMesh) -> None:
    """Write a textured mesh as one binary glTF file, atomically."""
    trimesh: Any = require("trimesh", extra="lift", purpose="writing GLB files")
    material = trimesh.visual.material.PBRMaterial(
        name="albedo",
        baseColorTexture=to_image(mesh.albedo),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    visual = trimesh.visual.TextureVisuals(uv=mesh.vt, material=material)
    # `process=False`: the vertices along the cuts of the texture must stay apart.
    content = trimesh.Trimesh(mesh.v, mesh.f, vertex_normals=mesh.vn, visual=visual, process=False)
    write_bytes(path, bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(content), include_normals=True)))


def write_obj(path: str | Path, mesh: TexturedMesh) -> None:
    """Write a textured mesh as OBJ, with `<name>.mtl` and `<name>.png` beside it, named without any folder.

    Each file is written atomically, the OBJ last: where it is there, so are the two that it names. In a name with
    spaces or other characters that the format cannot hold, those become underscores.
    """
    path = Path(path)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in path.stem)
    write_bytes(path.with_name(f"{stem}.png"), to_png(mesh.albedo))
    material = ["newmtl albedo", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {stem}.png", ""]
    write_text(path.with_name(f"{stem}.mtl"), "\n".join(material))
    numbers = mesh.f + 1
    lines = [
        f"mtllib {stem}.mtl",
        *_lines("v", mesh.v),
        *_lines("vt", mesh.vt),
        *_lines("vn", mesh.vn),
        "usemtl albedo",
        *[f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in numbers.tolist()],
        "",
    ]
    write_text(path, "\n".join(lines))


def _lines(word: str, rows: Floats) -> list[str]:
    """One line for each row, with the nine digits that bring a float32 back."""
    form = " ".join([word, *["%.9g"] * rows.shape[1]])
    return [form % tuple(row) for row in rows.tolist()]


# --- reading --------------------------------------------------------------------------------------------------------


def read_mesh(path: str | Path) -> TexturedMesh:
    """Read a GLB or OBJ file of anybody's as one textured mesh.

    Parts are joined. A part without a texture gets one of its single colour, or of the mean of its vertices' colours,
    and that is said.

    Raises:
        DataError: The file is missing, damaged, of another kind or without faces.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: meshes are read from {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    trimesh: Any = require("trimesh", extra="lift", purpose="reading meshes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # A path of its own for the textures: trimesh then refuses names that lead out of the file's folder.
            scene = trimesh.load_scene(path, process=False, maintain_order=True)
            parts = [part for part in scene.dump(concatenate=False) if isinstance(part, trimesh.Trimesh)]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - its parsers raise whatever a damaged file leads them into
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(f"{path} cannot be read as a mesh, it may be damaged ({why})") from None
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise DataError(f"{path} holds no faces")
    if sum(len(part.faces) for part in parts) > MOST_FACES:
        raise DataError(f"{path} has more than {MOST_FACES:,} faces")
    return _joined([_textured(path, part) for part in parts])


def _textured(path: Path, part: Any) -> TexturedMesh:
    """One part of a file, with its texture or one made of its colour."""
    mesh = Mesh(np.asarray(part.vertices, dtype=np.float32), np.asarray(part.faces, dtype=np.int32))
    normals = vertex_normals(mesh)
    places = getattr(part.visual, "uv", None)
    material = getattr(part.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is not None and places is not None and len(places) == len(mesh.v):
        flat = np.asarray(places, dtype=np.float64)
        if (flat < 0).any() or (flat > 1).any():
            logger.info("%s: texture coordinates leave the picture: a repeated texture is shown once", path)
            flat = flat - np.floor(flat[mesh.f].mean(1).min(0))
        return TexturedMesh(mesh.v, mesh.f, flat.astype(np.float32), normals, from_image(image))
    logger.info("%s: a part has no texture: it is shown in one colour", path)
    albedo = np.broadcast_to(_one_colour(part), (8, 8, 3)).copy()
    return TexturedMesh(mesh.v, mesh.f, np.full((len(mesh.v), 2), 0.5, dtype=np.float32), normals, albedo)


def _one_colour(part: Any) -> Floats:
    """The mean of the colours of a part's vertices, or its material's colour, or grey; float32 [3]."""
    visual = part.visual
    if visual.kind in ("vertex", "face"):
        colour = np.asarray(visual.vertex_colors)[:, :3].mean(0)
    elif visual.kind == "texture" and getattr(visual.material, "main_color", None) is not None:
        colour = np.asarray(visual.material.main_color)[:3]
    else:
        colour = np.full(3, _UNPAINTED * 255)
    return np.asarray((colour / 255).clip(0, 1), dtype=np.float32)


def _joined(parts: list[TexturedMesh]) -> TexturedMesh:
    """One mesh of several: their textures stand side by side on one square picture, none of them scaled."""
    if len(parts) == 1 and parts[0].albedo.shape[0] == parts[0].albedo.shape[1]:
        return parts[0]
    columns = int(np.ceil(np.sqrt(len(parts))))
    cell = max(max(part.albedo.shape[:2]) for part in parts)
    side = columns * cell
    albedo = np.zeros((side, side, 3), dtype=np.float32)
    places, faces, start = [], [], 0
    for number, part in enumerate(parts):
        row, column = divmod(number, columns)
        height, width = part.albedo.shape[:2]
        albedo[row * cell : row * cell + height, column * cell : column * cell + width] = part.albedo
        left, bottom = column * cell, side - row * cell - height
        places.append((part.vt.clip(0, 1) * [width, height] + [left, bottom]) / side)
        faces.append(part.f + start)
        start += len(part.v)
    return TexturedMesh(
        v=np.concatenate([part.v for part in parts]),
        f=np.concatenate(faces).astype(np.int32),
        vt=np.concatenate(places).astype(np.float32),
        vn=np.concatenate([part.vn for part in parts]),
        albedo=albedo,
    )
