"""Signals of single frames: sharpness, noise, exposure, compression, and a proxy of composition.

Sources: variance of the Laplacian (Pech-Pacheco et al. 2000); noise by Immerkær's 3×3 mask ("Fast Noise Variance
Estimation", 1996); colourfulness by Hasler and Süsstrunk ("Measuring colourfulness in natural images", 2003); saliency
by the spectral residual (Hou and Zhang 2007). Brightness runs from 0 to 255 where nothing else is said. A signal that
a frame gives no occasion to measure is NaN.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sensorium.judging.metric.looking import inner_part
from sensorium.media.video import Pixels

Grey = npt.NDArray[np.float32]

BLOCK = 16
FLAT_SHARE = 0.25
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


def measure_picture(rgb: Pixels) -> dict[str, float]:
    """Return the signals of one frame, uint8 [height, width, 3], at the size at which signals are measured."""
    rows, columns = inner_part(*rgb.shape[:2])
    inner = np.ascontiguousarray(rgb[rows, columns])
    grey = grey_of(inner)
    return {**_sharpness(grey), "noise": _noise(grey), **_exposure(inner, grey), **_composition(inner, grey)}


def grey_of(rgb: Pixels) -> Grey:
    """Return the brightness of a frame, float32 [height, width], 0 to 255."""
    grey: Any = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, dtype=np.float32)


def _sharpness(grey: Grey) -> dict[str, float]:
    """Return how much fine detail there is, and how steep the strongest edges are."""
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    steep = _gradient(grey)
    blurred = _gradient(cv2.GaussianBlur(grey, (0, 0), 1.5))
    strongest = steep >= np.quantile(steep, 0.95)
    return {
        "detail": float(np.log(laplacian.var() + 1)),
        "edge_sharpness": float((steep[strongest] / (blurred[strongest] + 1)).mean()),
        "high_frequencies": float(np.log(_share_above_quarter(grey) + 1e-5)),
    }


def _gradient(grey: Any) -> Grey:
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down) / 8)


def _share_above_quarter(grey: Grey) -> float:
    """Return the share of spectral energy above a quarter of the sampling frequency."""
    height, width = grey.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.square(np.abs(np.fft.rfft2((grey - grey.mean()) * window)))
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    return float(power[np.hypot(down, across) > 0.25].sum() / (power.sum() + 1e-9))


def _noise(grey: Grey) -> float:
    """Return the log of the noise level in flat blocks, where it is not texture."""
    blocks = flat_blocks(grey)
    if not blocks.any():
        return float("nan")
    response = np.abs(cv2.filter2D(grey, cv2.CV_32F, _IMMERKAER))
    level = np.sqrt(np.pi / 2) / 6 * block_means(response)[blocks].mean()
    return float(np.log(level + 0.1))


def flat_blocks(grey: Grey) -> npt.NDArray[np.bool_]:
    """Return which blocks of 16×16 are the flattest quarter of those that are not saturated: bool [rows, columns].

    Flat is what has little gradient after a blur, so that noise itself does not make a block look structured.
    """
    steep = block_means(_gradient(cv2.GaussianBlur(grey, (0, 0), 2.0)))
    saturated = block_means(((grey < 5) | (grey > 250)).astype(np.float32)) > 0.1
    usable = ~saturated
    if not usable.any():
        return usable
    return np.asarray(usable & (steep <= np.quantile(steep[usable], FLAT_SHARE)))


def block_means(values: Grey) -> Grey:
    """Return the mean of each whole block of 16×16: float32 [rows, columns]."""
    rows, columns = values.shape[0] // BLOCK, values.shape[1] // BLOCK
    whole = values[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return np.asarray(whole.mean(axis=(1, 3)))


def _exposure(rgb: Pixels, grey: Grey) -> dict[str, float]:
    """Return the share of pixels at the end of the scale, by their strongest channel, and brightness and contrast."""
    strongest = rgb.max(axis=2)
    scaled = grey / 255
    return {
        "clipped": float(((strongest < 0.02 * 255) | (strongest > 0.98 * 255)).mean()),
        "brightness": float(scaled.mean()),
        "contrast": float(scaled.std()),
    }


def blockiness(rgb: Pixels) -> float:
    """Return the log ratio of steps across the borders of 8×8 blocks to steps elsewhere, at the file's own size.

    Encoders' blocks start at the corner of the picture; after resizing they are gone.
    """
    grey = grey_of(rgb)
    if min(grey.shape) < 24:
        return float("nan")
    ratios = []
    for steps in (np.abs(np.diff(grey, axis=1)).mean(axis=0), np.abs(np.diff(grey, axis=0)).mean(axis=1)):
        border = np.arange(len(steps)) % 8 == 7
        ratios.append(np.log((steps[border].mean() + 0.1) / (steps[~border].mean() + 0.1)))
    return float(np.mean(ratios))


def _composition(rgb: Pixels, grey: Grey) -> dict[str, float]:
    """Return colourfulness, entropy of brightness, and how far what is salient lies at the centre or the thirds."""
    red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
    first, second = red - green, (red + green) / 2 - blue
    colourful = np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean())
    counts = np.bincount((grey / 4).astype(np.int64).ravel(), minlength=64)
    share = counts[counts > 0] / counts.sum()
    return {
        "colourfulness": float(colourful),
        "entropy": float(-(share * np.log2(share)).sum()),
        "balance": _balance(grey),
    }


def _balance(grey: Grey) -> float:
    """Return the mean saliency near the centre and the four points of the thirds, relative to the whole frame."""
    small = np.asarray(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA))
    spectrum = np.fft.fft2(small)
    logarithm = np.log(np.abs(spectrum) + 1e-3).astype(np.float32)
    residual = logarithm - cv2.blur(logarithm, (3, 3), borderType=cv2.BORDER_REFLECT)
    back = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))
    salient = cv2.GaussianBlur(np.square(np.abs(back)).astype(np.float32), (0, 0), 2.5)
    return float((salient * _FOCUS).sum() / (salient.sum() * _FOCUS.mean() + 1e-9))


def _focus() -> Grey:
    """Return weights around the centre and the points of the thirds: float32 [64, 64]."""
    place = (np.arange(64) + 0.5) / 64
    weights = np.zeros((64, 64))
    for down, across in [(1 / 2, 1 / 2), *((a, b) for a in (1 / 3, 2 / 3) for b in (1 / 3, 2 / 3))]:
        distance = np.square(place - down)[:, None] + np.square(place - across)[None, :]
        weights = np.maximum(weights, np.exp(-distance / (2 * 0.08**2)))
    return weights.astype(np.float32)


_FOCUS = _focus()
