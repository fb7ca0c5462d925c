"""
Noise taken out of a picture before it is coded, in plain numpy: what `cleaning` must equal.

    noisy --average with what is moved here from the last average--> average, gains
    average --shrink in windows that overlap--> what is coded

The first step is a running mean along the motion (a Kalman filter of one number for each 8x8):
of what is new in a picture the part that noise explains is left out, and the gain says how much of
the noise is still in the mean. The second one is sliding window transform shrinkage (Yu and
Sapiro, IPOL 1, 2011), against what is left: a hard threshold, and with its outcome as pilot once
more by Wiener's shares, as in BM3D's second step (Dabov et al., IEEE TIP 16(8), 2007). Averages
never lean on what was shrunk, so that a threshold's mistakes are not carried on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import FINE, INTRA, QUARTERS
from rtcodec.motion.transform import DCT

GAINS = 2 * QUARTERS
"Of a block: luma's by quarter, then chroma's by quarter."

WHOLE_GAIN = 256
"The gain of a picture that nothing was averaged into."

LEAST_GAIN = 10
"So that what changes slowly is followed."

FADE = 8
"What moved is a little worse than it was."

MARGIN = 1.1
"Squares that noise may come to by chance, to those that it comes to on average."

COARSE = 13
"Sixteenths that a difference over two by two samples counts: what moved has more of those."

_WINDOW = 64  # samples of what is compared


@dataclass(frozen=True, slots=True)
class Windows:
    """Where transforms of 8x8 lie."""

    down: int
    "Rows from one row of them to the next: a divisor of 8."

    across: int
    "Columns from one to the next: even, up to 8; every other row lies half of that further right."

    threshold: float = 2.7
    "Standard deviations that a coefficient must stand out by."

    def __post_init__(self) -> None:
        """Refuse windows that leave samples out."""
        if self.down not in (1, 2, 4) or self.across not in (2, 4, 6, 8):
            raise ValueError(f"windows every {self.down} rows and {self.across} columns")


def noise_sums(noise: Sequence[float]) -> list[int]:
    """Squares that 64 differences of noise come to, in `Fine` steps, by plane."""
    return [round(MARGIN * _WINDOW * (FINE * min(sigma, 64.0)) ** 2) for sigma in noise]


def average(
    wanted: NDArray[np.uint8],
    blocks: NDArray[np.uint16],
    vectors: NDArray[np.int16],
    intra: NDArray[np.uint8],
    before: NDArray[np.uint16],
    noise: Sequence[float],
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """
    Average a picture with its prediction, by quarters of a block.

    Args:
        wanted: The noisy picture, uint8 [h16, w16, 384].
        blocks: Its prediction from the last average, uint16 [h16, w16, 384].
        vectors: That it was predicted with, [h16, w16, 4, 2].
        intra: [h16, w16], `INTRA` where there is no prediction.
        before: Gains of the last average, [h16, w16, 8].
        noise: Standard deviations of Y, U and V, in sample values.

    Returns:
        The average, and its gains: the variance of what noise is left, in 1/256 of the noise's.
    """
    sums = noise_sums(noise)
    out, gains = blocks.copy(), np.empty_like(before)
    for row, column in np.ndindex(*intra.shape):
        place = row, column
        differences = FINE * wanted[place].astype(np.int64) - blocks[place]
        colors = [
            _gain(differences[start : start + 64].reshape(8, 8), least)
            for start, least in zip((256, 320), sums[1:], strict=True)
        ]
        for k in range(QUARTERS):
            i, j = divmod(k, 2)
            luma_gain = chroma_gain = WHOLE_GAIN
            if not intra[place] & INTRA:
                was = _gains_before(before, (2 * row + i, 2 * column + j), vectors[place][k])
                own = _gain(_quarter(differences[:256], i, j), sums[0])
                luma_gain = max(own, _next_gain(was[0]), LEAST_GAIN)
                chroma_gain = max(own, *colors, _next_gain(was[1]), LEAST_GAIN)
            gains[place][[k, QUARTERS + k]] = luma_gain, chroma_gain
            by_plane = ((0, 256, luma_gain), (256, 320, chroma_gain), (320, 384, chroma_gain))
            for start, end, gain in by_plane:
                step = (gain * _quarter(differences[start:end], i, j) + 128) >> 8
                _quarter(out[place][start:end], i, j)[...] += step.astype(np.uint16)
    return out, gains


def shrink(
    plane: NDArray[np.float64],
    pilot: NDArray[np.float64] | None,
    gains: NDArray[np.uint16],
    noise: float | NDArray[np.float64],
    windows: Windows,
) -> NDArray[np.float64]:
    """
    Return a plane without what does not stand out of its noise.

    Args:
        plane: The noisy one, [H, W], H and W multiples of 8; beyond its edges they go on.
        pilot: A first estimate of it, if there is one.
        gains: How much of the noise is left in parts of a quarter of a block, [2 h16, 2 w16].
        noise: Standard deviation, of each coefficient of a window [8, 8] or of all of them.
        windows: Where the transforms lie.
    """
    height, width = plane.shape
    side = height // len(gains)
    basis = DCT / 4096
    padded = np.pad(plane, 8, "edge")
    guide = None if pilot is None else np.pad(pilot, 8, "edge")
    total, weight = np.zeros((2, height + 16, width + 16))
    for y in range(windows.down - 8, height, windows.down):
        shift = windows.across // 2 if abs(y) // windows.down & 1 else 0
        for x in range(shift - 8, width, windows.across):
            at = slice(y + 8, y + 16), slice(x + 8, x + 16)
            rows, columns = (
                np.clip([(k + 3) // side, (k + 4) // side], 0, most - 1)
                for k, most in ((y, gains.shape[0]), (x, gains.shape[1]))
            )
            deviation = noise * np.sqrt(gains[np.ix_(rows, columns)].max() / WHOLE_GAIN)
            c = basis @ padded[at] @ basis.T
            if guide is None:
                shares = (np.abs(c) > windows.threshold * deviation).astype(np.float64)
            else:
                power = np.square(basis @ guide[at] @ basis.T)
                shares = power / (power + deviation**2)
            shares[0, 0] = 1
            worth = 1 / np.square(shares).sum()
            total[at] += worth * (basis.T @ (shares * c) @ basis)
            weight[at] += worth
    inner = slice(8, 8 + height), slice(8, 8 + width)
    return np.asarray(total[inner] / weight[inner], np.float64)


def _quarter(block: NDArray[np.generic], i: int, j: int) -> NDArray[Any]:
    """A view of one quarter of a plane's part of a block, [side / 2, side / 2]."""
    side = math.isqrt(block.size)
    half = side // 2
    square = block.reshape(side, side)
    return square[i * half : (i + 1) * half, j * half : (j + 1) * half]


def _gain(differences: NDArray[np.int64], noise_sum: int) -> int:
    """What of 8x8 differences is no noise, in 1/256."""
    coarse = differences.reshape(4, 2, 4, 2).sum((1, 3))
    total = max(int(np.square(differences).sum()), int(np.square(coarse).sum()) * COARSE // 16)
    return WHOLE_GAIN - WHOLE_GAIN * noise_sum // total if total > noise_sum else 0


def _next_gain(before: int) -> int:
    """The gain of a running mean, one picture on."""
    faded = before + FADE
    return faded * WHOLE_GAIN // (faded + WHOLE_GAIN)


def _gains_before(
    before: NDArray[np.uint16], place: tuple[int, int], vector: NDArray[np.int16]
) -> tuple[int, int]:
    """The gains of luma and chroma where a quarter came from, by its place among quarters."""
    rows, columns = before.shape[:2]
    row = min(max(place[0] + (int(vector[1]) + 16 >> 5), 0), 2 * rows - 1)
    column = min(max(place[1] + (int(vector[0]) + 16 >> 5), 0), 2 * columns - 1)
    of_block = before[row // 2, column // 2]
    k = 2 * (row % 2) + column % 2
    return int(of_block[k]), int(of_block[QUARTERS + k])
