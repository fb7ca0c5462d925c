"""
Fill the missing tiles of a picture from the past.

    a ring around the missing tile, where it came through --best match--> the past, moved

For frames coded alone; a delta frame is concealed by its own motion. The synthesis network
looks over the borders of tiles, so what it painted beside a missing one is spoilt too: the past
replaces that margin, and the ring lies beyond it. Nothing here is ever predicted from.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.types import TILE_PX, Planes

_SPOILT_PX = 8
_RING_PX = 8
_REACH_PX = 12
_STEP_PX = 2  # even, so that chroma moves by whole samples
_WORST_MATCH = 24.0
"Mean absolute difference of the ring, in samples, beyond which the past does not help."

_WORTH_MOVING = 0.8
"A move must match better than none by this factor."

_PADDING_PX = _SPOILT_PX + _RING_PX + _REACH_PX
_MOVES = [
    (dy, dx)
    for dy in range(-_REACH_PX, _REACH_PX + 1, _STEP_PX)
    for dx in range(-_REACH_PX, _REACH_PX + 1, _STEP_PX)
]


def conceal_tiles(picture: Planes, present: NDArray[np.bool_], past: Planes) -> Planes:
    """
    Return *picture* with its missing tiles copied from where the past fits around them.

    A tile stays as the decoder painted it where the past does not fit.

    Args:
        picture: As decoded.
        present: Which of its tiles came, bool [Th, Tw].
        past: The picture shown before, of the same size.
    """
    missing = np.argwhere(~present) * TILE_PX
    if not len(missing):
        return picture
    sound = np.ones(picture.y.shape, np.bool_)
    for top, left in missing:
        sound[_around(top, _SPOILT_PX), _around(left, _SPOILT_PX)] = False
    sources = [
        np.pad(plane, _PADDING_PX // scale, mode="edge")
        for plane, scale in ((past.y, 1), (past.u, 2), (past.v, 2))
    ]
    planes = [picture.y.copy(), picture.u.copy(), picture.v.copy()]
    for top, left in missing:
        move = _best_move(picture.y, sound, sources[0], int(top), int(left))
        if move is None:
            continue
        for plane, source, scale in zip(planes, sources, (1, 2, 2), strict=True):
            _copy(plane, source, int(top), int(left), move, scale)
    return Planes(*planes)


def _around(start: int, margin: int, scale: int = 1) -> slice:
    """Return the rows or columns of a tile and of a margin around it."""
    return slice(max(0, start - margin) // scale, (start + TILE_PX + margin) // scale)


def _best_move(
    luma: NDArray[np.uint8],
    sound: NDArray[np.bool_],
    source: NDArray[np.uint8],
    top: int,
    left: int,
) -> tuple[int, int] | None:
    """Return how far the past moves to fit the ring around a tile, or None if it does not."""
    rows, columns = (_around(start, _SPOILT_PX + _RING_PX) for start in (top, left))
    ring = sound[rows, columns]
    if not ring.any():
        return 0, 0  # nothing to go by
    here = luma[rows, columns][ring].astype(np.int16)
    y, x = rows.start + _PADDING_PX, columns.start + _PADDING_PX
    height, width = ring.shape

    def cost(move: tuple[int, int]) -> float:
        dy, dx = move
        there = source[y + dy : y + dy + height, x + dx : x + dx + width][ring]
        return float(np.abs(here - there).mean())

    still = cost((0, 0))
    best = min(_MOVES, key=cost)
    if cost(best) >= still * _WORTH_MOVING:
        best = (0, 0)
    return best if cost(best) <= _WORST_MATCH else None


def _copy(
    plane: NDArray[np.uint8],
    source: NDArray[np.uint8],
    top: int,
    left: int,
    move: tuple[int, int],
    scale: int,
) -> None:
    """Copy one tile and its margin from the padded past, moved."""
    rows, columns = (_around(start, _SPOILT_PX, scale) for start in (top, left))
    out = plane[rows, columns]
    y = rows.start + (move[0] + _PADDING_PX) // scale
    x = columns.start + (move[1] + _PADDING_PX) // scale
    out[...] = source[y : y + out.shape[0], x : x + out.shape[1]]
