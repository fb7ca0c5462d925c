"""
The prediction of blocks from vectors in plain numpy: slow, obvious, and what `native` must equal.

Samples have 12 bits, 16 steps for each of a byte's. Filters and roundings are those of ITU-T H.265
8.5.3.3.3 and 8.5.3.3.4.2 for that depth: eight taps for luma at quarters of a sample, four for
chroma at eighths, horizontally first. What lies outside the reference is its nearest sample
(SPEC.md section 9.2).
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import BLOCK_PX, BLOCK_SAMPLES

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
        intra: [h16, w16]; blocks with other than 0 are grey.

    Returns:
        Blocks, uint16 [h16, w16, 384], 0..4080.
    """
    rows, columns = intra.shape
    blocks = np.full((rows, columns, BLOCK_SAMPLES), GREY, np.uint16)
    quarter = BLOCK_PX // 2
    for row in range(rows):
        for column in range(columns):
            if intra[row, column]:
                continue
            luma = np.empty((BLOCK_PX, BLOCK_PX), np.uint16)
            chroma = [np.empty((quarter, quarter), np.uint16) for _ in planes[1:]]
            for i, j in np.ndindex(2, 2):
                across, down = (int(v) for v in vectors[row, column, 2 * i + j])
                place = (2 * row + i, 2 * column + j, across, down)
                _part(luma, i, j)[...] = _block(planes[0], place, quarter, 4, LUMA_TAPS)
                for out, plane in zip(chroma, planes[1:], strict=True):
                    _part(out, i, j)[...] = _block(plane, place, quarter // 2, 8, CHROMA_TAPS)
            blocks[row, column] = np.concatenate([part.ravel() for part in (luma, *chroma)])
    return blocks


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
