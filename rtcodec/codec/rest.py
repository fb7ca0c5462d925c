"""
Which tiles of a delta frame are better left as they are predicted.

A tile whose few symbols cost more bits than they mend is not coded: the encoder's own decision, by
rate-distortion as in any video encoder (Sullivan and Wiegand, IEEE SPM 15(6), 1998). What symbols
mend is estimated in the latents, through the energy that the linear path gives each of them.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.codec.cost import TileCosts
from rtcodec.entropy.native import gather_tiles
from rtcodec.entropy.tile import gather_hyper
from rtcodec.motion.search import nominal_step

SQUARES_PER_BIT = 1 / 8
"""Squared steps of error that a bit may save. Training weighs bits against error by 16 / step^2,
three quarters of it luma's, which gives 1 / 12; 1 / 8 measured a quarter of a per cent better."""

_LUMA, _CHROMA_WEIGHT = 256, 2 / 3  # samples of a block; 6:1:1 over planes of 4:1:1 samples


class RestDecision:
    """Says which tiles to leave out, for one model."""

    def __init__(self, delta: Bundle) -> None:
        """
        Args:
            delta: `Bundle.delta` of the model.
        """
        self._costs = TileCosts(delta.entropy_tables)
        channels, latents = delta.dims["C"], delta.dims["M"] - delta.dims["motion"]
        weights = delta.tensor("synthesis.linear.weight").reshape(-1, latents).astype(np.float64)
        weights[_LUMA:] *= np.sqrt(_CHROMA_WEIGHT)
        decoder = delta.gains[:, channels + latents : channels + 2 * latents].astype(np.float64)
        energies = np.square(decoder * 255) * np.square(weights).sum(0)  # [64, M]
        self._energies = energies.astype(np.float32)

    def not_worth(
        self,
        latents: NDArray[np.float32],
        symbols: NDArray[np.int16],
        indices: NDArray[np.uint8],
        z: NDArray[np.int8],
        qp: int,
    ) -> NDArray[np.bool_]:
        """
        Return which tiles cost more than they bring, bool [Th, Tw].

        Tiles that move, or have blocks without a prediction, are never among them.

        Args:
            latents: [4 Th, 4 Tw, M'], in steps; M' without motion.
            symbols: [4 Th, 4 Tw, M], the last channels of motion.
            indices: Scale indices [M, 4 Th, 4 Tw].
            z: [Cz, Th, Tw].
            qp: 0 to 63.
        """
        rows, columns = z.shape[1:]
        channels = latents.shape[2]
        coded = _any_in_tiles(symbols) & ~_any_in_tiles(symbols[..., channels:])
        tiles = np.flatnonzero(coded).astype(np.uint32)
        worthless = np.zeros((rows, columns), np.bool_)
        if not tiles.size:
            return worthless
        said = gather_tiles(symbols.transpose(2, 0, 1), tiles)
        bits = self._costs.bits(gather_hyper(z, tiles), said, gather_tiles(indices, tiles), qp)
        meant = latents.reshape(rows, 4, columns, 4, channels).transpose(0, 2, 4, 1, 3)[coded]
        symbol = said[:, :channels].astype(np.float32)  # [T, M', 16]
        mended = (2 * meant.reshape(symbol.shape) - symbol) * symbol
        gain = mended.sum(2) @ self._energies[qp]
        worthless[coded] = gain < SQUARES_PER_BIT * nominal_step(qp) ** 2 * bits
        return worthless


def _any_in_tiles(symbols: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Whether a tile has any, [Th, Tw]; symbols [4 Th, 4 Tw, K]."""
    said = symbols.any(2)
    h, w = said.shape
    return np.asarray(said.reshape(h // 4, 4, w // 4, 4).any((1, 3)))
