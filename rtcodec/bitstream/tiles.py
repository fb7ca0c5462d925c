"""
Which tiles of a frame a slice holds (spec 2.2).

A slice names a run of positions in one of two orders:

    raster        dispersed (4 columns, 3 rows)
    0 1 2  3      0 6 1  7      even rows, even columns; then odd, odd;
    4 5 6  7      10 4 11 5     then even rows, odd columns; then odd, even
    8 9 10 11     2 8 3  9

In dispersed order a quarter of the frame or less has no two tiles that touch,
so a lost slice leaves neighbours all around to conceal it from.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rtcodec.types import tile_grid

MAX_TILES = 65536
"Tiles of the largest frame: 256 by 256. # spec 2"

_PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # (row, column) modulo 2, # spec 2.2


@dataclass(frozen=True, slots=True)
class TileRange:
    """A run of positions in raster or dispersed order."""

    first: int
    "First position, 0 to 65535."

    count: int
    "How many, 1 to 65536; first + count is at most the tiles of the frame."

    dispersed: bool = False
    "Whether positions count in dispersed order."

    def __post_init__(self) -> None:
        """
        Check the limits that hold for every frame size.

        Raises:
            ValueError: If one is broken.
        """
        if self.first < 0 or self.count < 1 or self.first + self.count > MAX_TILES:
            raise ValueError(f"no {self.count} tiles from {self.first} in {MAX_TILES}")

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.first + self.count


def tile_indices(tiles: TileRange | None, width: int, height: int) -> NDArray[np.int64]:
    """
    List the tiles of a slice in coding order: increasing tile index.

    Args:
        tiles: What the packet header says; None is the whole frame.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.

    Returns:
        int64 [T], each row * columns + column; read-only.

    Raises:
        ValueError: If the frame has no such tiles.
    """
    rows, columns = tile_grid(width, height)
    if tiles is None:
        tiles = TileRange(0, rows * columns)
    if tiles.end > rows * columns:
        raise ValueError(f"tiles up to {tiles.end} in a frame of {rows * columns}")
    return _indices(tiles, rows, columns)


def split_tiles(
    width: int, height: int, slices: int, *, dispersed: bool = False
) -> list[TileRange]:
    """
    Cut a frame into *slices* runs of nearly equal length, fewer if it has fewer tiles.

    Args:
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.
        slices: How many are wanted, at least 1.
        dispersed: Order of the positions.
    """
    rows, columns = tile_grid(width, height)
    tiles = rows * columns
    slices = min(slices, tiles)
    bounds = [tiles * i // slices for i in range(slices + 1)]
    return [TileRange(first, end - first, dispersed) for first, end in pairwise(bounds)]


@lru_cache(maxsize=64)
def tile_order(rows: int, columns: int, *, dispersed: bool) -> NDArray[np.int64]:
    """Return the tile index of each position, int64 [rows * columns], read-only (spec 2.2)."""
    order = np.arange(rows * columns, dtype=np.int64)
    if dispersed:
        grid = order.reshape(rows, columns)
        order = np.concatenate([grid[row::2, column::2].ravel() for row, column in _PHASES])
    order.setflags(write=False)
    return order


@lru_cache(maxsize=256)
def _indices(tiles: TileRange, rows: int, columns: int) -> NDArray[np.int64]:
    order = tile_order(rows, columns, dispersed=tiles.dispersed)
    indices = np.sort(order[tiles.first : tiles.end])
    indices.setflags(write=False)
    return indices
