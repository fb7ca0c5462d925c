"""
Fill the missing tiles of a picture from its neighbours and the past.

    a ring around the missing tile, where it came through --best match--> the past, moved

For frames that were coded alone; a delta frame is concealed by its own motion. Integers only, and
nothing here is ever predicted from.
"""

import numpy as np
from numpy.typing import NDArray

from rtcodec.types import TILE_PX, Planes

_RING_PX = 4
_REACH_PX = 12
_STEP_PX = 2  # even, so that chroma moves by whole samples
_WORST_MATCH = 16.0
"Mean absolute difference of the ring, in samples, beyond which the past does not help."

_MOVES = tuple(
    sorted(
        (
            (dy, dx)
            for dy in range(-_REACH_PX, _REACH_PX + 1, _STEP_PX)
            for dx in range(-_REACH_PX, _REACH_PX + 1, _STEP_PX)
        ),
        key=lambda move: move[0] ** 2 + move[1] ** 2,
    )
)


def conceal_tiles(picture: Planes, present: NDArray[np.bool_], past: Planes) -> Planes:
    """
    Return *picture* with its missing tiles copied from where the past fits around them.

    A tile stays as the decoder painted it where nothing around it came through or the past does not
    fit.

    Args:
        picture: As decoded.
        present: Which of its tiles came, bool [Th, Tw].
        past: The picture shown before, of the same size.
    """
    missing = np.argwhere(~present)
    if not len(missing):
        return picture
    came = present.repeat(TILE_PX, 0).repeat(TILE_PX, 1)[: picture.height, : picture.width]
    margin = _RING_PX + _REACH_PX
    before = [
        np.pad(plane, margin, mode="edge") if n == 0 else np.pad(plane, margin // 2, mode="edge")
        for n, plane in enumerate((past.y, past.u, past.v))
    ]
    planes = [picture.y.copy(), picture.u.copy(), picture.v.copy()]
    for row, column in missing:
        top, left = int(row) * TILE_PX, int(column) * TILE_PX
        move = _best_move(picture.y, came, before[0], top, left)
        if move is None:
            continue
        for n, plane in enumerate(planes):
            scale = 1 if n == 0 else 2
            _copy(plane, before[n], margin // scale, top // scale, left // scale, move, scale)
    return Planes(*planes)


def _best_move(
    luma: NDArray[np.uint8],
    came: NDArray[np.bool_],
    before: NDArray[np.uint8],
    top: int,
    left: int,
) -> tuple[int, int] | None:
    """Return how far the past moves for its ring to fit that around a tile, or None."""
    height, width = luma.shape
    y0, y1 = max(0, top - _RING_PX), min(height, top + TILE_PX + _RING_PX)
    x0, x1 = max(0, left - _RING_PX), min(width, left + TILE_PX + _RING_PX)
    ring = came[y0:y1, x0:x1]
    if not ring.any():
        return None
    here = luma[y0:y1, x0:x1][ring].astype(np.int16)
    margin = _RING_PX + _REACH_PX
    costs = []
    for dy, dx in _MOVES:
        rows = slice(y0 + dy + margin, y1 + dy + margin)
        there = before[rows, x0 + dx + margin : x1 + dx + margin][ring]
        costs.append(float(np.abs(here - there).mean()))
    best = int(np.argmin(costs))
    return _MOVES[best] if costs[best] <= _WORST_MATCH else None


def _copy(
    plane: NDArray[np.uint8],
    before: NDArray[np.uint8],
    margin: int,
    top: int,
    left: int,
    move: tuple[int, int],
    scale: int,
) -> None:
    """Copy one tile of a plane from the padded past, moved."""
    side = TILE_PX // scale
    out = plane[top : top + side, left : left + side]
    y, x = top + move[0] // scale + margin, left + move[1] // scale + margin
    out[...] = before[y : y + out.shape[0], x : x + out.shape[1]]
