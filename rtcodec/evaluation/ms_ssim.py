"""
MS-SSIM: structural similarity at five scales, of luma.

Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality
assessment", Asilomar 2003, with the constants of their program: a Gaussian
window of 11 samples and sigma 1.5 where it fits whole, 2x2 means between
scales (an odd edge repeated), K1 0.01, K2 0.03, each scale averaged before the
product. In sums and differences of the two planes, s = x + y and d = x - y:

    contrast and structure   (var s - var d + 2 C2) / (var s + var d + 2 C2)
    luminance                (s^2 - d^2 + 2 C1) / (s^2 + d^2 + 2 C1), of means

so four maps are blurred and not five, and both halve from scale to scale.
Numpy only: no clock, no files.
"""

import math

import numpy as np
from numpy.typing import NDArray

from rtcodec.quality import LOSSLESS_DB, PEAK

Float = NDArray[np.float32]

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"Exponents from the finest scale to the coarsest; table 1 of the paper."

LEAST_SIDE_PX = 161
"Smallest width and height whose coarsest scale still holds the window."

_SIGMA = 1.5
_MARGIN = 5  # samples on each side of the window's centre
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_STRIP_ROWS = 32  # so that a strip of four maps stays in the cache


def ms_ssim(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """
    Compare two planes.

    Args:
        reference: uint8 [H, W], neither side below `LEAST_SIDE_PX`.
        decoded: The same shape.

    Returns:
        0 (nothing in common) to 1 (identical).

    Raises:
        ValueError: If the shapes differ or are too small.
    """
    if reference.shape != decoded.shape or min(reference.shape) < LEAST_SIDE_PX:
        raise ValueError(f"planes {reference.shape} and {decoded.shape} have no MS-SSIM")
    x, y = reference.astype(np.float32), decoded.astype(np.float32)
    # centred, so that squares lose nothing in float32
    total, difference = x + y - np.float32(PEAK), x - y
    product: float = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        last = scale == len(SCALE_WEIGHTS) - 1
        similarity = _similarity(total, difference, with_luminance=last)
        product *= math.pow(max(0.0, similarity), weight)
        if not last:
            total, difference = _halved(total), _halved(difference)
    return product


def ssim(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """
    Compare two planes at their own scale alone; else as `ms_ssim`.

    Raises:
        ValueError: If the shapes differ, or a side is below the window's 11 samples.
    """
    if reference.shape != decoded.shape or min(reference.shape) <= 2 * _MARGIN:
        raise ValueError(f"planes {reference.shape} and {decoded.shape} have no SSIM")
    x, y = reference.astype(np.float32), decoded.astype(np.float32)
    return _similarity(x + y - np.float32(PEAK), x - y, with_luminance=True)


def ms_ssim_db(value: float) -> float:
    """Return -10 log10(1 - MS-SSIM), where differences near 1 are visible; at most 100."""
    if value >= 1.0:
        return LOSSLESS_DB
    return min(LOSSLESS_DB, -10.0 * math.log10(1.0 - value))


def _similarity(total: Float, difference: Float, *, with_luminance: bool) -> float:
    """Return one scale's mean of contrast and structure, times luminance if asked."""
    rows, columns = total.shape[0] - 2 * _MARGIN, total.shape[1] - 2 * _MARGIN
    summed = 0.0
    for top in range(0, rows, _STRIP_ROWS):
        strip = slice(top, min(rows, top + _STRIP_ROWS) + 2 * _MARGIN)
        s, d = total[strip], difference[strip]
        s, d, ss, dd = _blurred(np.stack([s, d, s * s, d * d]))
        var_s, var_d = ss - s * s, dd - d * d
        quotient = (var_s - var_d + 2 * _C2) / (var_s + var_d + 2 * _C2)
        if with_luminance:
            s2, d2 = np.square(s + PEAK), np.square(d)
            quotient *= (s2 - d2 + 2 * _C1) / (s2 + d2 + 2 * _C1)
        summed += float(quotient.sum(dtype=np.float64))
    n_places: int = rows * columns
    return summed / n_places


def _window() -> list[np.float32]:
    """Return the first half of the window and its centre; the whole sums to 1."""
    half = np.exp(-(np.arange(-_MARGIN, 1) ** 2) / (2 * _SIGMA**2))
    return list((half / (2 * half.sum() - half[-1])).astype(np.float32))


def _blurred(maps: Float) -> Float:
    """Return float32 [4, R, W] under the window, [4, R - 10, W - 10]."""
    *sides, centre = _window()
    rows = maps.shape[1] - 2 * _MARGIN
    down = maps[:, _MARGIN : _MARGIN + rows] * centre
    for near, weight in enumerate(sides):
        far = 2 * _MARGIN - near
        down += (maps[:, near : near + rows] + maps[:, far : far + rows]) * weight
    columns = maps.shape[2] - 2 * _MARGIN
    across: Float = down[..., _MARGIN : _MARGIN + columns] * centre
    for near, weight in enumerate(sides):
        far = 2 * _MARGIN - near
        across += (down[..., near : near + columns] + down[..., far : far + columns]) * weight
    return across


def _halved(plane: Float) -> Float:
    """Return the means of 2x2 samples, an odd last row or column repeated."""
    rows, columns = plane.shape
    if rows % 2 or columns % 2:
        plane = np.pad(plane, ((0, rows % 2), (0, columns % 2)), mode="edge")
    pairs = plane[0::2] + plane[1::2]
    return (pairs[:, 0::2] + pairs[:, 1::2]) * np.float32(0.25)
