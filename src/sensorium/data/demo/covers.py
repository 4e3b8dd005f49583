"""Covers: what a picture shows of an item is its style, and nothing else.

Each style is a palette, a way to compose shapes and a texture, all with free parameters, so that no two covers are
alike. The main style fills the cover; the second one shows in a panel whose height is its share. There are no letters
on a cover: the topic has no part here.

Everything is drawn at twice the size and scaled down, which smooths the edges.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from sensorium.core.seeds import numpy_generator

WIDTH, HEIGHT = 96, 128  # pixels of a finished cover
OVERSAMPLING = 2
Colour = tuple[int, int, int]
Painter = Callable[[np.random.Generator, list[Colour], int, int], Image.Image]

# For each style several palettes, ground colour first; drawn from at random and shifted a little for each cover.
PALETTES: dict[str, tuple[str, ...]] = {
    "sunrise": (
        "ffd9a0 ff9a5c f0614f b8405e fff1d0",
        "ffe3b3 ffb347 ef6c57 8e3b6f fff6e0",
        "fbc687 ea907a aa4a44 6d2e46 ffe9c9",
    ),
    "geometry": (
        "f4ecd8 d62828 1d4e89 f7b801 222222",
        "f6f1e3 e63946 14508c ffba08 2b2b2b",
        "efe6cf c1121f 2660a4 f6aa1c 1a1a1a",
    ),
    "nocturne": (
        "10163a 1b2a5c 39508f f5e9b8 8aa0d8",
        "0d1b2a 1b263b 415a77 f7ecc0 9fb3d1",
        "151030 2a1f5c 4d3f91 ffeec2 a99be0",
    ),
    "meadow": (
        "dff0e6 9ccf8a 5fa55a 2f6b3f f7e27c",
        "e7f4d8 b5d67b 7aa83e 3d6b2c ffdf6b",
        "d7eef0 8fc9a2 4f9a6e 23583f fbe7a1",
    ),
    "graphite": (
        "ededed bdbdbd 8a8a8a 4f4f4f 1f1f1f",
        "f4f4f2 c9c9c6 9a9a97 5d5d5b 2b2b2a",
        "e3e4e6 b1b4b8 7d8186 474b50 17191c",
    ),
    "neon": (
        "170b2e ff2fa0 20e3ff 8a2be2 ffe14d",
        "0d0d1f ff4d6d 00f5d4 7b2cbf fee440",
        "1a0533 f72585 4cc9f0 7209b7 ffd60a",
    ),
    "pastel": (
        "fdf3f6 f9c6d3 c9e4de c6def1 dbcdf0",
        "fffaf0 fad2e1 bee1e6 cddafd e2ece9",
        "f8f7ff ffd6e0 c7f0db d7c9f5 fff0c9",
    ),
    "terracotta": (
        "f3e3cf c8643c 8c3b23 d99a5b 3f6064",
        "f0dcc4 b5532f 7b2d1d e0ac69 4d5d53",
        "f5e6d3 cf7650 96482b dfa878 2f4f4f",
    ),
}


def draw_cover(style: npt.NDArray[np.float32], kinds: tuple[str, ...], seed: int, item: int) -> Image.Image:
    """Draw the cover of an item: RGB, 96 x 128 pixels.

    Args:
        style: Shares of the styles, float32 [kinds].
        kinds: Names of the styles, keys of `PALETTES`.
        seed: The seed of the catalogue.
        item: The item; each has its own random numbers.
    """
    generator = numpy_generator(seed, "demo", "cover", item)
    width, height = WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING
    main, second = np.argsort(-style, kind="stable")[:2]
    cover = _paint(kinds[main], generator, width, height)
    panel = round(float(style[second]) * height)
    if panel >= 4 * OVERSAMPLING:
        part = _paint(kinds[second], generator, width, height).crop((0, height - panel, width, height))
        top = 0 if generator.random() < 0.3 else height - panel
        cover.paste(part, (0, top))
        edge = panel if top == 0 else top
        ImageDraw.Draw(cover).rectangle((0, edge - 2, width, edge + 1), fill=(250, 248, 242))
    return cover.reduce(OVERSAMPLING)


def _paint(style: str, generator: np.random.Generator, width: int, height: int) -> Image.Image:
    palettes = PALETTES[style]
    palette = [_colour(code) for code in palettes[int(generator.integers(len(palettes)))].split()]
    hue, light = generator.normal(0, 0.012), generator.normal(1, 0.04)
    shifted = [_shift(colour, hue, light) for colour in palette]
    return PAINTERS[style](generator, shifted, width, height)


# --- styles ---------------------------------------------------------------------------------------------------------


def _sunrise(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """A low sun behind bands of haze, on a smooth gradient."""
    ground, orange, red, plum, sun = palette
    cover = _gradient(ground, orange, width, height)
    draw = ImageDraw.Draw(cover)
    horizon = generator.uniform(0.5, 0.72) * height
    radius = generator.uniform(0.18, 0.34) * width
    x = generator.uniform(0.3, 0.7) * width
    for grow, blend in ((1.5, 0.25), (1.22, 0.5), (1.0, 1.0)):
        _disc(draw, x, horizon, radius * grow, _mix(_mix(ground, orange, 0.5), sun, blend))
    bands = int(generator.integers(4, 7))
    for index in range(bands):
        top = horizon + (height - horizon) * index / bands
        colour = _mix(red, plum, index / (bands - 1))
        _hill(draw, generator, top, 0.015 * height, colour, width, height)
    return cover


def _geometry(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Flat discs, quarter discs, bars and triangles in primary colours on paper, on a grid."""
    ground, *colours = palette
    cover = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(cover)
    columns = int(generator.integers(2, 4))
    cell = width / columns
    for row in range(int(np.ceil(height / cell))):
        for column in range(columns):
            x, y = column * cell, row * cell
            colour = colours[int(generator.integers(len(colours)))]
            match int(generator.integers(6)):
                case 0:
                    _disc(draw, x + cell / 2, y + cell / 2, cell * 0.42, colour)
                case 1:
                    corner = generator.integers(2, size=2) * cell
                    box = (x + corner[0] - cell, y + corner[1] - cell, x + corner[0] + cell, y + corner[1] + cell)
                    start = {(0, 0): 0, (1, 0): 90, (1, 1): 180, (0, 1): 270}[int(corner[0] > 0), int(corner[1] > 0)]
                    draw.pieslice(box, start, start + 90, fill=colour)
                case 2:
                    draw.polygon([(x, y + cell), (x + cell, y + cell), (x + cell * generator.random(), y)], fill=colour)
                case 3:
                    for bar in range(3):
                        left = x + cell * (bar * 2 + 0.5) / 6
                        draw.rectangle((left, y, left + cell / 6, y + cell), fill=colour)
                case 4:
                    draw.rectangle((x, y, x + cell, y + cell), fill=colour)
                case _:
                    pass  # an empty cell: the paper shows
    return cover


