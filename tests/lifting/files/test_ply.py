"""Clouds as PLY: exact both ways, other people's layouts, damage that is said."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.errors import ConfigError, DataError
from sensorium.lifting.camera import orbit
from sensorium.lifting.cloud import SH_C0, GaussianCloud
from sensorium.lifting.files.ply import half_turn, read_ply, write_ply
from sensorium.lifting.harmonics import seen_colours
from sensorium.lifting.rasterisers.torch_reference import TorchRasteriser

from ..made import any_cloud

NAMES = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
NAMES += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def same(first: GaussianCloud, second: GaussianCloud) -> bool:
    ours, theirs = first.tensors(), second.tensors()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def by_hand(path: Path, cloud: GaussianCloud, kind: str, *, drop: str = "", bytes_for_colour: bool = False) -> Path:
    """A file written value by value, by another hand than the library's."""
    columns = {
        **{name: cloud.means[:, k] for k, name in enumerate("xyz")},
        **{f"f_dc_{k}": cloud.sh_dc[:, k] for k in range(3)},
        "opacity": cloud.opacity_logit,
        **{f"scale_{k}": cloud.log_scales[:, k] for k in range(3)},
        **{f"rot_{k}": cloud.quats[:, k] for k in range(4)},
    }
    if cloud.sh_rest is not None:
        count = cloud.sh_rest.shape[1]
        columns |= {f"f_rest_{c * count + k}": cloud.sh_rest[:, k, c] for c in range(3) for k in range(count)}
    types = dict.fromkeys(columns, "float")
    if bytes_for_colour:
        for k, name in enumerate(("red", "green", "blue")):
            columns[name] = ((0.5 + SH_C0 * columns.pop(f"f_dc_{k}")).clamp(0, 1) * 255).round()
            types[name] = "uchar"
    columns = {name: column for name, column in columns.items() if not drop or not name.startswith(drop)}
    header = ["ply", f"format {kind} 1.0", "comment by another program", f"element vertex {len(cloud)}"]
    header += [f"property {types[name]} {name}" for name in columns] + ["end_header"]
    start = ("\n".join(header) + "\n").encode()
    if kind == "ascii":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        body = "\n".join(" ".join(repr(value) for value in row) for row in rows).encode()
    else:
        order = "<" if "little" in kind else ">"
        table = np.empty(len(cloud), [(name, order + ("u1" if types[name] == "uchar" else "f4")) for name in columns])
        for name, column in columns.items():
            table[name] = column.numpy()
        body = table.tobytes()
    path.write_bytes(start + body)
    return path


@pytest.mark.parametrize("rest", [0, 3, 8, 15])
def test_every_bit_comes_back(tmp_path: Path, rest: int) -> None:
    cloud = any_cloud(37, rest=rest)
    write_ply(tmp_path / "cloud.ply", cloud)
    assert same(read_ply(tmp_path / "cloud.ply"), cloud)
    assert [path.name for path in tmp_path.iterdir()] == ["cloud.ply"]  # nothing half-written is left


def test_the_layout_is_that_of_the_authors(tmp_path: Path) -> None:
    cloud = any_cloud(3, rest=3)
    write_ply(tmp_path / "cloud.ply", cloud)
    header, _, body = (tmp_path / "cloud.ply").read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 3"]
    rest = [f"f_rest_{k}" for k in range(9)]
    assert [line.split()[-1] for line in lines[3:]] == NAMES[:9] + rest + NAMES[9:]
    table = np.frombuffer(body, "<f4").reshape(3, -1)
    assert np.array_equal(table[:, 3:6], np.zeros((3, 3)))
    assert cloud.sh_rest is not None
    assert np.array_equal(table[:, 9:12], cloud.sh_rest[:, :, 0].numpy())  # red first, all its coefficients


