"""The page that shows an object: one file, nothing from outside, a picture where WebGL is missing."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.lifting import viewer
from sensorium.lifting.cloud import GaussianCloud
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.turntable import picture
from sensorium.lifting.viewer import GAIN, stage, write_viewer
from sensorium.lifting.views import frame

from .made import any_cloud, ball_mesh, cloud_of, even_sphere, painted, red_front


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "STILL", 96)
    monkeypatch.setattr(viewer, "PREVIEW", 32)


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    return painted(ball_mesh(12), red_front, 64)


@pytest.fixture(scope="module")
def cloud() -> GaussianCloud:
    return cloud_of(even_sphere(1200), 0.02, opacity=0.9, colours=red_front(even_sphere(1200)))


def attributes(page: str) -> dict[str, str]:
    """The data that the page's canvas holds."""
    canvas = re.search(r"<canvas [^>]*>", page)
    assert canvas
    return {name: html.unescape(value) for name, value in re.findall(r'data-([a-z]+)="([^"]*)"', canvas[0])}


def test_the_page_of_a_mesh_holds_all_of_it_and_asks_nobody(tmp_path: Path, ball: TexturedMesh) -> None:
    write_viewer(tmp_path / "ball.html", ball, title="A <b>ball</b>", facts=[("source", "<i>mine</i>")], film=False)
    page = (tmp_path / "ball.html").read_text()
    assert not re.findall(r"(?:https?:)?//[a-z0-9.]+\.[a-z]+|<link|<iframe|@import|src=\"(?!data:)", page)
    assert "A &lt;b&gt;ball&lt;/b&gt;" in page
    assert "&lt;i&gt;mine&lt;/i&gt;" in page
    held = attributes(page)
    positions = np.frombuffer(base64.b64decode(held["positions"]), "<f4").reshape(-1, 3)
    around = frame(ball)
    assert np.allclose(positions * around.radius + around.target, ball.v, atol=1e-6)
    assert np.array_equal(np.frombuffer(base64.b64decode(held["faces"]), "<u4").reshape(-1, 3), ball.f)
    assert np.array_equal(np.frombuffer(base64.b64decode(held["places"]), "<f4").reshape(-1, 2), ball.vt)
    picture_bytes = base64.b64decode(held["albedo"].removeprefix("data:image/png;base64,"))
    assert np.abs(np.asarray(Image.open(io.BytesIO(picture_bytes))) / 255 - ball.albedo).max() < 0.01
    assert json.loads(held["about"])["kind"] == "mesh"
    assert len(re.findall(r"<img ", page)) == 1 + 8  # the still, and from all around


def test_the_still_picture_lies_under_the_canvas_and_shows_the_same_view(tmp_path: Path, ball: TexturedMesh) -> None:
    found = stage(ball, elevation=-20, azimuth=180)
    content = re.search(r'src="data:image/png;base64,([^"]+)"', str(found.still))
    assert content
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content[1]))))
    assert np.array_equal(pixels, picture(ball, -20, 180, size=96))
    write_viewer(tmp_path / "ball.html", ball, title="ball", film=False)
    page = (tmp_path / "ball.html").read_text()
    place = page.index('<div class="stage">')
    assert page.index("<img", place) < page.index("<canvas", place)
    assert ".stage canvas { visibility: hidden;" in page
    assert "this browser does not draw with WebGL 2" in page


def test_a_cloud_is_packed_so_that_it_can_be_drawn(cloud: GaussianCloud) -> None:
    found = stage(cloud)
    about = json.loads(found.about)
    packed = np.frombuffer(base64.b64decode(found.data["gaussians"]), "<u4").reshape(-1, 8)
    assert len(packed) % 1024 == 0
    count = about["count"]
    assert count == len(cloud)
    around = frame(cloud)
    means = packed[:count, :3].copy().view("<f4") * around.radius + around.target
    assert np.allclose(means, cloud.means.numpy(), atol=1e-6)
    shade = packed[:count, 3:4].copy().view("u1") / 255
    assert np.abs(shade[:, :3] - cloud.colours.numpy().clip(0, 1)).max() < 0.003
    assert np.abs(shade[:, 3] - cloud.opacities.numpy()).max() < 0.003
    covariance = packed[:count, 4:7].copy().view("<f2").astype(float) / GAIN * around.radius**2
    expected = np.array([1, 0, 0, 1, 0, 1]) * 0.02**2  # xx xy xz yy yz zz
    assert np.allclose(covariance, expected, rtol=0.01, atol=1e-7)