def _nocturne(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """A dark gradient, specks of light, one crescent and thin arcs."""
    ground, middle, low, light, pale = palette
    cover = _gradient(ground, low, width, height)
    draw = ImageDraw.Draw(cover)
    for x, y, size in generator.random((int(generator.integers(40, 90)), 3)):
        _disc(draw, x * width, y * height, 0.6 + 1.6 * size**4, _mix(pale, light, size))
    centre_x, centre_y = generator.uniform(-0.1, 1.1) * width, generator.uniform(0.9, 1.3) * height
    for ring in range(int(generator.integers(3, 6))):
        radius = (0.35 + 0.14 * ring) * height
        box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
        draw.arc(box, 180, 360, fill=_mix(middle, pale, 0.5), width=2)
    x, y = generator.uniform(0.25, 0.75) * width, generator.uniform(0.18, 0.42) * height
    radius = generator.uniform(0.12, 0.2) * width
    crescent = Image.new("L", (width, height), 0)
    mask = ImageDraw.Draw(crescent)
    _disc(mask, x, y, radius, 255)
    _disc(mask, x + radius * generator.uniform(0.35, 0.7), y - radius * 0.15, radius * 0.92, 0)
    cover.paste(light, (0, 0), crescent)
    return cover


def _meadow(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Rolling layers from pale to deep green, dotted with small flowers."""
    sky, *greens, flower = palette
    cover = _gradient(_mix(sky, (255, 255, 255), 0.3), sky, width, height)
    draw = ImageDraw.Draw(cover)
    layers = int(generator.integers(4, 7))
    for index in range(layers):
        depth = index / (layers - 1)
        colour = _mix(greens[0], greens[1], depth * 2) if depth < 0.5 else _mix(greens[1], greens[2], depth * 2 - 1)
        top = height * (0.28 + 0.6 * depth) + generator.normal(0, 0.02) * height
        _hill(draw, generator, top, 0.06 * height, colour, width, height)
    for x, y in generator.random((int(generator.integers(8, 22)), 2)):
        _disc(draw, x * width, height * (0.6 + 0.4 * y), 1.5 + 2.5 * y, flower if x < 0.7 else (255, 255, 255))
    return cover


def _graphite(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Grey planes with diagonal hatching and the grain of a pencil."""
    ground, *greys = palette
    cover = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(cover)
    slope = generator.choice((-1.0, 1.0)) * generator.uniform(0.5, 1.1)
    for _ in range(int(generator.integers(3, 5))):
        grey = greys[int(generator.integers(len(greys)))]
        left, top = generator.uniform(-0.2, 0.7) * width, generator.uniform(-0.1, 0.7) * height
        right, bottom = left + generator.uniform(0.4, 0.8) * width, top + generator.uniform(0.25, 0.6) * height
        if generator.random() < 0.4:
            draw.rectangle((left, top, right, bottom), fill=grey)
            continue
        step = float(generator.uniform(5, 9))
        for x in np.arange(left - height, right + height, step):
            line = ((x, top), (x + slope * (bottom - top), bottom))
            clipped = _clip(line, left, right)
            if clipped:
                draw.line(clipped, fill=grey, width=int(generator.integers(1, 4)))
    return _grain(cover, generator, 9)


def _neon(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Glowing lines on near-black: a receding grid and outlined shapes."""
    ground, pink, cyan, violet, yellow = palette
    cover = _gradient(ground, _mix(ground, violet, 0.45), width, height)
    draw = ImageDraw.Draw(cover)
    horizon = generator.uniform(0.55, 0.75) * height
    vanish = generator.uniform(0.3, 0.7) * width
    grid = pink if generator.random() < 0.5 else cyan
    for x in np.linspace(-2 * width, 3 * width, 21):
        draw.line(((vanish, horizon), (x, height * 1.05)), fill=_mix(ground, grid, 0.65), width=2)
    for depth in np.linspace(0, 1, 7) ** 2:
        y = horizon + depth * (height - horizon)
        draw.line(((0, y), (width, y)), fill=_mix(ground, grid, 0.65), width=2)
    draw.rectangle((0, horizon - 2, width, horizon + 1), fill=grid)
    for _ in range(int(generator.integers(2, 4))):
        colour = (pink, cyan, yellow)[int(generator.integers(3))]
        x, y = generator.uniform(0.15, 0.85) * width, generator.uniform(0.12, 0.5) * height
        radius, corners = generator.uniform(0.1, 0.24) * width, int(generator.choice((3, 4, 6, 40)))
        turn = generator.uniform(0, 360)
        for line, strength in ((9, 0.25), (5, 0.55), (2, 1.0)):  # the glow: wide and dim first
            outline = _mix(ground, colour, strength)
            draw.regular_polygon((x, y, radius), corners, rotation=turn, outline=outline, width=line)
    return cover


def _pastel(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Large soft bubbles that overlap and let each other through."""
    ground, *colours = palette
    cover = Image.new("RGB", (width, height), ground)
    for _ in range(int(generator.integers(7, 13))):
        layer = Image.new("L", (width, height), 0)
        x, y = generator.uniform(0, 1) * width, generator.uniform(0, 1) * height
        _disc(ImageDraw.Draw(layer), x, y, generator.uniform(0.12, 0.4) * width, int(generator.uniform(140, 220)))
        cover.paste(colours[int(generator.integers(len(colours)))], (0, 0), layer)
    return cover


def _terracotta(generator: np.random.Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """Nested arches in clay colours on plaster, with its grain."""
    ground, *colours = palette
    cover = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(cover)
    for _ in range(int(generator.integers(2, 4))):
        x, base = generator.uniform(0.1, 0.9) * width, generator.uniform(0.6, 1.05) * height
        outer = generator.uniform(0.22, 0.45) * width
        rise = generator.uniform(0.15, 0.35) * height
        rings = int(generator.integers(3, 6))
        first = int(generator.integers(len(colours)))
        for ring in range(rings):
            radius = outer * (1 - ring / rings)
            colour = colours[(first + ring) % len(colours)] if ring % 2 == 0 else ground
            _disc(draw, x, base - rise, radius, colour)
            draw.rectangle((x - radius, base - rise, x + radius, base), fill=colour)
    return _grain(cover, generator, 6)


PAINTERS: dict[str, Painter] = {
    "sunrise": _sunrise,
    "geometry": _geometry,
    "nocturne": _nocturne,
    "meadow": _meadow,
    "graphite": _graphite,
    "neon": _neon,
    "pastel": _pastel,
    "terracotta": _terracotta,
}


# --- shapes and colours ---------------------------------------------------------------------------------------------


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Colour | int) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _hill(
    draw: ImageDraw.ImageDraw,
    generator: np.random.Generator,
    top: float,
    swing: float,
    fill: Colour,
    width: int,
    height: int,
) -> None:
    """Fill everything below a wavy line around `top`."""
    x = np.linspace(0, width, 33)
    phase, waves = generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 1.6)
    y = top + swing * np.sin(phase + waves * 2 * np.pi * x / width)
    draw.polygon([(0, height), *zip(x.tolist(), y.tolist(), strict=True), (width, height)], fill=fill)


def _clip(
    line: tuple[tuple[float, float], tuple[float, float]], left: float, right: float
) -> list[tuple[float, float]] | None:
    """Return the part of a slanted line between two verticals, or None."""
    (x1, y1), (x2, y2) = line
    shares = sorted(((left - x1) / (x2 - x1), (right - x1) / (x2 - x1)))
    start, end = max(shares[0], 0.0), min(shares[1], 1.0)
    if start >= end:
        return None
    return [(x1 + share * (x2 - x1), y1 + share * (y2 - y1)) for share in (start, end)]


def _gradient(top: Colour, bottom: Colour, width: int, height: int) -> Image.Image:
    ramp = np.linspace(0, 1, height)[:, None]
    column = (1 - ramp) * np.array(top) + ramp * np.array(bottom)  # [height, 3]
    return Image.fromarray(np.repeat(np.rint(column)[:, None], width, axis=1).astype(np.uint8))


def _grain(cover: Image.Image, generator: np.random.Generator, strength: float) -> Image.Image:
    noise = generator.normal(0, strength, size=(cover.height, cover.width, 1))
    return Image.fromarray(np.clip(np.rint(np.asarray(cover) + noise), 0, 255).astype(np.uint8))


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour at `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * float(share)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _colour(code: str) -> Colour:
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)


def _shift(colour: Colour, hue: float, light: float) -> Colour:
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    red, green, blue = colorsys.hsv_to_rgb((h + float(hue)) % 1, s, min(v * float(light), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)
