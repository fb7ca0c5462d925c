"""
Vectors as symbols: each less what its neighbours in the same tile let expect.

Nothing outside the tile is looked at, so a packet parses alone. A block has four vectors, one for
each quarter. Its first one leans on the nearest quarters of the blocks beside it: in a tile's first
block it stands for itself, in the first row it leans on the left, in the first column on the one
above, and elsewhere on the median of left, above and left + above - corner (the LOCO-I predictor,
ISO/IEC 14495-1 A.4.2). The second and third quarters lean on the first, and the fourth on the
median of the three: a block that moves as one says so in zeros. Differences wrap at 16 bits.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.entropy.library import address
from rtcodec.motion.native import ALONE, QUARTERS, library

CHANNELS = 4 + 2 * (QUARTERS - 1)
"""Symbols beside the latents at a place: across, down, 1 where the block has no prediction and -1
where its tile is not overlapped, across and down for each further quarter, and 1 where luma's
latents are of 4x4 transforms."""

INTRA_CHANNEL, SPLIT_CHANNEL = 2, 9

_SIDE = 4  # blocks along a tile


def motion_symbols(vectors: NDArray[np.int16], intra: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Vectors [h16, w16, 4, 2] and intra [h16, w16] as symbols int16 [h16, w16, 10], the last 0."""
    h, w = intra.shape
    fits = vectors.dtype == np.int16 and intra.dtype == np.uint8
    if not fits or vectors.shape != (h, w, QUARTERS, 2) or h % _SIDE or w % _SIDE:
        raise ValueError(f"{vectors.dtype} {vectors.shape} are not the vectors of {h} x {w} blocks")
    vectors, intra = np.ascontiguousarray(vectors), np.ascontiguousarray(intra)
    symbols = np.empty((h, w, CHANNELS), np.int16)
    library().rtc_motion_symbols(address(vectors), address(intra), h, w, address(symbols))
    return symbols


def motion_symbols_reference(
    vectors: NDArray[np.int16], intra: NDArray[np.uint8]
) -> NDArray[np.int16]:
    """`motion_symbols`, slow and plain."""
    symbols = np.zeros((*intra.shape, CHANNELS), np.int16)
    tiles, out = _tiles(vectors), _tiles(symbols)
    for row in range(_SIDE):
        for column in range(_SIDE):
            own = tiles[:, row, :, column]
            out[:, row, :, column, :2] = own[..., 0, :] - _expected(tiles, row, column)
    first, right, below = (vectors[..., quarter, :] for quarter in range(3))
    symbols[..., 2] = np.where(intra & ALONE, -1, intra.astype(np.int16))
    symbols[..., 3:5] = right - first
    symbols[..., 5:7] = below - first
    symbols[..., 7:9] = vectors[..., 3, :] - _median(right, below, first)
    return symbols


def vectors_of(symbols: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Invert `motion_symbols`; any symbols give some vectors."""
    vectors = np.zeros((*symbols.shape[:2], QUARTERS, 2), np.int16)
    said = symbols[..., INTRA_CHANNEL]
    intra = np.where(said < 0, ALONE, said > 0).astype(np.uint8)
    if symbols[..., :2].any() or symbols[..., 3:SPLIT_CHANNEL].any():
        tiles, differences = _tiles(vectors), _tiles(symbols)
        for row in range(_SIDE):
            for column in range(_SIDE):
                own, of_block = tiles[:, row, :, column], differences[:, row, :, column]
                first = of_block[..., :2] + _expected(tiles, row, column)
                right, below = (first + of_block[..., k : k + 2] for k in (3, 5))
                own[..., 0, :], own[..., 1, :], own[..., 2, :] = first, right, below
                own[..., 3, :] = _median(right, below, first) + of_block[..., 7:9]
    return vectors, intra


def conceal_motion(symbols: NDArray[np.int16], present: NDArray[np.bool_]) -> None:
    """
    Give missing tiles the mean motion of those beside them that are there.

    Args:
        symbols: int16 [4 Th, 4 Tw, 10], changed in place; zeros where a tile is missing.
        present: Which tiles are there, bool [Th, Tw].
    """
    if present.all() or not present.any():
        return
    vectors, _ = vectors_of(np.ascontiguousarray(symbols))
    rows, columns = present.shape
    means = vectors.reshape(rows, _SIDE, columns, _SIDE, QUARTERS, 2).mean((1, 3, 4))
    known = np.pad(present, 1)
    padded = np.pad(means, ((1, 1), (1, 1), (0, 0)))
    for row, column in zip(*np.nonzero(~present), strict=True):
        beside = (slice(row, row + 3), slice(column, column + 3))
        here = known[beside]
        if here.any():
            # The tile's first vector; the others follow it, their differences being zero.
            first = padded[beside][here].mean(0)
            symbols[row * _SIDE, column * _SIDE, :2] = np.rint(first)


def _tiles(places: NDArray[np.int16]) -> NDArray[np.int16]:
    """A view [Th, 4, Tw, 4, ...]."""
    h, w, *rest = places.shape
    return places.reshape(h // _SIDE, _SIDE, w // _SIDE, _SIDE, *rest)


def _expected(tiles: NDArray[np.int16], row: int, column: int) -> NDArray[np.int16]:
    """What the vectors before it in the tile let expect of a block's first one, [Th, Tw, 2]."""
    if not row and not column:
        return np.zeros_like(tiles[:, 0, :, 0, 0])
    if not row:
        return tiles[:, row, :, column - 1, 1]
    if not column:
        return tiles[:, row - 1, :, 0, 2]
    left, above = tiles[:, row, :, column - 1, 1], tiles[:, row - 1, :, column, 2]
    return _median(left, above, tiles[:, row - 1, :, column - 1, 3])


def _median(
    left: NDArray[np.int16], above: NDArray[np.int16], corner: NDArray[np.int16]
) -> NDArray[np.int16]:
    """The middle one of left, above and left + above - corner."""
    low, high = np.minimum(left, above), np.maximum(left, above)
    # min and max first: in 16 bits left + above - corner may wrap, and does so alike everywhere
    return np.asarray(np.maximum(low, np.minimum(high, left + above - corner)))
