"""The blend of `base.py` and its gradient, compiled for a CPU by numba, in float32.

The picture is cut into tiles of 8 x 8 pixels; each tile walks the list of Gaussians whose ellipse meets it, nearest
first. What a pixel carries (light, colour, last Gaussian) lies in one small buffer per tile, 64 floats for each kind,
so that the inner loops run over neighbouring pixels without a branch and compile to vector instructions.

There are no atomics: a gradient goes to one row per entry of the lists, rows of one Gaussian lie side by side, and each
Gaussian adds its own up. So results have the same bits in every run, with any number of threads.

Kernels and what they call stand in one file, since numba's cache on disk looks at one file's date alone.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import numpy.typing as npt

from sensorium.lifting.rasterisers.compiling import FAST, compiled

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

SIDE = 8  # pixels along a tile
PIXELS = SIDE * SIDE
# A row of `packed`: mean x, y; A/2, B, C/2; opacity; colour (3); depth; 2 ln(255 o).
PACKED = 11
# A row of `gradients`: colour (3), depth, and the sums of h, h dx, h dy, h dx^2, h dx dy, h dy^2 with
# h = (dL/d alpha) (d alpha / d ln alpha): all other gradients are made of these six.
GRADIENTS = 10

ZERO, HALF, ONE, NONE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(-1)
MOST_ALPHA, LEAST_ALPHA, LEAST_LIGHT = np.float32(0.99), np.float32(1 / 255), np.float32(1e-4)
# Where alpha counts, sigma lies in [0, ln 255], so exp is needed there alone: exp(-sigma) = p(sigma / 8)^8, with the
# polynomial of degree 5 of least relative error. That of alpha is below 3e-6, rounding included.
FARTHEST, EIGHTH = np.float32(5.6), np.float32(0.125)
E0, E1, E2 = np.float32(0.9999999205167892), np.float32(-0.9999925393883358), np.float32(0.4998825877489295)
E3, E4, E5 = np.float32(-0.1659739761940957), np.float32(0.03977256213106439), np.float32(-0.005846760001556289)
_MARGIN = 0.02  # added to sigma's double limit: rounding of an ellipse never loses a pixel that the blend counts


# --- lists ----------------------------------------------------------------------------------------------------------


@compiled()
def _extent(along: float, mixed: float, across: float, limit: float, low: float, high: float) -> tuple[float, float]:
    """Return the least and largest u of the ellipse (along u^2 + 2 mixed u v + across v^2 <= limit) within
    low <= v <= high; the first is the larger where the ellipse does not come there."""
    determinant = along * across - mixed * mixed
    if determinant <= 0:
        return -np.inf, np.inf
    farthest = sqrt(limit * across / determinant)
    at = min(max(-mixed / across * farthest, low), high)  # v where u is largest, or as near as the strip allows
    under = along * limit - determinant * at * at
    if under < 0:
        return np.inf, -np.inf
    largest = (-mixed * at + sqrt(under)) / along
    at = min(max(mixed / across * farthest, low), high)
    under = along * limit - determinant * at * at
    if under < 0:
        return np.inf, -np.inf
    return (-mixed * at - sqrt(under)) / along, largest


@compiled()
def _strip(packed: F32, rank: int, tile_row: int, box: I32) -> tuple[int, int]:
    """Return the first and last tile of a row of tiles that a Gaussian's ellipse meets; last < first for none."""
    low = max(tile_row * SIDE, box[2]) + 0.5 - packed[rank, 1]
    high = min(tile_row * SIDE + SIDE - 1, box[3]) + 0.5 - packed[rank, 1]
    limit = float(packed[rank, 10]) + _MARGIN
    least, largest = _extent(2.0 * packed[rank, 2], float(packed[rank, 3]), 2.0 * packed[rank, 4], limit, low, high)
    if least > largest:
        return 0, -1
    # Pixels are compared, not edges: one that is sampled at its middle.
    first = max(box[0], np.ceil(max(packed[rank, 0] + least - 0.5, -1.0)))
    last = min(box[1], np.floor(min(packed[rank, 0] + largest - 0.5, 1e9)))
    if first > last:
        return 0, -1
    return int(first) // SIDE, int(last) // SIDE


