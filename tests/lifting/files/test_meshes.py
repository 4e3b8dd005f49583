"""Textured meshes as GLB and OBJ: colours survive, names are relative, damage is said."""

import io
import json
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import DataError

pytest.importorskip("trimesh")
pytest.importorskip("xatlas")
from sensorium.lifting.camera import orbit
from sensorium.lifting.files.assets import read_asset
from sensorium.lifting.files.meshes import read_mesh, write_mesh
from sensorium.lifting.files.ply import write_ply
from sensorium.lifting.mesh import TexturedMesh, vertex_normals
from sensorium.lifting.meshing import measure
from sensorium.lifting.meshrender import render_mesh

from ..made import any_cloud, ball_mesh, checker, cube_mesh, painted, psnr, red_front


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    """Red in front, blue behind."""
    return painted(ball_mesh(16), red_front, 128)


def pictures(mesh: TexturedMesh) -> list[np.ndarray]:
    places = [(-20, 0), (10, 90), (-20, 180), (40, 250)]
    return [render_mesh(mesh, orbit(*place, height=96, width=96)).rgb.numpy() for place in places]


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
@pytest.mark.parametrize("colour", [red_front, checker], ids=["halves", "checker"])
def test_what_is_read_back_looks_the_same(tmp_path: Path, suffix: str, colour) -> None:
    """At least 30 dB from four sides."""
    mesh = painted(ball_mesh(12), colour, 128)
    write_mesh(tmp_path / f"object{suffix}", mesh)
    back = read_mesh(tmp_path / f"object{suffix}")
    for before, after in zip(pictures(mesh), pictures(back), strict=True):
        assert psnr(before, after) > 30
    assert measure(back).watertight
    assert np.abs(back.albedo - mesh.albedo).max() <= 0.5 / 255 + 1e-6


def glb_parts(path: Path) -> tuple[dict, bytes]:
    """The JSON and the binary chunk of a GLB file, by its specification."""
    content = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    assert kind == b"JSON"
    second = 20 + size
    length, kind = struct.unpack("<I4s", content[second : second + 8])
    assert kind == b"BIN\0"
    return json.loads(content[20:second]), content[second + 8 : second + 8 + length]


def array_of(document: dict, binary: bytes, accessor: int) -> np.ndarray:
    about = document["accessors"][accessor]
    view = document["bufferViews"][about["bufferView"]]
    start = view.get("byteOffset", 0) + about.get("byteOffset", 0)
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[about["type"]]
    kind = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[about["componentType"]]
    return np.frombuffer(binary, kind, about["count"] * width, start).reshape(-1, width)


def test_another_reader_finds_red_in_front_and_blue_behind(tmp_path: Path, ball: TexturedMesh) -> None:
    """L3-1: read by the specification alone: an embedded base colour texture, coordinates from the top left."""
    write_mesh(tmp_path / "ball.glb", ball)
    document, binary = glb_parts(tmp_path / "ball.glb")
    primitive = document["meshes"][0]["primitives"][0]
    material = document["materials"][primitive["material"]]
    surface = material["pbrMetallicRoughness"]
    assert surface.get("metallicFactor") == 0
    assert surface.get("roughnessFactor", 1) == 1
    assert material["doubleSided"] is True
    assert "COLOR_0" not in primitive["attributes"]
    image = document["images"][document["textures"][surface["baseColorTexture"]["index"]]["source"]]
    assert image["mimeType"] == "image/png"
    assert "uri" not in image  # inside the file
    view = document["bufferViews"][image["bufferView"]]
    start = view.get("byteOffset", 0)
    pixels = np.asarray(Image.open(io.BytesIO(binary[start : start + view["byteLength"]])).convert("RGB"))
    positions = array_of(document, binary, primitive["attributes"]["POSITION"])
    places = array_of(document, binary, primitive["attributes"]["TEXCOORD_0"])
    faces = array_of(document, binary, primitive["indices"]).reshape(-1, 3)
    middle, place = positions[faces].mean(1), places[faces].mean(1)  # of each face
    size = len(pixels)
    rows, columns = (np.clip(place[:, axis] * size, 0, size - 1).astype(int) for axis in (1, 0))
    colour = pixels[rows, columns]
    assert (colour[middle[:, 2] > 0.05] == [255, 0, 0]).all()
    assert (colour[middle[:, 2] < -0.05] == [0, 0, 255]).all()


