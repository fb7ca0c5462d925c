"""
What tiles cost in the entropy coder, without running it.

Dims: T tiles, Cz hyper channels, M latent channels, 16 = 4 x 4 positions of a tile.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.cdf import PROB_BITS, SCALE_COUNT, Z_MAX, EntropyTables

_ESCAPE_HEAD_BITS = 5.0  # spec: 4 bits of length, 1 of sign


class TileCosts:
    """Costs of symbols under one model's tables, ready to be looked up."""

    def __init__(self, tables: EntropyTables) -> None:
        self._radius = tables.radius
        self._z_bits = _bits(tables.z_cdf)  # [64, Cz, 31]
        y_bits = _bits(tables.y_cdf)  # [64, width]; entry radius + s of row i
        self._width = y_bits.shape[1]
        self._y_bits = y_bits.reshape(-1)

    def bits(
        self,
        z: NDArray[np.int8],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        qp: int,
    ) -> NDArray[np.float64]:
        """
        Return the bits of each tile, exact but for the rounding of the coder's states.

        Args:
            z: int8 [T, Cz].
            symbols: int16 [T, M, 16], 0 where the index is 0.
            indices: uint8 [T, M, 16], 0 to 63.
            qp: 0 to 63.

        Returns:
            float64 [T].
        """
        tiles, channels = z.shape
        z_bits: NDArray[np.float64] = self._z_bits[qp, np.arange(channels), z + Z_MAX].sum(
            axis=1, dtype=np.float64
        )
        coded = np.flatnonzero(indices)
        index = indices.reshape(-1)[coded]
        symbol = symbols.reshape(-1)[coded].astype(np.int32)
        radius = self._radius[index]
        excess = np.abs(symbol) - radius
        escaped = excess > 0
        place = np.where(escaped, 2 * radius + 1, symbol + radius)
        bits = self._y_bits[index * np.int32(self._width) + place]
        if escaped.any():
            bits[escaped] += _ESCAPE_HEAD_BITS + np.floor(np.log2(excess[escaped]))
        per_tile = indices[0].size if tiles else 1
        return z_bits + np.bincount(coded // per_tile, weights=bits, minlength=tiles)


def _bits(cdf: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the cost of each symbol of cumulative tables [..., A + 1]; 0 where there is none."""
    frequency = cdf[..., 1:].astype(np.int64) - cdf[..., :-1]
    used = np.maximum(frequency, 1)
    return np.where(frequency > 0, PROB_BITS - np.log2(used), 0.0).astype(np.float32)


assert SCALE_COUNT == 64  # rows of y_cdf, which `bits` indexes with uint8