@compiled()
def _rows(packed: F32, rank: int, tile_row: int, tile_column: int, box: I32) -> tuple[int, int]:
    """Return the first row of a tile that a Gaussian's ellipse meets, and the one after the last, both within 0..8."""
    low = max(tile_column * SIDE, box[0]) + 0.5 - packed[rank, 0]
    high = min(tile_column * SIDE + SIDE - 1, box[1]) + 0.5 - packed[rank, 0]
    limit = float(packed[rank, 10]) + _MARGIN
    least, largest = _extent(2.0 * packed[rank, 4], float(packed[rank, 3]), 2.0 * packed[rank, 2], limit, low, high)
    top, bottom = float(box[2]), float(box[3])
    if least > largest:
        return 0, 0
    top = max(top, np.ceil(max(packed[rank, 1] + least - 0.5, -1.0))) - tile_row * SIDE
    bottom = min(bottom, np.floor(min(packed[rank, 1] + largest - 0.5, 1e9))) + 1 - tile_row * SIDE
    return int(max(top, 0.0)), int(min(max(bottom, 0.0), float(SIDE)))


@compiled()
def pack(order: I64, means: F32, conics: F32, depths: F32, opacities: F32, colours: F32) -> F32:
    """Copy what the blend reads of each Gaussian side by side, in order of depth: float32 [M, PACKED]."""
    packed = np.empty((order.size, PACKED), np.float32)
    for rank in range(order.size):
        index = order[rank]
        packed[rank, 0], packed[rank, 1] = means[index, 0], means[index, 1]
        packed[rank, 2], packed[rank, 3] = HALF * conics[index, 0], conics[index, 1]
        packed[rank, 4], packed[rank, 5] = HALF * conics[index, 2], opacities[index]
        packed[rank, 6], packed[rank, 7], packed[rank, 8] = colours[index, 0], colours[index, 1], colours[index, 2]
        packed[rank, 9] = depths[index]
        packed[rank, 10] = np.float32(max(2 * log(255.0 * opacities[index]), 0.0))
    return packed


