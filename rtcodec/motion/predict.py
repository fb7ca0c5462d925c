"""
The prediction of blocks from vectors in plain numpy: slow, obvious, and what `native` must equal.

Samples have 12 bits, 16 steps for each of a byte's. Filters and roundings are those of ITU-T H.265
8.5.3.3.3 and 8.5.3.3.4.2 for that depth: eight taps for luma at quarters of a sample, four for
chroma at eighths, horizontally first. What lies outside the reference is its nearest sample. Along
its sides each quarter of a block is blended with what its neighbours' vectors bring (Orchard and
Sullivan, IEEE TIP 3(5), 1994), in tiles that move (SPEC.md section 9.2).
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import ALONE, BLOCK_PX, BLOCK_SAMPLES, INTRA

LUMA_TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)
CHROMA_TAPS = (
    (0, 64, 0, 0),
    (-2, 58, 10, -2),
    (-4, 54, 16, -2),
    (-6, 46, 28, -4),
    (-4, 36, 36, -4),
    (-4, 28, 46, -6),
    (-2, 16, 54, -4),
    (-2, 10, 58, -2),
)
GREY = 128 * 16
"Every sample of a block without a prediction."

LUMA_WEIGHTS, CHROMA_WEIGHTS = (8, 5, 3, 1), (8, 3)
"Of 32: what a neighbour's vector brings, by distance from the side it is at."

_Vector = tuple[int, int]

_TILE_BLOCKS = 4
_SIDES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # rows down and columns right of a quarter


def predict(
    planes: tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint16]],
    vectors: NDArray[np.int16],
    intra: NDArray[np.uint8],
) -> NDArray[np.uint16]:
    """
    Predict every block of a picture.

    Args:
        planes: The reference, 0..4080: y [16 h16, 16 w16], u and v half of that.
        vectors: [h16, w16, 4, 2], across and down in quarters of a luma sample, of the quarters of
            each block: top left, top right, bottom left, bottom right.
        intra: [h16, w16] of `INTRA`, those are grey, and `ALONE`.

    Returns:
        Blocks, uint16 [h16, w16, 384], 0..4080.
    """
    rows, columns = intra.shape
    blocks = np.full((rows, columns, BLOCK_SAMPLES), GREY, np.uint16)
    quarter = BLOCK_PX // 2
    overlaps = _overlaps(vectors, intra)
    for row, column in np.ndindex(rows, columns):
        if intra[row, column] & INTRA:
            continue
        luma = np.empty((BLOCK_PX, BLOCK_PX), np.uint16)
        chroma = [np.empty((quarter, quarter), np.uint16) for _ in planes[1:]]
        for i, j in np.ndindex(2, 2):
            own = _vector(vectors, intra, 2 * row + i, 2 * column + j)
            beside = [
                _vector(vectors, intra, 2 * row + i + y, 2 * column + j + x) for y, x in _SIDES
            ]
            if not overlaps[row, column]:
                beside = []
            at = (2 * row + i, 2 * column + j)
            _part(luma, i, j)[...] = _quarter(planes[0], at, own, beside, quarter, 4, LUMA_TAPS)
            for out, plane in zip(chroma, planes[1:], strict=True):
                _part(out, i, j)[...] = _quarter(
                    plane, at, own, beside, quarter // 2, 8, CHROMA_TAPS
                )
        blocks[row, column] = np.concatenate([part.ravel() for part in (luma, *chroma)])
    return blocks


def _overlaps(vectors: NDArray[np.int16], intra: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which blocks are in tiles that have vectors and are not to be left alone."""
    overlaps = np.zeros(intra.shape, np.bool_)
    for row, column in np.ndindex(*(-(-side // _TILE_BLOCKS) for side in intra.shape)):
        tile = tuple(slice(_TILE_BLOCKS * k, _TILE_BLOCKS * (k + 1)) for k in (row, column))
        overlaps[tile] = vectors[tile].any() and not (intra[tile] & ALONE).any()
    return overlaps


def _vector(
    vectors: NDArray[np.int16], intra: NDArray[np.uint8], row: int, column: int
) -> _Vector | None:
    """That of a quarter, by its place among quarters; None outside and without a prediction."""
    rows, columns = intra.shape
    if not (0 <= row < 2 * rows and 0 <= column < 2 * columns):
        return None
    if intra[row // 2, column // 2] & INTRA:
        return None
    across, down = vectors[row // 2, column // 2, 2 * (row % 2) + column % 2]
    return int(across), int(down)


def _quarter(
    plane: NDArray[np.uint16],
    at: tuple[int, int],
    own: _Vector | None,
    beside: list[_Vector | None],
    side: int,
    unit: int,
    filters: tuple[tuple[int, ...], ...],
) -> NDArray[np.uint16]:
    """One quarter of a block of a plane, blended with what vectors *beside* it bring, if any."""
    assert own is not None
    alone = _block(plane, (*at, *own), side, unit, filters)
    weights = np.zeros(side, np.int64)
    weights[: side // 2] = LUMA_WEIGHTS if unit == 4 else CHROMA_WEIGHTS
    sums = np.zeros((side, side), np.int64)
    for vector, (y, x) in zip(beside, _SIDES, strict=False):
        if vector is not None:
            other = _block(plane, (*at, *vector), side, unit, filters)
            ordered = weights if x + y < 0 else weights[::-1]
            by_place = ordered[None, :] if x else ordered[:, None]
            sums += by_place * (other.astype(np.int64) - alone)
    return np.asarray(np.clip(alone + ((sums + 16) >> 5), 0, 4080), np.uint16)


def _part(block: NDArray[np.uint16], i: int, j: int) -> NDArray[np.uint16]:
    """A view of one quarter of a block."""
    side = len(block) // 2
    return block[i * side : (i + 1) * side, j * side : (j + 1) * side]


def _block(
    plane: NDArray[np.uint16],
    place: tuple[int, int, int, int],
    side: int,
    unit: int,
    filters: tuple[tuple[int, ...], ...],
) -> NDArray[np.uint16]:
    """One moved block [side, side] of a plane whose vectors are in 1/unit of its samples."""
    row, column, across, down = place
    x, y = column * side + across // unit, row * side + down // unit
    horizontal, vertical = filters[across % unit], filters[down % unit]
    before = len(horizontal) // 2 - 1
    height, width = plane.shape
    need = side + len(horizontal) - 1
    inside_y = np.clip(np.arange(need) + y - before, 0, height - 1)
    inside_x = np.clip(np.arange(need) + x - before, 0, width - 1)
    patch = plane[np.ix_(inside_y, inside_x)].astype(np.int64)
    middle = slice(before, before + side)
    if not across % unit and not down % unit:
        sums = patch[middle, middle] << 2
    elif not down % unit:
        sums = _filtered(patch[middle], horizontal, side) >> 4
    elif not across % unit:
        sums = _filtered(patch[:, middle].T, vertical, side).T >> 4
    else:
        lines = _filtered(patch, horizontal, side) >> 4
        sums = _filtered(lines.T, vertical, side).T >> 6
    return np.asarray(np.clip((sums + 2) >> 2, 0, 4080), np.uint16)


def _filtered(lines: NDArray[np.int64], taps: tuple[int, ...], side: int) -> NDArray[np.int64]:
    """Weighted sums along the last axis, [..., side]."""
    sums = np.zeros((*lines.shape[:-1], side), np.int64)
    for k, tap in enumerate(taps):
        sums += tap * lines[..., k : k + side]
    return sums
