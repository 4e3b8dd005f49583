"""Pictures of every kind become upright RGB, or one named reason."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.media.images import MAX_PIXELS, MediaError, read_image, write_image

RAMP = np.add.outer(np.arange(40) * 2, np.arange(60) * 2).astype(np.uint8)
PICTURE = Image.fromarray(np.stack([RAMP, np.full_like(RAMP, 90), 255 - RAMP], axis=-1))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def pixels(content: bytes) -> np.ndarray:
    image = read_image(content)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def reason(content: bytes | Path) -> str:
    with pytest.raises(MediaError) as caught:
        read_image(content)
    assert caught.value.detail
    return caught.value.reason


# --- colour modes -----------------------------------------------------------------------------------------------------


def test_grey_keeps_its_values() -> None:
    """EN-2: grey."""
    assert (pixels(encoded(Image.fromarray(RAMP), "PNG")) == RAMP[..., None]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    """EN-2: 16-bit grey; Pillow's own conversion turns every value above 255 white."""
    deep = RAMP.astype(np.uint16) * 257
    assert (pixels(encoded(Image.fromarray(deep), kind)) == RAMP[..., None]).all()


def test_dark_sixteen_bit_grey_stays_dark() -> None:
    """EN-2: the range is the file format's, not this picture's: a dark picture is not stretched."""
    dark = np.full((8, 8), 2_570, dtype=np.uint16)
    assert (pixels(encoded(Image.fromarray(dark), "PNG")) == 10).all()


def test_floating_point_grey_spans_its_own_range() -> None:
    """EN-2: 32-bit TIFF of any unit."""
    values = np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)
    result = pixels(encoded(Image.fromarray(values), "TIFF"))
    assert result.min() == 0
    assert result.max() == 255
    assert (np.diff(result[..., 0].ravel()) >= 0).all()


def test_palette_with_transparency_lies_on_white() -> None:
    """EN-2: P with transparency."""
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 1), 1)
    result = pixels(encoded(image, "PNG", transparency=0))
    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[1, 1].tolist() == [0, 0, 200]


def test_alpha_lies_on_white() -> None:
    """EN-2: RGBA and LA, half transparent included."""
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[..., 3] = [[0, 255], [128, 255]]
    assert pixels(encoded(Image.fromarray(rgba), "PNG"))[..., 0].tolist() == [[255, 0], [127, 0]]
    grey = Image.merge("LA", (Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 0)))
    assert (pixels(encoded(grey, "PNG")) == 255).all()


def test_transparent_colour_of_rgb_lies_on_white() -> None:
    """EN-2: a PNG that names one transparent colour."""
    image = Image.new("RGB", (2, 2), (10, 20, 30))
    assert (pixels(encoded(image, "PNG", transparency=(10, 20, 30))) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(kind: str) -> None:
    """EN-2: CMYK, with Adobe's inverted JPEG and the upright TIFF."""
    red = Image.new("RGB", (16, 16), (230, 20, 20)).convert("CMYK")
    red_seen = pixels(encoded(red, kind)).mean((0, 1))
    assert np.abs(red_seen - [230, 20, 20]).max() < 12


def test_lab_becomes_rgb() -> None:
    """EN-2 and its neighbours: Pillow cannot convert LAB by itself."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.buildTransform(*profiles, "RGB", "LAB").apply(PICTURE)
    assert np.abs(pixels(encoded(lab, "TIFF")) - np.asarray(PICTURE)).mean() < 4


def test_bilevel_and_single_pixel_and_thin_pictures() -> None:
    """EN-2: 1-bit, 1x1 and 1x4000."""
    assert (pixels(encoded(Image.new("1", (3, 3), 1), "PNG")) == 255).all()
    assert pixels(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).tolist() == [[[1, 2, 3]]]
    assert pixels(encoded(Image.new("L", (1, 4000), 7), "PNG")).shape == (4000, 1, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    """EN-2: animated GIF, and its sister formats."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("#c80000", "#00c800", "#0000c8")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert np.abs(pixels(content) - [200, 0, 0]).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_tags_are_applied(orientation: int) -> None:
    """All eight positions in which a camera may have been held give the same upright picture."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the tag asks to be undone
    stored = PICTURE if orientation == 1 else PICTURE.transpose(Image.Transpose(undo[orientation]))
    tags = Image.Exif()
    tags[0x0112] = orientation
    assert (pixels(encoded(stored, "PNG", exif=tags)) == np.asarray(PICTURE)).all()


def test_damaged_tags_do_not_cost_the_picture() -> None:
    content = encoded(PICTURE, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xee" * 40)
    assert np.abs(pixels(content) - np.asarray(PICTURE)).mean() < 6


# --- broken files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncation_shows_at_load(kind: str) -> None:
    """EN-3: a file cut at 60 % opens well, and must not pass as a picture that is grey below."""
    content = encoded(PICTURE, kind)
    assert reason(content[: int(len(content) * 0.6)]) == "truncated"


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    """EN-3: an empty file, a page named .jpg, a text, a folder, nothing at all."""
    page = tmp_path / "page.jpg"
    page.write_text("\n<!DOCTYPE html><html><body>404</body></html>")
    with pytest.raises(MediaError, match=r"page\.jpg: this is a web page") as caught:
        read_image(page)
    assert caught.value.reason == "undecodable"
    assert isinstance(caught.value, DataError)
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(MediaError, match="the file is empty"):
        read_image(empty)
    assert reason(empty) == "undecodable"
    assert reason(b"just some words") == "undecodable"
    assert reason(tmp_path) == "missing_file"
    assert reason(tmp_path / "nowhere.png") == "missing_file"


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_001, 20_000])
def test_giant_is_refused_from_its_header(side: int) -> None:
    """A bomb of 100 or 400 megapixels costs neither memory nor a warning."""
    assert side * side > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(header_of(side, side)) == "too_large"


def test_large_but_allowed_is_decoded() -> None:
    """95 megapixels, where Pillow warns by itself, are read without a warning."""
    content = encoded(Image.new("1", (9_500, 10_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(content).size == (9_500, 10_000)


def test_programs_are_never_run() -> None:
    """PostScript is a program: it is no picture here."""
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n") == "undecodable"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]), st.randoms(use_true_random=False))
def test_any_damage_is_a_picture_or_a_reason(kind: str, random: object) -> None:
    """EN-3: random bytes anywhere in a file never escape as another error."""
    content = bytearray(encoded(PICTURE, kind))
    for _ in range(random.randint(1, 30)):  # type: ignore[attr-defined]
        content[random.randrange(len(content))] = random.randrange(256)  # type: ignore[attr-defined]
    try:
        outcome: str = read_image(bytes(content)).mode
    except MediaError as error:
        outcome = error.reason
    assert outcome in {"RGB", "truncated", "undecodable", "too_large"}


# --- writing ----------------------------------------------------------------------------------------------------------


def test_written_pictures_are_read_again(tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "a.png", PICTURE)
    assert (np.asarray(read_image(tmp_path / "deep" / "a.png")) == np.asarray(PICTURE)).all()
    write_image(tmp_path / "a.jpg", PICTURE, quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg")).astype(int) - np.asarray(PICTURE)).mean() < 3


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old picture and no other file."""
    write_image(tmp_path / "a.png", PICTURE)
    before = (tmp_path / "a.png").read_bytes()

    def fail(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DataError, match="the disk is full"):
        write_image(tmp_path / "a.png", Image.new("RGB", (2, 2)))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.jpg, \.jpeg, \.png, \.webp"):
        write_image(tmp_path / "a.xyz", PICTURE)