def test_an_obj_names_its_files_without_folders(tmp_path: Path, ball: TexturedMesh) -> None:
    """L3-1: OBJ, MTL and PNG side by side, that can be moved together."""
    write_mesh(tmp_path / "a" / "my ball.obj", ball)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["my ball.obj", "my_ball.mtl", "my_ball.png"]
    assert "mtllib my_ball.mtl\n" in (tmp_path / "a" / "my ball.obj").read_text()
    assert "map_Kd my_ball.png\n" in (tmp_path / "a" / "my_ball.mtl").read_text()
    (tmp_path / "a").rename(tmp_path / "b")
    moved = read_mesh(tmp_path / "b" / "my ball.obj")
    assert np.array_equal(moved.v, ball.v)  # nine digits bring a float32 back
    assert np.array_equal(moved.vt, ball.vt)
    for before, after in zip(pictures(ball), pictures(moved), strict=True):
        assert psnr(before, after) > 30


def test_a_texture_outside_the_folder_is_not_read(tmp_path: Path, ball: TexturedMesh) -> None:
    folder = tmp_path / "inside"
    write_mesh(folder / "ball.obj", ball)
    secret = tmp_path / "secret.png"
    (folder / "ball.png").rename(secret)
    (folder / "ball.mtl").write_text((folder / "ball.mtl").read_text().replace("ball.png", "../secret.png"))
    try:
        found = read_mesh(folder / "ball.obj")
    except DataError:
        return
    assert np.ptp(found.albedo) == 0  # one colour: the picture was left where it is


def test_meshes_of_others_without_a_texture_are_shown_in_one_colour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cube = cube_mesh()
    lines = [f"v {x} {y} {z}" for x, y, z in cube.v.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (cube.f + 1).tolist()]
    (tmp_path / "bare.obj").write_text("\n".join(lines))
    with caplog.at_level(logging.INFO, "sensorium"):
        found = read_mesh(tmp_path / "bare.obj")
    assert "has no texture" in caplog.text
    assert len(found.f) == 12
    assert measure(found).watertight


def test_parts_are_joined_with_their_textures_side_by_side(tmp_path: Path) -> None:
    import trimesh

    scene = trimesh.Scene()
    for shift, colour in ((-0.5, (255, 0, 0)), (0.5, (0, 255, 0))):
        cube = painted(cube_mesh(0.2), np.zeros_like, 64)
        image = Image.new("RGB", (32, 16), colour)
        visual = trimesh.visual.TextureVisuals(
            uv=cube.vt, material=trimesh.visual.material.PBRMaterial(baseColorTexture=image)
        )
        moved = cube.v + np.float32([shift, 0, 0])
        scene.add_geometry(trimesh.Trimesh(moved, cube.f, visual=visual, process=False))
    (tmp_path / "two.glb").write_bytes(scene.export(file_type="glb"))
    found = read_mesh(tmp_path / "two.glb")
    assert found.albedo.shape == (64, 64, 3)
    seen = render_mesh(found, orbit(0, 0, height=64, width=64)).rgb.numpy()
    camera = orbit(0, 0, height=64, width=64)
    for shift, colour in ((-0.5, [1, 0, 0]), (0.5, [0, 1, 0])):
        (column, row), _ = camera.project([[shift, 0, 0.2]])[0][0], None
        assert seen[int(row), int(column)] == pytest.approx(colour, abs=0.02)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
@pytest.mark.parametrize("damage", ["empty", "noise", "truncated"])
def test_damaged_meshes_are_said(tmp_path: Path, ball: TexturedMesh, suffix: str, damage: str) -> None:
    path = tmp_path / f"bad{suffix}"
    write_mesh(path, ball)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "noise": bytes(range(256)) * 4, "truncated": content[: len(content) // 3]}[damage])
    with pytest.raises(DataError, match="bad"):
        read_mesh(path)


def test_other_kinds_and_missing_files_are_said(tmp_path: Path, ball: TexturedMesh) -> None:
    with pytest.raises(DataError, match=r"written as \.glb or \.obj"):
        write_mesh(tmp_path / "ball.stl", ball)
    with pytest.raises(DataError, match=r"a cloud is a \.ply file"):
        read_asset(tmp_path / "ball.fbx")
    with pytest.raises(DataError, match="does not exist"):
        read_asset(tmp_path / "ball.glb")
    write_ply(tmp_path / "cloud.ply", any_cloud(2))
    assert len(read_asset(tmp_path / "cloud.ply").means) == 2


def test_normals_travel(tmp_path: Path, ball: TexturedMesh) -> None:
    """They are those of the surface before it was cut: across a cut both copies agree."""
    write_mesh(tmp_path / "ball.glb", ball)
    document, binary = glb_parts(tmp_path / "ball.glb")
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    normals = array_of(document, binary, attributes["NORMAL"])
    assert np.allclose(normals, ball.vn, atol=1e-5)
    assert np.abs(vertex_normals(ball.geometry) - ball.vn).max() > 0.01  # per chart they would differ
