"""What a delta frame says: its symbols that are not zero, a few in a hundred."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import nonzero

_SIDE = 4  # blocks along a tile


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Where the symbols of a frame are not 0; all arrays are [K]."""

    at: NDArray[np.uint32]
    "Numbers of the symbols in memory."

    channels: NDArray[np.int64]
    tiles: NDArray[np.int64]
    "Tile indices."

    n_tiles: int

    @classmethod
    def of(cls, symbols: NDArray[np.int16]) -> "Said":
        """Look through *symbols*, int16 [4 Th, 4 Tw, M] in order in memory."""
        return cls.listed(nonzero(symbols), symbols.shape)

    @classmethod
    def listed(cls, at: NDArray[np.uint32], shape: tuple[int, ...]) -> "Said":
        """Take what is *at* some numbers of symbols of a *shape* [4 Th, 4 Tw, M]."""
        h, w, stride = shape
        places, channels = np.divmod(at.astype(np.int64), stride)
        rows, columns = np.divmod(places, w)
        tiles = rows // _SIDE * (w // _SIDE) + columns // _SIDE
        return cls(at, channels, tiles, h * w // _SIDE**2)

    def count(self, where: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.int64]:
        """Return how many of the symbols *where* there are in each tile, [Th * Tw]."""
        return np.bincount(self.tiles[where], minlength=self.n_tiles)

    def without(self, tiles: NDArray[np.bool_]) -> "Said":
        """Return what is left when *tiles* [Th * Tw] say nothing."""
        kept = ~tiles[self.tiles]
        return Said(self.at[kept], self.channels[kept], self.tiles[kept], self.n_tiles)
