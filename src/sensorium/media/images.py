"""Images: any still picture in, 8-bit RGB out, or one named reason why not.

What "RGB" means for each kind of file:

- orientation tags of cameras are applied; animated files give their first frame;
- transparency (alpha channels, transparent palette entries or colours) is laid on white;
- 16-bit and floating-point grey is divided by its own range first, since Pillow's own conversion clips it at 255;
- CMYK, YCbCr, LAB, HSV, grey and palette pictures are converted; Adobe's inverted CMYK is turned back once, by Pillow;
- pictures over 100 megapixels are refused from the header, before a single pixel is decoded.

Decoders for formats that run programs (PostScript) or that recognise nothing (TGA) are never tried.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from sensorium.core.files import write_bytes
from sensorium.media.errors import MediaError

__all__ = ["MAX_PIXELS", "MediaError", "encode_image", "read_cutout", "read_image", "write_image"]

T = TypeVar("T")

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
WRITTEN = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}

# What Pillow's decoders raise on damaged files, beside OSError: their parsers are not written against an enemy.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)


def read_image(source: str | Path | bytes) -> Image.Image:
    """Read a picture as RGB, uint8, upright.

    Args:
        source: A file, or the bytes of one.

    Raises:
        MediaError: With reason "missing_file", "truncated" (the file ends early), "too_large" (over 100 megapixels) or
            "undecodable" (no picture, or a damaged one).
    """
    return _read(source, _upright_rgb)


def read_cutout(source: str | Path | bytes) -> tuple[Image.Image, int]:
    """Read a picture with its transparency, as RGBA, uint8, upright; all of it is opaque where it has none.

    Args:
        source: A file, or the bytes of one.

    Returns:
        The picture, its colours not premultiplied, and how many frames the file holds: the first was read.

    Raises:
        MediaError: As `read_image`.
    """
    return _read(source, lambda image: (_upright_rgba(image), getattr(image, "n_frames", 1)))


def _read(source: str | Path | bytes, convert: Callable[[Image.Image], T]) -> T:
    """Open, check and decode a picture, and bring it into shape."""
    name = "" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _content(Path(source))
    with warnings.catch_warnings():
        # Pillow warns of odd tags, and between one and two times its own size limit; ours is checked here, as an error.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=_formats()) as image:
                _check_size(image, name)
                image.load()  # only now does a truncated file show
                return convert(image)
        except MediaError:
            raise
        except Image.DecompressionBombError:
            raise _too_large(name) from None
        except UnidentifiedImageError:
            raise MediaError("undecodable", _no_picture(content), name) from None
        except _DAMAGE as error:
            raise _damaged(error, content, name) from None


def encode_image(image: Image.Image, kind: str, *, quality: int = 90) -> bytes:
    """Return a picture as the bytes of a JPEG, PNG or WebP file.

    Args:
        image: The picture.
        kind: "JPEG" (with full colour resolution, 4:4:4), "PNG" or "WEBP".
        quality: For JPEG and WebP, 1 to 95.
    """
    options: dict[str, dict[str, int]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "PNG": {},
    }
    stream = io.BytesIO()
    image.save(stream, format=kind, **options[kind])
    return stream.getvalue()


def write_image(path: str | Path, image: Image.Image, *, quality: int = 90) -> None:
    """Write a picture atomically as JPEG, PNG or WebP, by the suffix of its name; see `encode_image`.

    Raises:
        MediaError: Another suffix; the message names those that can be written.
    """
    path = Path(path)
    kind = WRITTEN.get(path.suffix.lower())
    if kind is None:
        raise MediaError("undecodable", f"pictures are written as {', '.join(WRITTEN)}", str(path))
    write_bytes(path, encode_image(image, kind, quality=quality))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise MediaError("missing_file", "there is no such file", str(path))
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("undecodable", f"it cannot be read: {error.strerror}", str(path)) from None


@cache
def _formats() -> list[str]:
    """The formats of `FORMATS` that this build of Pillow knows."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name, f" ({image.width} x {image.height})")


def _too_large(name: str, size: str = "") -> MediaError:
    return MediaError("too_large", f"the picture has more than {MAX_PIXELS // 1_000_000} megapixels{size}", name)


def _no_picture(content: bytes) -> str:
    """Say what a file is that no decoder recognises."""
    if not content:
        return "the file is empty"
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body")):
        return "this is a web page, not a picture"
    return "no picture format is recognised"


def _damaged(error: Exception, content: bytes, name: str) -> MediaError:
    text = str(error)
    early = isinstance(error, EOFError) or any(
        word in text.lower() for word in ("truncated", "unexpected end", "not enough", "too short")
    )
    if content[:4] == b"RIFF":  # WebP's decoder does not say why; its header holds the length
        early = len(content) < int.from_bytes(content[4:8], "little") + 8
    if early:
        return MediaError("truncated", "the file ends before the picture does", name)
    return MediaError("undecodable", f"the picture is damaged: {text or type(error).__name__}", name)


def _upright_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture of any mode to RGB and turn it upright."""
    turned = _transposed(image)
    if turned.mode.startswith(("I", "F")):
        return _deep_grey(turned)
    if turned.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in turned.info:
        picture = turned.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if turned.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(*profiles, "LAB", "RGB").apply(turned)
    return turned.convert("RGB")


def _upright_rgba(image: Image.Image) -> Image.Image:
    """Convert a loaded picture of any mode to RGBA and turn it upright."""
    turned = _transposed(image)
    if turned.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
        "transparency" in turned.info and not turned.mode.startswith(("I", "F"))
    ):
        return turned.convert("RGBA")
    return _upright_rgb(turned).convert("RGBA")


def _transposed(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:
        return image  # the tags are damaged, the picture is not


def _deep_grey(image: Image.Image) -> Image.Image:
    """Bring grey of more than 8 bits to 8 bits by its own range: 16 bits by 65,535, else from darkest to lightest."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    if image.mode != "F" and values.min() >= 0 and values.max() <= 65_535:
        scaled = values / 65_535
    else:
        low, high = values.min(), values.max()
        scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[values == transparent] = 1.0
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8)).convert("RGB")
