"""Photos of every kind become a cut-out, or one clear sentence."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sensorium.core.errors import DataError
from sensorium.lifting.photo import opening, preparation, segmentation
from sensorium.lifting.photo.cutout import Cutout, cut_out, on_background, repaired
from sensorium.lifting.photo.opening import open_photo
from sensorium.lifting.photo.preparation import PhotoConfig, prepare_photo
from sensorium.media.errors import MediaError
from sensorium.media.images import read_cutout

PLAIN = PhotoConfig(enlarger="none")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode here: the decoding processes have tests of their own, and one below."""

    class Here:
        def __init__(self, processes: int, *, seconds: float) -> None: ...

        def __enter__(self) -> "Here":
            return self

        def __exit__(self, *ignored: object) -> None: ...

        def call(self, function: object, *arguments: object, source: object = "") -> object:
            return function(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(opening, "Workers", Here)


def disc(mode: str = "RGBA", size: int = 100, radius: int = 20) -> Image.Image:
    """A red disc, off the middle, on nothing, or on blue where the mode has no transparency."""
    picture = Image.new("RGBA", (size, size), (0, 0, 255, 0))
    box = [size // 2 - radius, size // 3 - radius, size // 2 + radius - 1, size // 3 + radius - 1]
    ImageDraw.Draw(picture).ellipse(box, (220, 40, 30, 255))
    if mode == "RGBA":
        return picture
    ground = Image.new("RGBA", picture.size, (40, 60, 200, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB").convert(mode)


def saved(folder: Path, picture: Image.Image, name: str = "photo.png", **options: object) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def test_transparency_is_kept_and_the_object_centred(tmp_path: Path) -> None:
    made = prepare_photo(saved(tmp_path, disc()), PLAIN, side=64)
    assert made.facts["cut_out_by"] == "transparency"
    assert made.facts["object_side"] == 40
    framed = made.framed(64)
    rows, columns = (np.flatnonzero((framed[3] > 0.5).any(axis).numpy()) for axis in (1, 0))
    for places in (rows, columns):
        assert places[-1] + 1 - places[0] == pytest.approx(0.8 * 64, abs=2)
        assert places[-1] + 1 + places[0] == pytest.approx(64, abs=1)
    assert framed[:3, 32, 32].tolist() == pytest.approx([220 / 255, 40 / 255, 30 / 255], abs=0.01)
    assert (framed[:3] <= framed[3:] + 1e-6).all()  # premultiplied
    assert on_background(framed)[:, 0, 0].tolist() == [1, 1, 1]


def test_colours_under_transparency_do_not_matter() -> None:
    pixels = np.array(disc())
    other = pixels.copy()
    other[other[..., 3] == 0] = (255, 255, 0, 0)
    first, second = (prepare_photo(one, PLAIN, side=64).framed(64) for one in (pixels, other))
    assert torch.equal(first, second)


def test_coverage_is_repaired() -> None:
    """No pixel of a segmenter's cut-out need be quite opaque, and haze is no object."""
    alpha = np.array([[0.97, 0.96, 0.485, 0.01, 0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(repaired(alpha), [[1, 0.96 / 0.97, 0.5, 0, 0, 1]], rtol=1e-6)
    pixels = np.array(disc())
    pixels[..., 3] = np.where(pixels[..., 3] > 0, 248, 3)
    made = prepare_photo(pixels, PLAIN, side=64)
    assert made.facts["object_side"] == 40
    assert made.framed(64)[3, 32, 32] == 1


def test_a_mask_decides(tmp_path: Path) -> None:
    photo = saved(tmp_path, disc("RGB"))
    mask = saved(tmp_path, disc().getchannel("A"), "mask.png")
    made = prepare_photo(photo, PhotoConfig(mask=str(mask), enlarger="none"), side=64)
    assert (made.facts["cut_out_by"], made.facts["object_side"]) == ("mask", 40)
    other = saved(tmp_path, Image.new("L", (100, 50), 255), "other.png")
    with pytest.raises(DataError, match="100 x 50"):
        prepare_photo(photo, PhotoConfig(mask=str(other)), side=64)


def test_cmyk_sixteen_bits_and_palettes(tmp_path: Path) -> None:
    mask = PhotoConfig(mask=str(saved(tmp_path, disc().getchannel("A"), "mask.png")), enlarger="none")
    cmyk = prepare_photo(saved(tmp_path, disc("CMYK"), "cmyk.jpg", quality=95), mask, side=64).framed(64)
    assert cmyk[:3, 32, 32].tolist() == pytest.approx([220 / 255, 40 / 255, 30 / 255], abs=0.06)
    deep = Image.fromarray(np.asarray(disc("L")).astype(np.uint16) * 257)
    grey = prepare_photo(saved(tmp_path, deep, "deep.png"), mask, side=64).framed(64)
    assert grey[0, 32, 32].item() == pytest.approx(np.asarray(disc("L"))[33, 50] / 255, abs=0.01)
    palette = disc().quantize(8)
    assert prepare_photo(saved(tmp_path, palette, "p.png"), PLAIN, side=64).facts["cut_out_by"] == "transparency"


def test_an_animation_gives_its_first_frame_and_says_so(tmp_path: Path) -> None:
    frames = [disc(radius=radius) for radius in (20, 30)]
    path = saved(tmp_path, frames[0], "film.gif", save_all=True, append_images=frames[1:], disposal=2)
    made = prepare_photo(path, PLAIN, side=64)
    assert made.facts["object_side"] == 40
    assert made.notes == ["the file holds 2 frames: the first is used"]


def test_a_channel_that_says_nothing_is_no_transparency(tmp_path: Path) -> None:
    assert open_photo(saved(tmp_path, disc("RGB").convert("RGBA"))).alpha is None


def giant() -> bytes:
    """The header of a picture of 121 megapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", 11_000, 11_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (giant(), "100 megapixels"),
        (b"", "empty"),
        (b"<html></html>", "web page"),
    ],
)
def test_files_that_are_no_photos(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(MediaError, match=message):
        prepare_photo(tmp_path / "photo.png", side=64)


def test_masks_that_cut_nothing_out() -> None:
    pixels = np.array(disc())
    empty, full, tiny = pixels.copy(), pixels.copy(), np.array(disc(size=10, radius=3))
    empty[..., 3] = 2
    full[..., 3] = 254
    for array, message in ((empty, "mask is empty"), (full, "covers the whole"), (tiny, "6 x 6 pixels.*at least 16")):
        with pytest.raises(DataError, match=message):
            prepare_photo(array, PLAIN, side=64)
    for array, message in ((pixels[..., 0], r"\[H, W, 3 or 4\]"), (pixels.astype(np.float64), "float64")):
        with pytest.raises(DataError, match=message):
            prepare_photo(array, PLAIN, side=64)


def test_without_any_segmenter_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"sensorium\[lift\].*transparency.*mask"):
        prepare_photo(np.array(disc("RGB")), side=64)


def test_grabcut_finds_the_disc() -> None:
    pytest.importorskip("cv2")
    made = prepare_photo(np.array(disc("RGB")), PhotoConfig(segmenter="grabcut", enlarger="none"), side=64)
    assert made.facts["cut_out_by"] == "grabcut"
    assert made.facts["object_side"] == pytest.approx(40, abs=2)
    with pytest.raises(DataError, match=r"GrabCut finds no object|mask is empty"):
        prepare_photo(np.full((60, 60, 3), 128, np.uint8), PhotoConfig(segmenter="grabcut"), side=64)


@pytest.fixture
def redness(tmp_path: Path) -> Path:
    """A segmenter in a file: red minus blue."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, -1.0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "redness",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1, 32, 32])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "redness.onnx"))
    return tmp_path / "redness.onnx"


def test_a_segmenter_of_one_s_own(redness: Path, tmp_path: Path) -> None:
    config = PhotoConfig(segmenter_weights=str(redness), enlarger="none")
    made = prepare_photo(np.array(disc("RGB")), config, side=64)
    assert made.facts["cut_out_by"] == "onnx"
    assert made.facts["object_side"] == pytest.approx(40, abs=8)
    with pytest.raises(DataError, match="sees no object"):
        prepare_photo(np.full((60, 60, 3), 128, np.uint8), config, side=64)
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    for weights, message in ((tmp_path / "broken.onnx", "is no segmenter"), (tmp_path / "none", "does not exist")):
        with pytest.raises(DataError, match=message):
            prepare_photo(np.array(disc("RGB")), PhotoConfig(segmenter_weights=str(weights)), side=64)


def test_resizing_keeps_colour_and_light() -> None:
    """A cut-out of one colour has that colour at every size, up to its edge."""
    colours = np.full((40, 30, 3), [0.8, 0.2, 0.1], dtype=np.float32)
    alpha = np.zeros((40, 30), dtype=np.float32)
    alpha[2:-2, 3:-3] = 1
    made = cut_out(colours, alpha)
    for side in (24, 64, 200):
        framed = made.framed(side)
        solid = framed[3] > 0.05
        straight = framed[:, solid] / framed[3, solid]
        expected = torch.tensor([[0.8], [0.2], [0.1]]).expand(3, straight.shape[1])
        torch.testing.assert_close(straight[:3], expected, atol=1e-3, rtol=0)
    assert isinstance(made, Cutout)
    assert made.side == 36


def test_a_picture_that_kills_its_decoder_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding happens in a process of its own, with a limit."""
    monkeypatch.undo()
    photo = open_photo(saved(tmp_path, disc()))
    assert photo.alpha is not None
    assert photo.rgb.shape == (100, 100, 3)


def test_cutouts_are_read_with_their_frames() -> None:
    stream = io.BytesIO()
    disc().save(stream, "PNG")
    picture, frames = read_cutout(stream.getvalue())
    assert (picture.mode, frames) == ("RGBA", 1)
    assert picture.getpixel((0, 0))[3] == 0
    assert preparation.PhotoConfig().segmenter == "auto"
