"""
How noisy a plane is, from its quietest places.

Of blocks of 8x8 the mean square of some coefficients of their transform is taken, and of all blocks
a low quantile, which textures and edges do not move (after Ponomarenko et al., IMAGE'07). What one
would expect of pure noise at that quantile is known. White noise is as strong at the highest
frequencies as anywhere, where pictures hardly reach. That of a sensor of one colour a pixel is not:
interpolation has smoothed it, and in one picture it looks like texture. But it is another one in
each picture, and texture is not. No state: smoothing in time is the caller's.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.transform import DCT

SIDE = 8
_DARKEST, _BRIGHTEST = 20, 235
"Mean of a block at least and at most: beyond, noise is cut off."

_LEAST_BLOCKS = 16

_LOW_QUANTILE, _LOW_SHARE = 0.02, 0.472
_LOW_BLOCKS = 100
_SPREAD_MOST = 1.3
"""The level by the quantile that counts, to that by a lower one: at most 1.1 of pictures under
noise, 1.5 where all places that can be looked at are text, and the quiet ones too bright."""


def _frequencies(least: int, most: int) -> NDArray[np.float32]:
    """Basis of the transform [64, K] where both frequencies, 0 to 7, sum up to as much."""
    basis = DCT.astype(np.float32) / 4096
    sides = range(SIDE)
    pairs = [(v, h) for v in sides for h in sides if least <= v + h <= most]
    return np.stack([np.outer(basis[v], basis[h]).ravel() for v, h in pairs], 1)


_HIGH, _HIGH_QUANTILE = _frequencies(9, 14), 0.15
_MIDDLE, MIDDLE_QUANTILE = _frequencies(3, 6), 0.06

_HIGH_SHARE, MIDDLE_SHARE = 0.6876, 0.5794
"""Those quantiles of the mean of K squares of noise, to their expectation: of chi squared, 21 and
22 degrees."""


def noise_level(plane: NDArray[np.uint8], *, most_blocks: int = 640) -> float:
    """
    Return the standard deviation of a plane's white noise; 0 where little can be said.

    So it is where even quiet places have much more than the quietest.

    From 3 to 25 it is told within a tenth on photographs, within a fifth on what is texture all
    over (docs/denoise.md). What a codec or a scaler has smoothed reads lower than it looks.

    Args:
        plane: uint8 [H, W].
        most_blocks: Blocks of 8x8 that are looked at, spread over the plane.
    """
    samples = samples_of(plane, most_blocks)
    usable = samples[usable_blocks(samples)]
    energies = np.square(usable @ _HIGH).mean(1)
    level = _level(energies, _HIGH_QUANTILE, _HIGH_SHARE)
    if len(energies) < _LOW_BLOCKS:
        return level
    is_noise = level < _SPREAD_MOST * _level(energies, _LOW_QUANTILE, _LOW_SHARE)
    return level if is_noise else 0.0


def changing_level(
    plane: NDArray[np.uint8], other: NDArray[np.uint8], *, most_blocks: int = 640
) -> float:
    """
    Return the standard deviation of noise, smoothed or white, that another picture has otherwise.

    The less of what a plane's quiet places have and what those that hardly differ from the other
    one have: what moves differs, too, so *other* is best a prediction.

    Args:
        plane: uint8 [H, W].
        other: Of another picture, or predicted from it, [H, W].
        most_blocks: As for `noise_level`.
    """
    samples, others = samples_of(plane, most_blocks), samples_of(other, most_blocks)
    is_usable = usable_blocks(samples)
    usable = samples[is_usable]
    own = middle_energies(usable)
    between = middle_energies(usable - others[is_usable]) / 2
    return min(_level(each, MIDDLE_QUANTILE, MIDDLE_SHARE) for each in (own, between))


def middle_energies(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean square of the middle frequencies of blocks [N, 64]."""
    return np.asarray(np.square(samples @ _MIDDLE).mean(1), np.float32)


def samples_of(plane: NDArray[np.uint8], most_blocks: int) -> NDArray[np.float32]:
    """Return blocks of a plane, spread over it, [N, 64]."""
    rows, columns = plane.shape[0] // SIDE, plane.shape[1] // SIDE
    cut = plane[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE)
    # an odd stride: rows of most pictures have an even number of blocks
    places = np.arange(0, rows * columns, max(1, rows * columns // most_blocks) | 1)
    blocks = cut[places // max(columns, 1), :, places % max(columns, 1)]
    return blocks.reshape(len(places), SIDE * SIDE).astype(np.float32)


def usable_blocks(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say of blocks [N, 64] which are neither so dark nor so bright that noise is cut off."""
    means = samples.mean(1)
    return np.asarray((means > _DARKEST) & (means < _BRIGHTEST))


def _level(energies: NDArray[np.floating], quantile: float, share: float) -> float:
    if len(energies) < _LEAST_BLOCKS:
        return 0.0
    place = int(quantile * len(energies))
    return float(np.sqrt(np.partition(energies, place)[place] / share))
