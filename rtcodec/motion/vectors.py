"""
Vectors as symbols: each less what its neighbours in the same tile let expect.

Nothing outside the tile is looked at, so a packet parses alone. Within it the first vector stands
for itself, those of the first row lean on their left, those of the first column on the one above,
and all others on the median of left, above and left + above - corner (the LOCO-I predictor,
ISO/IEC 14495-1 A.4.2). Differences wrap at 16 bits.
"""

import numpy as np
from numpy.typing import NDArray

CHANNELS = 3
"Symbols of motion at each place: across, down, and 1 where the block has no prediction."

_SIDE = 4  # blocks along a tile


def motion_symbols(vectors: NDArray[np.int16], intra: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Vectors [h16, w16, 2] and intra [h16, w16] as symbols int16 [h16, w16, 3]."""
    expected = np.zeros_like(vectors)
    tiles, guesses = _tiles(vectors), _tiles(expected)
    for row in range(_SIDE):
        for column in range(_SIDE):
            guesses[:, row, :, column] = _expected(tiles, row, column)
    return np.concatenate(((vectors - expected), intra[..., None].astype(np.int16)), 2)


def vectors_of(symbols: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Invert `motion_symbols`; any symbols give some vectors."""
    vectors = np.ascontiguousarray(symbols[..., :2])
    if vectors.any():
        tiles = _tiles(vectors)
        for row in range(_SIDE):
            for column in range(_SIDE):
                tiles[:, row, :, column] += _expected(tiles, row, column)
    return vectors, (symbols[..., 2] != 0).astype(np.uint8)


def conceal_motion(symbols: NDArray[np.int16], present: NDArray[np.bool_]) -> None:
    """
    Give missing tiles the mean motion of those beside them that are there.

    Args:
        symbols: int16 [4 Th, 4 Tw, 3], changed in place; zeros where a tile is missing.
        present: Which tiles are there, bool [Th, Tw].
    """
    if present.all() or not present.any():
        return
    vectors, _ = vectors_of(np.ascontiguousarray(symbols))
    rows, columns = present.shape
    means = vectors.reshape(rows, _SIDE, columns, _SIDE, 2).mean((1, 3))
    known = np.pad(present, 1)
    padded = np.pad(means, ((1, 1), (1, 1), (0, 0)))
    for row, column in zip(*np.nonzero(~present), strict=True):
        beside = (slice(row, row + 3), slice(column, column + 3))
        here = known[beside]
        if here.any():
            # The tile's first vector; the others follow it, their differences being zero.
            first = padded[beside][here].mean(0)
            symbols[row * _SIDE, column * _SIDE, :2] = np.rint(first)


def _tiles(vectors: NDArray[np.int16]) -> NDArray[np.int16]:
    """A view [Th, 4, Tw, 4, 2]."""
    h, w, _ = vectors.shape
    return vectors.reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, 2)


def _expected(tiles: NDArray[np.int16], row: int, column: int) -> NDArray[np.int16]:
    """What the vectors before it in the tile let expect at one place, [Th, Tw, 2]."""
    if not row and not column:
        return np.zeros_like(tiles[:, 0, :, 0])
    if not row:
        return tiles[:, 0, :, column - 1]
    if not column:
        return tiles[:, row - 1, :, 0]
    left, above = tiles[:, row, :, column - 1], tiles[:, row - 1, :, column]
    corner = tiles[:, row - 1, :, column - 1]
    low, high = np.minimum(left, above), np.maximum(left, above)
    # min and max first: in 16 bits left + above - corner may wrap, and does so alike everywhere
    return np.asarray(np.maximum(low, np.minimum(high, left + above - corner)))