@given(count=st.integers(1, 5), rest=st.sampled_from([0, 3, 8, 15]), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_colmap_axes_and_back(tmp_path_factory: pytest.TempPathFactory, count: int, rest: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("axes") / "cloud.ply"
    cloud = any_cloud(count, rest=rest, seed=seed)
    write_ply(path, cloud, axes="colmap")
    turned = read_ply(path)
    assert torch.equal(turned.means, cloud.means * torch.tensor([1, -1, -1]))
    back = read_ply(path, axes="colmap")
    for name, value in cloud.tensors().items():
        assert (back.tensors()[name] - value).abs().max() <= 1e-6


def test_a_turned_cloud_looks_the_same_to_a_turned_camera() -> None:
    """Means, rotations and all harmonics turn together."""
    cloud = any_cloud(40, rest=15)
    small = GaussianCloud(
        cloud.means * 0.2, cloud.log_scales - 1, cloud.quats, cloud.opacity_logit, cloud.sh_dc * 0.3, cloud.sh_rest
    )
    camera = orbit(-25, 40, height=24, width=24)
    half = np.diag([1.0, -1, -1, 1])
    from dataclasses import replace

    turned_camera = replace(camera, c2w=half @ camera.c2w)
    turned = half_turn(small)
    assert torch.allclose(seen_colours(turned, turned_camera, 3), seen_colours(small, camera, 3), atol=1e-4)
    draw = TorchRasteriser().render
    first = draw(small, camera, bg=(0, 0, 0), sh_degree=3).rgb
    second = draw(turned, turned_camera, bg=(0, 0, 0), sh_degree=3).rgb
    assert torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("rest", [0, 8, 15])
def test_files_of_others(tmp_path: Path, kind: str, rest: int) -> None:
    """L3-3: 0, 24 and 45 f_rest, either byte order and ASCII; properties in another order, none for normals."""
    cloud = any_cloud(11, rest=rest)
    assert same(read_ply(by_hand(tmp_path / "other.ply", cloud, kind)), cloud)


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_colours_as_bytes_come_with_a_notice(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """L3-3: red, green and blue in place of f_dc."""
    cloud = any_cloud(11)
    path = by_hand(
        tmp_path / "bytes.ply", cloud, kind if kind != "ascii" else "binary_little_endian", bytes_for_colour=True
    )
    with caplog.at_level(logging.INFO, "sensorium"):
        found = read_ply(path)
    assert "colours are bytes" in caplog.text
    assert (found.colours - cloud.colours.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(("drop", "named"), [("rot_", "rot_0, rot_1"), ("f_dc", "f_dc_0"), ("opacity", "opacity")])
def test_a_missing_property_is_named(tmp_path: Path, drop: str, named: str) -> None:
    """L3-3: without rot_* the error names it."""
    with pytest.raises(DataError, match=f"lack the property {named}"):
        read_ply(by_hand(tmp_path / "lacking.ply", any_cloud(4), "binary_little_endian", drop=drop))


def test_more_elements_doubles_and_ends_without_a_newline_are_read(tmp_path: Path) -> None:
    cloud = any_cloud(2)
    text = by_hand(tmp_path / "a.ply", cloud, "ascii").read_text()
    text = text.replace("property float", "property double").replace(
        "end_header", "element face 1\nproperty list uchar int vertex_indices\nend_header"
    )
    path = tmp_path / "more.ply"
    path.write_text(text.replace("\n", "\r\n") + "\r\n3 0 1 1")
    assert same(read_ply(path), cloud)


def test_values_that_are_not_finite_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cloud = any_cloud(5)
    cloud.means[3, 1] = float("nan")
    cloud.opacity_logit[4] = float("inf")
    write_ply(tmp_path / "nan.ply", cloud)
    with caplog.at_level(logging.INFO, "sensorium"):
        assert len(read_ply(tmp_path / "nan.ply")) == 3
    assert "2 of 5 Gaussians" in caplog.text
    assert "the first is number 3" in caplog.text
    write_ply(tmp_path / "all.ply", cloud.map(lambda value: value * float("nan")))
    with pytest.raises(DataError, match="all 5 Gaussians"):
        read_ply(tmp_path / "all.ply")


HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex {}\n" + "".join(
    f"property float {name}\n" for name in NAMES
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n", "is no PLY file"),
        (b"ply\nformat ascii 1.0\n", "is no PLY file"),
        (HEADER.format(99_999_999_999).encode() + b"end_header\n1234", "truncated: its header promises 99,999,999,999"),
        (HEADER.format(2).encode() + b"end_header\n" + bytes(4 * 17 + 3), "truncated"),
        (HEADER.format(0).encode() + b"end_header\n", "holds no Gaussian"),
        (HEADER.format(-3).encode() + b"end_header\n", "not understood"),
        (b"ply\nformat binary_middle_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n", "is not one of"),
        (b"ply\nformat ascii 1.0\nelement chunk 1\nproperty float x\nend_header\n1", "compressed"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty list uchar int x\nend_header\n1", "has a list"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n1", "not understood"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float x\nend_header\n1 1", "twice"),
        (
            b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nend_header\n1 2 3xx",
            "truncated",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nabc", "no number"),
    ],
)
def test_damage_is_said_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_ply(path)
    assert str(path) in str(caught.value)


@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_end_in_a_cloud_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.ply"
    path.write_bytes(HEADER.format(2).encode() + b"end_header\n" + tail)
    try:
        found = len(read_ply(path))
    except DataError:
        return
    assert found in (1, 2)


def test_a_wrong_number_of_harmonics_and_unknown_axes_are_said(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "cloud.ply", any_cloud(2, rest=3), "ascii")
    path.write_text(path.read_text().replace("f_rest_8", "other"))
    with pytest.raises(DataError, match="8 values f_rest"):
        read_ply(path)
    with pytest.raises(ConfigError, match="axes blender"):
        read_ply(path, axes="blender")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="does not exist"):
        read_ply(tmp_path / "nowhere.ply")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cloud.ply"
    write_ply(path, any_cloud(3))
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="the disk is full"):
        write_ply(path, any_cloud(9))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
