"""
What restorers of every runtime share: pictures padded to whole blocks, large ones in tiles.

A tile's margin is more than the network sees around a place, so tiles leave no seams: their
samples are those of the whole picture (`tests/integration/test_restore.py`).
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtcodec.restorer_model import LEVELS
from rtcodec.types import Planes

GRID_PX: Final = 16
"Of luma: a block of chroma, which is of half size."

TILE_PX: Final = 1024
"Side of a tile: a hundred megabytes of activations."

MARGIN_PX: Final = 64
"""Of a tile, towards its neighbours: five 3x3 layers at 1/8, and what is read around blocks of
chroma, are 56."""

Arrays = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"y, u and v, uint8 [1, 1, H, W] and half of that."


class GraphRestorer:
    """A restorer but for `_run`."""

    def restore(self, planes: Planes, levels: NDArray[np.float32]) -> Planes:
        """See `rtcodec.engine.restorer.Restorer`."""
        inputs = levels.reshape(1, LEVELS, 1, 1).astype(np.float32)
        y, u, v = _padded(planes)
        restored = tuple(np.empty_like(plane) for plane in (y, u, v))
        for rows, kept_rows in _tiles(y.shape[0]):
            for columns, kept_columns in _tiles(y.shape[1]):
                parts = [
                    np.ascontiguousarray(plane[_scaled(rows, n), _scaled(columns, n)])[None, None]
                    for plane, n in zip((y, u, v), (1, 2, 2), strict=True)
                ]
                outputs = self._run((parts[0], parts[1], parts[2]), inputs)
                for out, plane, n in zip(outputs, restored, (1, 2, 2), strict=True):
                    inner = _within(kept_rows, rows, n), _within(kept_columns, columns, n)
                    kept = _scaled(kept_rows, n), _scaled(kept_columns, n)
                    plane[kept] = out[0, 0][inner]
        height, width = planes.y.shape
        half = planes.u.shape
        y, u, v = restored
        return Planes(
            np.ascontiguousarray(y[:height, :width]),
            np.ascontiguousarray(u[: half[0], : half[1]]),
            np.ascontiguousarray(v[: half[0], : half[1]]),
        )

    @abstractmethod
    def _run(self, planes: Arrays, levels: NDArray[np.float32]) -> Arrays:
        """Run the graph on planes whose sides are multiples of 16."""


def _padded(planes: Planes) -> list[NDArray[np.uint8]]:
    """Planes whose last rows and columns are repeated up to the grid."""
    return [
        np.pad(plane, tuple((0, -side % grid) for side in plane.shape), mode="edge")
        for plane, grid in (
            (planes.y, GRID_PX), (planes.u, GRID_PX // 2), (planes.v, GRID_PX // 2),
        )
    ]  # fmt: skip


def _tiles(side: int) -> Iterator[tuple[slice, slice]]:
    """Rows, or columns, of each tile, and which of them are kept; all tiles are of one size."""
    start = kept = 0
    while True:
        end = min(start + TILE_PX, side)
        start = max(0, end - TILE_PX)
        last = side if end == side else end - MARGIN_PX
        yield slice(start, end), slice(kept, last)
        if end == side:
            return
        kept, start = last, last - MARGIN_PX


def _scaled(part: slice, n: int) -> slice:
    return slice(part.start // n, part.stop // n)


def _within(kept: slice, part: slice, n: int) -> slice:
    return slice((kept.start - part.start) // n, (kept.stop - part.start) // n)
