"""Turntables: films and pictures that move."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sensorium.core.errors import ConfigError

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.lifting import turntable
from sensorium.lifting.mesh import TexturedMesh
from sensorium.lifting.turntable import gif_bytes, picture, turn, write_turntable

from .made import ball_mesh, cloud_of, even_sphere, painted, red_front


@pytest.fixture(scope="module")
def ball() -> TexturedMesh:
    return painted(ball_mesh(12), red_front, 64)


def test_the_film_is_h264_of_one_turn(tmp_path: Path, ball: TexturedMesh) -> None:
    av = pytest.importorskip("av")
    write_turntable(tmp_path / "turn.mp4", ball, frames=12, size=48)
    with av.open(str(tmp_path / "turn.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 30
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 12
    assert frames[0].shape == (48, 48, 3)
    front, back = frames[0][24, 24].astype(int), frames[6][24, 24].astype(int)
    assert front[0] > 180 > 80 > front[2]
    assert back[2] > 180 > 80 > back[0]


def test_a_turn_starts_at_the_front_and_grows_to_the_right_side(ball: TexturedMesh) -> None:
    frames = list(turn(ball, frames=4, size=32))
    assert frames[0][16, 16].tolist() == [255, 0, 0]
    assert frames[2][16, 16].tolist() == [0, 0, 255]
    # From +x, the front (red, +z) lies on the left.
    assert frames[1][16, 10, 0] > 200
    assert frames[1][16, 22, 2] > 200


def test_the_picture_of_a_cloud_is_on_white() -> None:
    cloud = cloud_of(even_sphere(400), 0.03, opacity=0.9, colours=np.tile(np.float32([0, 0.6, 0]), (400, 1)))
    pixels = picture(cloud, -15, 0, size=32)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[16, 16].astype(int) == pytest.approx([0, 153, 0], abs=12)


def local_palettes(content: bytes) -> int:
    """How many frames of a GIF have a palette of their own, by its specification."""
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    assert content[10] & 0x80  # the palette for all
    found = 0
    while content[at] != 0x3B:
        if content[at] == 0x21:
            at += 2
        else:
            assert content[at] == 0x2C
            flags = content[at + 9]
            found += flags >> 7
            at += 10 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0) + 1
        while content[at]:
            at += content[at] + 1
        at += 1
    return found


def test_the_gif_has_one_palette_and_goes_round_for_ever(tmp_path: Path, ball: TexturedMesh) -> None:
    write_turntable(tmp_path / "turn.gif", ball, frames=10, size=48)
    content = (tmp_path / "turn.gif").read_bytes()
    assert local_palettes(content) == 0
    with Image.open(io.BytesIO(content)) as moving:
        assert (moving.n_frames, moving.size, moving.info["loop"]) == (10, (48, 48), 0)
        moving.seek(5)
        assert moving.convert("RGB").getpixel((24, 24)) == pytest.approx((0, 0, 255), abs=8)


def test_many_colours_stay_close_to_what_they_were() -> None:
    frames = [
        np.stack(np.broadcast_arrays(np.arange(64)[:, None] * 4, np.arange(64)[None] * 4, k * 25), 2).astype(np.uint8)
        for k in range(8)
    ]
    with Image.open(io.BytesIO(gif_bytes(frames))) as moving:
        moving.seek(moving.n_frames - 1)  # equal pictures are one that stays longer
        error = np.abs(np.asarray(moving.convert("RGB")).astype(int) - frames[7].astype(int))
    assert error.mean() < 20  # 255 of 32,768 colours


def test_what_cannot_be_written_is_said_before_anything_is_drawn(
    tmp_path: Path, ball: TexturedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turntable, "turn", None)
    for name, numbers, said in (
        ("turn.webm", {}, r"\.mp4 or \.gif"),
        ("turn.mp4", {"frames": 1}, "at least 2 frames"),
        ("turn.gif", {"frames": 61}, "at most 60 frames"),
        ("turn.gif", {"size": 512}, "at most 60 frames of 256 pixels"),
    ):
        with pytest.raises(ConfigError, match=said):
            write_turntable(tmp_path / name, ball, **numbers)
    assert list(tmp_path.iterdir()) == []
