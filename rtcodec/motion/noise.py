"""
How noisy a plane is, from its quietest places.

Noise is as strong at the highest frequencies of a transform as anywhere, pictures hardly reach
there: of 8x8 blocks the mean square of those coefficients is taken, and of all blocks a low
quantile, which textures and edges do not move (after Ponomarenko et al., IMAGE'07). What one would
expect of pure noise at that quantile is known. No state: smoothing in time is the caller's.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.transform import DCT

_SIDE = 8
_FROM = 9  # sum of both frequencies, of 0 to 14
_QUANTILE = 0.15
_SHARE = 0.6876
"Quantile of the mean of 21 squares of noise, to their expectation: of chi squared, 21 degrees."

_DARKEST, _BRIGHTEST = 20, 235
"Mean of a block at least and at most: beyond, noise is cut off."

_LEAST_BLOCKS = 16


def _high_frequencies() -> NDArray[np.float32]:
    """The transform's basis, [64, 21]."""
    basis = DCT.astype(np.float32) / 4096
    pairs = [(v, h) for v in range(_SIDE) for h in range(_SIDE) if v + h >= _FROM]
    return np.stack([np.outer(basis[v], basis[h]).ravel() for v, h in pairs], 1)


_BASIS = _high_frequencies()


def noise_level(plane: NDArray[np.uint8], *, most_blocks: int = 640) -> float:
    """
    Return the standard deviation of a plane's noise, in sample values; 0 where little can be said.

    White noise of 3 to 25 is told within a tenth on photographs, within a fifth on what is texture
    all over (docs/denoise.md). What a codec or a scaler has smoothed reads lower than it looks.

    Args:
        plane: uint8 [H, W].
        most_blocks: Blocks of 8x8 that are looked at, spread over the plane.
    """
    rows, columns = plane.shape[0] // _SIDE, plane.shape[1] // _SIDE
    cut = plane[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE)
    # an odd stride: rows of most pictures have an even number of blocks
    places = np.arange(0, rows * columns, max(1, rows * columns // most_blocks) | 1)
    blocks = cut[places // max(columns, 1), :, places % max(columns, 1)]
    samples = blocks.reshape(len(places), _SIDE * _SIDE).astype(np.float32)
    means = samples.mean(1)
    usable = samples[(means > _DARKEST) & (means < _BRIGHTEST)]
    if len(usable) < _LEAST_BLOCKS:
        return 0.0
    energies = np.square(usable @ _BASIS).mean(1)
    place = int(_QUANTILE * len(energies))
    return float(np.sqrt(np.partition(energies, place)[place] / _SHARE))
