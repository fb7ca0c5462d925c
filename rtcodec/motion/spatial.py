"""
Frames predicted from themselves in plain Python: what `within.paint` must equal (SPEC.md 9.6).

Each 8x8 part, or all 16x16 of a block's luma, is predicted from the samples around it that are
painted already, by one of 35 modes: planar, their mean, and 33 directions (ITU-T H.265 8.4.4.2,
without its filters at edges). A mode is said by its rank among those that the parts on the left and
above make likely. Chroma has one mode more where the model says so: a line of the luma under it.
Nothing beyond an area is looked at. That is a tile, so that a lost one harms no
other; or the frame, where it cannot be lost in part.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.motion.native import BLOCK_SAMPLES, Fine, Steps
from rtcodec.motion.transform import FINE_MAX, LARGE, LARGE_SIDE, ORDER, PARTS, SIDE, inverse
from rtcodec.motion.vectors import CHANNELS, SPLIT_CHANNEL
from rtcodec.motion.within import LARGE_CHANNEL, MODE_CHANNELS

PLANAR, MEAN, FIRST_ANGLE, ACROSS, DOWN, MODES = 0, 1, 2, 10, 26, 35
LINEAR: Final = MODES
"Of chroma: a line of the luma under it."

GREY: Final = 128 * 16

ANGLES: Final = (
    *(0, 0, 32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26),
    *(-32, -26, -21, -17, -13, -9, -5, -2, 0, 2, 5, 9, 13, 17, 21, 26, 32),
)
INVERSE: Final = (4096, 1638, 910, 630, 482, 390, 315, 256)
INVERSE_ANGLES: Final = dict(zip(range(11, 26), INVERSE + INVERSE[-2::-1], strict=True))

Edge = NDArray[np.int64]
"The corner beside a part, and twice its side of samples from there along one of its sides."


def paint(
    symbols: NDArray[np.int16],
    steps: Steps,
    *,
    across_tiles: bool = False,
    linear: bool = False,
) -> Fine:
    """As `within.paint`, the blocks alone."""
    h, w, _ = symbols.shape
    if across_tiles:
        return _paint_area(symbols.astype(np.int64), steps, linear=linear).astype(np.uint16)
    blocks = np.empty((h, w, BLOCK_SAMPLES), np.uint16)
    for top in range(0, h, 4):
        for left in range(0, w, 4):
            tile = slice(top, top + 4), slice(left, left + 4)
            blocks[tile] = _paint_area(symbols[tile].astype(np.int64), steps, linear=linear)
    return blocks


def _paint_area(symbols: NDArray[np.int64], steps: Steps, *, linear: bool) -> NDArray[np.int64]:
    h, w, _ = symbols.shape
    luma = np.zeros((16 * h, 16 * w), np.int64)
    chroma = np.zeros((2, 8 * h, 8 * w), np.int64)
    painted = np.zeros((2 * h, 2 * w), np.bool_)
    modes = np.zeros((2 * h, 2 * w), np.int64)
    blocks = np.empty((h, w, BLOCK_SAMPLES), np.int64)
    for i, j in np.ndindex(h, w):
        latents = symbols[i, j, :BLOCK_SAMPLES].reshape(-1, PARTS)
        said = symbols[i, j, BLOCK_SAMPLES : BLOCK_SAMPLES + CHANNELS]
        copies = _copies_of(symbols[i, j, BLOCK_SAMPLES + CHANNELS :], i, j, 16 * w)
        if said[LARGE_CHANNEL]:
            copies = {}
        for quarter in range(4):
            row, column = 2 * i + quarter // 2, 2 * j + quarter % 2
            a = modes[row, column - 1] if column else PLANAR
            b = modes[row - 1, column] if row else PLANAR
            mode = mode_order(int(a), int(b))[rank_of(int(said[MODE_CHANNELS[quarter]]))]
            if said[LARGE_CHANNEL]:
                modes[row : row + 2, column : column + 2] = mode
                there = painted[1::2, 1::2].copy()
                _paint_part(luma, there, i, j, mode, _large_residual(latents, steps[0]))
                painted[row : row + 2, column : column + 2] = True
                break
            modes[row, column] = mode
            added = _residual(latents[:, quarter], steps[0], split=bool(said[SPLIT_CHANNEL]))
            if quarter in copies:
                _copy(luma, (SIDE * row, SIDE * column), copies[quarter], added)
            else:
                _paint_part(luma, painted, row, column, mode, added)
            painted[row, column] = True
        own = luma[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        order = chroma_order(int(modes[2 * i, 2 * j]), linear=linear)
        mode = order[rank_of(int(said[MODE_CHANNELS[4]]), len(order))]
        for k, plane in enumerate(chroma):
            added = _residual(latents[:, 4 + k], steps[1])
            if mode == LINEAR:
                part = predict_linear(luma, plane, i, j) + added
                plane[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = np.clip(part, 0, FINE_MAX)
            else:
                there = painted[1::2, 1::2].copy()  # blocks before this one
                there[i, j] = False
                _paint_part(plane, there, i, j, mode, added)
            for quarter, (up, right) in copies.items():
                if not (up | right) & 1:
                    y, x = 4 * (quarter // 2), 4 * (quarter % 2)
                    half = added[y : y + 4, x : x + 4]
                    _copy(plane, (8 * i + y, 8 * j + x), (up // 2, right // 2), half)
        colours = chroma[:, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
        blocks[i, j] = np.concatenate((own.ravel(), colours.ravel()))
    return blocks


def _copies_of(said: NDArray[np.int64], i: int, j: int, width: int) -> dict[int, tuple[int, int]]:
    """Return which quarters of the block at (i, j) are copies of what is painted before it."""
    found = {}
    for quarter, (up, right) in enumerate(said.reshape(-1, 2).tolist()):
        bottom = 16 * i + SIDE * (quarter // 2) - up + SIDE
        end = 16 * j + SIDE * (quarter % 2) + right + SIDE
        if up < 0 or bottom < SIDE or not SIDE <= end <= width:
            continue
        if bottom <= 16 * i or (end <= 16 * j and bottom <= 16 * i + 16):
            found[quarter] = up, right
    return found


def _copy(
    plane: NDArray[np.int64], at: tuple[int, int], by: tuple[int, int], added: NDArray[np.int64]
) -> None:
    """Paint what begins *at* a row and column as what is so many rows up and columns right."""
    (y, x), (up, right), n = at, by, len(added)
    there = plane[y - up : y - up + n, x + right : x + right + n]
    plane[y : y + n, x : x + n] = np.clip(there + added, 0, FINE_MAX)


def _paint_part(
    plane: NDArray[np.int64],
    painted: NDArray[np.bool_],
    row: int,
    column: int,
    mode: int,
    added: NDArray[np.int64],
) -> None:
    """Paint part (row, column) of an area's plane; *painted* says which of its parts are there."""
    part = predict(*edges(plane, painted, row, column), mode) + added
    n = len(part)
    y, x = n * row, n * column
    plane[y : y + n, x : x + n] = np.clip(part, 0, FINE_MAX)