@compiled()
def count_tiles(order: I64, boxes: I32, packed: F32) -> I64:
    """Count the tiles that each Gaussian meets; return where its entries begin, int64 [M + 1]."""
    starts = np.zeros(order.size + 1, np.int64)
    for rank in range(order.size):
        box = boxes[order[rank]]
        found = 0
        for tile_row in range(box[2] // SIDE, box[3] // SIDE + 1):
            first, last = _strip(packed, rank, tile_row, box)
            found += last - first + 1
        starts[rank + 1] = found
    for rank in range(order.size):
        starts[rank + 1] += starts[rank]
    return starts


@compiled()
def list_tiles(order: I64, boxes: I32, packed: F32, starts: I64, columns: int, tiles: int) -> tuple[I64, I32, I32, I32]:
    """List the Gaussians of each tile, nearest first.

    Returns:
        Where each tile's list begins, int64 [tiles + 1]; and for each entry of the lists, int32 [n_isect]: the
        Gaussian's rank in depth; its place among the entries ordered by Gaussian; its pixels in the tile, as the first
        one plus 256 times the one after the last.
    """
    entries = starts[order.size]
    tile_of, span_of = np.empty(entries, np.int32), np.empty(entries, np.int32)
    for rank in range(order.size):
        box = boxes[order[rank]]
        place = starts[rank]
        for tile_row in range(box[2] // SIDE, box[3] // SIDE + 1):
            first, last = _strip(packed, rank, tile_row, box)
            for column in range(first, last + 1):
                top, bottom = _rows(packed, rank, tile_row, column, box)
                tile_of[place] = tile_row * columns + column
                span_of[place] = SIDE * top + 256 * SIDE * max(bottom, top)
                place += 1
    tile_starts = np.zeros(tiles + 1, np.int64)
    for place in range(entries):
        tile_starts[tile_of[place] + 1] += 1
    for tile in range(tiles):
        tile_starts[tile + 1] += tile_starts[tile]
    # A counting sort: Gaussians come in order of depth, so each tile's list is in that order too.
    cursor = tile_starts[:-1].copy()
    ranks, places, spans = np.empty(entries, np.int32), np.empty(entries, np.int32), np.empty(entries, np.int32)
    for rank in range(order.size):
        for place in range(starts[rank], starts[rank + 1]):
            entry = cursor[tile_of[place]]
            cursor[tile_of[place]] += 1
            ranks[entry], places[entry], spans[entry] = rank, place, span_of[place]
    return tile_starts, ranks, places, spans


# --- the blend ------------------------------------------------------------------------------------------------------


@compiled(nogil=True, fastmath=set(FAST))
def blend(
    first: int,
    end: int,
    tile_starts: I64,
    ranks: I32,
    spans: I32,
    packed: F32,
    columns: int,
    picture: F32,
    lights: F32,
    lasts: F32,
) -> None:
    """Draw some tiles. Calls for different tiles may run at the same time.

    Args:
        first: The first tile.
        end: The one after the last.
        tile_starts: As `list_tiles` gives them.
        ranks: "
        spans: "
        packed: As `pack` gives it.
        columns: Tiles along a row.
        picture: Filled: colour (3), depth, alpha, [H, W, 5].
        lights: Filled for the gradient: the light that is left at each pixel of each tile, [tiles, PIXELS].
        lasts: Filled for the gradient: the last entry of the tile's list that each pixel took, -1 for none. They are
            whole numbers in float32, exact up to 2^24, as vector instructions compare floats with floats.
    """
    height, width = picture.shape[0], picture.shape[1]
    for tile in range(first, end):
        buffer = np.empty(9 * PIXELS, np.float32)
        x, y = buffer[0:PIXELS], buffer[PIXELS : 2 * PIXELS]
        light, going = buffer[2 * PIXELS : 3 * PIXELS], buffer[3 * PIXELS : 4 * PIXELS]
        red, green = buffer[4 * PIXELS : 5 * PIXELS], buffer[5 * PIXELS : 6 * PIXELS]
        blue, depth = buffer[6 * PIXELS : 7 * PIXELS], buffer[7 * PIXELS : 8 * PIXELS]
        latest = buffer[8 * PIXELS : 9 * PIXELS]
        top, left = tile // columns * SIDE, tile % columns * SIDE
        for k in range(PIXELS):
            x[k], y[k] = np.float32(left + k % SIDE) + HALF, np.float32(top + k // SIDE) + HALF
            light[k], going[k], latest[k] = ONE, ONE, NONE
            red[k], green[k], blue[k], depth[k] = ZERO, ZERO, ZERO, ZERO
        begin = tile_starts[tile]
        for entry in range(begin, tile_starts[tile + 1]):
            if (entry - begin) % 16 == 15:
                alive = ZERO
                for k in range(PIXELS):
                    alive += going[k]
                if alive == ZERO:
                    break
            rank = np.uint64(ranks[entry])
            mean_x, mean_y, opacity = packed[rank, 0], packed[rank, 1], packed[rank, 5]
            a, b, c = packed[rank, 2], packed[rank, 3], packed[rank, 4]
            own_red, own_green, own_blue, own_depth = packed[rank, 6], packed[rank, 7], packed[rank, 8], packed[rank, 9]
            number = np.float32(entry - begin)
            for k in range(np.uint64(spans[entry] & 255), np.uint64(spans[entry] >> 8)):
                dx, dy = mean_x - x[k], mean_y - y[k]
                sigma = a * dx * dx + c * dy * dy + b * dx * dy
                s = EIGHTH * (sigma if sigma < FARTHEST else FARTHEST)
                p = E0 + s * (E1 + s * (E2 + s * (E3 + s * (E4 + s * E5))))
                p = p * p
                p = p * p
                alpha = opacity * (p * p)
                alpha = going[k] * (alpha if alpha < MOST_ALPHA else MOST_ALPHA)
                alpha = alpha if alpha >= LEAST_ALPHA else ZERO
                weight = light[k] * (alpha if sigma >= ZERO else ZERO)
                after = light[k] - weight
                # Products, here and below, where a choice would become a store under a mask, which is slow.
                go_on = ZERO if after < LEAST_LIGHT else ONE
                going[k] *= go_on
                weight *= go_on
                light[k] -= weight
                red[k] += weight * own_red
                green[k] += weight * own_green
                blue[k] += weight * own_blue
                depth[k] += weight * own_depth
                latest[k] += (number - latest[k]) * (ONE if weight > ZERO else ZERO)
        for k in range(PIXELS):
            lights[tile, k], lasts[tile, k] = light[k], latest[k]
            row, column = top + k // SIDE, left + k % SIDE
            if row < height and column < width:
                picture[row, column, 0], picture[row, column, 1], picture[row, column, 2] = red[k], green[k], blue[k]
                picture[row, column, 3], picture[row, column, 4] = depth[k], ONE - light[k]


# --- its gradient ---------------------------------------------------------------------------------------------------


@compiled(nogil=True, fastmath=set(FAST))
def blend_backward(
    first: int,
    end: int,
    tile_starts: I64,
    ranks: I32,
    places: I32,
    spans: I32,
    packed: F32,
    columns: int,
    lights: F32,
    lasts: F32,
    upstream: F32,
    gradients: F32,
) -> None:
    """Walk the lists of some tiles back to front. Calls for different tiles may run at the same time.

    For a pixel let u_i = c_i . v_colour + z_i v_depth and Q_i = sum over j > i of u_j alpha_j T_j, less T_end v_alpha.
    Then dL / d alpha_i = T_i u_i - Q_i / (1 - alpha_i), and T_i is found again as T_(i+1) / (1 - alpha_i).

    Args:
        first: The first tile.
        end: The one after the last.
        tile_starts: As `list_tiles` gives them.
        ranks: "
        places: "
        spans: "
        packed: As `pack` gives it.
        columns: Tiles along a row.
        lights: As `blend` filled it.
        lasts: "
        upstream: Gradient of the picture, [H, W, 5].
        gradients: Filled, [n_isect, GRADIENTS], in the order of `places`.
    """
    height, width = upstream.shape[0], upstream.shape[1]
    for tile in range(first, end):
        buffer = np.empty(9 * PIXELS, np.float32)
        x, y = buffer[0:PIXELS], buffer[PIXELS : 2 * PIXELS]
        light, latest = buffer[2 * PIXELS : 3 * PIXELS], buffer[3 * PIXELS : 4 * PIXELS]
        v_red, v_green = buffer[4 * PIXELS : 5 * PIXELS], buffer[5 * PIXELS : 6 * PIXELS]
        v_blue, v_depth = buffer[6 * PIXELS : 7 * PIXELS], buffer[7 * PIXELS : 8 * PIXELS]
        behind = buffer[8 * PIXELS : 9 * PIXELS]
        top, left = tile // columns * SIDE, tile % columns * SIDE
        farthest = NONE
        for k in range(PIXELS):
            row, column = top + k // SIDE, left + k % SIDE
            x[k], y[k] = np.float32(column) + HALF, np.float32(row) + HALF
            light[k], latest[k] = lights[tile, k], NONE
            v_red[k], v_green[k], v_blue[k], v_depth[k], behind[k] = ZERO, ZERO, ZERO, ZERO, ZERO
            if row < height and column < width:
                latest[k] = lasts[tile, k]
                v_red[k], v_green[k] = upstream[row, column, 0], upstream[row, column, 1]
                v_blue[k], v_depth[k] = upstream[row, column, 2], upstream[row, column, 3]
                behind[k] = -light[k] * upstream[row, column, 4]
                farthest = max(farthest, latest[k])
        begin, stop = tile_starts[tile], tile_starts[tile + 1]
        last = begin + int(farthest)
        for entry in range(last + 1, stop):  # nobody took these
            for j in range(GRADIENTS):
                gradients[places[entry], j] = ZERO
        for entry in range(last, begin - 1, -1):
            rank = np.uint64(ranks[entry])
            mean_x, mean_y, opacity = packed[rank, 0], packed[rank, 1], packed[rank, 5]
            a, b, c = packed[rank, 2], packed[rank, 3], packed[rank, 4]
            own_red, own_green, own_blue, own_depth = packed[rank, 6], packed[rank, 7], packed[rank, 8], packed[rank, 9]
            number = np.float32(entry - begin)
            g_red, g_green, g_blue, g_depth = ZERO, ZERO, ZERO, ZERO
            g, g_x, g_y, g_xx, g_xy, g_yy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
            for k in range(np.uint64(spans[entry] & 255), np.uint64(spans[entry] >> 8)):
                dx, dy = mean_x - x[k], mean_y - y[k]
                sigma = a * dx * dx + c * dy * dy + b * dx * dy
                s = EIGHTH * (sigma if sigma < FARTHEST else FARTHEST)
                p = E0 + s * (E1 + s * (E2 + s * (E3 + s * (E4 + s * E5))))
                p = p * p
                p = p * p
                free = opacity * (p * p)
                alpha = free if free < MOST_ALPHA else MOST_ALPHA
                alpha = alpha if alpha >= LEAST_ALPHA else ZERO
                alpha = alpha if sigma >= ZERO else ZERO
                alpha = alpha if number <= latest[k] else ZERO
                inverse = ONE / (ONE - alpha)
                light[k] *= inverse
                weight = alpha * light[k]
                seen = own_red * v_red[k] + own_green * v_green[k] + own_blue * v_blue[k] + own_depth * v_depth[k]
                h = free * (light[k] * seen - behind[k] * inverse)
                behind[k] += seen * weight
                h = h if alpha > ZERO else ZERO
                h = h if free <= MOST_ALPHA else ZERO  # under the cap alpha does not move
                g_red += weight * v_red[k]
                g_green += weight * v_green[k]
                g_blue += weight * v_blue[k]
                g_depth += weight * v_depth[k]
                h_x, h_y = h * dx, h * dy
                g += h
                g_x += h_x
                g_y += h_y
                g_xx += h_x * dx
                g_xy += h_x * dy
                g_yy += h_y * dy
            place = places[entry]
            gradients[place, 0], gradients[place, 1], gradients[place, 2] = g_red, g_green, g_blue
            gradients[place, 3], gradients[place, 4] = g_depth, g
            gradients[place, 5], gradients[place, 6] = g_x, g_y
            gradients[place, 7], gradients[place, 8], gradients[place, 9] = g_xx, g_xy, g_yy


@compiled()
def gather(
    order: I64,
    starts: I64,
    packed: F32,
    gradients: F32,
    means: F32,
    conics: F32,
    depths: F32,
    opacities: F32,
    colours: F32,
) -> None:
    """Add up each Gaussian's entries into the gradients of what `pack` read, rows of the cloud; the last five arguments
    are filled where a Gaussian was listed and keep what they hold elsewhere."""
    for rank in range(order.size):
        sums = np.zeros(GRADIENTS, np.float64)
        for place in range(starts[rank], starts[rank + 1]):
            for j in range(GRADIENTS):
                sums[j] += gradients[place, j]
        index = order[rank]
        colours[index, 0], colours[index, 1], colours[index, 2] = sums[0], sums[1], sums[2]
        depths[index], opacities[index] = sums[3], sums[4] / packed[rank, 5]
        a, b, c = 2 * packed[rank, 2], packed[rank, 3], 2 * packed[rank, 4]
        means[index, 0], means[index, 1] = -(a * sums[5] + b * sums[6]), -(b * sums[5] + c * sums[6])
        conics[index, 0], conics[index, 1], conics[index, 2] = -sums[7] / 2, -sums[8], -sums[9] / 2