def test_covariances_turn_with_the_gaussians() -> None:
    cloud = any_cloud(50)
    small = GaussianCloud(cloud.means, cloud.log_scales, cloud.quats, cloud.opacity_logit, cloud.sh_dc)
    packed = np.frombuffer(base64.b64decode(stage(small).data["gaussians"]), "<u4").reshape(-1, 8)
    halves = packed[:50, 4:7].copy().view("<f2").astype(float) / GAIN * frame(small).radius ** 2
    axes = small.rotations * small.scales[:, None]
    full = (axes @ axes.transpose(1, 2)).numpy()
    expected = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    assert np.abs(halves - expected).max() < 2e-3 * np.abs(expected).max()


def test_the_largest_gaussians_are_drawn_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "MOST_SPLATS", 40)
    cloud = any_cloud(90, rest=3)
    write_viewer(tmp_path / "cloud.html", cloud, title="cloud", film=False)
    page = (tmp_path / "cloud.html").read_text()
    assert "shows the 40 Gaussians that cover most of 90" in page
    assert "leaves out how colours change" in page
    assert json.loads(attributes(page)["about"])["count"] == 40


def test_the_film_is_inside_the_page(tmp_path: Path, ball: TexturedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "FILM_FRAMES", 4)
    monkeypatch.setattr(viewer, "FILM_SIZE", 32)
    write_viewer(tmp_path / "ball.html", ball, title="ball")
    film = re.search(r"data:image/gif;base64,([^\"]+)", (tmp_path / "ball.html").read_text())
    assert film
    assert Image.open(io.BytesIO(base64.b64decode(film[1]))).n_frames == 4


def seen_in_a_browser(page: Path, folder: Path, size: str, *flags: str) -> np.ndarray:
    """A screenshot of a page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    shot = folder / "shot.png"
    command = [browser, "--headless", "--no-sandbox", *flags, "--no-first-run", "--disable-background-networking"]
    command += [
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'user'}",
    ]
    command += [f"--screenshot={shot}", f"--window-size={size}", "--virtual-time-budget=4000", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    return np.asarray(Image.open(shot).convert("RGB")).astype(int)


WITH_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHOUT = ("--use-gl=angle", "--use-angle=swiftshader", "--disable-3d-apis")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1200,900", "500,900"])
@pytest.mark.parametrize("kind", ["mesh", "cloud"])
@pytest.mark.parametrize("flags", [WITH_WEBGL, WITHOUT], ids=["webgl", "still"])
def test_the_object_is_seen_in_a_browser(
    tmp_path: Path, ball: TexturedMesh, cloud: GaussianCloud, kind: str, size: str, flags: tuple[str, ...]
) -> None:
    """With WebGL the still is replaced by a blank picture first, so that only what is drawn can be seen."""
    asset = ball if kind == "mesh" else cloud
    page = tmp_path / "page.html"
    write_viewer(page, asset, title="object", film=False, elevation=0)
    if flags is WITH_WEBGL:
        blank = io.BytesIO()
        Image.new("RGB", (8, 8), "white").save(blank, "PNG")
        text = page.read_text()
        white = f'src="data:image/png;base64,{base64.b64encode(blank.getvalue()).decode()}"'
        page.write_text(re.sub(r'src="data:image/png;base64,[^"]+"', white, text, count=1))
    shot = seen_in_a_browser(page, tmp_path, size, *flags)
    red = (shot[:, :, 0] > 180) & (shot[:, :, 1] < 70) & (shot[:, :, 2] < 70)
    rows, columns = np.nonzero(red[:750])
    side = min(640, int(size.split(",")[0]) - 30)
    assert len(rows) > 0.3 * side * side
    # A round thing, as high as it is wide, in the middle of the stage.
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.1)
    assert shot[5, 5].tolist() == [255, 255, 255]


def test_means_far_from_the_origin_keep_their_digits() -> None:
    cloud = cloud_of(even_sphere(50), 0.02)
    far = GaussianCloud(
        cloud.means + torch.tensor([100.0, 0, 0]), cloud.log_scales, cloud.quats, cloud.opacity_logit, cloud.sh_dc
    )
    packed = np.frombuffer(base64.b64decode(stage(far).data["gaussians"]), "<u4").reshape(-1, 8)
    assert np.abs(packed[:50, :3].copy().view("<f4")).max() < 1.1
