"""
Which tiles of a delta frame are better left as they are predicted.

A tile whose few symbols cost more bits than they mend is not coded: the encoder's own decision, by
rate-distortion as in any video encoder (Sullivan and Wiegand, IEEE SPM 15(6), 1998). What symbols
mend is counted in the latents: the transform is orthonormal.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.bundle import Bundle
from rtcodec.codec.cost import TileCosts
from rtcodec.entropy.native_tiles import gather_tiles
from rtcodec.entropy.tile import gather_hyper
from rtcodec.motion.native import BLOCK_SAMPLES, FINE
from rtcodec.motion.said import Said
from rtcodec.motion.search import SQUARES_PER_BIT, nominal_step
from rtcodec.motion.transform import LUMA_PARTS, PARTS
from rtcodec.motion.vectors import SPLIT_CHANNEL

_HYPER_BITS, _SYMBOL_BITS = 150, 16
"No tile costs more than this, and this for each of its symbols."

_CHROMA_WEIGHT = 2 / 3  # 6:1:1 over planes of 4:1:1 samples


class RestDecision:
    """Says which tiles to leave out, for one model."""

    def __init__(self, delta: Bundle) -> None:
        """
        Args:
            delta: `Bundle.delta` of the model.
        """
        self._costs = TileCosts(delta.entropy_tables)
        steps = delta.steps.astype(np.float64) / FINE  # the transform is orthonormal
        by_plane = np.square(steps) * (1, _CHROMA_WEIGHT)
        by_part = np.repeat(by_plane, (LUMA_PARTS, PARTS - LUMA_PARTS), 1)
        self._energies = np.tile(by_part, (1, BLOCK_SAMPLES // PARTS)).astype(np.float32)

    def not_worth(
        self,
        meant: NDArray[np.float32],
        symbols: NDArray[np.int16],
        said: Said,
        indices: NDArray[np.uint8],
        z: NDArray[np.int8],
        qp: int,
    ) -> NDArray[np.bool_]:
        """
        Return which tiles cost more than they bring, bool [Th * Tw].

        Tiles that move, or have blocks without a prediction, are never among them.

        Args:
            meant: The latents of the first symbols of *said*, in steps; what follows is motion.
            symbols: [4 Th, 4 Tw, M], the last channels of motion.
            said: Of *symbols*.
            indices: Scale indices [M, 4 Th, 4 Tw].
            z: [Cz, Th, Tw].
            qp: 0 to 63.
        """
        residual = slice(meant.size)
        tiles = said.tiles[residual]
        counts = said.count(residual)
        symbol = symbols.reshape(-1)[said.at[residual]].astype(np.float32)
        mended = (2 * meant - symbol) * symbol * self._energies[qp][said.channels[residual]]
        gain = np.bincount(tiles, mended, said.n_tiles)
        price = SQUARES_PER_BIT * nominal_step(qp) ** 2
        # The exact cost is looked up only where it may matter.
        doubtful = (gain < price * (_HYPER_BITS + _SYMBOL_BITS * counts)) & (counts > 0)
        moves = said.channels < BLOCK_SAMPLES + SPLIT_CHANNEL
        moves[residual] = False
        doubtful &= said.count(moves) == 0
        worthless = np.zeros(said.n_tiles, np.bool_)
        doubted = np.flatnonzero(doubtful).astype(np.uint32)
        if doubted.size:
            coded = gather_tiles(symbols.transpose(2, 0, 1), doubted)
            scales = gather_tiles(indices, doubted)
            bits = self._costs.bits(gather_hyper(z, doubted), coded, scales, qp)
            worthless[doubted] = gain[doubted] < price * bits
        return worthless