def _large_residual(symbols: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Of a block's luma in 16x16: each of its parts has every other frequency, each way."""
    coefficients = np.empty((LARGE_SIDE, LARGE_SIDE), np.int64)
    for q in range(4):
        part = np.empty(SIDE * SIDE, np.int64)
        part[ORDER] = np.clip(symbols[:, q] * step, -65535, 65535)
        coefficients[q // 2 :: 2, q % 2 :: 2] = part.reshape(SIDE, SIDE)
    down = np.clip((LARGE.T @ coefficients + 1024) >> 11, -65535, 65535)
    return np.asarray((down @ LARGE + 4096) >> 13)


def _residual(symbols: NDArray[np.int64], step: int, *, split: bool = False) -> NDArray[np.int64]:
    coefficients = np.empty(SIDE * SIDE, np.int64)
    coefficients[ORDER] = np.clip(symbols * step, -65535, 65535)
    return inverse(coefficients.reshape(SIDE, SIDE), split=split)


def edges(
    plane: NDArray[np.int64], painted: NDArray[np.bool_], row: int, column: int
) -> tuple[Edge, Edge]:
    """
    Return the samples above a part and on its left, each from the corner on.

    What is not painted is as the nearest before it on the way from below on the left, up, and to
    the right; before the first, as that; where there is none, grey.
    """
    h, w = painted.shape
    n = plane.shape[0] // h

    def has(r: int, c: int) -> bool:
        return 0 <= r < h and 0 <= c < w and bool(painted[r, c])

    y, x = n * row, n * column
    line: list[int | None] = []
    for r in (row + 1, row):
        rows = range(n * r + n - 1, n * r - 1, -1)
        line += [int(plane[k, x - 1]) if has(r, column - 1) else None for k in rows]
    corner = has(row, column - 1) and has(row - 1, column)
    line.append(int(plane[y - 1, x - 1]) if corner else None)
    for c in (column, column + 1):
        columns = range(n * c, n * c + n)
        line += [int(plane[y - 1, k]) if has(row - 1, c) else None for k in columns]
    last = next((sample for sample in line if sample is not None), GREY)
    filled = []
    for sample in line:
        last = last if sample is None else sample
        filled.append(last)
    whole = np.array(filled)
    return whole[2 * n :], whole[2 * n :: -1]


def soften(above: Edge, left: Edge) -> tuple[Edge, Edge]:
    """Return edges with each sample but the ends mixed with those beside it, 1:2:1."""
    line = np.concatenate((left[:0:-1], above))
    line[1:-1] = (line[:-2] + 2 * line[1:-1] + line[2:] + 2) >> 2
    corner = len(line) // 2
    return line[corner:], line[corner::-1]


def predict(above: Edge, left: Edge, mode: int) -> NDArray[np.int64]:
    """Return a part, [8, 8] or [16, 16], predicted from its edges."""
    n = len(above) // 2
    if mode == PLANAR or is_soft(mode, n):
        above, left = soften(above, left)
    i = np.arange(n)
    shift = n.bit_length()
    if mode == PLANAR:
        across = (n - 1 - i) * left[1 : n + 1, None] + (i + 1) * above[n + 1]
        down = (n - 1 - i[:, None]) * above[1 : n + 1] + (i[:, None] + 1) * left[n + 1]
        return np.asarray((across + down + n) >> shift)
    if mode == MEAN:
        mean = (above[1 : n + 1].sum() + left[1 : n + 1].sum() + n) >> shift
        return np.full((n, n), mean)
    if mode < (ACROSS + DOWN) // 2:
        return _along(left, above, mode).T
    return _along(above, left, mode)


def predict_linear(
    luma: NDArray[np.int64], plane: NDArray[np.int64], i: int, j: int
) -> NDArray[np.int64]:
    """
    Return chroma of block (i, j) of an area as a line of its luma, [8, 8].

    The line fits the samples above and on the left best in least squares, and is drawn to a flat
    one where luma hardly differs there.
    """
    h, w = plane.shape
    halves = (luma.reshape(h, 2, w, 2).sum((1, 3)) + 2) >> 2
    y, x = SIDE * i, SIDE * j
    above = (y - 1, slice(x, x + SIDE)) if i else (slice(0), slice(0))
    left = (slice(y, y + SIDE), x - 1) if j else (slice(0), slice(0))
    sides, beside = (
        np.concatenate((all_of[above].ravel(), all_of[left].ravel())) for all_of in (halves, plane)
    )
    if not len(sides):
        return np.full((SIDE, SIDE), GREY)
    n, sum_l, sum_c = len(sides), int(sides.sum()), int(beside.sum())
    up = 256 * (n * int(sides @ beside) - sum_l * sum_c)
    along = n * int(sides @ sides) - sum_l**2 + 512 * n * n
    slope = min(max(abs(up) // along * (1 if up > 0 else -1), -1024), 1024)
    own = halves[y : y + SIDE, x : x + SIDE]
    risen = (slope * (own - sum_l // n) + 128) >> 8
    return np.asarray(np.clip((sum_c + n // 2) // n + risen, 0, FINE_MAX))


def is_soft(mode: int, n: int) -> bool:
    """Whether a direction is predicted from softened edges: see SPEC.md."""
    if n == SIDE:
        return mode in (2, 18, 34)
    return mode > MEAN and abs(mode - ACROSS) > 1 and abs(mode - DOWN) > 1


def _along(main: Edge, side: Edge, mode: int) -> NDArray[np.int64]:
    angle, n = ANGLES[mode], len(main) // 2
    out = np.empty((n, n), np.int64)

    def sample(at: int) -> int:
        if at >= 0:
            return int(main[at])
        return int(side[(-at * INVERSE_ANGLES[mode] + 128) >> 8])

    for y, x in np.ndindex(n, n):
        far = (y + 1) * angle
        at, part = x + 1 + (far >> 5), far & 31
        if part:
            out[y, x] = ((32 - part) * sample(at) + part * sample(at + 1) + 16) >> 5
        else:
            out[y, x] = sample(at)
    return out


def mode_order(a: int, b: int) -> list[int]:
    """Return all modes, the likeliest first, where those on the left and above are *a* and *b*."""
    order = list(dict.fromkeys((a, b, PLANAR, MEAN, DOWN, ACROSS)))
    around = (a if a >= FIRST_ANGLE else DOWN, b if b >= FIRST_ANGLE else ACROSS)
    for d in range(1, MODES):
        for mode in (around[0] - d, around[0] + d, around[1] - d, around[1] + d):
            if FIRST_ANGLE <= mode < MODES and mode not in order:
                order.append(mode)
    return order


def chroma_order(a: int, *, linear: bool) -> list[int]:
    """Return all modes of chroma, the likeliest first, where that of luma is *a*."""
    order = mode_order(a, PLANAR)
    return [order[0], LINEAR, *order[1:]] if linear else order


def rank_of(symbol: int, modes: int = MODES) -> int:
    """Return which of an order of *modes* a symbol means: 0, 1, -1, 2 and so on, up to the last."""
    return min(2 * symbol - 1 if symbol > 0 else -2 * symbol, modes - 1)
